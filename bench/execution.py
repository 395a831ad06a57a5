"""How a model is run: in which precision and memory format, and by whom."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .errors import BenchError

Forward = Callable[[Tensor], Any]

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def check_execution(settings: Mapping[str, Any], device: torch.device) -> None:
    """Refuse what the device cannot do.

    Raises:
        BenchError: A CUDA graph is asked for where there is no GPU.
    """
    if settings["execution"] == "cuda_graph" and device.type != "cuda":
        raise BenchError(
            f"train.execution: `cuda_graph` needs a GPU, the device is {device.type}; "
            "`eager` and `compile` run everywhere"
        )


def forward_of(model: nn.Module, settings: Mapping[str, Any]) -> Forward:
    """The model as a function of images, run as `settings`, the `train` of a study, say.

    Parameters stay float32, and so does `theta`; `bfloat16` and `float16` are torch's autocast. A
    CUDA graph is of the training mode and of the first batch's size; in evaluation mode it gives
    way to the model itself.
    """
    dtype, execution = DTYPES.get(settings["precision"]), settings["execution"]
    last = settings["memory_format"] == "channels_last"
    for parameter in model.parameters() if last else ():
        if parameter.ndim in CHANNELS_LAST:
            kind = CHANNELS_LAST[parameter.ndim]
            parameter.data = parameter.data.contiguous(memory_format=kind)
    run: Callable[..., Any] = torch.compile(model) if execution == "compile" else model
    graphed = False

    def forward(images: Tensor) -> Any:
        nonlocal graphed
        if last:
            images = images.contiguous(memory_format=CHANNELS_LAST[images.ndim])
        cached = execution != "cuda_graph"  # a graph would keep weights cast at its capture
        with torch.autocast(images.device.type, dtype, dtype is not None, cached):
            if execution == "cuda_graph" and model.training and not graphed:
                _capture(model, images)
                graphed = True
            return run(images)

    return forward


def _capture(model: nn.Module, images: Tensor) -> None:
    """Capture forward and backward; the passes that warm it up leave no trace in the model."""
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    state = torch.cuda.get_rng_state()
    torch.cuda.make_graphed_callables(model, (images.clone(),))
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    torch.cuda.set_rng_state(state)
