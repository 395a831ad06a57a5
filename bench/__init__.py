"""The harness: studies of spatial transformers, from a YAML file to a report."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from .results import ResultStore
    from .study import Study


def run(
    study: "Study | str | Path", results: str | Path = "results", **options: Any
) -> "ResultStore":
    """Run what a study lacks in the store at `results`; gives the store.

    A script that calls it needs the guard `if __name__ == "__main__":`: timing starts processes.

    Args:
        study: The file of a study, or what `bench.study.load_study` gives.
        results: Folder or URI of the store.
        **options: `data_dir`, `device`, `address`, `in_process` and `rerun` of `bench.launch.run`.
    """
    from bench.launch import run as events
    from bench.results import ResultStore
    from bench.study import Study, load_study

    loaded = study if isinstance(study, Study) else load_study(study)
    for _ in events(loaded, results, **options):
        pass
    return ResultStore(results)


def load_model(results: str | Path, trial_id: str, folder: Path = Path()) -> "nn.Module":
    """The trained model of a trial, on the CPU, in evaluation mode.

    Args:
        results: The store.
        trial_id: The trial, as `ResultStore.trials` names it.
        folder: Where the study's own code lies, if it names any.

    Raises:
        BenchError: The store has no such trial, or no weights of it.
    """
    from bench import trial

    return trial.load_model(results, trial_id, folder)
