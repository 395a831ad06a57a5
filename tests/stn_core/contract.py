"""What the contract tests run over: every final class of the public namespace."""

import inspect
from typing import Any

import torch
from transform_examples import TRANSFORM_EXAMPLES

from stn_core import samplers, transforms


def quadratic(distance):
    """The quadratic B-spline, of radius 1.5: a kernel of a user, which blurs."""
    d = distance.abs()
    return torch.where(d < 0.5, 0.75 - d**2, (1.5 - d) ** 2 / 2)


_SAMPLER_EXAMPLES = {
    samplers.Antialiased: [samplers.Antialiased(max_shrink=2)],
    samplers.Kernel: [samplers.Kernel(quadratic, 1.5)],
}


def _final(module, role):
    kinds = [kind for kind in vars(module).values() if inspect.isclass(kind)]
    return [k for k in kinds if issubclass(k, role) and not inspect.isabstract(k)]


def _examples(kind):
    if kind in TRANSFORM_EXAMPLES:
        return TRANSFORM_EXAMPLES[kind]
    if "dims" in inspect.signature(kind).parameters:
        return [kind(dims=2), kind(dims=3)]
    return _SAMPLER_EXAMPLES.get(kind) or [kind()]


def _name(module):
    return f"{type(module).__name__}({module.extra_repr()})"


TRANSFORMS: dict[str, Any] = {
    _name(t): t for k in _final(transforms, transforms.Transform) for t in _examples(k)
}
SAMPLERS = {_name(s): s for k in _final(samplers, samplers.Sampler) for s in _examples(k)}
PADDINGS = ("zeros", "border", "reflection")
FILL = 0.7


def size_of(transform):
    """A small image for this transform: not square, no power of two."""
    return (5, 7) if transform.dims == 2 else (3, 5, 6)


def thetas(transform, batch, *, scale=0.1, dtype=torch.float64, seed=0):
    """Random parameters around the identity, or around zero where there is none."""
    # A dense field is as large as it likes; here no point of `size_of` lies at one of its pixels,
    # where its derivative jumps.
    field = (transform.dims, 2, 4) if transform.dims == 2 else (transform.dims, 2, 2, 4)
    shape = field if transform.num_params is None else (transform.num_params,)
    noise = torch.randn(batch, *shape, dtype=dtype, generator=seeded(seed))
    start = 0 if transform.identity is None else transform.identity.to(dtype)
    return start + scale * noise


def images(*shape, dtype=torch.float64, seed=0):
    """A random image."""
    return torch.rand(*shape, dtype=dtype, generator=seeded(seed))


def grids(batch, size, *, reach=1.3, dtype=torch.float64, seed=1):
    """Random source points, some of them outside the image."""
    return reach * (2 * images(batch, *size, len(size), dtype=dtype, seed=seed) - 1)


def seeded(seed):
    """A generator on the CPU."""
    return torch.Generator().manual_seed(seed)
