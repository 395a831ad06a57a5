"""What a user can mend: one message, no traceback."""


class BenchError(Exception):
    """A mistake that the user can mend; `stn-bench` prints it and ends with `exit_status`."""

    exit_status = 2


class InfrastructureError(BenchError):
    """The machines or the store failed, not the study and not its trials."""

    exit_status = 5


class StoreError(InfrastructureError):
    """The store of results cannot be read or written."""


class DiskFull(StoreError):
    """The store of results has no room left."""


class BadData(BenchError):
    """A data set's files are not what they should be."""


class StudyError(BenchError):
    """Every problem of a study at once, one line each: `file:line: key: what is wrong`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
