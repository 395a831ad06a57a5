"""The compiled kernels: which of them this processor can run, and where they lie."""

import ctypes
import os
import struct
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import ParamSpec, TypeVar

import torch

from .build import PROCESSORS, SOURCE, BuildError, build, cached, file_name

_FIELDS = """
    image image_batch_step image_channel_step image_row_step image_column_step
    output output_batch_step output_channel_step output_pixel_step
    image_gradient gradient_batch_step gradient_channel_step gradient_pixel_step
    map kind map_batch_step map_row_step map_column_step map_coordinate_step map_gradient
    fields terms fill
    batch channels in_height in_width height width type align_corners interpolation padding
    max_shrink threads
"""


_CONVOLUTION_FIELDS = """
    gradient weight result
    batch channels height width filters kernel_height kernel_width pad_height pad_width threads
"""

# What Triton needs for bfloat16.
_CAPABILITY = (8, 0)

P = ParamSpec("P")
R = TypeVar("R")


# What a kernel is asked to do: `Problem` of cpu/problem.hpp. A `ctypes.Structure` takes 2 us more.
PROBLEM = struct.Struct(f"{len(_FIELDS.split())}q")


class Convolution(ctypes.Structure):
    """What the gradient of a convolution is asked: `Convolution` of cpu/convolution.hpp."""

    _fields_ = [(name, ctypes.c_int64) for name in _CONVOLUTION_FIELDS.split()]


def _constant(function: Callable[P, R]) -> Callable[P, R]:
    """`torch.compiler.assume_constant_result`, without importing the compiler for seconds."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def library() -> ctypes.CDLL:
    """The kernels, loaded once, and compiled first where the installation brought none.

    The environment variable STN_CORE_CPU chooses "avx512", "avx2" or "portable".

    Raises:
        BuildError: If there are none.
    """
    found = _outcome(processor())
    if isinstance(found, str):
        raise BuildError(found)
    return found


@_constant
def why_missing() -> str | None:
    """Why there are no kernels, in one sentence, or None where there are."""
    try:
        library()
    except BuildError as error:
        return str(error)
    return None


@_constant
def why_missing_on_gpu(index: int | None) -> str | None:
    """Why there are no kernels for that CUDA device, in one sentence, or None where there are."""
    if find_spec("triton") is None:
        return "Triton is not installed."
    if torch.version.hip:
        return "They are for GPUs of NVIDIA."
    # In a traced graph there may be a device that is not here.
    if torch.cuda.is_available() and torch.cuda.get_device_capability(index) < _CAPABILITY:
        return "They are for GPUs of compute capability {}.{} and later.".format(*_CAPABILITY)
    return None


@_constant
def processor() -> str:
    """The kind of processor that kernels are taken for.

    Raises:
        BuildError: If STN_CORE_CPU names none.
    """
    asked = os.environ.get("STN_CORE_CPU")
    if asked is None:
        return _best()
    if asked not in PROCESSORS:
        raise BuildError(f"STN_CORE_CPU must be one of {', '.join(PROCESSORS)}, got {asked!r}.")
    return asked


@lru_cache
def _best() -> str:
    found = torch.backends.cpu.get_cpu_capability().lower()
    return found if found in PROCESSORS else "portable"


@lru_cache
def _outcome(processor: str) -> ctypes.CDLL | str:
    # A failure is remembered too: the compiler is not tried at every call.
    path = SOURCE / file_name(processor)
    try:
        if not path.exists():
            path = cached(processor)
            if not path.exists():
                build(processor, path)
        return ctypes.CDLL(str(path))
    except BuildError as error:
        return str(error)
    except OSError as error:
        return f"The compiled kernels cannot be loaded: {error}."
