"""The linear family: what each one fills the matrix with, and its inverse."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial.transform
import torch
from contract import TRANSFORMS, images, seeded, thetas
from kornia.geometry.transform import get_rotation_matrix2d

from stn_core import Projection, canonical_grid, warp
from stn_core.transforms import (
    Affine,
    Attention,
    ConstrainedAffine,
    ExponentialAffine,
    Rigid,
    Rotation,
    Scaling,
    Shear,
    Similarity,
    Slice,
)
from stn_core.transforms.matrices import exponential, inverse

LINEAR = {name: t for name, t in TRANSFORMS.items() if hasattr(t, "matrix") and "Proj" not in name}
CLOSED = {name: t for name, t in LINEAR.items() if hasattr(t, "inverse")}


def matrix(transform, *theta):
    return transform.matrix(torch.tensor([theta], dtype=torch.float64))[0].numpy()


def test_matrices_by_hand():
    cases = [
        (Scaling(), (2, 3), [[2, 0, 0], [0, 3, 0]]),
        (Scaling(isotropic=True), (2,), [[2, 0, 0], [0, 2, 0]]),
        (Scaling(3), (2, 3, 4), np.diag([2, 3, 4, 0])[:3]),
        (Shear(), (2, 3), [[1, 2, 0], [3, 1, 0]]),
        (Shear(3), (1, 2, 3, 4, 5, 6), [[1, 1, 2, 0], [3, 1, 4, 0], [5, 6, 1, 0]]),
        (Rotation(), (math.pi / 2,), [[0, -1, 0], [1, 0, 0]]),
        (Rigid(), (math.pi / 2, 5, 6), [[0, -1, 5], [1, 0, 6]]),
        (Similarity(), (2, math.pi / 2, 5, 6), [[0, -2, 5], [2, 0, 6]]),
        (Slice(), range(9), [[0, 1, 0, 2], [3, 4, 0, 5], [6, 7, 1, 8]]),
    ]
    for transform, theta, expected in cases:
        np.testing.assert_allclose(matrix(transform, *theta), expected, atol=1e-15)


def test_rotation_in_3d_is_that_of_scipy():
    theta = torch.randn(100, 3, dtype=torch.float64, generator=seeded(0))
    theta = torch.cat(
        [theta, 1e-3 * theta, 0.31 * theta / theta.norm(dim=1, keepdim=True), 0 * theta]
    )
    expected = scipy.spatial.transform.Rotation.from_rotvec(theta.numpy()).as_matrix()
    computed = Rotation(3).matrix(theta)[:, :, :3]
    np.testing.assert_allclose(computed.numpy(), expected, atol=1e-14)
    about_z = Rotation(3).matrix(torch.tensor([[0, 0, 0.7]], dtype=torch.float64))
    np.testing.assert_allclose(about_z[0, :2, :2], matrix(Rotation(), 0.7)[:, :2])


def test_positive_angle_turns_the_image_counter_clockwise_as_torch_and_kornia():
    image = images(1, 2, 7, 7)
    output = warp(image, torch.tensor([[math.pi / 2]], dtype=torch.float64), Rotation())
    torch.testing.assert_close(output, torch.rot90(image, 1, dims=(2, 3)))
    centre, one = torch.zeros(1, 2), torch.ones(1, 2)
    forward = get_rotation_matrix2d(centre, torch.tensor([30.0]), one)
    np.testing.assert_allclose(
        np.linalg.inv(forward[0, :, :2]), matrix(Rotation(), math.pi / 6)[:, :2], atol=1e-6
    )


def test_first_and_second_derivative_at_no_rotation():
    theta = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Rotation(3).matrix, theta)
    assert torch.autograd.gradgradcheck(Rotation(3).matrix, theta)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_algebra_is_that_of_scipy_and_numpy(n):
    matrices = torch.randn(50, n, n, dtype=torch.float64, generator=seeded(n))
    np.testing.assert_allclose(
        exponential(matrices).numpy(), scipy.linalg.expm(matrices.numpy()), rtol=1e-9, atol=1e-9
    )
    unit = torch.eye(n, dtype=torch.float64).expand(50, n, n)
    torch.testing.assert_close(inverse(matrices) @ matrices, unit, atol=1e-9, rtol=0)
    assert not inverse(torch.ones(1, n, n)).isfinite().any()


def test_exponential_starts_from_zeros():
    """ddtn could not start at the identity: its closed form of the exponential is 0 / 0 there."""
    for dims in (2, 3):
        theta = torch.zeros(1, dims * (dims + 1), dtype=torch.float64, requires_grad=True)
        points = canonical_grid((3,) * dims, align_corners=False, dtype=torch.float64)
        assert torch.equal(ExponentialAffine(dims)(theta, points)[0], points)
        assert torch.autograd.gradcheck(
            lambda t, p=points, d=dims: ExponentialAffine(d)(t, p), theta
        )


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exponential_is_invertible_over_ten_thousand(dims, dtype):
    transform = ExponentialAffine(dims)
    theta = 2 * torch.rand(10_000, dims * (dims + 1), dtype=dtype, generator=seeded(0)) - 1
    points = canonical_grid((3,) * dims, align_corners=True, dtype=dtype)
    there = transform(theta, points)
    back = transform.map_points(transform.inverse(theta), there)
    torch.testing.assert_close(back, points.expand_as(back), atol=1e-4, rtol=0)
    determinant = torch.linalg.det(transform.matrix(theta)[:, :, :-1])
    trace = theta.unflatten(1, (dims, dims + 1))[:, :, :-1].diagonal(dim1=1, dim2=2).sum(1)
    assert (determinant > 0).all()
    torch.testing.assert_close(determinant, trace.exp(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("transform", CLOSED.values(), ids=CLOSED.keys())
def test_inverse_theta_gives_the_inverse_matrix(transform):
    theta = thetas(transform, 50, scale=0.3)
    last = torch.eye(transform.dims + 1, dtype=torch.float64)[-1:].expand(50, 1, -1)
    there = torch.cat([transform.matrix(theta), last], dim=1)
    back = torch.cat([transform.matrix(transform.inverse(theta)), last], dim=1)
    torch.testing.assert_close(
        back @ there, torch.eye(transform.dims + 1).to(there).expand_as(there)
    )


def test_fixed_zeros_stay():
    """Sonnet's `_combine` returned `x or y`, so that a fixed entry of 0 on the left was lost."""
    theta = torch.full((1, 2), 7.0, dtype=torch.float64)
    no_shear = ConstrainedAffine(((None, 0.0, 0.0), (0.0, None, 0.0)))
    assert no_shear.num_params == 2
    assert no_shear.matrix(theta).tolist() == [[[7, 0, 0], [0, 7, 0]]]
    none_free_in_z = ConstrainedAffine(
        ((1.0, 0.0, 0.0, None), (0.0, 1.0, 0.0, None), (0.0, 0.0, 1.0, 0.0))
    )
    assert none_free_in_z.num_params == 2
    assert none_free_in_z.matrix(theta).tolist() == [[[1, 0, 0, 7], [0, 1, 0, 7], [0, 0, 1, 0]]]


