"""MNIST through torchvision: from a folder, or downloaded where there is a network."""

from pathlib import Path

from torch import Tensor

from ..errors import BenchError
from .distortion import Distortion
from .images import Images

SIDE = 28
FILES = [
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
]


class MNIST:
    """60,000 + 10,000 handwritten digits of 28×28 pixels, in torchvision's layout (`MNIST/raw`)."""

    version = 1
    num_classes = 10

    def __init__(self, data_dir: Path | None, *, distortion: Distortion | None = None) -> None:
        self.distortion = distortion
        self.in_shape = (1, *(distortion.out_size(SIDE, SIDE) if distortion else (SIDE, SIDE)))
        self._folder = data_dir or Path.home() / ".cache" / "stn-bench"

    def load(self) -> Images:
        """Read the images into memory, after a download where they are not there yet.

        Raises:
            BenchError: They are not there and cannot be downloaded.
        """
        train_images, train_labels = self._split(train=True)
        test_images, test_labels = self._split(train=False)
        return Images(train_images, train_labels, test_images, test_labels)

    def _split(self, train: bool) -> tuple[Tensor, Tensor]:
        from torchvision.datasets import MNIST as Files

        raw = self._folder / "MNIST" / "raw"
        try:
            # Where all files are there, nothing is downloaded.
            files = Files(str(self._folder), train=train, download=True)
        except (OSError, RuntimeError, ValueError, LookupError, AssertionError) as error:
            if all((raw / name).is_file() for name in FILES):
                raise BenchError(
                    f"data set `mnist`: the files in {raw} are damaged; "
                    "put its four IDX files there anew"
                ) from None
            raise BenchError(
                f"data set `mnist`: not in {raw} and not to be downloaded "
                f"({type(error).__name__}); put its four IDX files there, "
                "or name another folder with --data-dir"
            ) from None
        return files.data[:, None].float() / 255, files.targets.long()
