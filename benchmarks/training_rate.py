"""Rate of our training step beside a hand-written loop and the usual DataLoader, interleaved.

Run as `python benchmarks/training_rate.py DATA_DIR [ROUNDS]`: one thread, MNIST, R, an ST-FCN and
an ST-CNN. A round times all loops one after the other; the ratios of a round are of neighbours in
time, and their medians are printed. The first ratio is of steps alone, on the same batches in
memory; the second of whole loops, drawing and distorting included.
"""

import itertools
import math
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from bench import build
from bench.datasets.mnist import read_mnist
from bench.study import load_study
from bench.tasks.resident import resident
from bench.tasks.task import Place
from bench.training import training_step

BATCH, STEPS = 128, 12


def ours(net: nn.Module, settings, place: Place):
    """Batches drawn and distorted on the device, and the harness's step."""
    data, step = resident(settings, 0, place), training_step(net, settings["train"])
    return lambda: step(*data.batch(BATCH), 1e-3)


def ours_in_memory(net: nn.Module, settings, place: Place):
    """The harness's step on batches already in memory."""
    data, step = resident(settings, 0, place), training_step(net, settings["train"])
    batches = itertools.cycle([data.batch(BATCH) for _ in range(8)])
    return lambda: step(*next(batches), 1e-3)


def by_hand(net: nn.Module, settings, place: Place):
    """The same batches already in memory, and the loop that one writes without a harness."""
    data = resident(settings, 0, place)
    batches = itertools.cycle([data.batch(BATCH) for _ in range(8)])
    chosen = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.0)

    def step() -> None:
        images, targets = next(batches)
        chosen.zero_grad()
        F.cross_entropy(net(images), targets).backward()
        chosen.step()

    return step


class Rotated(Dataset):
    """MNIST as pictures, rotated one by one as the usual transforms do."""

    def __init__(self, place: Place) -> None:
        from PIL import Image
        from torchvision import transforms

        train = read_mnist(place.data_dir).train
        self.pictures = [Image.fromarray(i[0].numpy()) for i in train.images[:6000]]
        self.targets = train.targets[:6000]
        turn = transforms.RandomRotation(90, transforms.InterpolationMode.BILINEAR)
        self.transform = transforms.Compose([turn, transforms.ToTensor()])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int):
        return self.transform(self.pictures[index]), self.targets[index]


def with_loader(net: nn.Module, settings, place: Place):
    """A DataLoader in this process over pictures and transforms."""
    loader = DataLoader(Rotated(place), BATCH, shuffle=True, drop_last=True)
    chosen = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.0)
    batches = iter(())

    def step() -> None:
        nonlocal batches
        pair = next(batches, None)
        if pair is None:
            batches = iter(loader)
            pair = next(batches)
        chosen.zero_grad()
        F.cross_entropy(net(pair[0]), pair[1]).backward()
        chosen.step()

    return step


def main(data_dir: str, rounds: int = 7) -> None:
    """Print the median ratios of each model."""
    torch.set_num_threads(1)
    place = Place(torch.device("cpu"), Path(data_dir), Path())
    study = load_study("studies/paper_distorted_mnist.yaml", profile="short")
    for name in ("ST-FCN affine", "ST-CNN affine"):
        (variant,) = [v for v in study.variants if v.name == name]
        settings = variant.settings(study.task)
        loops = []
        for make in (ours_in_memory, by_hand, ours, with_loader):
            torch.manual_seed(0)
            net = build.model(settings, resident(settings, 0, place).dataset, place.folder)
            loops.append(make(net.train(), settings, place))
        for loop in loops:
            loop()
        found: list[list[float]] = []
        for i in range(rounds):
            times = [0.0] * 4
            for j in (0, 1, 2, 3) if i % 2 == 0 else (3, 2, 1, 0):
                start = time.process_time()
                for _ in range(STEPS):
                    loops[j]()
                times[j] = time.process_time() - start
            found.append(times)
        hand = statistics.median(math.log(t[0] / t[1]) for t in found)
        loader = statistics.median(math.log(t[3] / t[2]) for t in found)
        print(
            f"{name}, batch {BATCH}: our step takes {math.exp(hand):.3f} times as long as a "
            f"hand-written loop with data in memory; a DataLoader's loop takes "
            f"{math.exp(loader):.2f} times as long as ours"
        )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
