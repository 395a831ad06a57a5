"""Spatial transformer networks (Jaderberg et al., 2015): objects in, tensors out."""

from . import (
    diagnostics as diagnostics,
    localisation as localisation,
    samplers as samplers,
    transforms as transforms,
)
from ._parameter_groups import parameter_groups as parameter_groups
from ._warp import warp as warp
from .backends import explain as explain
from .finnveden import place_as as place_as
from .glimpses import Glimpses as Glimpses
from .grid import canonical_grid as canonical_grid
from .head import Head as Head
from .iterated import Iterated as Iterated
from .localisation import LocalisationNetwork as LocalisationNetwork
from .parallel import Parallel as Parallel
from .placement import place as place
from .poses import tile_poses as tile_poses
from .projection import Projection as Projection
from .recurrent import RecurrentLocalisationNetwork as RecurrentLocalisationNetwork
from .spatial_transformer import SpatialTransformer as SpatialTransformer, Warp as Warp
from .thetas import AppendTheta as AppendTheta, WithTheta as WithTheta
