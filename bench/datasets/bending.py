"""Distortions that are not affine: the paper's P and E."""

from functools import lru_cache
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor
from torch.nn import functional as F

from .distortion import ordered

# Of so many draws the first that does not fold the image is taken.
CANDIDATES = 8


class P:
    """The paper's P: scaled about the centre, then each corner of the image moved on its own.

    Where the moved corners are not those of a convex quadrilateral, no projective map leads to
    them that keeps the image in one piece; they are drawn again.

    Args:
        corners: Standard deviation of each corner's move in pixels, along each axis.
        scale: Smallest and largest magnification.
    """

    def __init__(
        self,
        *,
        corners: Annotated[float, Ge(0)] = 5,
        scale: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (0.75, 1),
    ) -> None:
        self.corners, self.scale = corners, ordered(scale)

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def __call__(self, images: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
        height, width = images.shape[-2:]
        return self.apply(images, self.draw(len(images), height, width, generator))

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Where the corners go: `(count, 4, 2)`, (x, y) in pixels from the centre.

        They are those of the frame, half a pixel outside the outermost pixels' centres, in the
        order top left, top right, bottom right, bottom left.
        """
        device = generator.device
        scale = _scales(self.scale, count, generator)[:, None, None, None]
        noise = torch.randn(count, CANDIDATES, 4, 2, generator=generator, device=device)
        moved = scale * _frame(height, width, device) + self.corners * noise
        chosen = _is_convex(moved).int().argmax(1)
        return moved[torch.arange(count, device=device), chosen]

    def apply(self, images: Tensor, corners: Tensor) -> Tensor:
        """Distort image i so that its frame's corners come to lie at corners i."""
        height, width = images.shape[-2:]
        back = _to_square(corners)
        points = F.pad(_pixels(height, width, images.device), (0, 1), value=1.0)
        source = points @ back.transpose(1, 2)
        grid = source[..., :2] / source[..., 2:]
        return _sampled(images, grid)


class E:
    """The paper's E: scaled about the centre, then bent by a thin plate spline.

    The control points stand on a regular grid over the image's frame, its corners included.

    Args:
        points: Standard deviation of each control point's move in pixels, along each axis.
        scale: Smallest and largest magnification.
        control_points: Control points a side.
    """

    def __init__(
        self,
        *,
        points: Annotated[float, Ge(0)] = 1.5,
        scale: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (0.75, 1),
        control_points: Annotated[int, Ge(2), Le(16)] = 4,
    ) -> None:
        self.points, self.scale, self.control_points = points, ordered(scale), control_points

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def __call__(self, images: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
        return self.apply(images, *self.draw(len(images), generator))

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Scales `(count,)`, and moves of the control points `(count, points, 2)` in pixels."""
        scale = _scales(self.scale, count, generator)
        shape = (count, self.control_points**2, 2)
        noise = torch.randn(shape, generator=generator, device=generator.device)
        return scale, self.points * noise

    def apply(self, images: Tensor, scale: Tensor, moves: Tensor) -> Tensor:
        """Read output pixel p of image i at `(p + bend i (p)) / scale i`, all from the centre."""
        height, width = images.shape[-2:]
        weights = _spline(self.control_points, height, width).to(images.device)
        points = _pixels(height, width, images.device) + weights @ moves
        frame = images.new_tensor([width, height])
        return _sampled(images, points * 2 / (scale[:, None, None] * frame))


@lru_cache(maxsize=8)
def _spline(side: int, height: int, width: int) -> Tensor:
    """What each control point's move counts at each pixel `(pixels, points)` (Bookstein, 1989)."""
    y, x = (np.linspace(-0.5, 0.5, side) * length for length in (height, width))
    control = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    pixels = _pixels(height, width, torch.device("cpu")).double().numpy()

    def basis(points: np.ndarray) -> np.ndarray:
        square = ((points[:, None] - control) ** 2).sum(-1)
        bend = square * np.log(np.where(square > 0, square, 1))
        return np.hstack([bend, np.ones((len(points), 1)), points])

    system = np.zeros((side**2 + 3, side**2 + 3))
    system[: side**2] = basis(control)
    system[side**2 :, : side**2] = system[: side**2, side**2 :].T
    wanted = np.eye(side**2 + 3, side**2)
    return torch.from_numpy(basis(pixels) @ np.linalg.solve(system, wanted)).float()


def _to_square(corners: Tensor) -> Tensor:
    """Matrices `(count, 3, 3)` that take quadrilaterals to the square from -1 to 1.

    Heckbert, 1989, section 2.2.3: the map from the unit square, then its adjugate.
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (c.unbind(-1) for c in corners.unbind(1))
    sx, sy = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    ax, ay, bx, by = x1 - x2, y1 - y2, x3 - x2, y3 - y2
    area = ax * by - bx * ay
    g, h = (sx * by - bx * sy) / area, (ax * sy - sx * ay) / area
    a, b, c = x1 - x0 + g * x1, x3 - x0 + h * x3, x0
    d, e, f = y1 - y0 + g * y1, y3 - y0 + h * y3, y0
    rows = [
        [e - f * h, c * h - b, b * f - c * e],
        [f * g - d, a - c * g, c * d - a * f],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ]
    unit = torch.stack([torch.stack(row, -1) for row in rows], 1)
    # From [0, 1] to [-1, 1]: 2 u - w.
    return unit.new_tensor([[2, 0, -1], [0, 2, -1], [0, 0, 1]]) @ unit


def _is_convex(corners: Tensor) -> Tensor:
    """Whether corners `(…, 4, 2)` go round a convex quadrilateral in their order."""
    edges = corners.roll(-1, -2) - corners
    following = edges.roll(-1, -2)
    turns = edges[..., 0] * following[..., 1] - edges[..., 1] * following[..., 0]
    return (turns > 0).all(-1)


def _scales(scale: tuple[float, float], count: int, generator: torch.Generator) -> Tensor:
    u = torch.rand(count, generator=generator, device=generator.device)
    return scale[0] + u * (scale[1] - scale[0])


def _frame(height: int, width: int, device: torch.device) -> Tensor:
    corners = torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]], device=device)
    return corners * torch.tensor([width / 2, height / 2], device=device)


def _pixels(height: int, width: int, device: torch.device) -> Tensor:
    """Centres of an image's pixels `(height * width, 2)`, (x, y) from the centre."""
    y = torch.arange(height, device=device) - (height - 1) / 2
    x = torch.arange(width, device=device) - (width - 1) / 2
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1).flatten(
        0, 1
    )


def _sampled(images: Tensor, grid: Tensor) -> Tensor:
    """Images read at points `(count, pixels, 2)` where the frame goes from -1 to 1; 0 outside."""
    grid = grid.unflatten(1, images.shape[-2:])
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)
