"""The names and signatures that the library promises, one by one."""

import inspect

import pytest
import torch

import stn_core
from stn_core import canonical_grid, samplers, transforms
from stn_core.transforms import ConstrainedAffine

LINEAR = (
    "Translation Rotation Scaling Attention Rigid Similarity Shear Affine ConstrainedAffine "
    "ExponentialAffine Projective"
).split()
FLAT = "ThinPlateSpline PiecewiseAffine Polar LogPolar".split()
FIELDS = ["Flow", "DiffeomorphicFlow"]
# num_params in 2-D and 3-D.
COUNTS = {
    "Translation": (2, 3),
    "Rotation": (1, 3),
    "Scaling": (2, 3),
    "Attention": (3, 4),
    "Rigid": (3, 6),
    "Similarity": (4, 7),
    "Shear": (2, 6),
    "Affine": (6, 12),
    "ConstrainedAffine": (6, 12),
    "ExponentialAffine": (6, 12),
    "Projective": (8, 15),
}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", [*LINEAR, *FIELDS])
def test_families_of_both_dimensions(name, dims):
    kind = getattr(transforms, name)
    transform = kind(dims=dims, size=(2,) * dims) if name in FIELDS else kind(dims=dims)
    assert transform.dims == dims
    assert transform.num_params == (COUNTS[name][dims - 2] if name in LINEAR else dims * 2**dims)
    points = canonical_grid((3,) * dims, align_corners=False)
    moved = transform.forward(theta=transform.identity.float()[None], points=points)
    torch.testing.assert_close(moved[0], points)
    with pytest.raises(ValueError, match=r"`dims` must be 2 or 3, got 4"):
        kind(dims=4)


@pytest.mark.parametrize("name", FLAT)
def test_families_of_the_plane(name):
    """The spline's `size` says its dimensions; CPAB and polar maps are 2-D."""
    transform = getattr(transforms, name)()
    assert transform.dims == 2
    assert (transform.identity is None) == (name in ("Polar", "LogPolar"))
    theta = torch.zeros(1, transform.num_params)
    assert transform.forward(theta=theta, points=torch.zeros(5, 2)).shape == (1, 5, 2)
    assert transforms.ThinPlateSpline((2, 3, 4)).dims == 3


def test_the_rest_is_there():
    names = "SpatialTransformer Warp warp canonical_grid place LocalisationNetwork".split()
    assert all(callable(getattr(stn_core, name)) for name in names)
    kinds = "Nearest Bilinear Bicubic Gaussian Antialiased LinearisedMultisample".split()
    assert all(isinstance(getattr(samplers, name)(), samplers.Sampler) for name in kinds)
    compose = transforms.Compose(transforms.Affine(), transforms.ThinPlateSpline())
    assert compose.num_params == 38


def test_signature_of_warp():
    parameters = inspect.signature(stn_core.warp).parameters.values()
    assert [p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD] == [
        *("image", "theta", "transform")
    ]
    defaults = {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY}
    assert isinstance(defaults.pop("sampler"), samplers.Bilinear)
    assert defaults == {
        "output_size": None,
        "align_corners": False,
        "padding": "zeros",
        "backend": "auto",
    }


def test_dims_that_contradict_the_rows_are_refused():
    fixed = ((None, 0.0, None), (0.0, None, None))
    assert ConstrainedAffine(fixed, dims=2).num_params == 4
    with pytest.raises(ValueError, match=r"`dims` must be 2, the rows of `fixed`, got 3"):
        ConstrainedAffine(fixed, dims=3)
