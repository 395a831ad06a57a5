import itertools

import numpy as np
import pytest
import torch
from contract import seeded, thetas
from scipy.integrate import solve_ivp
from scipy.linalg import null_space

from stn_core import canonical_grid
from stn_core.transforms import PiecewiseAffine


def triangulation(n):
    """Vertices of n x n cells and the 4 triangles of each, written from the definition."""
    corners = {(i, j): i * (n + 1) + j for i in range(n + 1) for j in range(n + 1)}
    places = [(-1 + 2 * j / n, -1 + 2 * i / n) for i, j in corners]
    triangles = []
    for i, j in itertools.product(range(n), repeat=2):
        ring = [corners[p] for p in ((i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j))]
        triangles += [(a, b, len(places)) for a, b in zip(ring, ring[1:] + ring[:1], strict=True)]
        places.append((-1 + (2 * j + 1) / n, -1 + (2 * i + 1) / n))
    return np.array(places), triangles


@pytest.mark.parametrize("zero_boundary", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_parameters_are_as_many_as_the_null_space_of_continuity_has(n, zero_boundary):
    """libcpab's definition: affine pieces, constrained to agree at the vertices they share."""
    places, triangles = triangulation(n)
    rows = []
    for (k, a), (m, b) in itertools.combinations(enumerate(triangles), 2):
        for vertex in set(a) & set(b):
            row = np.zeros((len(triangles), 3))
            row[k], row[m] = [*places[vertex], 1], [-places[vertex][0], -places[vertex][1], -1]
            rows.append(row.ravel())
    for k, triangle in enumerate(triangles):
        for vertex in triangle:
            if zero_boundary and np.abs(places[vertex]).max() == 1:
                row = np.zeros((len(triangles), 3))
                row[k] = [*places[vertex], 1]
                rows.append(row.ravel())
    free = null_space(np.array(rows)).shape[1]
    assert PiecewiseAffine((n, n), zero_boundary=zero_boundary).num_params == 2 * free


def test_velocity_is_barycentric_on_each_triangle():
    transform = PiecewiseAffine((3, 3), zero_boundary=False)
    theta = thetas(transform, 1)
    vertices = theta[0].unflatten(0, (-1, 2)).numpy()
    places, triangles = triangulation(3)
    points = 2 * torch.rand(1, 500, 2, dtype=torch.float64, generator=seeded(1)) - 1
    ones = np.ones((500, 1))
    seen = np.zeros(500, dtype=bool)
    for triangle in map(list, triangles):
        corners = np.concatenate([places[triangle], np.ones((3, 1))], axis=1)
        shares = np.concatenate([points[0].numpy(), ones], axis=1) @ np.linalg.inv(corners)
        inside = np.all(shares >= 0, axis=1)
        seen |= inside
        velocity = transform.velocity(theta, points[:, torch.from_numpy(inside)])
        expected = shares[inside] @ vertices[triangle]
        np.testing.assert_allclose(velocity[0].numpy(), expected, atol=1e-12)
    assert seen.all()


def test_flow_is_the_solution_of_scipy():
    transform = PiecewiseAffine((2, 3))
    theta = thetas(transform, 1, scale=0.2)
    points = 2 * torch.rand(20, 2, dtype=torch.float64, generator=seeded(1)) - 1

    def velocity(_, flat):
        return transform.velocity(theta, torch.from_numpy(flat).reshape(1, -1, 2)).flatten().numpy()

    solution = solve_ivp(velocity, (0, 1), points.flatten().numpy(), rtol=1e-9, atol=1e-9)
    expected = solution.y[:, -1].reshape(-1, 2)
    np.testing.assert_allclose(transform(theta, points)[0].numpy(), expected, atol=2e-4)


@pytest.mark.parametrize("zero_boundary", [False, True])
def test_invertible_without_folds_over_ten_thousand(zero_boundary):
    transform = PiecewiseAffine(zero_boundary=zero_boundary)
    count = len(transform.identity)
    theta = 0.3 * (2 * torch.rand(10_000, count, generator=seeded(0)) - 1)
    points = (2 * torch.rand(10_000, 4, 2, generator=seeded(1)) - 1).requires_grad_()
    there = transform.map_points(theta, points)
    rows = [torch.autograd.grad(x.sum(), points, retain_graph=True)[0] for x in there.unbind(-1)]
    there = there.detach()
    back = transform.map_points(transform.inverse(theta), there)
    torch.testing.assert_close(back, points.detach(), atol=1e-4, rtol=0)
    determinant = rows[0][..., 0] * rows[1][..., 1] - rows[0][..., 1] * rows[1][..., 0]
    assert determinant.min() > 0.01


def test_zero_boundary_maps_the_image_to_itself():
    transform = PiecewiseAffine()
    theta = thetas(transform, 20, scale=0.3)
    points = canonical_grid((9, 9), align_corners=True, dtype=torch.float64)
    moved = transform(theta, points)
    edge = points.abs().amax(-1) == 1
    torch.testing.assert_close(moved[:, edge], points[edge].expand(20, -1, -1))
    assert moved.abs().max() <= 1 + 1e-12


def test_half_a_theta_twice_is_the_whole():
    transform = PiecewiseAffine(zero_boundary=False)
    theta = thetas(transform, 20, scale=0.1)
    points = canonical_grid((9, 9), align_corners=True, dtype=torch.float64)
    twice = transform.map_points(theta / 2, transform(theta / 2, points))
    torch.testing.assert_close(twice, transform(theta, points), atol=2e-4, rtol=0)


def test_starts_from_zeros_with_a_gradient():
    """ddtn could not start at the identity: its closed form of the exponential is 0 / 0 there."""
    transform = PiecewiseAffine()
    theta = torch.zeros(1, len(transform.identity), dtype=torch.float64, requires_grad=True)
    points = 2 * torch.rand(200, 2, dtype=torch.float64, generator=seeded(1)) - 1
    moved = transform(theta, points)
    assert torch.equal(moved[0], points)
    (gradient,) = torch.autograd.grad(moved.sum(), theta)
    # Each vertex takes its share of each point, and the derivative is the velocity's.
    assert (gradient > 0).all()
    torch.testing.assert_close(
        gradient @ theta.detach().add(1).T,
        transform.velocity(torch.ones_like(theta), points[None]).sum()[None, None],
    )


def test_points_that_are_not_finite_stay_so():
    transform = PiecewiseAffine()
    points = torch.tensor([[torch.nan, 0.0], [torch.inf, 0.0], [0.0, 0.0]])
    moved = transform(thetas(transform, 1, dtype=torch.float32), points)
    assert moved.isfinite().all(-1).tolist() == [[False, False, True]]


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`size` must be 2 positive lengths, got \(0, 3\)"):
        PiecewiseAffine((0, 3))
    with pytest.raises(ValueError, match=r"`steps` must be at least 1, got 0"):
        PiecewiseAffine(steps=0)
