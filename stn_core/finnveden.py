"""The placements that Finnveden et al., 2020, compare, by the paper's names."""

import copy
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor, fx, nn

from .localisation import FCN, LocalisationNetwork, count_features
from .placement import place
from .spatial_transformer import SpatialTransformer
from .transforms.transform import Transform

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_READERS = (nn.Flatten, nn.Linear)


def place_as(
    name: str,
    model: nn.Module,
    transform: Transform,
    *,
    in_shape: Sequence[int],
    body: Callable[[tuple[int, ...]], nn.Module] = FCN,
    poses: Tensor | None = None,
    **options: Any,
) -> nn.Module:
    """Place a spatial transformer as Finnveden et al., 2020, name it: "C0", "C1", "DL2", "SL2".

    The number X counts convolutions as the model runs them; the first X layers are all that runs
    before the next convolution, or before the first `nn.Flatten` or `nn.Linear` after the last one.

    - "CX": the feature map after X layers is warped; "C0" is the input.
    - "DLX": the input is warped. The localisation network has a private copy of the first X layers,
      drawn anew.
    - "SLX": the input is warped. The localisation network reads the first X layers of the model
      itself, which run again on the warped input.

    Args:
        name: "C", "DL" or "SL" with the number of layers.
        model: It is changed in place by "C1" and deeper, and used as it is by the others. For "DL"
            and "SL" its code must be traceable by `torch.fx` up to that layer, in the mode in which
            it is.
        transform: The family of maps.
        in_shape: `(channels, height, width)` or `(channels, depth, height, width)` of an image.
            For "C1" and deeper of one that the model takes.
        body: What makes the body of the localisation network from the shape of what it reads, such
            as `FCN` or `CNN`; in "DL" and "SL" it stands on the layers.
        poses: `(params,)`, where `theta` starts; the transform's identity when None.
        options: As for `SpatialTransformer`. An `output_size` is the model's input size.

    Returns:
        The model for "C1" and deeper, else a sequence of `transformer` and `model`.

    Raises:
        ValueError: If `name` is not of this form, the model has not so many convolutions, gives no
            feature map there, or has a layer that cannot be drawn anew or traced; or the transform
            has no identity and `poses` is None.

    Example:
        >>> from stn_core.transforms import Affine
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3))
        >>> place_as("SL1", model, Affine(), in_shape=(1, 9, 13))(torch.zeros(2, 1, 9, 13)).shape
        torch.Size([2, 8, 5, 9])
    """
    match = re.fullmatch(r"(C|DL|SL)(\d+)", name)
    if match is None:
        raise ValueError(f'`name` must be "C", "DL" or "SL" and a number, got {name!r}.')
    kind, depth = match[1], int(match[2])
    if depth == 0:
        network = LocalisationNetwork(body(tuple(in_shape)), transform, poses=poses)
        return _in_front(SpatialTransformer(network, transform, **options), model)
    layer, shape = _site(model, name, depth, in_shape)
    if kind == "C":
        if len(shape) != transform.dims + 1:
            raise ValueError(
                f"`name` must ask for a place with a feature map, got {name!r}, where {layer!r} is "
                f"given {shape}."
            )
        network = LocalisationNetwork(body(shape), transform, poses=poses)
        return place(model, SpatialTransformer(network, transform, **options), before=layer)
    layers = layers_before(model, layer)
    if kind == "DL":
        layers = _drawn_anew(layers)
    parts = OrderedDict(layers=layers)
    if len(shape) == 1:
        shape = (*shape, *[1] * transform.dims)
        parts["map"] = nn.Unflatten(1, shape)
    parts["body"] = body(shape)
    num_features = count_features(parts["body"], None)
    network = LocalisationNetwork(
        nn.Sequential(parts), transform, num_features=num_features, poses=poses
    )
    return _in_front(SpatialTransformer(network, transform, **options), model)


def layers_before(model: nn.Module, layer: str) -> nn.Module:
    """What a model does before a named layer, as a module that shares the model's layers.

    Args:
        model: Its code must be traceable by `torch.fx` up to the layer; what depends on the mode
            (a functional dropout) stays as in the mode in which the model is now.
        layer: A layer of `torch.nn`, by its name in `model.named_modules()`.

    Raises:
        ValueError: If the model cannot be traced, or does not call the layer.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten())
        >>> layers_before(model, "2")(torch.zeros(1, 1, 5, 7)).shape
        torch.Size([1, 4, 3, 5])
    """
    tracer = _Tracer(layer)
    try:
        tracer.trace(model)
    except _Reached as reached:
        tracer.graph.output(reached.given.node)
        return fx.GraphModule(model, tracer.graph)
    except Exception as error:
        raise ValueError(
            f"`model` must be traceable by torch.fx up to {layer!r}, got {error}"
        ) from error
    raise ValueError(f"`layer` must name a layer of torch.nn that is called, got {layer!r}.")


def _in_front(transformer: nn.Module, model: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(transformer=transformer, model=model))


def _site(
    model: nn.Module, name: str, depth: int, in_shape: Sequence[int]
) -> tuple[str, tuple[int, ...]]:
    """The layer before which `depth` convolutions have run, and the shape that it is given."""
    watch = _Watch(depth)
    names = {id(module): name for name, module in model.named_modules()}
    modes = [(module, module.training) for module in model.modules()]
    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [leaf.register_forward_pre_hook(watch) for leaf in leaves]
    like = next(model.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            model.eval()(like.new_zeros(1, *in_shape))
    except _Reached as reached:
        return names[id(reached.layer)], tuple(reached.given.shape[1:])
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
    raise ValueError(
        f"`name` must ask for at most the {watch.seen} convolutions that the model runs, and a "
        f"layer that reads them, got {name!r}."
    )


def _drawn_anew(layers: nn.Module) -> nn.Module:
    layers = copy.deepcopy(layers)
    for module in layers.modules():
        reset = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()
        elif list(module.parameters(recurse=False)):
            raise ValueError(
                "`model` must have layers with `reset_parameters` to be drawn anew, "
                f"got a {type(module).__name__}."
            )
    return layers


class _Reached(Exception):
    """The layer that was looked for is about to run."""

    def __init__(self, layer: nn.Module, given: Any) -> None:
        super().__init__()
        self.layer = layer
        self.given = given


@final
class _Watch:
    """A hook before every layer, which stops at the one that reads the last convolution wanted."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.seen = 0

    def __call__(self, layer: nn.Module, given: tuple[Any, ...]) -> None:
        is_convolution = isinstance(layer, _CONVOLUTIONS)
        if self.seen == self.depth and (is_convolution or isinstance(layer, _READERS)):
            raise _Reached(layer, given[0])
        self.seen += is_convolution


@final
class _Tracer(fx.Tracer):
    """Traces a model until it calls a layer."""

    # torch makes one without arguments when it unpickles what was traced.
    def __init__(self, layer: str = "") -> None:
        super().__init__()
        self.layer = layer

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # `few_channel.Conv2d` is a convolution like torch's own, which are never traced into.
        return isinstance(m, nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        if self.path_of_module(m) == self.layer:
            raise _Reached(m, args[0])
        return super().call_module(m, forward, args, kwargs)
