"""Torch's seed and threads inside a block, and its devices by name."""

import threading
from contextlib import contextmanager

import torch

ONE_AT_A_TIME = threading.RLock()  # torch's generators are the process's, so threads take turns


@contextmanager
def torch_seed(seed: int, device: torch.device | str = "cpu"):
    """Seed torch inside the block and put its generators back as they were afterwards.

    Parameters
    ----------
    seed : int
        The seed in force inside the block.
    device : torch.device or str
        The device whose generator is seeded beside the CPU's.
    """
    device = torch.device(device)
    devices = [device] if device.type == "cuda" else []
    with ONE_AT_A_TIME, torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for one in devices:
            with torch.cuda.device(one):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def threads(n: int | None):
    """`n` threads for torch inside the block."""
    before = torch.get_num_threads()
    if n is None or n == before:
        yield
        return
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def find_device(device: str | torch.device, missing: str | None = None) -> torch.device:
    """The device of that name; ``"auto"`` is a GPU where there is one.

    Parameters
    ----------
    device : str or torch.device
    missing : str or None
        What to use in place of a device that is not there; None raises ValueError.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if missing is not None:
            return torch.device(missing)
        raise ValueError(f"device={device!r} cannot be used here: {error}") from error
    return found
