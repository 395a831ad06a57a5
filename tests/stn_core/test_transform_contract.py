import pickle

import pytest
import torch
from contract import TRANSFORMS, images, size_of, thetas

from stn_core import canonical_grid, warp

every_transform = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
# Tracing takes seconds, and its outcome does not hang on the constructor's arguments.
LAST_OF_EACH = {type(transform): transform for transform in TRANSFORMS.values()}
every_class = pytest.mark.parametrize(
    "transform", LAST_OF_EACH.values(), ids=lambda t: t._get_name()
)


def points_for(transform, dtype=torch.float64):
    return canonical_grid(size_of(transform), align_corners=False, dtype=dtype)


@every_transform
@pytest.mark.parametrize("align_corners", [False, True])
def test_identity_is_the_identity(transform, align_corners):
    if transform.identity is None:
        pytest.skip("claims no identity")
    size = (13, 21) if transform.dims == 2 else (5, 9, 11)
    points = canonical_grid(size, align_corners=align_corners)
    grid = transform(transform.identity.float().expand(2, -1), points)
    assert grid.dtype == torch.float32
    torch.testing.assert_close(grid, points.expand(2, *points.shape), atol=1e-6, rtol=0)
    image, theta = images(2, 3, *size), transform.identity.expand(2, -1)
    output = warp(image, theta, transform, align_corners=align_corners)
    torch.testing.assert_close(output, image, atol=1e-6, rtol=0)


@every_transform
def test_identity_is_float64_of_its_length(transform):
    if transform.identity is None:
        pytest.skip("claims no identity")
    assert transform.identity.dtype == torch.float64
    assert transform.identity.shape == (transform.num_params,)


@every_transform
def test_gradient(transform):
    theta = thetas(transform, 2).requires_grad_()
    points = points_for(transform).flatten(0, -2)[:6].requires_grad_()
    assert torch.autograd.gradcheck(transform, (theta, points))
    assert torch.autograd.gradgradcheck(transform, (theta, points), fast_mode=True)


@every_transform
def test_float32_and_float64_agree(transform):
    theta, points = thetas(transform, 3), points_for(transform)
    grid = transform(theta.float(), points.float())
    torch.testing.assert_close(grid.double(), transform(theta, points), atol=1e-5, rtol=1e-5)


@every_transform
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_theta_gives_a_float32_grid(transform, dtype):
    grid = transform(thetas(transform, 3).to(dtype), points_for(transform, torch.float32))
    assert grid.dtype == torch.float32


@every_transform
def test_autocast_changes_nothing(transform):
    theta, points = thetas(transform, 3, dtype=torch.float32), points_for(transform, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        grid = transform(theta, points)
    assert torch.equal(grid, transform(theta, points))


@every_transform
def test_batch_elements_are_independent(transform):
    theta, points = thetas(transform, 3), points_for(transform)
    other = theta.clone()
    other[1] = torch.nan
    kept = [0, 2]
    assert torch.equal(transform(other, points)[kept], transform(theta, points)[kept])


@every_transform
def test_points_of_each_element_as_one_set(transform):
    theta, points = thetas(transform, 3), points_for(transform)
    each = transform.map_points(theta, points.expand(3, *points.shape))
    torch.testing.assert_close(each, transform(theta, points))


@every_transform
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_grid_is_that_of_the_canonical_points(transform, dtype):
    size, theta = size_of(transform), thetas(transform, 3).to(dtype)
    points = canonical_grid(size, align_corners=True, dtype=torch.promote_types(dtype, torch.float))
    grid = transform.grid(theta, size, align_corners=True)
    torch.testing.assert_close(grid, transform(theta, points))
    with pytest.raises(ValueError, match=rf"`size` must be {transform.dims} lengths for .* \(4,\)"):
        transform.grid(theta, (4,), align_corners=True)


@every_transform
def test_empty_batch_and_one_pixel(transform):
    points = canonical_grid((1,) * transform.dims, align_corners=True, dtype=torch.float64)
    assert transform(thetas(transform, 0), points).shape == (0, *points.shape)
    assert transform(thetas(transform, 2), points).isfinite().all()


@every_transform
def test_vmap_is_eager(transform):
    theta, points = thetas(transform, 3), points_for(transform)
    grid = torch.func.vmap(lambda row: transform(row[None], points)[0])(theta)
    torch.testing.assert_close(grid, transform(theta, points))


@every_transform
def test_pickle_holds_no_grid(transform):
    fresh = pickle.dumps(transform)
    theta, points = thetas(transform, 2), points_for(transform)
    grid = transform(theta, points)
    used = pickle.dumps(transform)
    assert len(used) == len(fresh) < 20_000
    assert torch.equal(pickle.loads(used)(theta, points), grid)
    assert not transform.state_dict()


@every_class
@pytest.mark.usefixtures("compiling")
def test_export_is_eager(transform):
    theta, points = thetas(transform, 3), points_for(transform)
    program = torch.export.export(transform, (theta, points))
    torch.testing.assert_close(program.module()(theta, points), transform(theta, points))


@every_class
@pytest.mark.usefixtures("compiling")
def test_compiled_graph_is_eager(transform):
    theta, points = thetas(transform, 3), points_for(transform)
    compiled = torch.compile(transform, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(theta, points), transform(theta, points))


@every_transform
def test_wrong_shapes_are_refused(transform):
    theta, points = thetas(transform, 2), points_for(transform)
    name = type(transform).__name__
    if transform.num_params is not None:
        wanted = rf"`theta` must have shape \(batch, {transform.num_params}\) for {name}, got \(2, "
        with pytest.raises(ValueError, match=wanted):
            transform(torch.cat([theta, theta], dim=1), points)
        with pytest.raises(ValueError, match=r"`theta` must have shape .* got \(2,\)"):
            transform(theta[:, 0], points)
    with pytest.raises(ValueError, match=f"`points` must have {transform.dims} coord.*got 1"):
        transform(theta, points[..., :1])
