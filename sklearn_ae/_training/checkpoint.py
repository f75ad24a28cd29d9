"""Fits that go on after they were killed, from the state of their training in a file.

The file is one of `_files`: reading it runs no code. Of several processes that fit together, rank 0
alone reads and writes it.
"""

import copy
import glob
import hashlib
import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from sklearn.base import BaseEstimator
from torch import Tensor

from sklearn_ae._data.sources import Source
from sklearn_ae._files import read_state, write_state
from sklearn_ae._messages import warn
from sklearn_ae._records import Decoder, Encoder
from sklearn_ae._training.processes import Processes
from sklearn_ae._training.progress import Watcher
from sklearn_ae._training.state import as_arrays, as_tensors
from sklearn_ae._version import __version__

SECONDS_APART = 30.0  # between two writings at least
SHARE = 0.02  # of the time, which writing takes at most
SAMPLED_BYTES, N_BLOCKS = 2**26, 64  # of the data, whose checksum tells them from others
NO_EFFECT = {"callbacks", "checkpoint", "device", "verbose"}  # parameters that may change


class Checkpoint(Watcher):
    """The file of a fit. ``open_checkpoint`` makes it.

    Parameters
    ----------
    path : str or None
        None keeps no file.
    identity : dict of str to str
        What the fit depends on, by name.
    random_state : RandomState
        As it was when the fit began, and so it goes into the file.
    state : dict or None
        Of the training to go on with.
    processes : Processes
        Those of the fit.

    Attributes
    ----------
    random_state : RandomState
        What the fit must use from its beginning.
    """

    def __init__(
        self,
        path: Any,
        identity: dict,
        random_state: RandomState,
        state: dict | None,
        processes: Processes,
    ):
        self.path, self.identity, self.state, self.processes = path, identity, state, processes
        self.random_state, self.first_random_state = random_state, copy.deepcopy(random_state)
        self.has_failed = False

    def watch(self, net: Any) -> None:
        """Keep the file of a net's training, which goes on from the file if there was one."""
        net.resume_from = self.state
        if self.path is not None and self.processes.rank == 0:
            net.watchers = (*net.watchers, self)

    def begin(self, net):
        self.saved_at, self.took = time.monotonic(), 0.0

    def end_epoch(self, net):
        now = time.monotonic()
        if now - self.saved_at >= max(SECONDS_APART, self.took / SHARE):
            self._save(net)
            self.saved_at = time.monotonic()
            self.took = self.saved_at - now
        return False

    def remove(self) -> None:
        """Remove the file, since the fit has ended in all processes."""
        if self.path is not None:
            self.processes.together(self._remove)

    def _remove(self) -> None:
        if self.processes.rank == 0:
            try:
                Path(self.path).unlink(missing_ok=True)
            except OSError as error:
                warn(
                    f"checkpoint={self.path!r} was not removed ({error}). Delete it: the same fit, "
                    "called again, would go on from there.",
                )

    def _save(self, net: Any) -> None:
        encoder = Encoder()
        try:
            state = net.state_.state_dict(torch.device("cpu")) | {"history": net.history}
            content = self.identity, self.first_random_state, as_arrays(state)
            write_state(self.path, {"checkpoint": encoder.encode(content)}, encoder.arrays)
        except (OSError, TypeError) as error:  # of the disk, or of what has no form in files
            if not self.has_failed:
                warn(
                    f"checkpoint={self.path!r} was not written ({error}). Training goes on, and "
                    "the last checkpoint, if there is one, is as it was.",
                )
            self.has_failed = True


def open_checkpoint(
    path: str | os.PathLike | None,
    estimator: BaseEstimator,
    source: Source,
    random_state: RandomState,
    processes: Processes,
) -> Checkpoint:
    """The checkpoint of a fit that begins; if its file is there, the fit goes on from it.

    The fit uses its `random_state`, calls ``watch(net)`` before it trains the net, and ``remove()``
    when it has ended.

    Parameters
    ----------
    path : str, path-like or None
        None keeps no file. Rank 0's counts, and so does its `random_state`.
    estimator : estimator
        With the parameters of the fit; in a warm start, with the net of the last one.
    source : Source
        All rows of this process, in the data's own units.
    random_state : RandomState
        Of the fit. One that goes on has that of the fit that was killed.
    processes : Processes
        Those of the fit.

    Raises
    ------
    ValueError
        If the file is of a fit with other parameters or data, of another kind, or damaged.
    OSError
        If there is no such folder, or the file cannot be read.
    """
    path = processes.of_first(path)
    found: tuple[RandomState, dict | None] = (random_state, None)
    identity = {} if path is None else identity_of(estimator, source, processes)

    def find() -> None:  # what it gave would be sent by all to all
        nonlocal path, found
        if path is None or processes.rank:
            return
        path = os.path.realpath(path)
        if not os.path.isdir(os.path.dirname(path)):
            raise FileNotFoundError(f"checkpoint={path!r} is in a folder that does not exist.")
        remove_parts(path)
        if os.path.exists(path):
            found = read_checkpoint(path, identity)

    processes.together(find)
    random_state, state = processes.of_first(found)
    return Checkpoint(path, identity, random_state, state, processes)


