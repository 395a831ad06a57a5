"""Transforms: parametric families of maps from target points to source points."""

from .constrained import (
    ConstrainedAffine as ConstrainedAffine,
    ExponentialAffine as ExponentialAffine,
    Slice as Slice,
)
from .linear import (
    Affine as Affine,
    Attention as Attention,
    Scaling as Scaling,
    Shear as Shear,
    Translation as Translation,
)
from .projective import Projective as Projective
from .rigid import Rigid as Rigid, Rotation as Rotation, Similarity as Similarity
from .transform import Transform as Transform
