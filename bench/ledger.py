"""The account of a study against a store: which attempts are good, which are to be made."""

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from .environment import code_hash, local_device
from .errors import BenchError
from .jobs import Job, Launch
from .results import ResultStore
from .results.arrow import pick, records
from .results.marks import Mark
from .results.schema import PROTOCOL
from .study import Study
from .study.study import Trial

Rerun = Literal["stale", "failed", "all"]

COLUMNS = [
    "trial_id", "phase", "attempt", "status", "failure_kind", "code_hash", "protocol", "threads",
    "device", "started_at", "round", "run_id", "seconds",
]  # fmt: skip

Rows = dict[tuple[str, str], list[dict[str, Any]]]


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
    without: Container[str] = (),
) -> Account:
    """Compare a study with the rows of a store, of which only `COLUMNS` are needed.

    `jobs` are the attempts that a run has to make: for every phase without a good one, and for
    those that `rerun` asks for; what diverged by this code would again, and is made again only
    when `rerun` says so. `code` is the hash of the code as it is now. A round of timing that
    lacks a variant is made again with all of them, so that they lie side by side; trials in
    `without` cannot be timed, and no round waits for them.
    """
    rows: Rows = {}
    for row in records(table, COLUMNS):
        rows.setdefault((row["trial_id"], row["phase"]), []).append(row)
    alive = {(mark.trial_id, mark.phase) for mark in marks if mark.alive}
    states: dict[str, list[str]] = {
        s: [] for s in ("done", "failed", "running", "missing", "stale")
    }
    trials, jobs, hopeless = study.trials(device), list[Job](), set[str]()
    seconds = _seconds(trials, rows)
    for trial in trials:
        done, failed, stale = True, False, False
        for phase in trial.phases:
            attempts = sorted(rows.get((trial.trial_id, phase), []), key=lambda row: row["attempt"])
            good = [row for row in attempts if _good(study, row)]
            made = _made(study, phase, good)
            done &= made
            newest = {row["round"]: row for row in _ended(attempts)}
            failed |= not made and not all(map(_well, newest.values()))
            current = _made(study, phase, [row for row in good if row["code_hash"] == code])
            stale |= code is not None and made and not current
            again = rerun == "all" or (rerun == "stale" and made and not current)
            if phase == "accuracy" and not made and rerun is None and _for_good(attempts, code):
                hopeless.add(trial.trial_id)
            elif phase == "accuracy" and (not made or again):
                expected = seconds.get(trial.variant)
                cpus = study.resources.accuracy.cpus
                jobs.append(Job(trial, phase, _next(attempts), cpus, expected=expected))
        running = any((trial.trial_id, phase) in alive for phase in trial.phases)
        state = "done" if done else "running" if running else "failed" if failed else "missing"
        states[state].append(trial.trial_id)
        if done and stale:
            states["stale"].append(trial.trial_id)
    timed = [t for t in trials if t.trial_id not in without and t.trial_id not in hopeless]
    jobs += _rounds(study, timed, rows, code, rerun)
    return Account(device, **{s: tuple(ids) for s, ids in states.items()}, jobs=tuple(jobs))


def _rounds(
    study: Study, trials: list[Trial], rows: Rows, code: str | None, rerun: Rerun | None
) -> list[Job]:
    """Timing that is left: rounds that no run has made whole, there and back (A B, B A, A B …)."""
    timed = [trial for trial in trials if "timing" in trial.phases]
    made: dict[tuple[int, str], set[str]] = {}
    for trial in timed:
        for row in rows.get((trial.trial_id, "timing"), []):
            if _good(study, row) and (rerun != "stale" or row["code_hash"] == code):
                made.setdefault((row["round"], row["run_id"]), set()).add(trial.trial_id)
    whole = {number for (number, _), ids in made.items() if len(ids) == len(timed)}
    left = [r for r in range(study.rounds) if rerun == "all" or r not in whole]
    cpus = study.resources.timing.cpus
    return [
        Job(trial, "timing", _next(rows.get((trial.trial_id, "timing"), [])) + i, cpus, r)
        for i, r in enumerate(left)
        for trial in (timed if r % 2 == 0 else reversed(timed))
    ]