def test_constrained_equals_the_class_that_says_so():
    theta = torch.tensor([[0.3, 0.1, -0.2]], dtype=torch.float64)
    points = canonical_grid((3, 5), align_corners=False, dtype=torch.float64)
    fixed = ConstrainedAffine(((0.3, 0.0, None), (0.0, 0.3, None)))
    torch.testing.assert_close(fixed(theta[:, 1:], points), Attention()(theta, points))
    free = ConstrainedAffine()
    theta = thetas(free, 2)
    torch.testing.assert_close(free(theta, points), Affine()(theta, points))


def test_identity_of_a_constrained_affine_is_that_of_its_free_entries_or_none():
    kept = ConstrainedAffine(((None, 0.0, None), (0.0, 1.0, None))).identity
    assert kept is not None and kept.tolist() == [1, 0, 0]
    assert ConstrainedAffine(((0.5, 0.0, None), (0.0, 0.5, None))).identity is None


@pytest.mark.parametrize("align_corners", [False, True])
def test_slice_of_a_volume_is_its_plane_and_projection_sums_depth(align_corners):
    volume = images(2, 3, 5, 4, 7)
    options = {"output_size": (1, 4, 7), "align_corners": align_corners}
    middle = Slice().identity.expand(2, -1)
    plane = Projection()(warp(volume, middle, Slice(), **options))
    torch.testing.assert_close(plane, volume[:, :, 2])
    across = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0, 1, 0]], dtype=torch.float64).expand(2, -1)
    options["output_size"] = (1, 5, 7)
    plane = Projection()(warp(volume, across, Slice(), **options))
    torch.testing.assert_close(plane, volume[:, :, :, 1:3].mean(3))
    torch.testing.assert_close(Projection()(volume), volume.sum(2))


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused():
    with pytest.raises(
        ValueError, match=r"`fixed` must be 2 rows of 3 or 3 rows of 4 .* got \(\(No"
    ):
        ConstrainedAffine(((None, 0.0), (0.0, None)))
    with pytest.raises(ValueError, match=r"`fixed` must leave an entry free .* got \(\(1.0, 0"):
        ConstrainedAffine(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
    with pytest.raises(ValueError, match=r"`volume` must have shape .* got \(1, 2, 3, 4\)"):
        Projection()(torch.zeros(1, 2, 3, 4))
