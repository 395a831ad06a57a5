"""Several processes that train one model: each takes its share of every batch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from .errors import BenchError


class PartnerGone(Exception):
    """Another of the processes that train a model cannot be reached any more."""


@dataclass(frozen=True)
class Ranks:
    """This process among the `count` that train one model, in torch's default process group.

    All of them have the same weights and draw the same batches, so that they decide alike, and the
    numbers are those of one process but for the order in which a batch is summed.
    """

    rank: int = 0
    count: int = 1

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch, whose length is a multiple of `count`."""
        size = len(batch) // self.count
        return batch[self.rank * size : (self.rank + 1) * size]

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Put in the place of each tensor its mean over the processes.

        Raises:
            PartnerGone: One of them has ended.
        """
        together = torch.cat([tensor.flatten() for tensor in tensors])
        try:
            dist.all_reduce(together)
        except RuntimeError as error:
            raise PartnerGone(str(error)) from error
        parts = together.div_(self.count).split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


ALONE = Ranks()


def check_shared(modules: Iterable[nn.Module]) -> None:
    """Refuse what gives other numbers when it sees a part of a batch alone.

    Raises:
        BenchError: A module takes statistics of the batch, or drops values at random.
    """
    for module in modules:
        kind = type(module).__name__
        if isinstance(module, _BatchNorm):
            raise BenchError(
                f"resources.accuracy.workers: `{kind}` takes statistics of the whole batch, of "
                "which each worker sees a part; train it on one worker"
            )
        if isinstance(module, _DropoutNd) and module.p > 0:
            raise BenchError(
                f"resources.accuracy.workers: `{kind}` drops other values on several workers than "
                "on one; train it on one worker, or with dropout 0"
            )
