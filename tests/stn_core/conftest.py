import pytest
import torch
from jaxtyping import config


@pytest.fixture
def unchecked():
    """Switch the run-time type checks off, to see the library's own messages."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture
def compiling(unchecked):
    """Start with an empty compiler cache, and without the type checks, which it cannot trace."""
    torch.compiler.reset()
