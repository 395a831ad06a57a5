"""The warp as one operation: an image and a map give the warped image, with no grid in memory.

A map is a matrix per image, (batch, 2, 3) or (batch, 3, 3), from normalised target to source
points; or a source point for each output pixel, (batch, height, width, 2); or, where there are
fields of displacements (terms, height, width), a factor of x and of y for each, (batch, terms, 2),
and what they make of the identity. For "antialiased" it is three matrices or grids of points for
each image, one after the other, (batch * 3, ...): its own, and the sides of an output pixel's area,
by row and by column. Always float32.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack

from ..grid import is_traced
from ..samplers.padding import Rule
from .library import PROBLEM, library

Interpolation = Literal["bilinear", "nearest", "bicubic", "antialiased"]
# What kernels there are for, by the type of device.
INTERPOLATIONS: dict[str, tuple[Interpolation, ...]] = {
    "cpu": ("bilinear", "nearest", "bicubic", "antialiased"),
    "cuda": ("bilinear", "nearest"),
}
PADDINGS: dict[str, tuple[Rule, ...]] = {
    "cpu": ("zeros", "border", "reflection"),
    "cuda": ("zeros", "border"),
}

TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
# What the kernels call them.
_NUMBERS = {name: i for names in (INTERPOLATIONS, PADDINGS) for i, name in enumerate(names["cpu"])}
# In values that are written. Below it threads cost more than they give.
_FEW = 1 << 14
# From an image's first pixel to another, in elements: it must fit in 32 bits.
_FARTHEST = (1 << 31) - 1

_ops = torch.library.Library("stn_core", "DEF")
_ops.define(
    "warp(Tensor image, Tensor map, Tensor? fields, Tensor? fill, SymInt height, SymInt width,"
    " str interpolation, str padding, bool align_corners, int max_shrink) -> Tensor"
)
_ops.define(
    "warp_backward(Tensor gradient, Tensor image, Tensor map, Tensor? fields, Tensor? fill,"
    " str interpolation, str padding, bool align_corners, int max_shrink, bool by_image,"
    " bool by_map) -> (Tensor, Tensor)"
)


def fused_warp(
    image: Float[Tensor, "batch channels in_height in_width"],
    map: Float32[Tensor, "maps ..."],
    size: tuple[int, int],
    *,
    fields: Float32[Tensor, "terms height width"] | None = None,
    fill: Float32[Tensor, " channels"] | None = None,
    interpolation: Interpolation,
    padding: Rule,
    align_corners: bool,
    max_shrink: int = 1,
) -> Float[Tensor, "batch channels height width"]:
    """The image read where the map sends each pixel of an output of this size.

    Args:
        image: float32, bfloat16 or float16, in any memory format.
        map: See the module.
        size: `(height, width)`, at least 1 each.
        fields: See the module; constants, without a gradient.
        fill: What stands outside instead of zeros, on a CPU; constants, without a gradient.
        interpolation: What is read at a point: "bilinear", a mean of four pixels, "nearest", one,
            "bicubic", Keys' sum of sixteen, or "antialiased", the mean of bilinear readings over
            an area.
        padding: How the image goes on outside: "zeros", "border" or "reflection".
        align_corners: Whether -1 and 1 are centres of pixels (True) or edges of the image (False).
        max_shrink: Of "antialiased" alone: how many readings a side of the area has.
    """
    options = (interpolation, padding, align_corners, max_shrink)
    inputs = (image, map, fields, fill, *size, *options)
    # Without need the operator is left aside, for it costs 0.1 ms.
    if is_traced() or type(image) is not Tensor or type(map) is not Tensor:
        if not torch.compiler.is_compiling() and peek_interpreter_stack() is not None:
            return _WarpInFunc.apply(*inputs)  # pyright: ignore[reportReturnType]
        return torch.ops.stn_core.warp.default(*inputs)
    if torch.is_grad_enabled() and (image.requires_grad or map.requires_grad):
        return _Warp.apply(*inputs)  # pyright: ignore[reportReturnType]
    return _forward(*inputs)


class _Warp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        _keep(ctx, inputs, None)
        return _forward(*inputs)

    @staticmethod
    def backward(ctx, gradient):  # pyright: ignore[reportIncompatibleMethodOverride]
        by_image, by_map = ctx.needs_input_grad[:2]
        inputs = (gradient, *ctx.saved_tensors, *ctx.options, by_image, by_map)
        # Where a graph is asked for, it says that there is no second derivative.
        run = _WarpBackward.apply if torch.is_grad_enabled() else _WarpBackward.forward
        return _as_asked(run(*inputs), by_image, by_map)


# torch.func knows no gradient of an operator, and asks for `setup_context`, which costs 0.05 ms.
class _WarpInFunc(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs):
        run = torch.ops.stn_core.warp.default if is_traced() else _forward
        return run(*inputs)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _keep(ctx, inputs, output)

    backward = _Warp.backward  # pyright: ignore[reportAssignmentType]


class _WarpBackward(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs):
        run = torch.ops.stn_core.warp_backward.default if is_traced() else _backward
        return run(*inputs)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *gradients):
        _refuse(ctx, *gradients)


def _forward(image, map, fields, fill, height, width, *options):
    image, is_last = _layout(image)
    map = _as_map(map)
    output = _empty(image, (height, width), is_last)
    if output.numel() and is_on_gpu(image):
        _gpu().forward(image, map, output, _steps(output, is_last), **_gpu_options(*options))
    elif output.numel():
        problem = _problem(image, map, (fields, fill), output, (0,) * 5, is_last, *options)
        _run(library().stn_warp, problem)
    return output


def _backward(gradient, image, map, fields, fill, *options):
    *options, by_image, by_map = options
    image, is_last = _layout(image)
    map = _as_map(map)
    form = torch.channels_last if is_last else torch.contiguous_format
    gradient = gradient.resolve_neg().contiguous(memory_format=form)
    to_image, to_map = _gradients(image, map, is_last, by_image, by_map)
    if gradient.numel() == 0:
        return to_image.zero_(), to_map.zero_()
    if options[0] == "nearest":
        # Its steps have no slope.
        to_map.zero_()
        by_map = False
    if is_on_gpu(image):
        given = gradient, _steps(gradient, is_last)
        chosen = _gpu_options(*options)
        if by_image:
            to = to_image, _steps(to_image, is_last)
            _gpu().by_image(*given, map, *to, **chosen)
        if by_map:
            del chosen["nearest"]
            _gpu().by_map(*given, image, map, to_map, **chosen)
        return to_image, to_map
    results = (
        *((to_image.data_ptr(), *_steps(to_image, is_last)) if by_image else (0, 0, 0, 0)),
        to_map.data_ptr() if by_map else 0,
    )
    problem = _problem(image, map, (fields, fill), gradient, results, is_last, *options)
    if by_image or by_map:
        _run(library().stn_warp_backward, problem)
    return to_image, to_map


def is_on_gpu(image: Tensor) -> bool:
    """Whether it is Triton's to compute, not the processor's."""
    return image.is_cuda


def _gpu():
    # It needs Triton, which is not everywhere, and is imported for a second.
    from .gpu import launch

    return launch


def _gpu_options(
    interpolation: Interpolation, padding: Rule, align_corners: bool, max_shrink: int
) -> dict[str, Any]:
    if interpolation not in INTERPOLATIONS["cuda"] or padding not in PADDINGS["cuda"]:
        raise NotImplementedError(f"There is no kernel for {interpolation}, {padding}, on a GPU.")
    nearest, border = interpolation == "nearest", padding == "border"
    return {"nearest": nearest, "border": border, "align_corners": align_corners}


def _run(function, problem: bytes) -> None:
    if function(problem):
        raise MemoryError("There is no memory for the pixels that a thread holds at once.")


def _problem(image, map, constants, output, results, is_last, *options) -> bytes:
    """What is asked; `results` are where the image's gradient goes, its steps, and the map's."""
    fields, fill = constants
    interpolation, padding, align_corners, max_shrink = options
    batch, channels, in_height, in_width = image.shape
    height, width = output.shape[2:]
    by_batch, by_channel, by_row, by_column = image.stride()
    if map.ndim == 3:
        kind = 3 if fields is not None else 0 if map.shape[1] == 2 else 1
        steps = (map.stride(0), 0, 0, 0)
    else:
        kind, steps = 2, map.stride()
    to_image, to_map = results[:4], results[4]
    # An image's gradient is written whole, however few points there are.
    written = output.numel() + (image.numel() if to_image[0] else 0)
    threads = torch.get_num_threads() if written > _FEW else 1
    return PROBLEM.pack(
        *(image.data_ptr(), by_batch, by_channel, by_row, 1 if in_width == 1 else by_column),
        *(output.data_ptr(), *_steps(output, is_last)),
        *to_image,
        *(map.data_ptr(), kind, *steps, to_map),
        *((0, 0) if fields is None else (fields.data_ptr(), len(fields))),
        0 if fill is None else fill.data_ptr(),
        *(batch, channels, in_height, in_width, height, width),
        *(TYPES[image.dtype], align_corners),
        *(_NUMBERS[interpolation], _NUMBERS[padding], max_shrink, threads),
    )


def _layout(image: Tensor) -> tuple[Tensor, bool]:
    """The image as kernels can read it, and whether what comes of it is in channels-last format."""
    image = image.resolve_neg()
    _, by_channel, by_row, by_column = image.stride()
    _, _, height, width = image.shape
    is_far = not is_on_gpu(image) and height * by_row + width * by_column > _FARTHEST
    if is_far or (by_column != 1 and by_channel != 1 and width != 1):
        image = image.contiguous()
    is_rows = image.is_contiguous()
    return image, not is_rows and image.is_contiguous(memory_format=torch.channels_last)


def _empty(image: Tensor, size, is_last: bool) -> Tensor:
    batch, channels = image.shape[:2]
    if is_last:
        return image.new_empty(batch, *size, channels).movedim(-1, 1)
    return image.new_empty(batch, channels, *size)


def _steps(image: Tensor, is_last: bool) -> tuple[int, int, int]:
    """From image to image, channel to channel, pixel to pixel."""
    channels, pixels = image.shape[1], image.shape[2] * image.shape[3]
    return (channels * pixels, 1, channels) if is_last else (channels * pixels, pixels, 1)


def _as_map(map: Tensor) -> Tensor:
    # Autocast and others leave it in its type: coordinates in 16 bits would be wrong by pixels.
    map = map.float().resolve_neg()
    return map.contiguous() if map.ndim == 3 else map


def _gradients(image, map, is_last, by_image, by_map) -> tuple[Tensor, Tensor]:
    """Memory for the gradients that are asked for; nothing for the others."""
    to_image = _empty(image, image.shape[2:], is_last) if by_image else image.new_empty(0)
    if not by_map:
        return to_image, map.new_empty(0)
    if map.ndim == 3:
        return to_image, map.new_empty(map.shape)
    batch, height, width, _ = map.shape
    return to_image, map.new_empty(batch, 2, height, width).movedim(1, -1)


# ---- what torch asks of an operator


def _fake_forward(image, map, fields, fill, height, width, *options):
    image, is_last = _layout(image)
    return _empty(image, (height, width), is_last)


def _fake_backward(gradient, image, map, fields, fill, *options):
    image, is_last = _layout(image)
    return _gradients(image, _as_map(map), is_last, *options[-2:])


def _keep(ctx, inputs, output):
    image, map, fields, fill, _, _, *options = inputs
    ctx.save_for_backward(image, map, fields, fill)
    ctx.options = options


def _differentiate(ctx, gradient):
    by_image, by_map = ctx.needs_input_grad[:2]
    run = torch.ops.stn_core.warp_backward.default
    gradients = run(gradient, *ctx.saved_tensors, *ctx.options, by_image, by_map)
    return _as_asked(gradients, by_image, by_map)


def _as_asked(gradients, by_image, by_map):
    # For each input of the operator, of which the first two are tensors.
    return gradients[0] if by_image else None, gradients[1] if by_map else None, *[None] * 8


def _refuse(ctx, *gradients):
    raise NotImplementedError(
        'The backend "fused" has no second derivatives; backend="reference" has them.'
    )


def _forward_of_batch(info, in_dims, image, map, fields, fill, *options):
    # The last two are constants, the same for all.
    image, map = _join(info.batch_size, in_dims[:2], (image, map))
    output = torch.ops.stn_core.warp.default(image, map, fields, fill, *options)
    return output.unflatten(0, (info.batch_size, -1)), 0


def _backward_of_batch(info, in_dims, gradient, image, map, fields, fill, *options):
    tensors = _join(info.batch_size, in_dims[:3], (gradient, image, map))
    gradients = torch.ops.stn_core.warp_backward.default(*tensors, fields, fill, *options)
    asked = options[-2:]
    parted = [
        g.unflatten(0, (info.batch_size, -1)) if is_asked else g
        for g, is_asked in zip(gradients, asked, strict=True)
    ]
    return tuple(parted), tuple(0 if is_asked else None for is_asked in asked)


def _join(count: int, in_dims, tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """The axis of vmap and the batch as one."""
    whole = [
        t.unsqueeze(0).expand(count, *t.shape) if dim is None else t.movedim(dim, 0)
        for t, dim in zip(tensors, in_dims, strict=True)
    ]
    return [t.flatten(0, 1) for t in whole]


for _device in ("CPU", "CUDA"):
    _ops.impl("warp", _forward, _device)
    _ops.impl("warp_backward", _backward, _device)
torch.library.register_fake("stn_core::warp", _fake_forward, lib=_ops)
torch.library.register_fake("stn_core::warp_backward", _fake_backward, lib=_ops)
torch.library.register_autograd("stn_core::warp", _differentiate, setup_context=_keep, lib=_ops)
torch.library.register_autograd("stn_core::warp_backward", _refuse, lib=_ops)
torch.library.register_vmap("stn_core::warp", _forward_of_batch, lib=_ops)
torch.library.register_vmap("stn_core::warp_backward", _backward_of_batch, lib=_ops)
