"""Transforms: parametric families of maps from target points to source points."""

from .composed import Compose as Compose, Inverse as Inverse
from .constrained import (
    ConstrainedAffine as ConstrainedAffine,
    ExponentialAffine as ExponentialAffine,
    Slice as Slice,
)
from .flow import DiffeomorphicFlow as DiffeomorphicFlow, Flow as Flow
from .linear import (
    Affine as Affine,
    Attention as Attention,
    Scaling as Scaling,
    Shear as Shear,
    Translation as Translation,
)
from .piecewise_affine import PiecewiseAffine as PiecewiseAffine
from .polar import LogPolar as LogPolar, Polar as Polar
from .projective import Projective as Projective
from .rigid import Rigid as Rigid, Rotation as Rotation, Similarity as Similarity
from .thin_plate_spline import ThinPlateSpline as ThinPlateSpline
from .transform import Transform as Transform
