"""R, RTS, P, E, T and TC, each against SciPy, OpenCV or NumPy on the same parameters."""

import math

import numpy as np
import pytest
import torch
from scipy import interpolate, ndimage

from bench.datasets.bending import E, P, _is_convex
from bench.datasets.clutter import TC, T, clutter, places, put
from bench.datasets.distortion import RTS, Affine, R

ALL = [R(), RTS(), P(), E(), T(), TC()]
NAMES = ["r", "rts", "p", "e", "t", "tc"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=6, height=11, width=14, channels=2):
    return torch.rand(count, channels, height, width, generator=seeded(3))


def read_at(image, x, y):
    """Bilinear, 0 outside, at pixel coordinates: SciPy's."""
    return ndimage.map_coordinates(
        image.double().numpy(), [y, x], order=1, mode="grid-constant", cval=0.0
    )


def test_r_is_a_rotation_by_up_to_a_right_angle():
    given = images()
    angle, scale, shift = Affine(rotation=90).draw(6, seeded())
    wanted = Affine().apply(given, angle, scale, shift)
    assert angle.abs().max() <= math.pi / 2
    assert torch.equal(R()(given, given, seeded()), wanted)


def test_rts_puts_the_frame_anywhere_on_the_canvas():
    rts = RTS(rotation=0, scale=(1, 1), canvas=20)
    dots = torch.zeros(3000, 1, 11, 14)
    dots[:, :, 5, 6] = 1.0
    out = rts(dots, dots, seeded())
    assert out.sum((1, 2, 3)).sub(1).abs().max() < 1e-4, "nothing is cut off"
    y = (out.sum((1, 3)) @ torch.arange(20.0)).numpy()
    x = (out.sum((1, 2)) @ torch.arange(20.0)).numpy()
    for got, low, high in ((y, 5, 5 + 9), (x, 6, 6 + 6)):
        assert low - 1e-3 <= got.min() < low + 0.1 and high - 0.1 < got.max() <= high + 1e-3
        assert abs(got.mean() - (low + high) / 2) < 0.2


def test_rts_is_the_papers():
    given = torch.rand(5, 1, 28, 28, generator=seeded(1))
    generator = seeded()
    angle, scale, _ = Affine(rotation=45, scale=(0.7, 1.2)).draw(5, generator)
    shift = (torch.rand(5, 2, generator=generator) - 0.5) * 14
    wanted = Affine(canvas=42).apply(given, angle, scale, shift)
    assert torch.equal(RTS()(given, given, seeded()), wanted)


def test_p_is_opencvs_perspective():
    cv2 = pytest.importorskip("cv2")
    given, p = images(20), P(corners=2)
    corners = p.draw(20, 11, 14, seeded())
    got = p.apply(given, corners)
    centre = np.array([13 / 2, 10 / 2])
    frame = np.array([[-0.5, -0.5], [13.5, -0.5], [13.5, 10.5], [-0.5, 10.5]], np.float32)
    y, x = np.mgrid[:11, :14]
    for i in range(20):
        moved = (corners[i].numpy() + centre).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(moved, frame)
        sx, sy, sw = np.einsum("ij,jhw->ihw", matrix, np.stack([x, y, np.ones_like(x)]))
        for c in range(2):
            wanted = read_at(given[i, c], sx / sw, sy / sw)
            np.testing.assert_allclose(got[i, c].numpy(), wanted, atol=2e-4)


def test_p_draws_corners_as_the_paper_does():
    moved = P().draw(20000, 28, 28, seeded())
    assert _is_convex(moved).all()
    frame = torch.tensor([[-14.0, -14], [14, -14], [14, 14], [-14, 14]])
    # Uniform between 0.75 and 1, then 5 pixels apart; refusing folded ones narrows that a little.
    assert (moved.mean(0) - 0.875 * frame).abs().max() < 0.35
    spread = (moved - 0.875 * frame).std(0)
    assert 4.5 < spread.min() and spread.max() < 5.4
    scale = P(corners=0).draw(4000, 28, 28, seeded())[:, 2] / 14
    assert torch.equal(scale[:, 0], scale[:, 1])
    assert 0.75 <= scale.min() < 0.755 and 0.995 < scale.max() <= 1


def test_a_quadrilateral_that_folds_is_told():
    square = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    crossed, dented = square[[0, 2, 1, 3]], square.clone()
    dented[0] = 0.5
    assert _is_convex(torch.stack([square, crossed, dented])).tolist() == [True, False, False]


@pytest.mark.parametrize("side", [2, 4, 5])
def test_e_is_scipys_thin_plate_spline(side):
    given, e = images(5), E(points=1.0, control_points=side)
    scale, moves = e.draw(5, seeded())
    got = e.apply(given, scale, moves)
    y, x = np.mgrid[:11, :14]
    control = np.stack(np.meshgrid(np.linspace(-7, 7, side), np.linspace(-5.5, 5.5, side)), -1)
    points = np.stack([x - 6.5, y - 5], -1).reshape(-1, 2).astype(float)
    for i in range(5):
        bend = interpolate.RBFInterpolator(
            control.reshape(-1, 2), moves[i].numpy(), kernel="thin_plate_spline"
        )(points)
        source = (points + bend) / scale[i].item() + [6.5, 5]
        for c in range(2):
            wanted = read_at(given[i, c], *source.T).reshape(11, 14)
            np.testing.assert_allclose(got[i, c].numpy(), wanted, atol=2e-4)


