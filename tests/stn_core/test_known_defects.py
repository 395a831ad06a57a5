"""What went wrong in other projects does not go wrong here; each test says where it was seen.

Others stand beside what they are about: half a pixel in kornia and NaN in torch's `grid_sample` in
`test_sampler_oracles.py`, bounds that stick in `test_head.py`, linearised sampling's lost slopes in
`test_sampler_multisample.py`, collapse in `test_diagnostics.py`.
"""

import pytest
import torch
from contract import TRANSFORMS, images
from torch import nn
from torch.nn.functional import grid_sample

from stn_core import Iterated, LocalisationNetwork, SpatialTransformer, diagnostics, warp
from stn_core.localisation import CNN
from stn_core.samplers import Bilinear
from stn_core.transforms import (
    Affine,
    Attention,
    ConstrainedAffine,
    ExponentialAffine,
    Flow,
    PiecewiseAffine,
    ThinPlateSpline,
    Translation,
)

RAMP = torch.arange(8.0).expand(1, 1, 3, 8)
I = torch.arange(8.0)  # noqa: E741, as in the formulas
START_AT_ZERO = [ExponentialAffine(), ExponentialAffine(3), PiecewiseAffine()]


def read_row(x, align_corners):
    grid = torch.stack([x, torch.zeros_like(x)], dim=-1)[None, None]
    return grid_sample(RAMP, grid, align_corners=align_corners).flatten()


def identity(transform, batch=1):
    return transform.identity.float().expand(batch, -1)


def test_a_fixed_zero_is_kept_and_3d_is_counted():
    """Sonnet's `_combine` returned `x or y`, and its `num_coeff` was 6 in 3-D too."""
    assert ConstrainedAffine(((0.0, 0.0, None), (0.0, 0.0, 0.0))).num_params == 1
    rows = ((None, 0.0, None, None), (0.0, None, None, None), (None, None, None, None))
    assert ConstrainedAffine(rows).num_params == 10


@pytest.mark.parametrize("align_corners", [False, True])
def test_grid_and_sampler_agree_where_others_shrink_or_grow(align_corners):
    """deep-text-recognition-benchmark, aster.pytorch, kevinzakka and tensorflow/models#193."""
    centres_read_as_corners = read_row((2 * I + 1 - 8) / 8, align_corners=True)
    torch.testing.assert_close(centres_read_as_corners, 0.4375 + 0.875 * I)
    corners_read_as_edges = read_row(2 * I / 7 - 1, align_corners=False)
    torch.testing.assert_close(corners_read_as_edges[1:-1], -0.5 + 8 / 7 * I[1:-1])
    scaled_by_two_less = (2 * I / 7 - 1 + 1) * (8 - 2) / 2
    assert scaled_by_two_less[-1] == 6
    output = warp(RAMP, identity(Affine()), Affine(), align_corners=align_corners)
    torch.testing.assert_close(output, RAMP, atol=1e-5, rtol=0)


def test_weights_are_those_of_the_point_before_it_is_brought_inside():
    """kevinzakka/spatial-transformer-network clipped first; Lasagne#689: edges are smeared."""
    half_out, far_out = torch.tensor([[1.0, 0]]), torch.tensor([[2.25, 0]])
    for shift, expected in ((half_out, 0.5), (far_out, 0.0)):
        options = {"output_size": (3, 1), "align_corners": False}
        assert (warp(torch.ones(1, 1, 3, 8), shift, Translation(), **options) == expected).all()
    border = warp(RAMP, far_out, Translation(), output_size=(3, 1), padding="border")
    assert (border == 7).all()


def test_points_outside_still_tell_theta_where_they_are():
    """aster.pytorch's `clamp(0, 1)` of the grid took their gradient."""
    spline = ThinPlateSpline((2, 10))
    theta = (3 * identity(spline)).requires_grad_()
    spline.grid(theta, (2, 10), align_corners=True).abs().sum().backward()
    assert theta.grad is not None and theta.grad.all()


@pytest.mark.parametrize("transform", START_AT_ZERO, ids=lambda t: t._get_name())
def test_starts_from_zeros_in_float32(transform):
    """ddtn: "find out why the zero weights destroy the affine_diffeo and CPAB"."""
    theta = identity(transform, 2).clone().requires_grad_()
    grid = transform.grid(theta, (4, 5, 6)[: transform.dims], align_corners=False)
    (gradient,) = torch.autograd.grad(grid.square().sum(), theta)
    assert not theta.any() and gradient.isfinite().all() and gradient.any()


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_no_grid_in_the_state_dict_and_any_size_batch_and_device(transform):
    """voxelmorph's grid in each checkpoint; IC-STN and the saliency sampler: one size, `.cuda()`;
    deep-text-recognition-benchmark#265: weights tied to one size of image."""
    if transform.num_params is None:
        pytest.skip("takes a field")
    for batch, size in ((1, (4, 5, 6)), (3, (3, 2, 7))):
        for device in ("cpu", "meta"):
            theta = torch.zeros(batch, transform.num_params, device=device)
            grid = transform.grid(theta, size[: transform.dims], align_corners=False)
            assert grid.device.type == device
            assert grid.shape == (batch, *size[: transform.dims], transform.dims)
    assert not transform.state_dict()


