"""Make the pictures of docs/datasets.md: `python docs/dataset_pictures.py DATA_DIR [FOLDER]`.

DATA_DIR is what --data-dir names. The birds are drawn where they are there, and left out of the
project: their photographs are not ours to pass on.
"""

import sys
from pathlib import Path

import torch
from pictures import Panel, gather
from PIL import Image, ImageDraw
from torch import Tensor

from bench.datasets.bending import E, P
from bench.datasets.clutter import TC, T
from bench.datasets.colocalisation import MNISTColocalisation
from bench.datasets.cub import CUB
from bench.datasets.dataset import Dataset, Resident
from bench.datasets.digits import Digits
from bench.datasets.distortion import RTS, R
from bench.datasets.extruded import ExtrudedMNIST
from bench.datasets.mnist import MNIST
from bench.datasets.several_digits import MNISTAddition, MNISTSequence
from bench.datasets.svhn_layout import SVHNLayout

COUNT = 8
HEIGHT = 84
WIDTH = COUNT * (HEIGHT + 4) - 4
INK = "#e8590c"


def examples(dataset: Dataset, count: int) -> tuple[Tensor, Tensor]:
    """The first test examples of a data set."""
    return next(Resident(dataset, dataset.load(), 0).test(count))


def picture(image: Tensor) -> Image.Image:
    """An image `(1 or 3, height, width)` at the height of the sheets."""
    levels = (image.clamp(0, 1) * 255).round().byte().expand(3, -1, -1).movedim(0, -1)
    size = (levels.shape[1], levels.shape[0])
    whole = Image.frombytes("RGB", size, levels.contiguous().numpy().tobytes())
    enlarged = Image.Resampling.NEAREST if HEIGHT % size[1] == 0 else Image.Resampling.BICUBIC
    return whole.resize((round(size[0] * HEIGHT / size[1]), HEIGHT), enlarged)


def row(pictures: list[Image.Image]) -> Image.Image:
    """Pictures beside each other, in a strip of one width."""
    strip, left = Image.new("RGB", (WIDTH, HEIGHT), "white"), 0
    for one in pictures:
        strip.paste(one, (left, 0))
        left += one.width + 4
    return strip


def plain(name: str, note: str, dataset: Dataset) -> Panel:
    """A row of examples as they are."""
    images, _ = examples(dataset, COUNT)
    return name, note, row([picture(image) for image in images])


def addition(data_dir: Path) -> Panel:
    """Both channels of an example beside each other."""
    images, targets = examples(MNISTAddition(data_dir), COUNT // 2)
    pictures = [picture(torch.cat([image[0], image[1]], -1)[None]) for image in images]
    note = f"two channels; {', '.join(map(str, targets.tolist()))}"
    return "mnist_addition", note, row(pictures)


def sequence(data_dir: Path) -> Panel:
    """Examples with their three labels."""
    images, targets = examples(MNISTSequence(data_dir), COUNT)
    note = ", ".join("".join(map(str, target)) for target in targets.tolist())
    return "mnist_sequence", note, row([picture(image) for image in images])


def colocalisation(data_dir: Path) -> Panel:
    """Examples with the box that is to be found."""
    dataset = MNISTColocalisation(data_dir, digit=3)
    pictures = []
    for image, box in zip(*examples(dataset, COUNT), strict=True):
        one = picture(image)
        corners = (box * HEIGHT / dataset.canvas).round().tolist()
        ImageDraw.Draw(one).rectangle(corners, outline=INK)
        pictures.append(one)
    return "mnist_colocalisation", "digit: 3; the boxes are for the evaluation", row(pictures)


def extruded(data_dir: Path) -> Panel:
    """Volumes from the front and from the left, by the mean along the line of sight."""
    images, _ = examples(ExtrudedMNIST(data_dir), COUNT // 2)
    pictures = []
    for volume in images[:, 0]:
        for view in (volume.sum(0), volume.sum(2).T):
            pictures.append(picture((view / view.max())[None]))
    return "extruded_mnist", "each volume from the front, then from its side", row(pictures)


def numbers(data_dir: Path, size: int) -> Panel:
    """MNIST digits in the boxes of SVHN."""
    dataset = SVHNLayout(data_dir, size=128 if size == 128 else 64)
    return plain("svhn_layout", f"size: {size}", dataset)


def main(data_dir: Path, folder: Path) -> None:
    """Write all pictures into a folder."""
    kinds = {"r": R(), "rts": RTS(), "p": P(), "e": E(), "t": T(), "tc": TC()}
    distortions = [plain("mnist", "", MNIST(data_dir))]
    distortions += [
        plain(name, f"{kind.out_size(28, 28)[0]} pixels", MNIST(data_dir, distortion=kind))
        for name, kind in kinds.items()
    ]
    sets = [
        plain("digits", "", Digits(data_dir)),
        addition(data_dir),
        sequence(data_dir),
        colocalisation(data_dir),
        extruded(data_dir),
        numbers(data_dir, 64),
        numbers(data_dir, 128),
    ]
    sheets = {"distortions": distortions, "datasets": sets}
    if (data_dir / "CUB_200_2011").is_dir():
        birds = CUB(data_dir), CUB(data_dir, box=True)
        sheets["birds"] = [
            plain("cub", note, dataset)
            for note, dataset in zip(("", "box: true"), birds, strict=True)
        ]
    for name, panels in sheets.items():
        gather(panels, 1, 128).save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    here = Path(__file__).with_suffix("")
    main(Path(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2:] else here)
