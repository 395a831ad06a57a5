"""A convolution whose gradient by an input of few channels is quick on a CPU.

A spatial transformer at the input makes the first convolution compute the gradient by its image.
What torch has for that on a CPU takes many times as long as the convolution, where the image has
one channel or a few.
"""

import ctypes
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

from .grid import is_traced
from .kernels.library import Convolution, library, why_missing

# Beyond, torch is as quick.
MOST_CHANNELS = 4


@final
class Conv2d(nn.Conv2d):
    """`nn.Conv2d` with the same numbers, parameters and state, and a quicker gradient by its input.

    The quicker way is taken for a float32 input of at most 4 channels that needs a gradient, on a
    CPU, with stride 1, no dilation, one group and zeros of less than the kernel's sides around;
    everything else is as in `nn.Conv2d`.

    Example:
        >>> image = torch.ones(1, 1, 3, 3, requires_grad=True)
        >>> Conv2d(1, 2, 3)(image).shape
        torch.Size([1, 2, 1, 1])
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not self._is_quick(input, weight):
            return super()._conv_forward(input, weight, bias)
        return _Convolve.apply(input, weight, bias, self.padding)  # pyright: ignore[reportReturnType]

    def _is_quick(self, input: Tensor, weight: Tensor) -> bool:
        return (
            input.requires_grad
            and torch.is_grad_enabled()
            and input.ndim == 4
            and input.shape[1] <= MOST_CHANNELS
            and input.device.type == "cpu"
            and input.dtype == weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and not is_traced()
            and self.groups == 1
            and self.stride == (1, 1)
            and self.dilation == (1, 1)
            and self.padding_mode == "zeros"
            and not isinstance(self.padding, str)
            and all(p < k for p, k in zip(self.padding, self.kernel_size, strict=True))
            and why_missing() is None
        )


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, weight, bias, padding):
        ctx.save_for_backward(input, weight)
        ctx.padding, ctx.bias = padding, None if bias is None else list(bias.shape)
        return conv2d(input, weight, bias, padding=padding)

    @staticmethod
    def backward(ctx, gradient):  # pyright: ignore[reportIncompatibleMethodOverride]
        input, weight = ctx.saved_tensors
        by_input, by_weight, by_bias = ctx.needs_input_grad[:3]
        # torch's own has second derivatives.
        is_ours = by_input and not torch.is_grad_enabled()
        gradients = torch.ops.aten.convolution_backward(
            *(gradient, input, weight, ctx.bias),
            *([1, 1], list(ctx.padding), [1, 1], False, [0, 0], 1),
            [by_input and not is_ours, by_weight, by_bias],
        )
        first = input_gradient(gradient, weight, input.shape, ctx.padding) if is_ours else None
        return first if is_ours else gradients[0], gradients[1], gradients[2], None


def input_gradient(
    gradient: Float[Tensor, "batch filters out_height out_width"],
    weight: Float[Tensor, "filters channels kernel_height kernel_width"],
    shape: torch.Size | tuple[int, int, int, int],
    padding: tuple[int, int],
) -> Float[Tensor, "batch channels height width"]:
    """The gradient of a convolution by its input, of stride 1, in float32 on a CPU.

    Args:
        gradient: The gradient by the output.
        weight: The kernels.
        shape: That of the input, `(batch, channels, height, width)`.
        padding: The zeros around the input, less than the kernel's sides.

    Raises:
        BuildError: If there are no compiled kernels.
    """
    gradient, weight = gradient.contiguous(), weight.contiguous()
    result = gradient.new_empty(shape)
    if gradient.numel() == 0:
        return result.zero_()
    filters, _, *kernel = weight.shape
    problem = Convolution(
        *(gradient.data_ptr(), weight.data_ptr(), result.data_ptr()),
        *(*shape, filters, *kernel, *padding, torch.get_num_threads()),
    )
    if library().stn_convolution_input_gradient(ctypes.byref(problem)):
        raise MemoryError("There is no memory for the rows that a thread holds at once.")
    return result
