"""Spatial transformers as a study describes them, put into a model."""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stn_core import (
    AppendTheta,
    Glimpses,
    Iterated,
    LocalisationNetwork,
    Parallel,
    RecurrentLocalisationNetwork,
    SpatialTransformer,
    place,
    place_as,
    tile_poses,
)
from stn_core.transforms import LogPolar, Polar
from stn_core.transforms.transform import Transform

from .components import suggest
from .errors import BenchError
from .study.arrangement import BY_NAME

Shape = tuple[int, ...]
Make = Callable[..., Any]
# What layers raise that cannot read what they are given; timm asserts.
REFUSALS = (RuntimeError, ValueError, TypeError, AssertionError)


def with_transformers(
    spatial: Mapping[str, Any],
    in_shape: Shape,
    outputs: tuple[int, int],
    make: Make,
    net_of: Callable[[Shape, int], nn.Module],
    known: dict[Shape, Shape],
) -> nn.Module:
    """A model with its spatial transformers in place.

    Args:
        spatial: The `model.transformer` of a study.
        in_shape: Shape of an image.
        outputs: How many labels an image has, and how many classes a label.
        make: `make(role, reference, **supplied)` builds a component.
        net_of: `net_of(in_shape, scores)` builds the model without transformers; for 0 scores one
            that gives features.
        known: By the shape of an image what the transformers at the input make of it; filled here,
            so that who builds the model in several widths warps once.

    Raises:
        BenchError: A placement is not in the model, or what stands there does not fit.
    """
    places = spatial["placement"]
    places = [places] if isinstance(places, str) else places
    scores = math.prod(outputs)
    if BY_NAME.fullmatch(places[0]):
        return _by_name(places[0], spatial, in_shape, scores, make, net_of)
    if "input" not in places:
        return _inside(net_of(in_shape, scores), places, spatial, in_shape, make)
    front = transformer(spatial, in_shape, make)
    seen = known.get(in_shape) or shape_after(front, in_shape)
    known[in_shape] = seen
    if spatial["join"] == "features":
        net = _of_features(net_of(seen, 0), seen, spatial["count"], scores)
    elif spatial["join"] == "labels":
        net = _of_labels(net_of(seen, outputs[1]), spatial["count"], outputs[0])
    else:
        inner = [where for where in places if where != "input"]
        net = _inside(net_of(seen, scores), inner, spatial, seen, make)
    return nn.Sequential(OrderedDict(transformer=front, model=net))


def transformer(spatial: Mapping[str, Any], shape: Shape, make: Make) -> nn.Module:
    """What stands at one placement, for feature maps of `shape`: one transformer or several."""
    transform: Transform = make("transform", spatial["transform"], dims=len(shape) - 1)
    count, join = spatial["count"], "channels" if spatial["join"] == "channels" else "batch"

    def body() -> nn.Module:
        return make("localisation", spatial["localisation"], in_shape=shape)

    def single(network: nn.Module) -> SpatialTransformer:
        return SpatialTransformer(network, transform, **_options(spatial, make))

    poses, bounds = spatial.get("poses"), spatial.get("bounds")
    head: dict[str, Any] = {
        "poses": _start(transform, poses), "bounds": bounds and tuple(bounds)
    }  # fmt: skip
    if spatial["network"] == "recurrent":
        network = RecurrentLocalisationNetwork(body(), transform, steps=count, **head)
        result: nn.Module = Glimpses(single(network), join=join)
    elif spatial["network"] == "shared":
        tiles = tile_poses(transform, _tiles(count, transform.dims))
        head["poses"] = tiles if poses is None else _start(transform, [poses] * count)
        network = LocalisationNetwork(body(), transform, **head)
        result = Glimpses(single(network), join=join)
    else:
        each = [single(LocalisationNetwork(body(), transform, **head)) for _ in range(count)]
        result = each[0] if count == 1 else Parallel(each, join=join)
        if spatial["iterations"] > 1:
            result = Iterated(each[0], iterations=spatial["iterations"])
        if spatial["theta_forward"]:
            result = AppendTheta(each[0])
    if spatial["pool"] == 1:
        return result
    pool = (nn.AvgPool2d if len(shape) == 3 else nn.AvgPool3d)(spatial["pool"])
    return nn.Sequential(result, pool)


def shape_after(module: nn.Module, in_shape: Shape) -> Shape:
    """Shape of what a module gives an image of `in_shape`, without the batch."""
    like = next(module.parameters(), torch.empty(0))
    modes = [(part, part.training) for part in module.modules()]
    try:
        with torch.no_grad():
            return tuple(module.eval()(like.new_zeros(1, *in_shape)).shape[1:])
    except REFUSALS as error:
        raise BenchError(f"the model cannot take images of {in_shape}: {error}") from error
    finally:
        for part, mode in modes:
            part.training = mode


