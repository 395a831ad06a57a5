"""Spatial transformer networks (Jaderberg et al., 2015): objects in, tensors out."""

from . import localisation as localisation, samplers as samplers, transforms as transforms
from ._warp import warp as warp
from .grid import canonical_grid as canonical_grid
from .localisation import LocalisationNetwork as LocalisationNetwork
from .placement import place as place
from .projection import Projection as Projection
from .spatial_transformer import SpatialTransformer as SpatialTransformer, Warp as Warp