def test_axes_are_not_exchanged_on_rectangular_images():
    """voxelmorph#645, mermaid#131: xy against ij; outputs came rotated."""
    image = images(1, 2, 4, 6, dtype=torch.float32)
    right, down = torch.tensor([[2 / 6, 0]]), torch.tensor([[0, 2 / 4]])
    torch.testing.assert_close(warp(image, right, Translation())[..., :-1], image[..., 1:])
    torch.testing.assert_close(warp(image, down, Translation())[..., :-1, :], image[..., 1:, :])
    transpose = torch.tensor([[0.0, 1, 0, 1, 0, 0]])
    turned = warp(image, transpose, Affine(), output_size=(6, 4))
    torch.testing.assert_close(turned, image.mT)


def test_half_precision_goes_through_whole():
    """kornia#4557: NaN from its spline in float16; pytorch#94733: mixed dtypes are refused."""
    spline = ThinPlateSpline()
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        image = images(2, 3, 5, 257).to(dtype)
        for theta in (identity(spline, 2), identity(spline, 2).to(dtype)):
            output = warp(image, theta, spline)
            assert output.dtype == dtype
            # The thirds of its control points are rounded in a half theta.
            off = (output - image).abs().max()
            assert off < (1e-2 if theta.dtype == torch.float32 else 0.5)


def test_zooming_out_shows_the_background_that_padding_names():
    """pytorch/tutorials#1117: a normalised image has its background at -mean / std, not 0."""
    mean, std = torch.tensor([0.13, 0.4]), torch.tensor([0.3, 0.2])
    background = -mean / std
    image = background[:, None, None].expand(1, 2, 6, 7)
    out = torch.tensor([[3.0, 0.2, 0.1]])
    shown = warp(image, out, Attention(), padding=tuple(background.tolist()))
    torch.testing.assert_close(shown, image)
    assert (warp(image, out, Attention()) - image).abs().max() > 0.4
    grid = Attention().grid(out, (6, 7), align_corners=False)
    assert diagnostics.outside_share(grid) > 0.5


def test_one_large_step_is_seen():
    """keras#478: one large step puts all samples outside, where nothing has a gradient."""
    theta = torch.tensor([[1.0, 0, 5, 0, 1, 0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(warp(RAMP, theta, Affine()).sum(), theta)
    assert not gradient.any()
    grid = Affine().grid(theta, (3, 8), align_corners=False)
    assert diagnostics.collapse(grid, align_corners=False).outside


def test_a_new_localisation_network_moves_nothing():
    """kevinzakka/spatial-transformer-network#10, stnbhwd#22: random weights, blank images."""
    for transform in (Affine(), ThinPlateSpline(), PiecewiseAffine()):
        network = LocalisationNetwork(CNN((1, 28, 28)), transform)
        image = images(2, 1, 28, 28, dtype=torch.float32)
        output = SpatialTransformer(network, transform)(image)
        torch.testing.assert_close(output, image, atol=1e-5, rtol=0)


def test_a_field_of_half_the_size_moves_as_far():
    """voxelmorph counts pixels, so that resizing a field has to rescale it."""
    small, large = torch.full((1, 2, 2, 4), 0.25), torch.full((1, 2, 4, 8), 0.25)
    grids = [Flow().grid(field, (3, 5), align_corners=False) for field in (small, large)]
    torch.testing.assert_close(*grids)


def test_sides_of_one_pixel_and_huge_points():
    """pytorch#42625 and #15386 (sides of one pixel), #24823 (huge points crashed)."""
    image = torch.ones(1, 1, 1, 8, requires_grad=True)
    for align_corners in (False, True):
        output = warp(image, identity(Affine()), Affine(), align_corners=align_corners)
        (gradient,) = torch.autograd.grad(output.sum(), image)
        torch.testing.assert_close(gradient, torch.ones_like(image))
    for padding in ("zeros", "border", "reflection"):
        huge = torch.full((1, 6), 1e30)
        assert warp(image, huge, Affine(), padding=padding, sampler=Bilinear()).isfinite().all()


def test_iterations_read_the_original():
    """Series of warps blur (IC-STN's reason to be): a shift there and back loses nothing."""
    there = nn.Parameter(torch.tensor([[0.5, 0.0]]))

    class Back(nn.Module):
        def forward(self, image):
            first = (image[:, :1, 0, 0] == RAMP[0, 0, 0, 0]).float()
            return there * (2 * first - 1)

    module = Iterated(SpatialTransformer(Back(), Translation()), iterations=2)
    torch.testing.assert_close(module(RAMP), RAMP)
