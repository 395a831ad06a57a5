"""The harness: studies of spatial transformers, from a YAML file to a report."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from .results import ResultStore
    from .study import Study


def run(study: "Study", results: str | Path = "results", **options: Any) -> "ResultStore":
    """Run what a study lacks in the store at `results`; gives the store.

    Args:
        study: A study, as `bench.study.load_study` gives it.
        results: Folder or URI of the store.
        **options: `data_dir`, `device`, `address`, `in_process` and `rerun` of `bench.launch.run`.
    """
    from bench.launch import run as events
    from bench.results import ResultStore

    for _ in events(study, results, **options):
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
