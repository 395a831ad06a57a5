"""Distortions against SciPy and by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from bench.datasets.distortion import Affine

SIZES = [(7, 11), (12, 5), (1, 6), (9, 1), (13, 13)]


def scipys(image, height, width, angle, scale, shift):
    """The same from SciPy's documentation: output pixel o is read at `matrix @ o + offset`."""
    back = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = back / scale
    centre_in = (np.array(image.shape) - 1) / 2
    centre_out = (np.array([height, width]) - 1) / 2
    offset = centre_in - matrix @ (centre_out + np.array([shift[1], shift[0]]))
    return ndimage.affine_transform(
        image, matrix, offset, (height, width), order=1, mode="grid-constant", cval=0.0
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("canvas", [None, 15])
def test_scipy_agrees(size, canvas):
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(6, 2, *size, generator=generator)
    distortion = Affine(rotation=180, scale=(0.4, 2.5), translation=4, canvas=canvas)
    angle, scale, shift = distortion.draw(6, generator)
    got = distortion.apply(images, angle, scale, shift)
    assert got.shape[2:] == distortion.out_size(*size)
    assert got.shape[:2] == images.shape[:2]
    for i in range(6):
        for c in range(2):
            wanted = scipys(
                images[i, c].double().numpy(), got.shape[2], got.shape[3], angle[i].item(),
                scale[i].item(), shift[i].double().numpy(),
            )  # fmt: skip
            np.testing.assert_allclose(got[i, c].numpy(), wanted, atol=2e-5)


def apply(image, angle=0.0, scale=1.0, shift=(0.0, 0.0), canvas=None):
    given = torch.tensor(image, dtype=torch.float32)[None, None]
    distortion = Affine(canvas=canvas)
    got = distortion.apply(
        given, torch.tensor([math.radians(angle)]), torch.tensor([scale]), torch.tensor([shift])
    )
    return got[0, 0].numpy()


IMAGE = np.arange(1.0, 13.0).reshape(3, 4)


def test_nothing_is_done_by_nothing():
    np.testing.assert_allclose(apply(IMAGE), IMAGE, atol=1e-5)


def test_a_shift_by_whole_pixels_moves_right_and_down():
    wanted = np.zeros((3, 4))
    wanted[1:, 2:] = IMAGE[:2, :2]
    np.testing.assert_allclose(apply(IMAGE, shift=(2.0, 1.0)), wanted, atol=1e-5)
    wanted = np.zeros((3, 4))
    wanted[:, :3] = IMAGE[:, 1:]
    np.testing.assert_allclose(apply(IMAGE, shift=(-1.0, 0.0)), wanted, atol=1e-5)


def test_a_shift_by_half_a_pixel_is_the_mean_of_two():
    got = apply([[2.0, 4.0, 8.0]], shift=(0.5, 0.0))
    np.testing.assert_allclose(got, [[1.0, 3.0, 6.0]], atol=1e-5)


def test_a_right_angle_turns_clockwise_as_one_sees_it():
    square = np.arange(1.0, 10.0).reshape(3, 3)
    np.testing.assert_allclose(apply(square, 90), np.rot90(square, -1), atol=1e-5)
    np.testing.assert_allclose(apply(square, -90), np.rot90(square, 1), atol=1e-5)
    np.testing.assert_allclose(apply(IMAGE, 180), IMAGE[::-1, ::-1], atol=1e-5)
    on_a_canvas = apply(IMAGE[:, :3], 90, canvas=5)
    np.testing.assert_allclose(on_a_canvas[1:4, 1:4], np.rot90(IMAGE[:, :3], -1), atol=1e-5)
    assert np.abs(on_a_canvas).sum() == pytest.approx(IMAGE[:, :3].sum(), abs=1e-3)


def test_a_scale_of_two_enlarges():
    dot = np.zeros((5, 5))
    dot[2, 2] = 1.0
    line = [0.0, 0.5, 1.0, 0.5, 0.0]
    np.testing.assert_allclose(apply(dot, scale=2.0), np.outer(line, line), atol=1e-5)
    small = apply(np.ones((9, 9)), scale=1 / 3)
    assert small[4, 4] == pytest.approx(1) and small.sum() == pytest.approx(9, abs=1e-3)


def test_first_rotated_then_shifted():
    dot = np.zeros((5, 5))
    dot[2, 0] = 1.0
    got = apply(dot, 90, shift=(2.0, 1.0))
    assert np.unravel_index(got.argmax(), got.shape) == (1, 4)


def test_an_image_stands_in_the_middle_of_a_larger_canvas():
    got = apply(IMAGE[:, :3], canvas=7)
    np.testing.assert_allclose(got[2:5, 2:5], IMAGE[:, :3], atol=1e-5)
    got = apply(IMAGE, canvas=2)
    np.testing.assert_allclose(got, (IMAGE[:-1] + IMAGE[1:])[:, 1:3] / 2, atol=1e-5)


def test_draws_fill_their_ranges():
    distortion = Affine(rotation=90, scale=(0.5, 2), translation=4)
    angle, scale, shift = distortion.draw(4000, torch.Generator().manual_seed(0))
    for values, low, high in (
        (angle, -math.pi / 2, math.pi / 2), (scale, 0.5, 2), (shift[:, 0], -4, 4),
        (shift[:, 1], -4, 4),
    ):  # fmt: skip
        width = high - low
        assert low <= values.min() < low + 0.01 * width
        assert high - 0.01 * width < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.02 * width
    table = np.corrcoef(torch.stack([angle, scale, *shift.T]).numpy())
    assert np.abs(table - np.eye(4)).max() < 0.08, "they are drawn apart from each other"


def test_without_ranges_nothing_is_drawn():
    angle, scale, shift = Affine().draw(3, torch.Generator().manual_seed(0))
    assert (angle.tolist(), scale.tolist()) == ([0, 0, 0], [1, 1, 1])
    assert shift.tolist() == [[0, 0]] * 3


def test_the_seed_decides():
    distortion = Affine(rotation=30, scale=(0.8, 1.2), translation=2)
    images = torch.rand(4, 1, 6, 5, generator=torch.Generator().manual_seed(9))

    def distort(seed):
        return distortion(images, images, torch.Generator().manual_seed(seed))

    assert torch.equal(distort(1), distort(1))
    assert not torch.equal(distort(1), distort(2))
    generator = torch.Generator().manual_seed(1)
    one, other = (distortion(images, images, generator) for _ in range(2))
    assert not torch.equal(one, other)


def test_images_are_distorted_one_by_one():
    distortion = Affine(rotation=30)
    images = torch.rand(4, 1, 6, 5, generator=torch.Generator().manual_seed(9))
    drawn = distortion.draw(4, torch.Generator().manual_seed(1))
    together = distortion.apply(images, *drawn)
    for i in range(4):
        alone = distortion.apply(images[i : i + 1], *(d[i : i + 1] for d in drawn))
        np.testing.assert_allclose(alone[0].numpy(), together[i].numpy(), atol=1e-6)


def test_the_size_of_what_comes_out():
    assert Affine().out_size(7, 9) == (7, 9)
    assert Affine(canvas=42).out_size(7, 9) == (42, 42)


def test_a_scale_from_large_to_small_is_refused():
    with pytest.raises(
        ValueError, match=r"^`scale` must be \[smallest, largest\], got \[2, 1\]\.$"
    ):
        Affine(scale=(2, 1))
