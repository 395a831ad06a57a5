"""A study and a store of made-up rows: all that a page can show, in a second."""

import datetime
import math
import random
import struct
import zlib
from typing import Any

from bench.results import Attempt, CurvePoint, Metric, Picture, ResultStore, TimingSample
from bench.results.schema import PROTOCOL
from bench.study import load_study
from bench.study.study import canonical_json

STUDY = """
schema: 1
name: {name}
question: "{question}"
task: classify
base:
  dataset: {{name: digits, distortion: {{name: affine, rotation: 90}}}}
  model: {{name: cnn, filters: [4], kernel_sizes: [5], transformer: {{transform: affine}}}}
  train: {{steps: 2000, batch_size: 256, lr: 0.01}}
vary:
  dataset.distortion.rotation: [45, 90]
ablate:
  model.transformer:
  - null
  - {{transform: projective}}
  - {{transform: thin_plate_spline}}
  model.filters: [[8]]
baseline: {{model.transformer: null, model.filters: [4]}}
seeds: {seeds}
rounds: 4
resources: {{timing: {{cpus: 1}}}}
published:
- {{where: {{model.transformer: null}}, metric: test_error, value: 1.2, source: "Jaderberg 2015"}}
"""
ENVIRONMENT = (
    '{"commit":"c0ffee1234567890","dirty":null,"python":"3.11.9","packages":{"torch":"2.15.0",'
    '"numpy":"2.3"},"platform":"Linux","cpu":"a CPU","cpus":2}'
)
TRACEBACK = 'Traceback (most recent call last):\n  File "trial.py", line 1\nValueError: it broke\n'


def study(folder, name="made_up", question="Which transforms pay for themselves?", seeds=4):
    file = folder / f"{name}.yaml"
    file.write_text(STUDY.format(name=name, question=question, seeds=seeds))
    return load_study(file)


def fill(folder, made, failing=1, pictures=True):
    """Rows for every trial of a study; the last `failing` trials failed."""
    rng = random.Random(0)
    names = [variant.name for variant in made.variants]
    trials = made.trials("cpu")
    store, clock = ResultStore(folder), [0.0, 0.0]
    store.write_study(made.name, made.as_stored())
    for i, trial in enumerate(trials):
        place, lane = names.index(trial.variant), i % 2
        error = 7 - 0.55 * (place % 5) + 2 * (place // 5) + 0.1 * trial.seed + rng.gauss(0, 0.1)
        seconds = 40 + 20 * rng.random()
        common: dict[str, Any] = dict(lane=lane, start=clock[lane], seconds=seconds)
        clock[lane] += seconds + 1
        if i >= len(trials) - failing:
            store.write(row(trial, **common, status="failed", failure="ValueError: it broke",
                            failure_kind="exception", traceback=TRACEBACK))  # fmt: skip
            continue
        means = {"outside_share": 0.08, "collapsed_share": 0.0}
        shares = [
            Metric(k, abs(rng.gauss(mean, 0.01)), "share", False) for k, mean in means.items()
        ]
        steps = range(0, 2001, 100)
        store.write(row(
            trial, **common,
            metrics=(Metric("test_error", error, "percent", False),
                     Metric("validation_error", error + 0.2, "percent", False),
                     Metric("parameters", 51_000 + 900 * place, "count", False), *shares),
            curves=tuple(CurvePoint(name, step, scale * (error + 60 * math.exp(-step / 300)))
                         for name, scale in (("validation_error", 1.0), ("train_loss", 0.03))
                         for step in steps),
            pictures=tuple(seen(place)) if pictures and trial.seed == 0 else (),
        ))  # fmt: skip
    start = max(clock)
    for number in range(made.rounds):
        for trial in [t for t in trials if t.seed == 0]:
            place = names.index(trial.variant)
            speed = (0.020 + 0.002 * (place % 5)) * math.exp(rng.gauss(0, 0.01))
            timings = tuple(
                TimingSample(mode, k, part * speed * math.exp(rng.gauss(0, 0.02)), 1, k == 0,
                             ("throttled",) if place == 2 and k == 3 else ())
                for mode, part in (("train_step", 1.0), ("forward", 0.3)) for k in range(9)
            )  # fmt: skip
            metrics = (Metric("train_step_flops", 3.1e9 + 1e8 * place, "count", False),
                       Metric("train_step_host_memory", 2.5e8 + 4e6 * place, "bytes",
                              False))  # fmt: skip
            store.write(row(trial, "timing", start=start, seconds=6.0, timings=timings,
                            metrics=metrics, round=number, attempt=number + 1))  # fmt: skip
            start += 7


def row(trial, phase="accuracy", lane=0, start=0.0, **fields):
    begun = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    base = dict(
        trial_id=trial.trial_id, study=trial.study, variant=trial.variant, seed=trial.seed,
        phase=phase, attempt=1, status="done", phases=trial.phases,
        settings=canonical_json(trial.settings), device="cpu", device_name="a CPU", threads=1,
        deterministic=True, run_id="20260102-a1", host="host-a",
        started_at=begun + datetime.timedelta(seconds=start), code_hash="0",
        environment=ENVIRONMENT, protocol=PROTOCOL if phase == "timing" else None,
    )  # fmt: skip
    return Attempt(**{**base, **fields})


def seen(place):
    """Pictures of a variant with `place` transformers, at most two: a square that turns."""
    names = ["transformer.0", "transformer.1"][: place % 5]
    for example in range(6):
        label = str(example)
        yield Picture("input", "", 0, example, png(28, lambda x, y: 40 + 6 * x), (), label, "")
        for step in (0, 1000, 2000):
            for k, name in enumerate(names):
                turn = math.pi / 4 + step / 2000 + k + example / 10
                side = 18 - step / 250
                corners = [turn + math.pi / 2 * j for j in range(4)]
                points = [(math.cos(a), math.sin(a)) for a in corners]
                outline = [13.5 + side * v / 1.4 for point in points for v in point]
                shown = png(20, lambda x, y, k=k: 30 + 10 * (y if k else x))
                yield Picture("output", name, step, example, shown, tuple(outline), label, "")
    for example in range(3):
        yield Picture("error", "", 2000, example, png(28, lambda x, y: 8 * y), (), "7", "1")


def png(side, value):
    """A grey picture; `value` of x and y is from 0 to 255."""
    lines = b"".join(b"\0" + bytes(min(255, value(x, y)) for x in range(side)) for y in range(side))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
