"""One spatial transformer run several times, each on what the last one showed."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from ._warp import sampling_grid, warp
from .spatial_transformer import SpatialTransformer, Warp
from .transforms.linear import Affine
from .transforms.transform import Transform


@final
class Iterated(nn.Module):
    """Align an image step by step: the maps are composed, and the original is what is always read.

    The inverse-compositional transformer of Lin and Lucey, 2017: its localisation network sees the
    image as warped so far and says what is still to be done. Reading the original each time keeps
    it sharp, and keeps what lay outside an earlier crop. Composition is on the right, T <- T o dT,
    which is what warping the warped image would do (Finnveden et al., 2020; Lin and Lucey's own
    code has it on the left). With an `output_size` the first look is at the image brought to that
    size by the identity.

    Args:
        transformer: What is run.
        iterations: How many times it looks. The attribute may be raised in the midst of training.

    Raises:
        ValueError: If `iterations` is less than 1.

    Example:
        >>> from stn_core import LocalisationNetwork, localisation, transforms
        >>> network = LocalisationNetwork(localisation.FCN((1, 5, 7)), transforms.Affine())
        >>> module = Iterated(SpatialTransformer(network, transforms.Affine()), iterations=4)
        >>> module.warp(torch.rand(2, 1, 5, 7)).theta.shape
        torch.Size([2, 4, 6])
    """

    def __init__(self, transformer: SpatialTransformer, *, iterations: int) -> None:
        super().__init__()
        if iterations < 1:
            raise ValueError(f"`iterations` must be at least 1, got {iterations}.")
        self.transformer = transformer
        self.iterations = iterations
        # In a tuple, so that the transform is not registered twice.
        self._composed = (Affine(transformer.transform.dims), Chain(transformer.transform))

    def forward(
        self, image: Float[Tensor, "batch channels *in_size"]
    ) -> Float[Tensor, "batch channels *out_size"]:
        """The image as warped after the last step."""
        return self.warp(image).output

    def warp(self, image: Float[Tensor, "batch channels *in_size"]) -> Warp:
        """The warped image and the `theta` of each step, (batch, iterations, ...)."""
        output = image
        if self.transformer.output_size not in (None, tuple(image.shape[2:])):
            dims = self._composed[0].dims
            unit = torch.eye(dims, dims + 1, device=image.device).flatten()
            output = self._read(image, self._composed[0], unit.expand(image.shape[0], -1))
        steps: list[Tensor] = []
        for _ in range(self.iterations):
            steps.append(self.transformer.localisation(output))
            output = self._read(image, *self._compose(torch.stack(steps, dim=1)))
        return Warp(output, torch.stack(steps, dim=1))

    def grid(
        self, theta: Float[Tensor, "batch iterations ..."], size: Sequence[int]
    ) -> Float[Tensor, "batch *size dims"]:
        """The source point of each pixel of an output of this size, through all the steps."""
        transform, theta = self._compose(theta)
        align_corners = self.transformer.align_corners
        return sampling_grid(theta, transform, size, align_corners=align_corners)

    def extra_repr(self) -> str:
        return f"iterations={self.iterations}"

    def _compose(self, theta: Tensor) -> tuple[Transform, Tensor]:
        affine, chain = self._composed
        matrix = compose_matrices(self.transformer.transform, theta)
        return (chain, theta) if matrix is None else (affine, matrix.flatten(1))

    def _read(self, image: Tensor, transform: Transform, theta: Tensor) -> Tensor:
        return warp(
            image,
            theta,
            transform,
            sampler=self.transformer.sampler,
            output_size=self.transformer.output_size,
            align_corners=self.transformer.align_corners,
            padding=self.transformer.padding,
            backend=self.transformer.backend,
        )


@final
class Chain(Transform):
    """One family applied several times: `theta` is (batch, n, ...), and its first map comes last.

    Args:
        transform: The family.

    Example:
        >>> from stn_core.transforms import Attention
        >>> theta = torch.tensor([[[0.5, 0.0, 0.0], [1.0, 0.5, 0.0]]])
        >>> Chain(Attention())(theta, torch.zeros(1, 2))
        tensor([[[0.2500, 0.0000]]])
    """

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self.transform = transform
        self.dims = transform.dims
        self.num_params = None

    @property
    def identity(self) -> None:
        return None

    def map_points(
        self, theta: Float[Tensor, "batch n ..."], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        for each in reversed(theta.unbind(1)):
            points = self.transform.map_points(each, points)
        return points

    def map_grid(
        self, theta: Float[Tensor, "batch n ..."], size: Sequence[int], *, align_corners: bool
    ) -> Float[Tensor, "batch *size dims"]:
        points = self.transform.map_grid(theta[:, -1], size, align_corners=align_corners)
        return self.map_points(theta[:, :-1], points)


def compose_matrices(
    transform: Transform, theta: Float[Tensor, "batch n ..."]
) -> Float[Tensor, "batch dims columns"] | None:
    """The product of the matrices of `theta`, or None where the transform has no affine matrix.

    Flattened, these are the parameters with which `Affine` does what `Chain` does, in one map.
    """
    read = getattr(transform, "matrix", None)
    if read is None:
        return None
    dtype = torch.promote_types(theta.dtype, torch.float32)
    matrices = [read(each) for each in theta.to(dtype).unbind(1)]
    if matrices[0].shape[1:] != (transform.dims, transform.dims + 1):
        return None
    product = matrices[0]
    for matrix in matrices[1:]:
        linear, shift = product[:, :, :-1], product[:, :, -1:]
        # A sum of products, since autocast and TF32 round a matrix product.
        product = (linear.unsqueeze(-1) * matrix.unsqueeze(1)).sum(2)
        product = product + pad(shift, (transform.dims, 0))
    return product
