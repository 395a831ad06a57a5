import pytest
import torch

from stn_core import tile_poses
from stn_core.transforms import Affine, Attention, ExponentialAffine, Transform, Translation


class Swing(Transform):
    """A family on which Newton's method swings from one side of the root to the other."""

    dims = 2
    num_params = 1

    @property
    def identity(self):
        return torch.ones(1, dtype=torch.float64)

    def map_points(self, theta, points):
        return (theta.sign() * theta.abs().sqrt())[:, None] + 0 * points


class Free(Transform):
    """A family whose number of parameters depends on the image."""

    dims = 2
    num_params = None

    @property
    def identity(self):
        return None

    def map_points(self, theta, points):
        return theta[:, :, None] + points


class Half(Transform):
    """The CUB transformers' family: the scale fixed at one half, and so no identity."""

    dims = 2
    num_params = 2

    @property
    def identity(self):
        return None

    def map_points(self, theta, points):
        return theta[:, None] + 0.5 * points


def test_tiles_by_hand():
    centres = [[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]]
    assert tile_poses(Translation(), (2, 2)).tolist() == centres
    assert tile_poses(Half(), (2, 2)).tolist() == centres
    assert tile_poses(Attention(), (2, 2)).tolist() == [[0.5, *centre] for centre in centres]
    lowest = pytest.approx([1, 0, 0, 0, 1 / 3, 2 / 3])
    assert tile_poses(Affine(), (3, 1))[2].tolist() == lowest
    assert tile_poses(Affine(), (1, 1))[0].tolist() == [1, 0, 0, 0, 1, 0]


def test_tiles_of_a_volume_and_under_meta():
    with torch.device("meta"):
        poses = tile_poses(Attention(dims=3), (2, 1, 2))
    assert poses.device.type == "cpu"
    assert poses[:, 1:].tolist() == [[-0.5, 0, -0.5], [0.5, 0, -0.5], [-0.5, 0, 0.5], [0.5, 0, 0.5]]


def test_families_that_are_not_linear_in_theta_converge():
    matrices = ExponentialAffine().matrix(tile_poses(ExponentialAffine(), (2, 3)))
    expected = tile_poses(Affine(), (2, 3)).unflatten(1, (2, 3))
    torch.testing.assert_close(matrices, expected, atol=1e-8, rtol=0)


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused():
    for tiles in ((2,), (2, 0), (1, 2, 2)):
        with pytest.raises(ValueError, match=r"`tiles` must be 2 positive counts .* got \("):
            tile_poses(Affine(), tiles)
    with pytest.raises(ValueError, match=r"`transform` must have a fixed number .* got Free"):
        tile_poses(Free(), (2, 2))
    with pytest.raises(
        ValueError, match=r"`transform` must be able to reach .* got Swing, .* 2.0e"
    ):
        tile_poses(Swing(), (1, 1))
