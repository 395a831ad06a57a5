"""What the transformers of a model see and do while it trains: pictures, and their diagnostics."""

import base64
import dataclasses
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from stn_core import Glimpses, Iterated, SpatialTransformer
from stn_core.diagnostics import (
    collapse,
    folding_share,
    jacobian_determinant,
    outline,
    outside_share,
)
from stn_core.grid import to_pixels
from stn_core.iterated import Chain

from .datasets.dataset import Resident
from .results import CurvePoint, Metric, Picture

# So that a row of the store stays small: sides in pixels, examples, and bytes of all pictures.
SIDE = 64
EXAMPLES, LARGE_EXAMPLES = 8, 4
SMALL_AREA = 64 * 64
BUDGET = 120_000
# Diagnostics are of this many test images, on a grid of so many points a side.
DIAGNOSED, GRID = 100, 16
WORST, WORST_OF = 6, 500
EDGE_POINTS = 8


@dataclass(frozen=True)
class Watch:
    """Looks at a model at each evaluation, always on the same test images.

    It is called as `train` calls its `observe`; it draws nothing from torch's generators and
    changes nothing in the model.

    Attributes:
        data: Where the test images are from.
        last: The last step, at which the worst errors are looked for.
        draw: Whether pictures are made; diagnostics always are.
        classifies: Whether the model gives scores of classes; there are no errors to show else.
    """

    data: Resident
    last: int
    draw: bool = True
    classifies: bool = True
    curves: list[CurvePoint] = field(default_factory=list)
    taken: list[Picture] = field(default_factory=list)

    def __call__(self, step: int, model: nn.Module) -> None:
        """Look at a model in evaluation mode after so many steps."""
        devices = [self.data.device] if self.data.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad():
            images, targets = next(self.data.test(DIAGNOSED))
            looks = _looks(model, images)
            self.curves.extend(CurvePoint(k, step, v) for k, v in _diagnosed(looks).items())
            if not self.draw:
                return
            if not self.taken:
                self.taken.extend(_inputs(images, targets))
            self.taken.extend(_outputs(looks, images, targets, step))
            if step == self.last and self.classifies:
                self.taken.extend(_worst(model, self.data, step))

    def state(self) -> str:
        """All that was seen, for a training that is cut short."""
        taken = [
            dataclasses.asdict(each) | {"png": base64.b64encode(each.png).decode()}
            for each in self.taken
        ]
        return json.dumps({"curves": [dataclasses.astuple(c) for c in self.curves], "taken": taken})

    def restore(self, state: str) -> None:
        """Have seen what `state` says, and nothing else."""
        seen = json.loads(state)
        self.curves[:] = [CurvePoint(*each) for each in seen["curves"]]
        self.taken[:] = [
            Picture(**each | {"png": base64.b64decode(each["png"]), "outline": (*each["outline"],)})
            for each in seen["taken"]
        ]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The diagnostics of the last step."""
        latest = {point.name: point.value for point in self.curves}
        return tuple(Metric(name, value, "share" if "share" in name else "ratio", False)
                     for name, value in latest.items())  # fmt: skip

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All that were taken, or where they are too many bytes, without some steps in between."""
        kept = list(self.taken)
        while sum(len(each.png) for each in kept) > BUDGET:
            steps = sorted({each.step for each in kept if each.kind == "output"})
            if len(steps) < 2:
                return tuple(kept)
            # The first step and the last say most.
            gone = steps[len(steps) // 2] if len(steps) > 2 else steps[0]
            kept = [each for each in kept if each.kind != "output" or each.step != gone]
        return tuple(kept)


class Look(NamedTuple):
    """What one transformer did to a batch: its map as a grid, its outline if drawn, its output."""

    name: str
    grid: Tensor
    outline: Tensor | None
    output: Tensor
    align_corners: bool


def _looks(model: nn.Module, images: Tensor) -> list[Look]:
    """What every transformer of a model does to images, several looks of one apart."""
    seen: dict[str, Tensor] = {}
    handles, owners = [], dict(_transformers(model))
    for name, module in owners.items():
        # A `Parallel` warps by its transformers without calling them, but asks what they look with.
        part = module.localisation if isinstance(module, SpatialTransformer) else module
        handles.append(part.register_forward_pre_hook(partial(_note, seen, name)))
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return [look for name, given in seen.items() for look in _of(name, owners[name], given)]


def _note(seen: dict[str, Tensor], name: str, _: nn.Module, given: tuple[Any, ...]) -> None:
    seen.setdefault(name, given[0])


def _transformers(
    model: nn.Module,
) -> Iterator[tuple[str, SpatialTransformer | Iterated | Glimpses]]:
    inner: set[nn.Module] = set()
    for name, module in model.named_modules():
        if isinstance(module, Iterated | Glimpses):
            inner.add(module.transformer)
            yield name, module
        elif isinstance(module, SpatialTransformer) and module not in inner:
            yield name, module


def _of(name: str, owner: SpatialTransformer | Iterated | Glimpses, given: Tensor) -> list[Look]:
    output, theta = owner.warp(given)
    base = owner if isinstance(owner, SpatialTransformer) else owner.transformer
    transform, dims = base.transform, base.transform.dims
    if isinstance(owner, Glimpses):
        count = theta.shape[1]
        joined = output.chunk(count, 1) if owner.join == "channels" else output.unflatten(
            0, (-1, count)).unbind(1)  # fmt: skip
        each = [(f"{name} {i + 1}", t, o) for i, (t, o) in
                enumerate(zip(theta.unbind(1), joined, strict=True))]  # fmt: skip
    else:
        each = [(name, theta, output)]
    looks = []
    for label, one, out in each:
        grid = (owner if isinstance(owner, Iterated) else base).grid(one, (GRID,) * dims)
        edge = None
        if dims == 2:
            moved = Chain(transform) if isinstance(owner, Iterated) else transform
            edge = outline(moved, one, points_per_edge=EDGE_POINTS).flatten(1, 2)
        looks.append(Look(label, grid, edge, out, base.align_corners))
    return looks


def _diagnosed(looks: list[Look]) -> Mapping[str, float]:
    """Means over images and transformers; nothing where there is no transformer."""
    if not looks:
        return {}
    found: dict[str, list[float]] = {}
    for look in looks:
        at = {"align_corners": look.align_corners}
        collapsed = collapse(look.grid, **at)
        values = {
            "outside_share": outside_share(look.grid),
            "determinant": jacobian_determinant(look.grid, **at),
            "folding_share": folding_share(look.grid, **at),
            "collapsed_share": (collapsed.shrunk | collapsed.outside).float(),
        }
        for name, value in values.items():
            found.setdefault(name, []).append(float(value.mean()))
    return {name: sum(values) / len(values) for name, values in found.items()}


def _inputs(images: Tensor, targets: Tensor) -> Iterator[Picture]:
    for i, (image, target) in enumerate(_few(images, targets)):
        yield Picture("input", "", 0, i, _png(image), label=_label(target))


def _outputs(looks: list[Look], images: Tensor, targets: Tensor, step: int) -> Iterator[Picture]:
    size = _shown(images[:1]).shape[2:]
    for i, (_, target) in enumerate(_few(images, targets)):
        for look in looks:
            edge: tuple[float, ...] = ()
            if look.outline is not None:
                pixels = to_pixels(look.outline[i], size, align_corners=look.align_corners)
                edge = tuple(round(float(v), 2) for v in pixels.flatten())
            yield Picture(
                "output", look.name, step, i, _png(look.output[i : i + 1]), edge, _label(target)
            )


def _worst(model: nn.Module, data: Resident, step: int) -> Iterator[Picture]:
    """Of the first test images those that are wrong with the highest loss."""
    found: list[tuple[float, Tensor, Tensor, Tensor]] = []
    for images, targets in islice(data.test(DIAGNOSED), WORST_OF // DIAGNOSED):
        scores = model(images).float()
        losses = F.cross_entropy(scores.flatten(0, -2), targets.flatten(), reduction="none")
        loss = losses.reshape(len(targets), -1).sum(1)
        answers = scores.argmax(-1)
        wrong = (answers != targets).reshape(len(targets), -1).any(1)
        order = (loss * wrong).argsort(descending=True)[:WORST]
        found += [(float(loss[i]), images[i], targets[i], answers[i]) for i in order if wrong[i]]
    found.sort(key=lambda each: -each[0])
    for i, (_, image, target, answer) in enumerate(found[:WORST]):
        png = _png(image[None])
        yield Picture("error", "", step, i, png, (), _label(target), _label(answer))


def _few(images: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The examples that are shown: fewer of large images."""
    small = images.shape[-2] * images.shape[-1] <= SMALL_AREA
    count = EXAMPLES if small else LARGE_EXAMPLES
    return [(images[i : i + 1], targets[i]) for i in range(min(count, len(images)))]


def _label(target: Tensor) -> str:
    return " ".join(str(int(each)) for each in target.reshape(-1))


def _shown(image: Tensor) -> Tensor:
    """`(1, 1 or 3, height, width)`, at most so many pixels a side; a volume is seen from the front.

    Of a feature map the mean over its channels is shown.
    """
    image = image.float()
    if image.ndim == 5:
        image = image.amax(2)
    if image.shape[1] not in (1, 3):
        image = image.mean(1, keepdim=True)
    scale = SIDE / max(image.shape[2:])
    if scale < 1:
        size = [max(1, round(n * scale)) for n in image.shape[2:]]
        image = F.interpolate(image, size, mode="area")
    return image


def _png(image: Tensor) -> bytes:
    """One image as a PNG file; what is not within [0, 1] is brought there, by its own extremes."""
    shown = _shown(image)[0]
    low, high = shown.amin(), shown.amax()
    if low < 0 or high > 1:
        shown = (shown - low) / (high - low).clamp(min=1e-12)
    pixels = (255 * shown).round().byte().cpu().permute(1, 2, 0).squeeze(2).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()
