import pytest
import torch
from jaxtyping import config

from stn_core.kernels import build, library

# From the narrowest vectors to the widest.
PROCESSORS = [*reversed(build.PROCESSORS)]


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


@pytest.fixture
def compiled():
    """Skip where there are no kernels for a CPU."""
    if missing := library.why_missing():
        pytest.skip(missing)


@pytest.fixture(params=PROCESSORS)
def processor(compiled, request, monkeypatch):
    """Kernels of one kind, where this machine can run them."""
    best = library.processor()
    if PROCESSORS.index(request.param) > PROCESSORS.index(best):
        pytest.skip(f"this machine is {best}")
    monkeypatch.setenv("STN_CORE_CPU", request.param)
