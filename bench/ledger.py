"""The account of a study against a store: which attempts are good, which are to be made."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from .environment import code_hash, local_device
from .errors import BenchError
from .jobs import Job
from .results import ResultStore
from .results.marks import Mark
from .results.schema import PROTOCOL
from .study import Study

Rerun = Literal["stale", "all"]

COLUMNS = [
    "trial_id", "phase", "attempt", "status", "failure_kind", "code_hash", "protocol", "threads",
    "device", "started_at",
]  # fmt: skip


@dataclass(frozen=True)
class Account:
    """State of each trial of a study on `device`, by `trial_id`.

    Every trial is in one of the first four; `stale` are those of `done` that other code made.
    """

    device: str
    done: tuple[str, ...]
    failed: tuple[str, ...]
    running: tuple[str, ...]
    missing: tuple[str, ...]
    stale: tuple[str, ...]
    jobs: tuple[Job, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many trials are in each state."""
        states = ("done", "missing", "failed", "stale", "running")
        total = len(self.done) + len(self.failed) + len(self.running) + len(self.missing)
        return {"trials": total, **{state: len(getattr(self, state)) for state in states}}


def account(
    study: Study,
    device: str,
    table: pa.Table,
    code: str | None,
    marks: Iterable[Mark] = (),
    rerun: Rerun | None = None,
) -> Account:
    """Compare a study with the rows of a store, of which only `COLUMNS` are needed.

    `jobs` are the attempts that a run has to make: for every phase without a good one, and for
    those that `rerun` asks for. `code` is the hash of the code as it is now.
    """
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table.select(COLUMNS).to_pylist():
        rows.setdefault((row["trial_id"], row["phase"]), []).append(row)
    alive = {(mark.trial_id, mark.phase) for mark in marks if mark.alive}
    states: dict[str, list[str]] = {
        s: [] for s in ("done", "failed", "running", "missing", "stale")
    }
    jobs: list[Job] = []
    for trial in study.trials(device):
        good: dict[str, list[dict[str, Any]]] = {}
        failed = False
        for phase in trial.phases:
            resources = getattr(study.resources, phase)
            attempts = sorted(rows.get((trial.trial_id, phase), []), key=lambda row: row["attempt"])
            good[phase] = [row for row in attempts if _good(row, resources.cpus)]
            ended = [row for row in attempts if row["failure_kind"] != "interrupted"]
            failed |= bool(ended) and not good[phase] and ended[-1]["status"] == "failed"
            known = code is not None and bool(good[phase])
            stale = known and all(r["code_hash"] != code for r in good[phase])
            if not good[phase] or rerun == "all" or (rerun == "stale" and stale):
                number = 1 + max((row["attempt"] for row in ended), default=0)
                jobs.append(Job(trial, phase, number, resources.cpus))
            if stale and trial.trial_id not in states["stale"]:
                states["stale"].append(trial.trial_id)
        running = any((trial.trial_id, phase) in alive for phase in trial.phases)
        done = all(good.values())
        state = "done" if done else "running" if running else "failed" if failed else "missing"
        states[state].append(trial.trial_id)
    done_ids = set(states["done"])
    states["stale"] = [t for t in states["stale"] if t in done_ids]
    return Account(device, **{s: tuple(ids) for s, ids in states.items()}, jobs=tuple(jobs))


def study_account(study: Study, table: pa.Table, marks: Iterable[Mark], device: str) -> Account:
    """The account by what a store alone says; `auto` is the device that was used last.

    Where the user's own code is not at hand, nothing can be said of staleness and nothing is.
    """
    known = used_device(study, table) if device == "auto" else device
    try:
        code = code_hash(study.own_files())
    except BenchError:
        code = None
    return account(study, known, table, code, marks)


def asked_for(study: Study, table: pa.Table) -> pa.Table:
    """The rows without timings by another protocol or on other threads than the study's."""
    rows = table.select(["phase", "protocol", "threads"]).to_pylist()
    wanted = [_as_asked(row, study.resources.timing.cpus) for row in rows]
    return table.filter(pa.array(wanted, pa.bool_()))


def stored_study(store: ResultStore, name: str) -> Study:
    """A study as it was last run on a store."""
    try:
        return Study.model_validate_json(store.read_study(name))
    except ValueError as error:
        raise BenchError(f"store {store.location}: its study `{name}` is damaged") from error


def used_device(study: Study, table: pa.Table) -> str:
    """Device of the newest attempt at a trial of this study; this machine's where there is none."""
    ids = {t.trial_id for d in ("cpu", "cuda") for t in study.trials(d)}
    rows = table.select(["trial_id", "device", "started_at"]).to_pylist()
    mine = [row for row in rows if row["trial_id"] in ids]
    return max(mine, key=lambda row: row["started_at"])["device"] if mine else local_device()


def _good(row: dict[str, Any], cpus: int) -> bool:
    return row["status"] == "done" and _as_asked(row, cpus)


def _as_asked(row: dict[str, Any], cpus: int) -> bool:
    """Whether a row was measured as the study wants: a timing, by its protocol and threads."""
    if row["phase"] != "timing":
        return True
    return row["protocol"] == PROTOCOL and row["threads"] == cpus
