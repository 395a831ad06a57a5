"""The one rule that picks who computes a warp, and words for it."""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from .kernels.fused import INTERPOLATIONS, PADDINGS, TYPES, Interpolation
from .kernels.library import processor, why_missing, why_missing_on_gpu
from .samplers.antialiased import Antialiased
from .samplers.interpolation import Bicubic, Bilinear, Nearest
from .samplers.padding import Padding, check_padding
from .samplers.sampler import Sampler
from .transforms.transform import Transform

Backend = Literal["auto", "fused", "torch", "reference"]

_BACKENDS = get_args(Backend)
# The samplers that a kernel may take the place of.
FUSED: dict[type[Sampler], Interpolation] = {
    Bilinear: "bilinear",
    Nearest: "nearest",
    Bicubic: "bicubic",
    Antialiased: "antialiased",
}


def choose(
    image: Float[Tensor, "batch channels *in_size"],
    theta: Float[Tensor, "batch ..."],
    transform: Transform,
    sampler: Sampler,
    padding: Padding,
    backend: Backend,
) -> tuple[Literal["fused", "torch", "reference"], str]:
    """Who computes this warp, and why: the arguments of `warp`.

    "auto" is "fused" wherever there is one: on a CPU it is quicker than "torch" at all shapes of
    `benchmarks/sampler_cpu.py` but one, of a single pixel an image, where it loses microseconds
    (docs/backends.md); on a GPU nobody has measured it yet (`benchmarks/sampler_gpu.py`).

    Raises:
        ValueError: If `backend` is not known, or is "fused" where there is none.
    """
    if backend not in _BACKENDS:
        raise ValueError(f"`backend` must be one of {_BACKENDS}, got {backend!r}.")
    if backend in ("torch", "reference"):
        return backend, "It was asked for."
    obstacle = _obstacle(image, theta, transform, sampler, padding)
    if obstacle is None and image.is_cuda:
        return "fused", "One Triton kernel takes the image and the map."
    if obstacle is None:
        return "fused", "One C++ kernel takes the image and the map."
    if backend == "fused":
        raise ValueError(f'The backend "fused" cannot do this warp. {obstacle}')
    return "torch", obstacle


def explain(
    image: Float[Tensor, "batch channels *in_size"],
    theta: Float[Tensor, "batch ..."],
    transform: Transform,
    *,
    sampler: Sampler = Bilinear(),  # noqa: B008, it has no state
    padding: Padding = "zeros",
    backend: Backend = "auto",
) -> None:
    """Print who would compute a warp with these arguments, and why.

    Args:
        image: As for `warp`.
        theta: As for `warp`.
        transform: As for `warp`.
        sampler: As for `warp`.
        padding: As for `warp`.
        backend: As for `warp`.

    Raises:
        ValueError: As `warp` would for `padding` and `backend`.

    Example:
        >>> import torch
        >>> from stn_core.transforms import Translation
        >>> explain(torch.zeros(1, 1, 4, 4).double(), torch.zeros(1, 2), Translation())
        torch: The image is float64, and kernels are for float32, bfloat16 and float16.
    """
    check_padding(padding)
    chosen, why = choose(image, theta, transform, sampler, padding, backend)
    kind = f" It is compiled for {processor()}." if chosen == "fused" and not image.is_cuda else ""
    print(f"{chosen}: {why}{kind}")


def _obstacle(
    image: Tensor, theta: Tensor, transform: Transform, sampler: Sampler, padding: Padding
) -> str | None:
    """Why there is no fused kernel for this, in one sentence, or None where there is one."""
    if not (image.is_cpu or image.is_cuda):
        return f"The image is on {image.device.type}, and kernels are for cpu and cuda."
    if theta.device != image.device:
        return f"`theta` is on {theta.device} and the image on {image.device}."
    if transform.dims != 2:
        return "Kernels are for two dimensions."
    device, there = ("cuda", "on a GPU ") if image.is_cuda else ("cpu", "")
    if FUSED.get(type(sampler)) not in INTERPOLATIONS[device]:
        names = ", ".join(k.__name__ for k, n in FUSED.items() if n in INTERPOLATIONS[device])
        return f"Kernels {there}are for {names}, not for {type(sampler).__name__}."
    # On a GPU what is filled is read as its difference from the value, with zeros outside.
    if isinstance(padding, str) and padding not in PADDINGS[device]:
        names = ", ".join(PADDINGS[device])
        return f"Kernels {there}are for the paddings {names} and a value, not for {padding!r}."
    if image.dtype not in TYPES:
        return f"The image is {_name(image.dtype)}, and kernels are for {_TYPE_NAMES}."
    if theta.dtype == torch.float64:
        return "`theta` is float64, and kernels compute coordinates in float32."
    # With what may be read outside.
    if (image.shape[2] + 8) * (image.shape[3] + 8) > _MOST_PIXELS:
        return "Kernels are for images of less than 2^30 pixels, with 4 more on each side."
    missing = why_missing_on_gpu(image.device.index) if image.is_cuda else why_missing()
    return None if missing is None else f"There are no compiled kernels. {missing}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# A cell's number must fit in 32 bits.
_MOST_PIXELS = 1 << 30
_TYPE_NAMES = "{}, {} and {}".format(*map(_name, TYPES))
