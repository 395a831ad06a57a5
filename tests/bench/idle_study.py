"""Trials that do nothing, or rest for a moment: a study of them costs what the harness costs."""

from pathlib import Path

CODE = '''\
"""A trial that does nothing."""
import time
from bench.results import Metric
from bench.tasks.task import Measured


def nothing(seed):
    """What Ray Tune runs too."""
    return 1e-3 * seed


class Nothing:
    """Rest for some seconds."""

    phases = ("accuracy",)

    def check(self, settings, place):
        pass

    def accuracy(self, settings, seed, place):
        while (place.folder / "hold").exists():
            time.sleep(0.01)
        time.sleep(REST)
        return Measured(metrics=(Metric("test_error", nothing(seed), "percent", False),))

    def timing(self, settings, seed, place, weights):
        raise NotImplementedError
'''
STUDY = """\
schema: 1
name: nothing
question: What does the harness cost?
task: nothing.py:Nothing
base: {{dataset: digits, model: cnn, train: {{steps: 1, batch_size: 1, lr: 1}}}}
vary: {{train.lr: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}}
seeds: {seeds}
"""


def write_study(folder: Path, trials: int, rest: float = 0.0) -> Path:
    """Write a study of so many trials, a multiple of ten, each resting for so many seconds.

    While there is a file `hold` in the folder, none of them ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nothing.py").write_text(CODE.replace("REST", str(rest)))
    study = folder / "nothing.yaml"
    study.write_text(STUDY.format(seeds=trials // 10))
    return study
