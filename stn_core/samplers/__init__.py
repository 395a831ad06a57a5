"""Samplers: how a feature map is read at the points of a grid."""

from .antialiased import Antialiased as Antialiased
from .gaussian import Gaussian as Gaussian
from .interpolation import Bicubic as Bicubic, Bilinear as Bilinear, Nearest as Nearest
from .kernel import Kernel as Kernel
from .multisample import LinearisedMultisample as LinearisedMultisample
from .padding import Padding as Padding
from .sampler import Sampler as Sampler
