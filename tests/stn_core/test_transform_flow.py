import pytest
import torch
from contract import images, seeded
from torch.nn.functional import grid_sample, interpolate

from stn_core import canonical_grid, warp
from stn_core.transforms import DiffeomorphicFlow, Flow
from stn_core.transforms.flow import read_field

both_conventions = pytest.mark.parametrize("align_corners", [False, True])
# Field and output: the same, other sizes, and sides of one pixel.
SIZES = [
    ((5, 7), (5, 7)),
    ((4, 3), (9, 5)),
    ((1, 6), (3, 1)),
    ((3, 4, 5), (3, 4, 5)),
    ((2, 1, 4), (3, 5, 2)),
]


def smooth_field(*size, amplitude, batch=2, dtype=torch.float64):
    """A velocity that a 4 x 4 lattice can hold, at a finer size."""
    dims = len(size)
    coarse = torch.rand(batch, dims, *[4] * dims, dtype=dtype, generator=seeded(0))
    return interpolate(amplitude * (2 * coarse - 1), size, mode="bicubic", align_corners=True)


@both_conventions
@pytest.mark.parametrize(("size", "out_size"), SIZES, ids=str)
def test_displacement_is_the_field_resized_as_torch_does(size, out_size, align_corners):
    dims = len(size)
    theta = torch.randn(2, dims, *size, dtype=torch.float64, generator=seeded(0))
    points = canonical_grid(out_size, align_corners=align_corners, dtype=torch.float64)
    mode = "bilinear" if dims == 2 else "trilinear"
    grid = Flow(dims, align_corners=align_corners)(theta, points)
    if 1 not in size or not align_corners:
        resized = interpolate(theta, out_size, mode=mode, align_corners=align_corners)
        if 1 in out_size and align_corners:
            return  # torch puts the only pixel of a side at its start, not at 0
        torch.testing.assert_close(grid - points, resized.movedim(1, -1))
    if size == out_size:
        torch.testing.assert_close(grid - points, theta.movedim(1, -1))


@both_conventions
@pytest.mark.parametrize("size", [(5, 7), (1, 4), (3, 4, 5)], ids=str)
def test_field_is_read_as_grid_sample_reads_it(size, align_corners):
    theta = torch.randn(2, 3, *size, dtype=torch.float64, generator=seeded(0))
    points = 3 * torch.randn(2, *(6, 5, 4)[: len(size)], len(size), dtype=torch.float64)
    expected = grid_sample(theta, points, padding_mode="border", align_corners=align_corners)
    computed = read_field(theta, points, align_corners=align_corners)
    torch.testing.assert_close(computed.movedim(-1, 1), expected)


@both_conventions
@pytest.mark.parametrize("kind", [Flow, DiffeomorphicFlow])
@pytest.mark.parametrize("size", [(5, 7), (3, 4, 5)], ids=str)
def test_zeros_of_any_size_are_the_identity(kind, size, align_corners):
    image, theta = images(2, 3, *size), torch.zeros(2, len(size), *[3] * len(size))
    output = warp(image, theta, kind(len(size)), align_corners=align_corners)
    torch.testing.assert_close(output, image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [Flow, DiffeomorphicFlow])
def test_a_size_makes_a_flat_theta_of_it(kind):
    theta = torch.randn(2, 2, 3, 4, dtype=torch.float64, generator=seeded(0)) / 10
    points = canonical_grid((5, 7), align_corners=False, dtype=torch.float64)
    assert kind(size=(3, 4)).num_params == 24
    torch.testing.assert_close(kind(size=(3, 4))(theta.flatten(1), points), kind()(theta, points))


def test_diffeomorphic_flow_is_that_of_small_euler_steps():
    """Exact but for the interpolation of a displacement instead of a velocity."""
    errors = []
    for n in (16, 64):
        velocity = smooth_field(n, n, amplitude=0.3)
        points = canonical_grid((9, 9), align_corners=False, dtype=torch.float64) * 0.9
        moving = points.expand(2, -1, -1, -1)
        for _ in range(300):
            moving = moving + read_field(velocity, moving, align_corners=False) / 300
        errors.append((DiffeomorphicFlow()(velocity, points) - moving).abs().max().item())
    assert errors[0] < 0.02
    assert errors[1] < 0.002


def test_negative_velocity_is_the_inverse_and_nothing_folds():
    transform, size = DiffeomorphicFlow(), (64, 64)
    velocity = smooth_field(*size, amplitude=0.3, batch=20)
    points = canonical_grid(size, align_corners=False, dtype=torch.float64)
    there = transform(velocity, points * 0.5)
    back = transform.map_points(transform.inverse(velocity), there)
    a_sixth_of_a_pixel = 2 / 64 / 6
    assert (back - points * 0.5).abs().max() < a_sixth_of_a_pixel
    by_x, by_y = there[:, :, 1:] - there[:, :, :-1], there[:, 1:] - there[:, :-1]
    by_x, by_y = by_x[:, :-1], by_y[:, :, :-1]
    assert (by_x[..., 0] * by_y[..., 1] - by_x[..., 1] * by_y[..., 0] > 0).all()


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused():
    points = canonical_grid((5, 7), align_corners=False)
    for bad in (torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 4), torch.zeros(1, 2, 0, 4)):
        with pytest.raises(
            ValueError, match=r"`theta` must have shape \(batch, 2, height, width\)"
        ):
            Flow()(bad, points)
    with pytest.raises(ValueError, match=r"`size` must be 2 positive lengths, got \(3,\)"):
        Flow(size=(3,))
    with pytest.raises(ValueError, match=r"`size` must be 3 positive lengths, got \(3, 0, 2\)"):
        DiffeomorphicFlow(3, size=(3, 0, 2))
    with pytest.raises(ValueError, match=r"`steps` must be at least 0, got -1"):
        DiffeomorphicFlow(steps=-1)