def shape_before(net: nn.Module, layer: str, in_shape: Shape) -> Shape:
    """Shape `(channels, [depth,] height, width)` of what `layer` is given."""
    layers = dict(net.named_modules())
    if layer not in layers or not layer:
        near = suggest(layer, [name for name in layers if name])
        raise BenchError(f"placement `{layer}`: the model has no such layer{near}")
    shapes: list[Shape] = []
    hook = layers[layer].register_forward_pre_hook(
        lambda _, given: shapes.append(tuple(given[0].shape[1:]))
    )
    try:
        shape_after(net, in_shape)
    finally:
        hook.remove()
    if not shapes or len(shapes[0]) not in (3, 4):
        given = f"{shapes[0]}" if shapes else "nothing"
        raise BenchError(
            f"placement `{layer}`: must be given a feature map, the layer is given {given}"
        )
    return shapes[0]


def _inside(
    net: nn.Module, places: list[str], spatial: Mapping[str, Any], in_shape: Shape, make: Make
) -> nn.Module:
    sizes: list[str] = []
    for where in places:
        shape = shape_before(net, where, in_shape)
        front = transformer(spatial, shape, make)
        if (given := shape_after(front, shape)) != shape:
            sizes.append(f"placement `{where}`: gives {given} in place of {shape}")
        net = place(net, front, before=where)
    if sizes:
        try:
            shape_after(net, in_shape)
        except BenchError:
            text = "and the layers behind are made for that; take `pool` or `output_size` away"
            raise BenchError(f"{', '.join(sizes)}, {text}") from None
    return net


def _by_name(
    name: str,
    spatial: Mapping[str, Any],
    in_shape: Shape,
    scores: int,
    make: Make,
    net_of: Callable[[Shape, int], nn.Module],
) -> nn.Module:
    transform = make("transform", spatial["transform"], dims=len(in_shape) - 1)
    size = spatial["output_size"] if not name.startswith("C") or name == "C0" else None
    seen = (in_shape[0], *size) if size else in_shape
    try:
        return place_as(
            name,
            net_of(seen, scores),
            transform,
            in_shape=in_shape,
            body=lambda shape: make("localisation", spatial["localisation"], in_shape=shape),
            poses=_start(transform, spatial.get("poses")),
            **_options(spatial, make),
        )
    except REFUSALS as error:
        raise BenchError(f"placement `{name}`: {error}") from error


def _options(spatial: Mapping[str, Any], make: Make) -> dict[str, Any]:
    size, padding = spatial["output_size"], spatial["padding"]
    return {
        "sampler": make("sampler", spatial["sampler"]),
        "output_size": None if size is None else tuple(size),
        "padding": tuple(padding) if isinstance(padding, list) else padding,
        "align_corners": spatial["align_corners"],
    }


def _start(transform: Transform, given: list[Any] | None) -> Tensor | None:
    """Where `theta` starts; in a family without identity at the centre, on all of the image."""
    # A model may be built inside `torch.device("meta")`, where nothing would have a value.
    with torch.device("cpu"):
        if given is not None:
            return torch.tensor(given, dtype=torch.float64)
        if transform.num_params is None or transform.identity is not None:
            return None
    if isinstance(transform, Polar | LogPolar):
        return torch.zeros(transform.num_params, dtype=torch.float64, device="cpu")
    return tile_poses(transform, (1,) * transform.dims)[0]


def _tiles(count: int, dims: int) -> Shape:
    """The most square arrangement of so many tiles, wider than high."""
    rows = max(n for n in range(1, math.isqrt(count) + 1) if count % n == 0)
    return (*[1] * (dims - 2), rows, count // rows)


def _of_features(net: nn.Module, seen: Shape, count: int, scores: int) -> nn.Module:
    """One network on each of `count` crops, and one linear layer on all their features."""
    features = shape_after(net, seen)
    if len(features) != 1:
        raise BenchError(
            f"join `features`: the model must give (batch, features), gives {features}"
        )
    return nn.Sequential(
        OrderedDict(
            parts=net,
            together=nn.Unflatten(0, (-1, count)),
            flat=nn.Flatten(),
            classifier=nn.Linear(count * features[0], scores),
        )
    )


def _of_labels(net: nn.Module, count: int, labels: int) -> nn.Module:
    """One network that names one label in each of `count` crops."""
    if count != labels:
        raise BenchError(f"join `labels`: `count` must be {labels}, the labels of an image")
    together, flat = nn.Unflatten(0, (-1, count)), nn.Flatten()
    return nn.Sequential(OrderedDict(glimpse=net, together=together, flat=flat))
