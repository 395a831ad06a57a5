"""Rate of our training step beside a hand-written loop and the usual DataLoader, interleaved.

`python benchmarks/training_rate.py DATA_DIR [ROUNDS]` writes
results/reference/training_rate/report.md in about three minutes: one thread, MNIST, R, the ST-FCN
and the ST-CNN of the short profile of `paper_distorted_mnist`. A round times all loops one after
the other, and a ratio is of one round's times.
"""

import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from bench import build
from bench.datasets.mnist import read_mnist
from bench.environment import environment
from bench.statistics import ratio_of_rounds
from bench.study import load_study
from bench.tasks.resident import resident
from bench.tasks.task import Place
from bench.training import training_step
from stn_core.few_channel import Conv2d

ROOT = Path(__file__).parent.parent
OUT = ROOT / "results" / "reference" / "training_rate"
VARIANTS = ("ST-FCN affine", "ST-CNN affine")
STEPS = 12

Step = Callable[[], object]
Make = Callable[[nn.Module, Mapping[str, Any], Place], Step]


def ours(net: nn.Module, settings: Mapping[str, Any], place: Place) -> Step:
    """Batches drawn and distorted on the device, and the harness's step."""
    data, step = resident(settings, 0, place), training_step(net, settings["train"])
    return lambda: step(*data.batch(settings["train"]["batch_size"]), 1e-3)


def ours_in_memory(net: nn.Module, settings: Mapping[str, Any], place: Place) -> Step:
    """The harness's step on batches already in memory."""
    batches, step = in_memory(settings, place), training_step(net, settings["train"])
    return lambda: step(*next(batches), 1e-3)


def by_hand(net: nn.Module, settings: Mapping[str, Any], place: Place) -> Step:
    """The same batches already in memory, and the loop that one writes without a harness."""
    return written_out(net, in_memory(settings, place))


def with_loader(net: nn.Module, settings: Mapping[str, Any], place: Place) -> Step:
    """A DataLoader in this process over pictures and transforms."""
    loader = DataLoader(Rotated(place), settings["train"]["batch_size"], True, drop_last=True)
    return written_out(net, itertools.chain.from_iterable(itertools.repeat(loader)))


def with_loader_in_torch(net: nn.Module, settings: Mapping[str, Any], place: Place) -> Step:
    """The same, with the network in torch's own operations."""
    return with_loader(InTorch(net), settings, place)


def in_memory(settings: Mapping[str, Any], place: Place) -> Iterator[tuple[Tensor, Tensor]]:
    """Eight batches, over and over."""
    data = resident(settings, 0, place)
    return itertools.cycle([data.batch(settings["train"]["batch_size"]) for _ in range(8)])


def written_out(net: nn.Module, batches: Iterator[tuple[Tensor, Tensor]]) -> Step:
    """A step as one writes it without a harness."""
    chosen = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.0)

    def step() -> None:
        images, targets = next(batches)
        chosen.zero_grad()
        F.cross_entropy(net(images), targets).backward()
        chosen.step()

    return step


class InTorch(nn.Module):
    """A network with an affine transformer at its input, without this library's operations."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        front: Any = net.get_submodule("transformer")
        self.localisation: nn.Module = front.localisation
        self.model: nn.Module = net.get_submodule("model")
        self.size = front.output_size
        for name, layer in list(self.model.named_children()):
            if isinstance(layer, Conv2d):
                own = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size)  # pyright: ignore[reportArgumentType]
                own.load_state_dict(layer.state_dict())
                setattr(self.model, name, own)

    def forward(self, image: Tensor) -> Tensor:
        theta = self.localisation(image).view(-1, 2, 3)
        grid = F.affine_grid(theta, [*image.shape[:2], *self.size], align_corners=False)
        return self.model(F.grid_sample(image, grid, align_corners=False))


class Rotated(Dataset):
    """MNIST as pictures, rotated one by one as the usual transforms do."""

    def __init__(self, place: Place) -> None:
        from PIL import Image
        from torchvision import transforms

        train = read_mnist(place.data_dir).train
        self.pictures = [Image.fromarray(i[0].numpy()) for i in train.images[:6000]]
        self.targets = train.targets[:6000]
        turn = transforms.RandomRotation(90, transforms.InterpolationMode.BILINEAR)
        self.transform: Any = transforms.Compose([turn, transforms.ToTensor()])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.pictures[index]), self.targets[index]


LOOPS: tuple[Make, ...] = (ours_in_memory, by_hand, ours, with_loader, with_loader_in_torch)
# What is divided by what, and between which bounds it was aimed to be.
RATIOS = (
    ("our step / a hand-written one, batches in memory", ours_in_memory, by_hand, "at most 1.1"),
    ("our loop, drawing and distorting / the hand-written one", ours, by_hand, ""),
    ("DataLoader and transforms / our loop, same network", with_loader, ours, "at least 2"),
    ("the same, network in torch's operations", with_loader_in_torch, ours, "at least 2"),
)


def measure(name: str, place: Place, rounds: int) -> dict[Make, list[float]]:
    """Milliseconds of processor time a step of each loop, round by round."""
    study = load_study(ROOT / "studies" / "paper_distorted_mnist.yaml", profile="short")
    (variant,) = [v for v in study.variants if v.name == name]
    settings = variant.settings(study.task)
    steps: dict[Make, Step] = {}
    for make in LOOPS:
        torch.manual_seed(0)
        net = build.model(settings, resident(settings, 0, place).dataset, place.folder)
        steps[make] = make(net.train(), settings, place)
        steps[make]()
    times: dict[Make, list[float]] = {make: [] for make in LOOPS}
    for i in range(rounds):
        for make in LOOPS if i % 2 == 0 else reversed(LOOPS):
            start = time.process_time()
            for _ in range(STEPS):
                steps[make]()
            times[make].append(1e3 * (time.process_time() - start) / STEPS)
    return times


def table(name: str, times: Mapping[Make, list[float]]) -> Iterator[str]:
    """The lines of one network."""
    yield from (f"## {name}", "")
    yield from ("| loop | ms a step |", "| --- | ---: |")
    for make in LOOPS:
        what = (make.__doc__ or "").rstrip(".")
        yield f"| {what} | {statistics.median(times[make]):.1f} |"
    yield from ("", "| ratio | of times \\[95 %\\] | aimed at |", "| --- | ---: | --- |")
    for what, above, below, aim in RATIOS:
        found = ratio_of_rounds(dict(enumerate(times[below])), dict(enumerate(times[above])))
        assert found is not None, "every round times every loop"
        interval = f"{found.mean:.3f} \\[{found.low:.3f}, {found.high:.3f}\\]"
        yield f"| {what} | {interval} | {aim} |"
    yield ""


def main(data_dir: str, rounds: int = 15) -> None:
    """Measure, and write the report."""
    torch.set_num_threads(1)
    place = Place(torch.device("cpu"), Path(data_dir), Path())
    machine = environment()
    lines = ["# Rate of a training step", ""]
    lines += [f"- {machine['cpu']}, one thread, torch {torch.__version__}", ""]
    lines += [f"{rounds} rounds of {STEPS} steps of each loop; medians, and geometric means of"]
    lines += ["the ratios with Student's intervals over rounds. Times are of the processor, of one"]
    lines += ["thread, in which a DataLoader works too.", ""]
    for name in VARIANTS:
        lines += table(name, measure(name, place, rounds))
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "report.md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
