"""The good trials of a study as runs of TensorBoard or MLflow, for who looks at results there.

Both are optional: `pip install stn-bench[tensorboard]`, `pip install stn-bench[mlflow]`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import BenchError
from .ledger import asked_for, study_account
from .report.answer import findings
from .results import ResultStore
from .results.arrow import records, where
from .results.choice import best_attempts
from .study import Study

Target = Literal["tensorboard", "mlflow"]


@dataclass(frozen=True)
class Run:
    """One trial as a tracker sees it.

    Attributes:
        name: Variant and seed.
        settings: All that decides what it computes, by dotted key.
        metrics: Its numbers: metrics, and milliseconds of each timed mode of its variant.
        curves: `(name, step, value)`.
        tags: Where it comes from.
        begun: Seconds since 1970.
        seconds: What its accuracy phase took.
    """

    name: str
    trial_id: str
    settings: Mapping[str, Any]
    metrics: Mapping[str, float]
    curves: tuple[tuple[str, int, float], ...]
    tags: Mapping[str, str]
    begun: float
    seconds: float


def export(
    study: Study, results: str | Path, to: Target, folder: Path, device: str = "auto"
) -> int:
    """Write every good trial of a study for a tracker; gives their number.

    TensorBoard gets a run a trial under `folder`. MLflow gets an experiment of the study's name in
    `folder/mlflow.db` (SQLite): `mlflow ui --backend-store-uri sqlite:///folder/mlflow.db`.

    Raises:
        BenchError: The tracker is not installed, or no trial is good.
    """
    write = WRITERS[to]
    with _installed(to):
        found = runs(study, results, device)
        if not found:
            raise BenchError(f"{study.name}: no trial has a result yet, so there is none to export")
        folder.mkdir(parents=True, exist_ok=True)
        write(study.name, found, folder)
    return len(found)


def runs(study: Study, results: str | Path, device: str = "auto") -> list[Run]:
    """The good trials of a study, named as it names them."""
    store = ResultStore(results)
    table = store.read().table
    state = study_account(study, table, store.marks(), device)
    table = asked_for(study, table)
    found = findings(study, state, table, "")
    speeds = {
        row.trials[0]: {f"{mode}_ms": speed.ms.mean for mode, speed in row.speeds.items()}
        for row in found.rows
        if row.trials
    }
    trials = {trial.trial_id: trial for trial in study.trials(state.device)}
    good = where(best_attempts(where(table, "trial_id", trials)), "status", {"done"})
    by_trial: dict[str, list[dict[str, Any]]] = {}
    for row in records(good, COLUMNS):
        by_trial.setdefault(row["trial_id"], []).append(row)
    return [
        _run(trials[trial_id], rows, speeds.get(trial_id, {}))
        for trial_id, rows in by_trial.items()
    ]


COLUMNS = (
    "trial_id", "phase", "settings", "metrics", "curves", "seconds", "run_id", "code_hash",
    "environment", "started_at",
)  # fmt: skip


def _run(trial: Any, rows: list[dict[str, Any]], speeds: Mapping[str, float]) -> Run:
    first = min(rows, key=lambda row: row["started_at"])
    metrics = {m["name"]: m["value"] for row in rows for m in row["metrics"]}
    return Run(
        name=f"{trial.variant}, seed {trial.seed}",
        trial_id=trial.trial_id,
        settings={**_flat("", json.loads(first["settings"])), "seed": trial.seed},
        metrics={**metrics, **speeds},
        curves=tuple((c["name"], c["step"], c["value"]) for row in rows for c in row["curves"]),
        tags={
            "study": trial.study,
            "variant": trial.variant,
            "seed": str(trial.seed),
            "trial_id": trial.trial_id,
            "run_id": first["run_id"],
            "code_hash": first["code_hash"],
            "commit": json.loads(first["environment"]).get("commit") or "unknown",
        },
        begun=first["started_at"] / 1e6,
        seconds=sum(row["seconds"] for row in rows if row["phase"] == "accuracy"),
    )


def _flat(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        inner = [_flat(f"{key}.{k}" if key else k, item) for k, item in value.items()]
        return {k: v for one in inner for k, v in one.items()}
    return {key: value if isinstance(value, str | int | float | bool) else json.dumps(value)}


def _to_tensorboard(study: str, found: list[Run], folder: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for run in found:
        place = folder / _file_name(run)
        for before in place.glob("events.out.tfevents.*"):
            before.unlink()
        writer = EventFileWriter(str(place))

        def add(name: str, step: int, value: float, run: Run = run, to: Any = writer) -> None:
            scalar = Summary(value=[Summary.Value(tag=name, simple_value=value)])
            to.add_event(Event(wall_time=run.begun, step=step, summary=scalar))

        settings = hparams_pb(dict(run.settings), run.trial_id, start_time_secs=run.begun)
        writer.add_event(Event(wall_time=run.begun, summary=settings))
        for name, step, value in run.curves:
            add(f"curves/{name}", step, value)
        for name, value in run.metrics.items():
            add(f"metrics/{name}", 0, value)
        writer.close()


def _to_mlflow(study: str, found: list[Run], folder: Path) -> None:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient(f"sqlite:///{folder.resolve() / 'mlflow.db'}")
    known = client.get_experiment_by_name(study)
    experiment = (
        known.experiment_id
        if known
        else client.create_experiment(study, (folder.resolve() / "artifacts").as_uri())
    )
    there = {
        run.data.tags.get("trial_id"): run.info.run_id
        for run in client.search_runs([experiment], max_results=50_000)
    }
    for run in found:
        if run.trial_id in there:
            client.delete_run(there[run.trial_id])
        begun, ended = round(1e3 * run.begun), round(1e3 * (run.begun + run.seconds))
        made = client.create_run(experiment, start_time=begun, run_name=run.name).info.run_id
        points = [Metric(f"curves/{_key(n)}", v, ended, step) for n, step, v in run.curves]
        points += [Metric(_key(name), value, ended, 0) for name, value in run.metrics.items()]
        settings = [Param(_key(key), str(value)) for key, value in run.settings.items()]
        client.log_batch(made, tags=[RunTag(key, value) for key, value in run.tags.items()])
        for i in range(0, len(settings), 100):  # what MLflow takes at once
            client.log_batch(made, params=settings[i : i + 100])
        for i in range(0, len(points), 1000):
            client.log_batch(made, metrics=points[i : i + 1000])
        client.set_terminated(made, "FINISHED", end_time=ended)


WRITERS: Mapping[Target, Callable[[str, list[Run], Path], None]] = {
    "tensorboard": _to_tensorboard,
    "mlflow": _to_mlflow,
}


def _file_name(run: Run) -> str:
    """A folder's name that shows variant and seed, whatever the variant is called."""
    name = re.sub(r"[^\w=.,+-]+", "_", run.name)[:100].lstrip(".")
    return f"{name}.{run.trial_id}"


def _key(name: str) -> str:
    """A name of the characters that MLflow allows in one."""
    return re.sub(r"[^\w .:/-]", "_", name)


@contextmanager
def _installed(to: Target) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise BenchError(
            f"export to {to}: {error.name} is not installed; pip install 'stn-bench[{to}]'"
        ) from None