def _seconds(trials: list[Trial], rows: Rows) -> dict[str, float]:
    """By variant the mean seconds of its good trainings."""
    found: dict[str, list[float]] = {}
    for trial in trials:
        good = [row for row in rows.get((trial.trial_id, "accuracy"), []) if _well(row)]
        found.setdefault(trial.variant, []).extend(row["seconds"] for row in good)
    return {variant: sum(all_) / len(all_) for variant, all_ in found.items() if all_}


def _for_good(attempts: list[dict[str, Any]], code: str | None) -> bool:
    """Whether the newest attempt failed in a way in which the same code would fail again."""
    ended = _ended(attempts)
    newest = ended[-1] if ended else {}
    return newest.get("failure_kind") == "diverged" and newest["code_hash"] == code


def made_twice(study: Study, table: pa.Table, launch: Launch) -> set[str]:
    """What a run made well that another had made well while it ran: `variant, seed 0`."""
    rows = [row for row in records(table, COLUMNS) if _well(row)]
    mine = {(row["trial_id"], row["round"]) for row in rows if row["run_id"] == launch.run_id}
    trials = {t.trial_id: t for d in ("cpu", "cuda") for t in study.trials(d)} if mine else {}
    return {
        f"{trial.variant}, seed {trial.seed}"
        for row in rows
        if row["run_id"] != launch.run_id
        and (row["trial_id"], row["round"]) in mine
        and row["started_at"] / 1e6 + row["seconds"] >= launch.began
        and (trial := trials.get(row["trial_id"])) is not None
    }


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


def failures(study: Study, device: str, table: pa.Table) -> dict[str, int]:
    """How many attempts at a study's trials have failed, by kind."""
    ids = {trial.trial_id for trial in study.trials(device)}
    rows = records(table, ["trial_id", "failure_kind"])
    kinds = Counter(r["failure_kind"] for r in rows if r["trial_id"] in ids and r["failure_kind"])
    return dict(sorted(kinds.items()))


def asked_for(study: Study, table: pa.Table) -> pa.Table:
    """The rows without timings of another protocol, on other threads or in more rounds."""
    rows = records(table, ["phase", "protocol", "threads", "round"])
    return pick(table, [i for i, row in enumerate(rows) if _as_asked(study, row)])


def stored_study(store: ResultStore, name: str) -> Study:
    """A study as it was last run on a store."""
    try:
        return Study.model_validate_json(store.read_study(name))
    except ValueError as error:
        raise BenchError(f"store {store.location}: its study `{name}` is damaged") from error


def used_device(study: Study, table: pa.Table) -> str:
    """Device of the newest attempt at a trial of this study; this machine's where there is none."""
    ids = {t.trial_id for d in ("cpu", "cuda") for t in study.trials(d)}
    rows = records(table, ["trial_id", "device", "started_at"])
    mine = [row for row in rows if row["trial_id"] in ids]
    return max(mine, key=lambda row: row["started_at"])["device"] if mine else local_device()


def _well(row: dict[str, Any]) -> bool:
    return row["status"] == "done"


def _ended(attempts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Attempts that say something of their trial: not those that their run's death cut short."""
    return [row for row in attempts if row["failure_kind"] != "interrupted"]


def _next(attempts: list[dict[str, Any]]) -> int:
    return 1 + max((row["attempt"] for row in _ended(attempts)), default=0)


def _made(study: Study, phase: str, good: list[dict[str, Any]]) -> bool:
    """Whether good attempts are all that a phase needs: one, or in timing one in each round."""
    if phase == "accuracy":
        return bool(good)
    return {row["round"] for row in good} >= set(range(study.rounds))


def _good(study: Study, row: dict[str, Any]) -> bool:
    return _well(row) and _as_asked(study, row)


def _as_asked(study: Study, row: dict[str, Any]) -> bool:
    """Whether a row was measured as the study wants: a timing, by its protocol, threads, rounds."""
    if row["phase"] != "timing":
        return True
    return (
        row["protocol"] == PROTOCOL
        and row["threads"] == study.resources.timing.cpus
        and row["round"] is not None
        and row["round"] < study.rounds
    )
