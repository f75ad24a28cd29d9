"""Torch's settings, seed and threads, inside a block and as they were afterwards."""

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
