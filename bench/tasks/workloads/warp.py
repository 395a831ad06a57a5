"""The sampler's kernels: one warp of a batch of feature maps, forward alone or with backward."""

import itertools
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from stn_core import warp
from stn_core.samplers.sampler import Sampler
from stn_core.transforms.transform import Transform

from ...errors import BenchError
from ...measurement import rotated
from ...results import Metric
from ..task import Place
from .thetas import Kind, random_thetas
from .workload import Prepared, numeric_error

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# Few shapes of theta are enough: what costs is where they read.
THETAS = 16
QUALITY_SIZE = (12, 12)


class Warp:
    """One warp of random feature maps by random thetas, as `forward` or `forward_backward`.

    Args:
        transform: The family of maps.
        sampler: How the maps are read.
        shape: `(batch, channels, height, width)`.
        output_size: `(height, width)`; the maps' own when None.
        thetas: `rts`: rotation ±45°, scale 0.7 to 1.2, shift ±0.2; `crop`: ±10°, 0.28 to 0.4, ±0.2;
            `half`: 0°, 0.5, ±0.2.
        mode: `forward` without autograd, or with the gradients of maps and thetas.
        dtype: Of the maps; thetas are float32, or float64 for maps in it.
        channels_last: Memory format of the maps.
        backend: Who computes it, as for `stn_core.warp`.
        execution: Torch as it comes, its compiler, or a CUDA graph of each input.
    """

    needs = ()

    def __init__(
        self,
        *,
        transform: Transform,
        sampler: Sampler,
        shape: tuple[
            Annotated[int, Ge(1)],
            Annotated[int, Ge(1)],
            Annotated[int, Ge(1)],
            Annotated[int, Ge(1)],
        ],
        output_size: tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]] | None = None,
        thetas: Literal["rts", "crop", "half"] = "rts",
        mode: Literal["forward", "forward_backward"] = "forward",
        dtype: Literal["float32", "float64", "bfloat16", "float16"] = "float32",
        channels_last: bool = False,
        backend: Literal["auto", "torch", "fused", "reference"] = "auto",
        execution: Literal["eager", "compile", "cuda_graph"] = "eager",
    ) -> None:
        self.transform, self.sampler, self.shape = transform, sampler, tuple(shape)
        self.output_size = tuple(output_size or shape[2:])
        self.thetas: Kind = thetas
        self.mode, self.dtype = mode, DTYPES[dtype]
        self.channels_last, self.backend, self.execution = channels_last, backend, execution

    def check(self, settings: Mapping[str, Any], place: Place) -> None:
        """Fit one theta, and warp a pixel."""
        if self.execution == "cuda_graph" and place.device.type != "cuda":
            raise BenchError(f"`cuda_graph` needs a GPU, the device is {place.device.type}")
        theta = random_thetas(self.transform, 1, self.thetas, torch.Generator())
        try:
            self._warp(torch.zeros(1, 1, 2, 2), theta, size=(1, 1))
        except ValueError as error:
            raise BenchError(f"workload `warp`: {error}") from error

    def prepare(self, settings: Mapping[str, Any], seed: int, place: Place) -> Prepared:
        """Draw maps and thetas, so many that they do not fit into the last cache together."""
        generator = torch.Generator(place.device).manual_seed(seed)
        few = min(THETAS, self.shape[0])
        fitted = random_thetas(
            self.transform, few, self.thetas, torch.Generator().manual_seed(seed)
        )
        fitted = fitted.to(place.device, torch.promote_types(self.dtype, torch.float32))
        size = (self.shape[0], self.shape[1], *self.output_size)
        run = torch.compile(self._run, dynamic=False) if self.execution == "compile" else self._run

        def make() -> tuple[Tensor, ...]:
            image = torch.rand(self.shape, generator=generator, device=place.device).to(self.dtype)
            if self.channels_last:
                image = image.contiguous(memory_format=torch.channels_last)
            index = torch.randint(few, (len(image),), generator=generator, device=place.device)
            theta = fitted[index]
            if self.mode == "forward":
                return image, theta
            gradient = torch.rand(size, generator=generator, device=place.device).to(self.dtype)
            return image.requires_grad_(), theta.requires_grad_(), gradient

        inputs = rotated(make, place.device)

        def step() -> object:
            return run(*inputs())

        chosen = _replayed(run, inputs) if self.execution == "cuda_graph" else step
        return Prepared({self.mode: chosen}, quality=lambda: (self._numeric_error(fitted),))

    def _run(self, image: Tensor, theta: Tensor, gradient: Tensor | None = None) -> object:
        if gradient is None:
            with torch.no_grad():
                return self._warp(image, theta, self.output_size)
        output = self._warp(image, theta, self.output_size)
        _Seed.apply(output, gradient).backward()
        found, image.grad, theta.grad = (image.grad, theta.grad), None, None
        return found

    def _numeric_error(self, fitted: Tensor) -> Metric:
        """How far a small warp, and gradients where they are timed, are from the reference's."""
        generator = torch.Generator(fitted.device).manual_seed(0)
        theta, shape = fitted[:2], (len(fitted[:2]), 2, *QUALITY_SIZE)
        image, gradient = (
            torch.rand(shape, generator=generator, device=fitted.device).to(self.dtype)
            for _ in range(2)
        )
        found = []
        for backend, dtype in ((self.backend, None), ("reference", torch.float64)):
            u, p, g = (t.to(dtype or t.dtype) for t in (image, theta, gradient))
            with torch.set_grad_enabled(self.mode == "forward_backward"):
                u, p = (t.clone().detach().requires_grad_() for t in (u, p))
                output = self._warp(u, p, QUALITY_SIZE, backend)
            if output.requires_grad:
                _Seed.apply(output, g.to(output.dtype)).backward()
            gradients = [t.grad for t in (u, p) if t.grad is not None]
            found.append([output.detach(), *gradients])
        return numeric_error(*found)

    def _warp(
        self, image: Tensor, theta: Tensor, size: tuple[int, ...], backend: str | None = None
    ) -> Tensor:
        who: Any = backend or self.backend
        return warp(
            image, theta, self.transform, sampler=self.sampler, output_size=size, backend=who
        )


class _Seed(torch.autograd.Function):
    """A scalar whose gradient with respect to `output` is `gradient`.

    `output.backward(gradient)` imports sympy on its first call, which takes seconds.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return output.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, None]:
        return ctx.saved_tensors[0], None


def _replayed(run: Callable[..., object], inputs: Callable[[], tuple[Tensor, ...]]) -> Any:
    """A step that replays, one after the other, CUDA graphs of the inputs that come in turn."""
    graphs: dict[int, torch.cuda.CUDAGraph] = {}  # in the order of the inputs
    item = inputs()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run(*item)
    torch.cuda.current_stream().wait_stream(stream)
    pool = torch.cuda.graph_pool_handle()
    while id(item) not in graphs:
        graphs[id(item)] = graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            run(*item)
        item = inputs()
    turn = itertools.cycle(graphs.values())
    return lambda: next(turn).replay()
