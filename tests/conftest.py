"""What all tests share."""

import signal

import numpy as np
import pytest
import torch

torch.set_num_threads(1)  # two test processes on two cores

try:
    import matplotlib as mpl
except ImportError:
    pass
else:
    mpl.use("Agg")  # no windows


def pytest_configure() -> None:
    """Ctrl-C interrupts, as its tests expect, where a shell in the background had it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def table(rng):
    """120 rows of 6 correlated features in units of their own."""
    Z = rng.normal(size=(120, 2))
    X = Z @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(120, 6))
    return X * [1, 10, 100, 0.1, 1, 5] + [0, 5, -100, 3, 0, 1]
