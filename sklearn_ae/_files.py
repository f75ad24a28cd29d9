"""Files of plain values and arrays: safetensors with a checksum, durably written."""

import hashlib
import json
import os
import platform
import secrets
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch

from sklearn_ae._records import CODES, DTYPES
from sklearn_ae._version import __version__

FORMAT = "sklearn_ae 1"  # the number rises when older versions can no longer read what is written
BEGIN = f'{{"__metadata__":{{"format":"{FORMAT}"'.encode()  # of the header
CHECKSUM = "__sha256__"  # the last tensor: of all bytes before it


def write_state(path: str | os.PathLike, plain: Any, arrays: dict[str, np.ndarray]) -> None:
    """Write a file that ``read_state`` reads. An older file stays as it is until all is written.

    Parameters
    ----------
    path : str or path-like
    plain : object
        Anything that JSON can hold, and NaN and infinities.
    arrays : dict of str to ndarray
        C-contiguous and little-endian, of types in `DTYPES`; `Encoder` makes such.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    versions = {"python": platform.python_version(), "sklearn_ae": __version__}
    versions |= {one.__name__: one.__version__ for one in (np, sklearn, torch)}
    metadata = {"format": FORMAT, "versions": json.dumps(versions), "content": json.dumps(plain)}
    header: dict[str, Any] = {"__metadata__": metadata}
    ordered = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))  # all are aligned
    end = 0
    for name, array in {**ordered, CHECKSUM: np.empty(32, np.uint8)}.items():
        offsets = [end, end + array.nbytes]
        header[name] = {"dtype": CODES[array.dtype], "shape": array.shape, "data_offsets": offsets}
        end += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    parts: list[Any] = [len(text).to_bytes(8, "little"), text, *ordered.values()]
    checksum = hashlib.sha256()
    for part in parts:
        checksum.update(part)
    write_atomically(path, *parts, checksum.digest())


def read_state(path: str | os.PathLike) -> tuple[Any, dict[str, np.ndarray]]:
    """Read a file that ``write_state`` wrote. No more memory than its own size is allocated.

    Returns
    -------
    plain : object
    arrays : dict of str to ndarray

    Raises
    ------
    ValueError
        If the file is of another kind, damaged, cut off, or of a newer format.
    OSError
        If it cannot be read.
    """
    refused = f"{os.fspath(path)!r} cannot be loaded"
    with open(path, "rb") as file:
        if file.read(8 + len(BEGIN))[8:] != BEGIN:
            raise ValueError(
                f"{refused}: it was not written by sklearn_ae, or by one after {__version__}. "
                "(Pickles are read by joblib.load, which runs any code that is in them.)"
            )
        data = bytearray(os.fstat(file.fileno()).st_size)
        file.seek(0)
        file.readinto(data)
    view = memoryview(data)
    if hashlib.sha256(view[:-32]).digest() != view[-32:]:
        raise ValueError(f"{refused}: it is cut off or was changed. Copy or save it again.")
    end = 8 + int.from_bytes(view[:8], "little")
    try:
        header = json.loads(data[8:end])
        plain = json.loads(header.pop("__metadata__")["content"])
        del header[CHECKSUM]
        return plain, {name: read_array(view[end:], **one) for name, one in header.items()}
    except Exception as error:  # the checksum is right, so somebody has made such a file
        raise ValueError(f"{refused}: its header is not valid ({shown_error(error)}).") from error


def read_array(body: memoryview, dtype: str, shape: list, data_offsets: list) -> np.ndarray:
    """A tensor of a safetensors file, as a view of the file's body."""
    begin, end = data_offsets
    array = np.frombuffer(body[begin:end], DTYPES[dtype]).reshape(tuple(shape))
    return array.view(np.uint8) != 0 if dtype == "BOOL" else array  # bytes may be over 1


def shown_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def write_atomically(path: str | os.PathLike, *parts: Any) -> None:
    """Write bytes and arrays to a file under another name, and rename it when all of it is on disk.

    Whatever happens meanwhile, the file of this name is the old one or the new one. A process that
    is killed leaves the other one, whose name ends in ".part".
    """
    target = Path(os.path.realpath(path))  # of a link, what it leads to is replaced
    part_file = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with open(part_file, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, part_file)
        os.replace(part_file, target)
    except BaseException:
        part_file.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the name is on disk when the folder is
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