def test_e_draws_moves_as_the_paper_does():
    scale, moves = E().draw(5000, seeded())
    assert moves.shape == (5000, 16, 2)
    assert moves.std() == pytest.approx(1.5, rel=0.01) and abs(moves.mean()) < 0.02
    assert 0.75 <= scale.min() < 0.755 and 0.995 < scale.max() <= 1


def test_t_puts_the_image_at_whole_pixels():
    given = images(400) + 0.1
    out = T(canvas=17)(given, given, seeded())
    seen = set()
    for one, placed in zip(given.numpy(), out.numpy(), strict=True):
        rows, columns = (np.flatnonzero(placed[0].any(axis)) for axis in (1, 0))
        top, left = rows[0], columns[0]
        wanted = np.zeros((2, 17, 17))
        wanted[:, top : top + 11, left : left + 14] = one
        np.testing.assert_array_equal(placed, wanted.astype(np.float32))
        seen.add((top, left))
    assert len(seen) == 7 * 4, "every place that there is"


def test_clutter_is_made_of_patches_of_other_images():
    """The same by loops, from the same draws in the same order."""
    others = (torch.rand(9, 2, 11, 14, generator=seeded(8)) * 255).byte()
    canvas = torch.rand(5, 2, 20, 23, generator=seeded(4)) * 0.5
    got = clutter(canvas.clone(), others, 7, 3, seeded())
    generator = seeded()
    chosen = torch.randint(9, (5, 7), generator=generator)
    cut = places(others, (5, 7), (3, 3), generator)
    place = places(canvas, (5, 7), (3, 3), generator)
    assert (cut.amin((0, 1)) == 0).all() and cut.amax((0, 1)).tolist() == [8, 11]
    wanted = canvas.clone().numpy()
    for i in range(5):
        for k in range(7):
            (a, b), (top, left) = cut[i, k].tolist(), place[i, k].tolist()
            piece = others[chosen[i, k], :, a : a + 3, b : b + 3].numpy() / np.float32(255)
            seen = wanted[i, :, top : top + 3, left : left + 3]
            wanted[i, :, top : top + 3, left : left + 3] = np.maximum(seen, piece)
    np.testing.assert_array_equal(got.numpy(), wanted)


def test_tc_is_t_with_clutter():
    given, others = images(), images(8) * 0.5
    generator, canvas = seeded(), torch.zeros(6, 2, 20, 20)
    put(canvas, given[:, None], places(canvas, (6, 1), (11, 14), generator))
    wanted = clutter(canvas, others, 4, 5, generator)
    got = TC(canvas=20, patches=4, patch_size=5)(given, others, seeded())
    assert torch.equal(got, wanted)
    alone = TC(canvas=20, patches=0)(given, others, seeded())
    assert torch.equal(alone, T(canvas=20)(given, others, seeded()))


@pytest.mark.parametrize("distortion", ALL, ids=NAMES)
def test_the_seed_decides_and_the_size_is_as_told(distortion):
    given = images(3, 14, 11, 1)
    one, same = (distortion(given, given, seeded()) for _ in range(2))
    assert torch.equal(one, same) and one.dtype == torch.float32
    assert not torch.equal(one, distortion(given, given, seeded(1)))
    assert one.shape == (3, 1, *distortion.out_size(14, 11))
    assert 0 <= one.min() and one.max() <= 1


@pytest.mark.parametrize("distortion", ALL, ids=NAMES)
def test_canvases_are_the_papers(distortion):
    sides = {"R": 28, "RTS": 42, "P": 28, "E": 28, "T": 60, "TC": 60}
    side = sides[type(distortion).__name__]
    assert distortion.out_size(28, 28) == (side, side)


@pytest.mark.parametrize("kind", [RTS, T, TC])
def test_a_canvas_smaller_than_the_image_is_refused(kind):
    with pytest.raises(
        ValueError, match="^`canvas` must be at least 14 for images of 11×14, got 13.$"
    ):
        kind(canvas=13).out_size(11, 14)


def test_a_patch_larger_than_the_image_is_refused():
    with pytest.raises(
        ValueError, match="^`patch_size` must be at most 11 for images of 11×14, got 12.$"
    ):
        TC(patch_size=12).out_size(11, 14)


@pytest.mark.parametrize("kind", [P, E])
def test_a_scale_from_large_to_small_is_refused(kind):
    with pytest.raises(ValueError, match=r"`scale` must be \[smallest, largest\], got \[2, 1\]"):
        kind(scale=(2, 1))
