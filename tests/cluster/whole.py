"""A study of short trainings, and whether a run of it that was disturbed is whole."""

from pathlib import Path

from bench.results import ResultStore

STUDY = """\
schema: 1
name: chaos
question: Is anything lost?
task: classify
base:
  dataset: {{name: digits, distortion: {{name: affine, rotation: 90}}}}
  model: {{name: cnn, filters: [4], kernel_sizes: [3]}}
  train: {{steps: {steps}, batch_size: 16, lr: 4e-3}}
vary: {{train.lr: [1e-3, 4e-3, 1e-2]}}
seeds: {seeds}
rounds: 1
retries: {{lost: 100, node_lost: 100}}
"""


def verdict(calm: str | Path, wild: str | Path) -> tuple[list[str], bool]:
    """What became of a study; good where nothing was lost and no number differs."""
    store = ResultStore(wild)
    results = store.read()
    rows = [row for row in results.table.to_pylist() if row["status"] == "done"]
    keys = [(row["trial_id"], row["phase"], row["round"]) for row in rows]
    kinds = [row["failure_kind"] for row in results.table.to_pylist() if row["failure_kind"]]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds))) or "none"
    expected = {
        row["trial_id"]: (row["metrics"], row["curves"])
        for row in ResultStore(calm).read().table.to_pylist()
        if row["phase"] == "accuracy"
    }
    got = {r["trial_id"]: (r["metrics"], r["curves"]) for r in rows if r["phase"] == "accuracy"}
    faults = []
    if results.corrupt:
        faults.append(f"torn files: {results.corrupt}")
    if len(keys) != len(set(keys)):
        faults.append(f"{len(keys) - len(set(keys))} good results too many")
    if got != expected:
        differ = [t for t in expected if got.get(t) != expected[t]]
        faults.append(f"{len(differ)} trials are missing or differ from the undisturbed run")
    if not expected:
        faults.append("the undisturbed run has no result")
    left = [m.name for m in store.marks()]
    if "://" not in store.location:
        left += [str(path) for path in Path(store.location).rglob("*.tmp")]
    return [
        f"- rows of failures: {counts}",
        f"- {len(expected)} trials, {len(keys)} good results, timings included; "
        f"left over: {', '.join(left) or 'nothing'}",
        f"- {'; '.join(faults) or 'every trial has exactly one good result, equal to the bit'}",
    ], not faults
