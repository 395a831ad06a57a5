"""Samplers: how a feature map is read at the points of a grid."""

from .interpolation import Bilinear as Bilinear, Nearest as Nearest
from .padding import Padding as Padding
from .sampler import Sampler as Sampler
