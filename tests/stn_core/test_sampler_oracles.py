"""Samplers against SciPy, OpenCV and kornia, at the same pixel coordinates."""

import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from contract import images
from torch.nn.functional import grid_sample

from stn_core import warp
from stn_core.grid import from_pixels
from stn_core.kernels.reference import Reference
from stn_core.samplers import Bicubic, Bilinear, Kernel, Nearest
from stn_core.samplers.interpolation import cubic_kernel
from stn_core.transforms import Affine

MATRIX = np.array([[0.87, 0.21, -1.3], [-0.13, 1.09, 0.71], [0.0021, -0.0032, 1.0]])


def pixels_of(size, matrix=MATRIX):
    """Source points in pixel coordinates, x first, of an output of this size."""
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    points = np.stack([x, y, np.ones_like(x)], axis=-1) @ matrix.T
    return points[..., :2] / points[..., 2:] if len(matrix) == 3 else points


def read(sampler, image, pixels, padding, align_corners):
    size = image.shape[2:]
    grid = from_pixels(torch.from_numpy(pixels), size, align_corners=align_corners)
    return sampler(image, grid.unsqueeze(0), padding=padding, align_corners=align_corners)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("sampler", "mode"), [(Nearest(), "nearest"), (Bilinear(), "bilinear")])
def test_torch_gives_numbers_where_a_point_is_not_finite(sampler, mode, bad):
    image, grid = images(1, 1, 5, 7), torch.full((1, 1, 1, 2), bad, dtype=torch.float64)
    for padding in ("zeros", "border", "reflection"):
        options = {"padding_mode": padding, "align_corners": False}
        is_number = grid_sample(image, grid, mode=mode, **options).isfinite().item()
        assert is_number is (padding != "zeros" or mode == "nearest")
        assert sampler(image, grid, padding=padding, align_corners=False).isnan().all()


@pytest.mark.parametrize("size", [(5, 7), (9, 1), (3, 5, 6)], ids=str)
@pytest.mark.parametrize(
    ("padding", "align_corners", "mode"),
    [
        ("zeros", False, "grid-constant"),
        (0.3, False, "grid-constant"),
        ("border", False, "nearest"),
        ("reflection", False, "reflect"),
        ("reflection", True, "mirror"),
    ],
)
@pytest.mark.parametrize(("sampler", "order"), [(Nearest(), 0), (Bilinear(), 1)], ids=["0", "1"])
def test_scipy(size, padding, align_corners, mode, sampler, order):
    image = images(1, 1, *size)
    pixels = np.random.default_rng(0).uniform(-9, 15, (*size, len(size)))
    output = read(sampler, image, pixels, padding, align_corners)[0, 0]
    fill = 0.0 if isinstance(padding, str) else padding
    indices = np.moveaxis(pixels[..., ::-1], -1, 0)
    expected = scipy.ndimage.map_coordinates(
        image[0, 0].numpy(),
        indices,
        order=order,
        mode=mode,
        cval=fill,
    )
    np.testing.assert_allclose(output.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("border", "padding", "align_corners"),
    [
        ("BORDER_CONSTANT", (0.3, -0.2, 2.0), False),
        ("BORDER_REPLICATE", "border", True),
        ("BORDER_REFLECT", "reflection", False),
        ("BORDER_REFLECT_101", "reflection", True),
    ],
)
@pytest.mark.parametrize(
    ("sampler", "mode"), [(Bilinear(), "INTER_LINEAR"), (Bicubic(), "INTER_CUBIC")], ids=["1", "3"]
)
def test_opencv(border, padding, align_corners, sampler, mode):
    cv2 = pytest.importorskip("cv2")
    image = images(1, 3, 9, 13, dtype=torch.float32)
    source = image[0].movedim(0, -1).numpy()
    flags, rule = getattr(cv2, mode), {"borderMode": getattr(cv2, border)}
    if isinstance(padding, tuple):
        rule["borderValue"] = padding
    for matrix, warp_by in ((MATRIX, cv2.warpPerspective), (MATRIX[:2], cv2.warpAffine)):
        pixels = pixels_of((8, 11), matrix)
        output = read(sampler, image.double(), pixels, padding, align_corners)[0].movedim(0, -1)
        x, y = np.moveaxis(pixels.astype(np.float32), -1, 0)
        expected = cv2.remap(source, x, y, flags, **rule)
        np.testing.assert_allclose(output.numpy(), expected, atol=3e-6)
        inverse = flags | cv2.WARP_INVERSE_MAP
        expected = warp_by(source, matrix, (11, 8), flags=inverse, **rule)
        np.testing.assert_allclose(output.numpy(), expected, atol=3e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_kornia(padding, align_corners):
    kornia = pytest.importorskip("kornia.geometry.transform")
    image, inverse = images(1, 2, 9, 13), torch.from_numpy(np.linalg.inv(MATRIX))
    for mode, sampler in (("nearest", Nearest()), ("bilinear", Bilinear()), ("bicubic", Bicubic())):
        expected = kornia.warp_perspective(
            image, inverse[None], (8, 11), mode, padding, align_corners=align_corners
        )
        output = read(sampler, image, pixels_of((8, 11)), padding, align_corners)
        torch.testing.assert_close(output, expected)


@pytest.mark.filterwarnings("ignore")
def test_kornia_in_3d_is_off_by_half_a_pixel_without_align_corners():
    """It takes a side for n - 1 pixels long there, so a shift by 2 of 6 is one by 2.4."""
    kornia = pytest.importorskip("kornia.geometry.transform")
    image = images(1, 1, 3, 5, 6)
    matrix = torch.eye(3, 4, dtype=torch.float64).unsqueeze(0)
    matrix[0, 0, 3] = -2
    theta, shifted = torch.eye(3, 4, dtype=torch.float64), torch.zeros_like(image)
    shifted[..., :-2] = image[..., 2:]
    for align_corners, right in ((True, True), (False, False)):
        theirs = kornia.warp_affine3d(image, matrix, (3, 5, 6), align_corners=align_corners)
        assert torch.allclose(theirs, shifted) is right
        theta[0, 3] = 2 * 2 / (5 if align_corners else 6)
        ours = warp(image, theta.reshape(1, 12), Affine(3), align_corners=align_corners)
        torch.testing.assert_close(ours, shifted)
    theta[0, 3] = 2 * 2 / 5
    torch.testing.assert_close(warp(image, theta.reshape(1, 12), Affine(3)), theirs)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection", -0.4])
@pytest.mark.parametrize("size", [(5, 7), (1, 9), (3, 4, 1)], ids=str)
def test_bicubic_is_a_kernel_of_equation_3(size, padding, align_corners):
    image = images(2, 2, *size).requires_grad_()
    grid = (4 * images(2, 4, *[3] * (len(size) - 1), len(size)) - 2).requires_grad_()
    results = []
    for sampler in (Bicubic(), Kernel(cubic_kernel, 2.0), Reference(Bicubic())):
        output = sampler(image, grid, padding=padding, align_corners=align_corners)
        results.append((output, *torch.autograd.grad(output.square().sum(), (image, grid))))
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(results[2], results[0])
