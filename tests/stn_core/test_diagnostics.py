import math

import cv2
import numpy as np
import pytest
import torch
from contract import images, thetas

from stn_core import canonical_grid
from stn_core.diagnostics import (
    collapse,
    folding_share,
    jacobian_determinant,
    outline,
    outside_share,
)
from stn_core.transforms import Affine, Attention, Transform

SIZES = [(13, 21), (5, 9, 11)]
both = pytest.mark.parametrize("align_corners", [False, True])


class Bend(Transform):
    """x + a y^2, y + b x^2: it folds where 1 < 4 a b x y."""

    dims = 2
    num_params = 2

    @property
    def identity(self):
        return torch.zeros(2, dtype=torch.float64)

    def map_points(self, theta, points):
        shape = (theta.shape[0], *[1] * (points.ndim - 2), 2)
        return points + theta.reshape(shape) * points.flip(-1).square()


def grid_of(theta, transform, size, align_corners=False):
    return transform(theta, canonical_grid(size, align_corners=align_corners, dtype=theta.dtype))


def crops(*rows):
    return grid_of(torch.tensor(rows), Attention(), (16, 16))


@both
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_identity_is_inside_unfolded_and_of_determinant_one(size, align_corners):
    affine = Affine(dims=len(size))
    grid = grid_of(affine.identity.float().expand(2, -1), affine, size, align_corners)
    assert outside_share(grid).tolist() == folding_share(grid, align_corners=align_corners).tolist()
    assert outside_share(grid).tolist() == [0, 0]
    determinant = jacobian_determinant(grid, align_corners=align_corners)
    assert determinant.shape == (2, *[n - 1 for n in size])
    torch.testing.assert_close(determinant, torch.ones_like(determinant), atol=1e-4, rtol=0)


@both
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_determinant_of_affine_maps_is_that_of_the_matrix(size, align_corners):
    affine = Affine(dims=len(size))
    theta = thetas(affine, 3, scale=0.5)
    determinant = jacobian_determinant(
        grid_of(theta, affine, size, align_corners), align_corners=align_corners
    )
    expected = torch.linalg.det(affine.matrix(theta)[:, :, :-1])
    expected = expected.reshape(3, *[1] * len(size)).expand_as(determinant)
    torch.testing.assert_close(determinant, expected, atol=1e-10, rtol=0)


def test_determinant_of_a_bend_is_its_derivative():
    theta = torch.tensor([[0.3, 0.8]], dtype=torch.float64)
    determinant = jacobian_determinant(grid_of(theta, Bend(), (400, 300)), align_corners=False)
    centres = canonical_grid((400, 300), align_corners=False, dtype=torch.float64)
    # A forward difference is exact for a square at the middle of its step.
    x = centres[:-1, :-1, 0] + 1 / 300
    y = centres[:-1, :-1, 1] + 1 / 400
    expected = 1 - 4 * 0.3 * 0.8 * x * y
    torch.testing.assert_close(determinant[0], expected, atol=1e-10, rtol=0)
    share = (expected <= 0).double().mean()
    theta = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    shares = folding_share(grid_of(theta, Bend(), (400, 300)), align_corners=False)
    # By the integral of 4 x y > 1 over the square.
    assert share == 0 and shares[0] == 0
    assert shares[1] == pytest.approx((1 - 0.25 * (1 + math.log(4))) / 2, abs=0.01)


def test_mirrored_flat_and_nan_maps_count_as_folded():
    theta = torch.tensor([[-1.0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 0], [math.nan, 0, 0, 0, 1, 0]])
    assert folding_share(grid_of(theta, Affine(), (5, 7)), align_corners=False).tolist() == [1] * 3


def test_outside_share_counts_points_that_padding_decides():
    theta = torch.tensor([[2.0, 0, 0], [1.0, 0.5, 0], [1.0, 9, 0], [math.nan, 0, 0]])
    assert outside_share(grid_of(theta, Attention(), (16, 16))).tolist() == [0.75, 0.25, 1, 1]


def test_collapse_is_told_apart():
    fine, tiny, away = [1.0, 0.1, 0], [1e-4, 0.1, 0], [1.0, 3, 0]
    found = collapse(crops(fine, tiny, away), align_corners=False)
    assert found.shrunk.tolist() == [False, True, False]
    assert found.outside.tolist() == [False, False, True]
    assert not found.constant
    assert collapse(crops(fine, fine), align_corners=False).constant
    assert not collapse(crops(fine), align_corners=False).constant
    line = torch.tensor([[0.5, 0.5, 0, 0.5, 0.5, 0]])
    assert collapse(grid_of(line, Affine(), (5, 7)), align_corners=False).shrunk.all()


def test_one_pixel_and_empty_batch():
    grid = grid_of(torch.tensor([[1.0, 0, 0]]), Attention(), (1, 7))
    assert jacobian_determinant(grid, align_corners=True).shape == (1, 0, 6)
    assert folding_share(grid, align_corners=True).tolist() == [0]
    assert not collapse(grid, align_corners=True).shrunk.any()
    empty = grid[:0]
    assert outside_share(empty).shape == folding_share(empty, align_corners=True).shape == (0,)
    assert collapse(empty, align_corners=True).outside.shape == (0,)


def test_outline_is_the_polygon_of_what_is_seen():
    # 20 x 30 pixels, of which OpenCV fills those that the output shows.
    theta = torch.tensor([[0.4, -0.2, 0.1, 0.3, 0.5, -0.1]])
    polygon = outline(Affine(), theta).flatten(1, 2)
    assert polygon.shape == (1, 64, 2)
    size = torch.tensor([300, 200])
    pixels = ((polygon[0] + 1) * size / 2 - 0.5).round().int().numpy()
    drawn = cv2.fillPoly(np.zeros((200, 300), np.uint8), [pixels], 1)
    assert drawn.mean() == pytest.approx(0.4 * 0.5 + 0.2 * 0.3, abs=0.01)
    corners = outline(Affine(), theta, points_per_edge=2)[0, :, 0]
    expected = Affine()(theta, torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]))[0]
    torch.testing.assert_close(corners, expected)


def test_outline_of_a_box():
    theta = torch.tensor([[0.5, 0.1, 0.2, 0.3]])
    edges = outline(Attention(dims=3), theta, dims=3, points_per_edge=3)
    assert edges.shape == (1, 12, 3, 3)
    lengths = (edges[0, :, -1] - edges[0, :, 0]).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones(12))
    corners = {tuple(c) for c in edges[0, :, [0, -1]].flatten(0, 1).mul(1e4).round().tolist()}
    assert len(corners) == 8


@pytest.mark.usefixtures("compiling")
def test_compiled_graph_is_eager():
    grid = images(3, 6, 7, 2) * 3 - 1.5
    measure = torch.compile(collapse, fullgraph=True, backend="aot_eager")
    for got, expected in zip(
        measure(grid, align_corners=True), collapse(grid, align_corners=True), strict=True
    ):
        assert torch.equal(got, expected)


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`grid` must have shape .* got \(1, 5, 2\)"):
        jacobian_determinant(torch.zeros(1, 5, 2), align_corners=True)
    with pytest.raises(ValueError, match=r"`points_per_edge` at least 2, got dims=2, .*=1"):
        outline(Affine(), torch.zeros(1, 6), points_per_edge=1)
    with pytest.raises(ValueError, match=r"`dims` must be 2 or 3 .* got dims=4"):
        outline(Affine(), torch.zeros(1, 6), dims=4)
