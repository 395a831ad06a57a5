"""The warp in NumPy, written from the equations of Jaderberg et al., 2015, without stn_core."""

import itertools

import numpy as np


def target_points(size, align_corners):
    """Regular target points, x first, one per output pixel."""
    sides = [
        np.linspace(-1, 1, n)
        if align_corners and n > 1
        else np.array([-1 + (2 * i + 1) / n for i in range(n)])
        for n in size
    ]
    points = np.empty((*size, len(size)))
    for index in itertools.product(*map(range, size)):
        points[index] = [side[i] for side, i in zip(sides, index, strict=True)][::-1]
    return points


def affine_grid(matrix, size, align_corners):
    """Eq. 1: source points, for one matrix."""
    points = target_points(size, align_corners)
    return np.concatenate([points, np.ones_like(points[..., :1])], axis=-1) @ matrix.T


def pixel_points(grid, size, align_corners):
    """Pixel coordinates of normalised points, x first."""
    sides = np.array(size[::-1])
    return (grid + 1) / 2 * (sides - 1) if align_corners else ((grid + 1) * sides - 1) / 2


def integer_kernel(x, m):
    """Eq. 4."""
    return float(np.floor(x + 0.5) == m)


def bilinear_kernel(x, m):
    """Eq. 5."""
    return max(0.0, 1 - abs(x - m))


def bilinear_slope(x, m):
    """Eq. 7, the factor of one axis."""
    if abs(m - x) >= 1:
        return 0.0
    return 1.0 if m >= x else -1.0


def weights(kernels, point, size):
    """The product of one kernel per axis, for each input pixel; the kernels are x first."""
    result = np.zeros(size)
    for index in itertools.product(*map(range, size)):
        result[index] = np.prod(
            [k(x, m) for k, x, m in zip(kernels, point, index[::-1], strict=True)]
        )
    return result


def sample(image, pixels, kernel):
    """Eq. 3, zeros outside: image (channels, *size), pixels (*out_size, dims)."""
    dims = pixels.shape[-1]
    output = np.zeros((len(image), *pixels.shape[:-1]))
    for index in itertools.product(*map(range, pixels.shape[:-1])):
        weight = weights([kernel] * dims, pixels[index], image.shape[1:])
        for c, channel in enumerate(image):
            output[(c, *index)] = (channel * weight).sum()
    return output


def bilinear_gradients(image, pixels, upstream):
    """Eq. 6 and 7: gradients by the image and by the pixel coordinates."""
    dims = pixels.shape[-1]
    by_image, by_pixels = np.zeros_like(image), np.zeros_like(pixels)
    for index in itertools.product(*map(range, pixels.shape[:-1])):
        weight = weights([bilinear_kernel] * dims, pixels[index], image.shape[1:])
        slopes = []
        for axis in range(dims):
            kernels = [bilinear_slope if a == axis else bilinear_kernel for a in range(dims)]
            slopes.append(weights(kernels, pixels[index], image.shape[1:]))
        for c, channel in enumerate(image):
            by_image[c] += upstream[(c, *index)] * weight
            by_pixels[index] += [upstream[(c, *index)] * (channel * s).sum() for s in slopes]
    return by_image, by_pixels
