"""What surrounds a computation: torch's seed, threads, devices, and the modes that a caller may
have switched on.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

import joblib
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor
from torch.overrides import TorchFunctionMode

# torch's generators are the process's, so threads that train take turns
FITTING = threading.RLock()


class Float32Default:
    """float32 as torch's default type while any thread is inside the block: torch has one default
    for all of them.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.n_inside = 0
        self.callers = torch.float32  # the default outside

    def __enter__(self) -> None:
        with self.lock:
            now = torch.get_default_dtype()
            if self.n_inside == 0 or now is not torch.float32:
                self.callers = now
            if now is not torch.float32:
                torch.set_default_dtype(torch.float32)
            self.n_inside += 1

    def __exit__(self, *error) -> None:
        with self.lock:
            self.n_inside -= 1
            if self.n_inside == 0 and self.callers is not torch.float32:
                torch.set_default_dtype(self.callers)


FLOAT32 = Float32Default()
IS_FORKED = False


def _after_fork() -> None:
    """A child process starts with no fit under way, whatever the other threads of its parent were
    doing.
    """
    global FITTING, IS_FORKED
    FITTING, IS_FORKED = threading.RLock(), True
    FLOAT32.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def torch_seed(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
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
    with FITTING, torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for one in devices:
            with torch.cuda.device(one):
                torch.cuda.manual_seed(seed)
        yield


class PrivateGenerator(TorchFunctionMode):
    """Inside the block, this thread draws random numbers from a generator of its own, and torch's
    is left alone.

    It costs a little time at each call of torch, so it is for building networks, not for training
    them.
    """

    DRAWS = frozenset(
        [
            torch.rand,
            torch.randn,
            torch.randint,
            torch.randperm,
            torch.normal,
            torch.bernoulli,
            torch.multinomial,
        ]
        + [
            getattr(Tensor, name)
            for name in ("uniform_", "normal_", "bernoulli_", "exponential_", "random_", "cauchy_")
        ]
    )

    def __init__(self, seed: int = 0):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        # torch.nn.init's have it
        if (func in self.DRAWS or "generator" in kwargs) and kwargs.get("generator") is None:
            kwargs = {**kwargs, "generator": self.generator}
        return func(*args, **kwargs)


@contextmanager
def plain_torch() -> Iterator[None]:
    """float32, the CPU, one thread, no autocast and no inference mode inside the block, whatever
    the caller has switched on.

    Every public method that computes with torch does so inside of such a block. torch's operations
    in several threads hang in a forked process, if there were any in its parent.
    """
    with FLOAT32, threads(1), ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


LOCAL = threading.local()


def callers_threads() -> int:
    """Threads that torch would use outside of our blocks."""
    return getattr(LOCAL, "callers", 0) or torch.get_num_threads()


def available_threads() -> int:
    """The same, but no more than there are processors for this process: a container may have a
    quota.
    """
    return max(1, min(callers_threads(), joblib.cpu_count()))


@contextmanager
def threads(n: int | None) -> Iterator[None]:
    """`n` threads for what this thread computes inside the block; None leaves them. In a forked
    process, where several may hang, it is always one.
    """
    before, callers, nested = torch.get_num_threads(), callers_threads(), hasattr(LOCAL, "callers")
    if IS_FORKED:
        n = 1
    if n is None or n == before:
        yield
        return
    LOCAL.callers = callers
    limit_this_thread(n, callers)
    try:
        yield
    finally:
        limit_this_thread(before, callers)
        if not nested:
            del LOCAL.callers


@cache
def libraries() -> ThreadpoolController:
    """The loaded libraries with threads of their own; to look for them takes milliseconds."""
    return ThreadpoolController()


def one_blas_thread():
    """A block in which NumPy's and SciPy's linear algebra has one thread; torch's fit lock must be
    held.

    On a busy machine threads wait for one another: PCA of 5,000 rows of 784 features took 12 s in
    two, and 1.7 s in one.
    """
    return libraries().limit(limits=1, user_api="blas")


def limit_this_thread(n: int, others: int) -> None:
    """`n` threads for what this thread computes, and `others` for threads that are yet to start.

    ``torch.set_num_threads`` sets both. So another thread, which ends at once, sets the second
    back. A thread takes the second when it first asks for it or computes, so this one asks before.
    """
    torch.get_num_threads()
    torch.set_num_threads(n)
    if others != n:
        other = threading.Thread(target=torch.set_num_threads, args=(others,))
        other.start()
        other.join()


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
        raise ValueError(
            f"device={device!r} cannot be used here; pass 'auto' or 'cpu'. torch says: {error}"
        ) from error
    return found