def read_checkpoint(path: str, identity: dict[str, str]) -> tuple[RandomState, dict]:
    """The random state with which a fit began, and the state of its training.

    Raises
    ------
    ValueError
        If the fit was another one, or the file is of another kind or damaged.
    OSError
        If it cannot be read.
    """
    way_out = f"To train from the start, delete {path!r} or name another file."
    try:
        plain, arrays = read_state(path)
        if set(plain) != {"checkpoint"}:
            raise ValueError("The file holds something else.")
        content = Decoder(arrays).decode(plain["checkpoint"])
        before, random_state, state = content
    except OSError:
        raise
    except Exception as error:  # whatever somebody has put there
        raise ValueError(f"The fit has no checkpoint to go on from: {error} {way_out}") from error
    for name in identity | before:
        was, now = before.get(name), identity.get(name)
        if was != now:
            text = f"{name} was {shortened(was)} and is {shortened(now)}"
            raise ValueError(f"The checkpoint is of another fit: {text}. {way_out}")
    return random_state, as_tensors(state)


def identity_of(estimator: BaseEstimator, source: Source, processes: Processes) -> dict[str, str]:
    """What a fit depends on, by name: parameters, data, and in a warm start the last fit."""
    parameters = sorted(estimator.get_params().items())  # a part before its own
    found = {"the number of processes": str(processes.size), "sklearn_ae.__version__": __version__}
    found |= {name: text_of(value) for name, value in parameters if name not in NO_EFFECT}
    for rank, about in enumerate(processes.together(lambda: identity_of_data(source))):
        whose = f" of rank {rank}" if processes.size > 1 else ""
        found |= {f"{name}{whose}": text for name, text in about.items()}
    if getattr(estimator, "warm_start", False) and hasattr(estimator, "net_"):
        weights = estimator.net_.module_.state_dict()
        found["the checksum of the last fit's weights"] = checksum(weights.values())
    return found


def identity_of_data(source: Source) -> dict[str, str]:
    return {
        "X.dtype": str(source.dtype),
        "X.shape": f"({source.n_rows}, {source.n_features})",
        "the checksum of X": checksum(sampled(source)),
        "the checksum of sample_weight": checksum([source.weight]),
    }


def text_of(value: Any) -> str:
    """A parameter's value without its address; of a part the class, as its parameters come too."""
    if isinstance(value, BaseEstimator):
        return type(value).__name__
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def shortened(text: str | None) -> str:
    return str(text) if len(str(text)) <= 80 else f"{str(text)[:80]}..."


def sampled(source: Source) -> list[Tensor | None]:
    """All values of a source and where they were observed; of much data, blocks spread evenly."""
    n_rows = max(1, SAMPLED_BYTES // (8 * N_BLOCKS * source.n_features))  # of a block
    n_blocks = min(N_BLOCKS, -(-source.n_rows // n_rows))
    starts = np.linspace(0, max(0, source.n_rows - n_rows), n_blocks).astype(int).tolist()
    batches = [source.take(slice(start, start + n_rows)) for start in starts]
    return [part for batch in batches for part in (batch.x, batch.mask)]


def checksum(tensors: Iterable[Tensor | None]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        found.update(b"" if tensor is None else tensor.numpy(force=True).tobytes())
    return found.hexdigest()


def remove_parts(path: str) -> None:
    """Remove what a process that was killed while it wrote this file has left."""
    folder, name = os.path.split(path)
    for part in Path(folder).glob(f".{glob.escape(name[:100])}.*.part"):
        with suppress(OSError):
            part.unlink()
