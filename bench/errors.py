"""What a user can mend: one message, no traceback."""


class BenchError(Exception):
    """A mistake that the user can mend; `stn-bench` prints it and ends with `exit_status`."""

    exit_status = 2


class InfrastructureError(BenchError):
    """The machines or the store failed, not the study and not its trials."""

    exit_status = 5


class StudyError(BenchError):
    """Every problem of a study at once, one line each: `file:line: key: what is wrong`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
