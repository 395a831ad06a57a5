"""Samplers: how a feature map is read at the points of a grid."""

from .interpolation import Bicubic as Bicubic, Bilinear as Bilinear, Nearest as Nearest
from .kernel import Kernel as Kernel
from .padding import Padding as Padding
from .sampler import Sampler as Sampler
