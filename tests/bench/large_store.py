"""A store of a study as large as people make them, written in seconds; for what has to scale.

`python tests/bench/large_store.py FOLDER` makes 2,000 trials with a million curve points; then
`stn-bench report large --results FOLDER`.
"""

import argparse
import datetime
import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.results.files import to_parquet
from bench.results.schema import PROTOCOL, READ_SCHEMA, SCHEMA_VERSION
from bench.study import Study, load_study
from bench.study.study import canonical_json

STUDY = """\
schema: 1
name: large
question: Does the report keep up?
task: classify
base:
  dataset: {{name: digits}}
  model: {{name: cnn, transformer: {{transform: affine}}}}
  train: {{steps: 1000, batch_size: 32, lr: 1e-3}}
vary: {{train.lr: {rates}}}
ablate: {{model.transformer: {arms}}}
baseline: {{model.transformer: null}}
seeds: {seeds}
rounds: 4
"""
ENVIRONMENT = json.dumps(
    {"commit": "c0ffee", "dirty": None, "python": "3.11", "packages": {"torch": "2"},
     "platform": "Linux", "cpu": "a CPU", "cpus": 2}
)  # fmt: skip
BLOCKS = 60


def make(folder: Path, *, points: int = 500, rates: int = 20, arms: int = 10, seeds: int = 10):
    """Write the store; gives the study, of `rates × arms` variants and `seeds` seeds each."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = [
        "null",
        *(f"{{placement: conv2, output_size: [{i}, {i}]}}" for i in range(3, arms + 1)),
    ]
    file = folder / "large.yaml"
    file.write_text(
        STUDY.format(
            rates=[round(1e-3 * (i + 1), 6) for i in range(rates)],
            arms=f"[{', '.join(changed)}]",
            seeds=seeds,
        )
    )
    study = load_study(file)
    table = _table(study, points)
    digest, content = to_parquet(table)
    for name, data in (
        (f"compact/{digest}.parquet", content),
        ("studies/large.json", study.as_stored().encode()),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return study


def _table(study: Study, points: int) -> pa.Table:
    rng = np.random.default_rng(0)
    trials = study.trials("cpu")
    place = {variant.name: i for i, variant in enumerate(study.variants)}
    accuracy = [(trial, "accuracy", None) for trial in trials]
    timing = [(t, "timing", r) for t in trials if t.seed == 0 for r in range(study.rounds)]
    made = [*accuracy, *timing]
    begun = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    errors = 5 + 0.05 * np.array([place[t.variant] for t in trials])
    errors = errors + rng.normal(0, 0.3, len(trials))
    none = [[] for _ in timing]
    metrics = [
        [{"name": "test_error", "value": e, "unit": "percent", "higher_is_better": False},
         {"name": "parameters", "value": 1e5, "unit": "count", "higher_is_better": False}]
        for e in errors
    ]  # fmt: skip
    columns = {
        "schema_version": [SCHEMA_VERSION] * len(made),
        "trial_id": [t.trial_id for t, _, _ in made],
        "study": [study.name] * len(made),
        "variant": [t.variant for t, _, _ in made],
        "seed": [t.seed for t, _, _ in made],
        "phase": [phase for _, phase, _ in made],
        "attempt": [1 + (round_ or 0) for _, _, round_ in made],
        "status": ["done"] * len(made),
        "phases": [list(t.phases) for t, _, _ in made],
        "settings": [canonical_json(t.settings) for t, _, _ in made],
        "device": ["cpu"] * len(made),
        "device_name": ["a CPU"] * len(made),
        "threads": [1] * len(made),
        "deterministic": [True] * len(made),
        "protocol": [PROTOCOL if phase == "timing" else None for _, phase, _ in made],
        "round": [round_ for _, _, round_ in made],
        "run_id": ["run"] * len(made),
        "host": ["host"] * len(made),
        "started_at": [begun + datetime.timedelta(seconds=i) for i in range(len(made))],
        "seconds": [0.9] * len(made),
        "code_hash": ["0"] * len(made),
        "environment": [ENVIRONMENT] * len(made),
        "metrics": [*metrics, *none],
        "curves": _curves(rng, errors, len(timing), points),
        "timings": _timings(rng, len(accuracy), [place[t.variant] for t, _, _ in timing]),
        "pictures": [[]] * len(made),
        "file": [f"{i}.parquet" for i in range(len(made))],
    }
    arrays = [
        values if isinstance(values := columns.get(field.name), pa.Array)
        else pa.array(values if values is not None else [None] * len(made), field.type)
        for field in READ_SCHEMA
    ]  # fmt: skip
    return pa.Table.from_arrays(arrays, schema=READ_SCHEMA)


def _curves(rng: np.random.Generator, errors: np.ndarray, empty: int, points: int) -> pa.Array:
    """Half of the points the loss while training, half the error; none for a timing."""
    steps = np.tile(np.arange(1, points // 2 + 1) * 2, 2 * len(errors))
    falling = 80 * np.exp(-np.arange(points // 2) / 40)
    values = errors[:, None, None] + falling + rng.normal(0, 0.5, (len(errors), 2, points // 2))
    names = np.tile(np.repeat(["train_loss", "test_error"], points // 2), len(errors))
    kind = READ_SCHEMA.field("curves").type
    structs = pa.StructArray.from_arrays(
        [pa.array(names), pa.array(steps), pa.array(values.ravel())], fields=list(kind.value_type)
    )
    counts = np.array([0, *[points // 2 * 2] * len(errors), *[0] * empty])
    return pa.ListArray.from_arrays(pa.array(np.cumsum(counts), pa.int32()), structs, kind)


def _timings(rng: np.random.Generator, empty: int, places: list[int]) -> pa.Array:
    """Blocks of two modes for each process, the first of each warm-up, some flagged."""
    size = len(places) * 2 * BLOCKS
    kind = READ_SCHEMA.field("timings").type
    sample = np.tile(np.arange(BLOCKS), len(places) * 2)
    seconds = np.repeat(1e-3 * (10 + np.array(places)), 2 * BLOCKS) * rng.lognormal(0, 0.02, size)
    flags = [["cpu_steal"] if i % 97 == 0 else [] for i in range(size)]
    structs = pa.StructArray.from_arrays(
        [
            pa.array(np.tile(np.repeat(["forward", "train_step"], BLOCKS), len(places))),
            pa.array(sample, pa.int32()), pa.array(seconds),
            pa.array(np.ones(size), pa.int32()), pa.array(sample == 0),
            pa.array(flags, pa.list_(pa.string())),
        ],
        fields=list(kind.value_type),
    )  # fmt: skip
    counts = np.array([*[0] * (empty + 1), *[2 * BLOCKS] * len(places)])
    return pa.ListArray.from_arrays(pa.array(np.cumsum(counts), pa.int32()), structs, kind)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    made = make(parser.parse_args().folder)
    print(f"{len(made.variants)} variants × {made.seeds} seeds")
