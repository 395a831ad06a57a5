"""The functional form of a spatial transformer."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .backends import FUSED, Backend, choose
from .kernels import fused
from .kernels.reference import Reference
from .samplers.antialiased import Antialiased, areas_of_matrix, areas_of_points
from .samplers.interpolation import Bilinear
from .samplers.padding import Padding, Rule, check_padding, fill_of, fills_of
from .samplers.sampler import Sampler
from .transforms.transform import Transform


def warp(
    image: Float[Tensor, "batch channels *in_size"],
    theta: Float[Tensor, "batch ..."],
    transform: Transform,
    *,
    sampler: Sampler = Bilinear(),  # noqa: B008, it has no state
    output_size: Sequence[int] | None = None,
    align_corners: bool = False,
    padding: Padding = "zeros",
    backend: Backend = "auto",
) -> Float[Tensor, "batch channels *out_size"]:
    """Warp an image: read it where `transform` sends each output pixel (Jaderberg et al., 2015).

    Args:
        image: The feature map, 2-D or 3-D as the transform.
        theta: The parameters of the transform, a row per image.
        transform: The family of maps.
        sampler: How the image is read.
        output_size: `(height, width)` or `(depth, height, width)`; the image's own when None.
        align_corners: Whether -1 and 1 are centres of pixels (True) or edges of the image (False).
        padding: What lies outside the image: "zeros", "border", "reflection", or a value to fill it
            with, one number or a tuple of one per channel.
        backend: Who computes it. "fused" is one kernel without a grid in memory, C++ or, on a GPU,
            Triton, "torch" a grid and `grid_sample`, "reference" the paper's sum over all pixels,
            for small images. "auto" is "fused" where there is one, else "torch"; `explain` says
            which, and why.

    Returns:
        The output, of the image's dtype.

    Raises:
        TypeError: If `image` is not of floating point.
        ValueError: If a shape, `padding` or `backend` is not as required.

    Example:
        >>> import torch
        >>> from stn_core.transforms import Translation
        >>> warp(torch.tensor([[[[1.0, 2, 3, 4]]]]), torch.tensor([[0.5, 0]]), Translation())
        tensor([[[[2., 3., 4., 0.]]]])
    """
    if image.ndim != transform.dims + 2 or 0 in image.shape[2:]:
        raise ValueError(
            f"`image` must have {transform.dims + 2} axes (batch, channels, size) for a transform "
            f"with dims={transform.dims}, and no side of length 0, got shape {tuple(image.shape)}."
        )
    if theta.shape[0] != image.shape[0]:
        raise ValueError(
            f"`theta` must have {image.shape[0]} rows, one per image, got {theta.shape[0]}."
        )
    size = image.shape[2:] if output_size is None else output_size
    chosen, _ = choose(image, theta, transform, sampler, padding, backend)
    if chosen == "fused":
        map, fields = _map_of(image, theta, transform, sampler, size, align_corners)
        rule: Rule = "zeros"
        source, fill, difference = image, None, None
        if isinstance(padding, str):
            rule = padding
        else:
            check_padding(padding)
            if fused.is_on_gpu(image):
                source = image.to(torch.promote_types(image.dtype, torch.float32))
                difference = fill_of(padding, source)
                source = source - difference
            else:
                values = fills_of(padding, image.shape[1])
                fill = torch.tensor(values, dtype=torch.float32, device=image.device)
        output = fused.fused_warp(
            source,
            map,
            (size[0], size[1]),
            fields=fields,
            fill=fill,
            interpolation=FUSED[type(sampler)],
            padding=rule,
            align_corners=align_corners,
            max_shrink=sampler.max_shrink if type(sampler) is Antialiased else 1,
        )
        return output if difference is None else (output + difference).to(image.dtype)
    grid = sampling_grid(theta, transform, size, align_corners=align_corners)
    read = Reference(sampler) if chosen == "reference" else sampler
    return read(image, grid, padding=padding, align_corners=align_corners)


def sampling_grid(
    theta: Float[Tensor, "batch ..."],
    transform: Transform,
    size: Sequence[int],
    *,
    align_corners: bool,
) -> Float[Tensor, "batch *size dims"]:
    """The source point of each pixel of an output of this size, at least in float32."""
    check_output_size(size, transform)
    return transform.grid(theta, size, align_corners=align_corners)


def check_output_size(size: Sequence[int], transform: Transform) -> None:
    """Refuse a size that the transform cannot fill."""
    is_no_size = isinstance(size, int) or any(isinstance(n, float) for n in size)
    if is_no_size or len(size) != transform.dims or min(size) < 1:
        raise ValueError(
            f"`output_size` must be {transform.dims} positive lengths for a transform "
            f"with dims={transform.dims}, got {size}."
        )


def _map_of(
    image: Tensor,
    theta: Tensor,
    transform: Transform,
    sampler: Sampler,
    size: Sequence[int],
    align_corners: bool,
) -> tuple[Tensor, Tensor | None]:
    """The matrices of a linear or projective family; on a CPU factors and fields; else the grid.

    For `Antialiased` matrices of a linear family, else the grid, and the areas of output pixels.
    """
    check_output_size(size, transform)
    has_areas = type(sampler) is Antialiased
    read = getattr(transform, "matrix", None) or getattr(transform, "homography", None)
    if read is not None:
        transform.check_theta(theta)
        matrix = read(theta.float())
        if has_areas and matrix.shape[1:] == (2, 3):
            sizes = image.shape[2:], size
            return areas_of_matrix(matrix, *sizes, align_corners=align_corners), None
        if not has_areas and matrix.shape[1:] in ((2, 3), (3, 3)):
            return matrix, None
    elif not (has_areas or fused.is_on_gpu(image)):
        if fields := getattr(transform, "fields", None):
            return fields(theta, size, align_corners=align_corners)
    grid = transform.grid(theta, size, align_corners=align_corners)
    if has_areas:
        grid = areas_of_points(grid, image.shape[2:], align_corners=align_corners)
    return grid, None
