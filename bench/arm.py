"""One arm of a comparison: a process that times blocks of workloads, when it is asked to.

`python -m bench.arm`, run in the tree of a commit, reads a question as JSON from each line of
standard input and writes the answer as JSON on a line of standard output; what libraries print goes
to standard error. The settings of the cells come with the questions, so that all arms time the
same. It asks for no more than this protocol, so that arms of different commits stay comparable:

- `open` (`device`, `threads`, `data_dir`, `folder`): what this arm is;
- `prepare` (`settings`, `seed`): a workload becomes ready and warm;
- `block` (`mode`, `untimed`, `steps`): after some steps, one block of so many is timed.

An answer that is `{"failure": …}` says in one line what went wrong.
"""

import dataclasses
import gc
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import torch

from .conditions import pin
from .environment import code_hash, environment
from .jobs import one_line
from .measurement import Block, warm_up
from .results.schema import PROTOCOL
from .tasks.latency import workload
from .tasks.task import Place
from .trial import device_name

# Of these questions and answers: a change of what they mean raises it.
QUESTIONS = 2


class Arm:
    """What is ready in this process; a method a question."""

    def __init__(self) -> None:
        self._place: Place | None = None
        self._blocks: dict[str, Block] = {}

    def open(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Set threads and device, and say what this arm is."""
        torch.set_num_threads(question["threads"])
        cpus = pin(question["threads"])
        device, data_dir = torch.device(question["device"]), question["data_dir"]
        self._place = Place(device, data_dir and Path(data_dir), Path(question["folder"]))
        return {
            "root": str(Path(__file__).resolve().parents[1]),
            "protocol": PROTOCOL,
            "questions": QUESTIONS,
            "code_hash": code_hash(),
            "environment": environment(),
            "device_name": device_name(question["device"]),
            "cpus": cpus,
        }

    def prepare(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Make a workload and warm up each of its modes."""
        assert self._place is not None
        self._blocks = {}
        gc.collect()
        torch.manual_seed(question["seed"])
        settings = question["settings"]
        prepared = workload(settings, self._place).prepare(settings, question["seed"], self._place)
        samples = []
        for mode, step in prepared.steps.items():
            warm, self._blocks[mode] = warm_up(mode, step, self._place.device)
            samples += [dataclasses.asdict(sample) for sample in warm]
        return {
            "modes": {mode: [b.seconds, b.made] for mode, b in self._blocks.items()},
            "samples": samples,
            "metrics": [dataclasses.asdict(m) for m in (*prepared.metrics, *prepared.quality())],
        }

    def block(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Time one block, with steps before it that are not."""
        block = self._blocks[question["mode"]]
        gc.disable()
        try:
            for _ in range(question["untimed"]):
                block.step()
            return {"sample": dataclasses.asdict(block.time(question["steps"]))}
        finally:
            gc.enable()


def serve(questions: TextIO, answers: TextIO) -> None:
    """Answer until there are no more questions."""
    arm = Arm()
    verbs = {"open": arm.open, "prepare": arm.prepare, "block": arm.block}
    for line in questions:
        question = json.loads(line)
        try:
            answer = verbs[question["do"]](question)
        except Exception as error:
            answer = {"failure": one_line(error)}
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    """Answer the questions on standard input."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
