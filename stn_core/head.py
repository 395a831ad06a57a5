"""The last layer of a localisation network: from features to `theta`, at known poses at first."""

import math
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .transforms.transform import Transform

Bounds = tuple[float | Sequence[float], float | Sequence[float]]


@final
class Head(nn.Module):
    """A linear layer that gives `theta`, at given poses at first (Jaderberg et al., 2015, A.4).

    Weights and bias start at zero, and the poses are added to what they give, so weight decay draws
    `theta` to the poses. `theta` and its arithmetic are at least float32, also under autocast. The
    poses are kept as numbers, so `half()` does not round them, and a head built on the meta device
    is right after `to_empty` and `reset_parameters`.

    Args:
        num_features: How many features it reads.
        transform: The family that `theta` is for; it is read here and not kept.
        poses: The `theta` to start at, `(num_params,)`, or several of them, `(n, num_params)`; the
            transform's identity when None.
        bounds: The least and the greatest `theta`, each a number or `num_params` numbers, which may
            be infinite. Inside them `theta` follows `bounded_step`, so it keeps a gradient.

    Raises:
        ValueError: If there is nothing to start at, or a shape or the bounds do not fit.

    Example:
        >>> from stn_core.transforms import Attention
        >>> Head(3, Attention(), bounds=(-1.0, 1.5))(torch.rand(1, 3)).tolist()
        [[1.0, 0.0, 0.0]]
    """

    start: Tensor
    below: Tensor
    above: Tensor

    def __init__(
        self,
        num_features: int,
        transform: Transform,
        *,
        poses: Tensor | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        super().__init__()
        poses = _poses(transform, poses)
        self.num_features = num_features
        self.weight = nn.Parameter(torch.zeros(poses.numel(), num_features))
        self.bias = nn.Parameter(torch.zeros(poses.numel()))
        self._numbers = {"start": poses.tolist()}
        if bounds is not None:
            low, high = (_bound(b, poses) for b in bounds)
            if not ((low < poses) & (poses < high)).all():
                raise ValueError(
                    "`bounds` must lie below and above the poses to start at, "
                    f"got {bounds} for {poses.tolist()}."
                )
            self._numbers |= {"below": (poses - low).tolist(), "above": (high - poses).tolist()}
        self.is_bounded = bounds is not None
        for name in self._numbers:
            self.register_buffer(name, None, persistent=False)
        self._fill()
        self.register_load_state_dict_post_hook(_refill)

    def forward(
        self, features: Float[Tensor, "batch num_features"]
    ) -> Float[Tensor, "batch *n num_params"]:
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        weight, bias = self.weight.to(dtype), self.bias.to(dtype)
        # A sum of products, since autocast and TF32 round a matrix product; the head is small.
        step = (features.to(dtype).unsqueeze(1) * weight).sum(-1) + bias
        step = step.unflatten(1, self.start.shape)
        if self.is_bounded:
            step = bounded_step(step, self.below, self.above)
        return self.start + step

    def reset_parameters(self) -> None:
        """Go back to the poses."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        return f"num_features={self.num_features}, start={tuple(self.start.shape)}"

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "Head":
        # `half`, `to` and `to_empty` end here; they would round the poses, or leave them unset.
        super()._apply(fn, recurse)
        self._fill()
        return self

    def _fill(self) -> None:
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        for name, numbers in self._numbers.items():
            setattr(self, name, torch.tensor(numbers, dtype=dtype, device=self.weight.device))


def bounded_step(
    step: Float[Tensor, "*batch"], below: Float[Tensor, "*limits"], above: Float[Tensor, "*limits"]
) -> Float[Tensor, "*batch"]:
    """Bend a step so that it stays in (-below, above): side * 2/pi * atan(pi/2 * step / side).

    Slope 1 and no curvature at zero, where it is as if there were no bound; strictly growing, with
    slope 1 / (1 + (pi/2 * step / side)^2). This falls as 1 / step^2, where that of a tanh falls
    exponentially and is 0 in float32 from 10 sides on; here it is positive up to 1e18 sides. An
    infinite side leaves the step as it is.

    Args:
        step: Any number.
        below: How far down it may go, positive.
        above: How far up it may go, positive.

    Example:
        >>> bounded_step(torch.tensor([-9.0, 0, 9]), torch.tensor(1.0), torch.tensor(math.inf))
        tensor([-0.9550,  0.0000,  9.0000])
    """
    side = torch.where(step < 0, below, above)
    is_free = side.isinf()
    side = side.masked_fill(is_free, 1.0)
    return torch.where(
        is_free, step, side * (2 / math.pi) * torch.atan(step * (math.pi / 2) / side)
    )


def _refill(head: Head, _: Any) -> None:
    # After `load_state_dict(assign=True)` the weights have left the meta device, the buffers not.
    head._fill()


def _poses(transform: Transform, poses: Tensor | None) -> Tensor:
    name = type(transform).__name__
    # A model may be built inside `torch.device("meta")`, where the identity would have no values.
    with torch.device("cpu"):
        start = transform.identity if poses is None else poses.detach().cpu().double()
    if start is None or transform.num_params is None:
        raise ValueError(f"`transform` must have an identity to start at, got {name}.")
    if start.ndim not in (1, 2) or start.shape[-1] != transform.num_params or not len(start):
        raise ValueError(
            f"`poses` must have shape ([n,] {transform.num_params}) for {name}, "
            f"got {tuple(start.shape)}."
        )
    return start


def _bound(bound: float | Sequence[float], poses: Tensor) -> Tensor:
    limit = torch.tensor(bound, dtype=poses.dtype, device="cpu")
    if limit.ndim and limit.shape != poses.shape[-1:]:
        raise ValueError(
            f"`bounds` must be numbers or {poses.shape[-1]} numbers each, got {bound}."
        )
    return limit.expand_as(poses)
