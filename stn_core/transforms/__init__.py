"""Transforms: parametric families of maps from target points to source points."""

from .linear import Affine as Affine, Attention as Attention, Translation as Translation
from .transform import Transform as Transform
