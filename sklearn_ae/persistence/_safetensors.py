"""The file that holds an estimator: arrays as tensors of safetensors, metadata and a checksum; and how it is written."""

import hashlib
import json
import os
import stat
import struct
import tempfile
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize

from sklearn_ae._version import __version__
from sklearn_ae.persistence._codec import CODES, DTYPES, shown

FORMAT = 1  # raised when older versions of this package can no longer read what is written
NAME = "sklearn_ae"
METADATA = ("format", "format_version", "versions", "estimator", "sha256")
NO_SUM = "0" * 64  # stands for the checksum while it is computed


def to_safetensors(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """The bytes of a safetensors file; the same for the same arrays, which safetensors' own function does not promise."""
    header: dict = {"__metadata__": metadata}
    parts, end = [], 0
    for name in sorted(arrays, key=lambda name: (-arrays[name].itemsize, name)):  # so that all are aligned
        array = arrays[name]
        parts.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        header[name] = {"dtype": CODES[array.dtype], "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def header_end(data: bytes) -> int:
    """Where the header of a safetensors file ends.

    Raises
    ------
    ValueError
        If it is none.
    """
    begins = data[8:9] == b"{"
    if data[:1] == b"\x80" and not begins:
        raise ValueError(
            "it is a pickle. joblib.load or pickle.load read it, but run any code that is in it: load only those you trust."
        )
    if data[:2] == b"PK" and not begins:
        raise ValueError(
            "it is a zip archive, such as skops.io.dump or torch.save write; read it with skops.io.load or torch.load."
        )
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else None
    if length is None or not begins:
        raise ValueError(f"it is no safetensors file ({len(data)} bytes, beginning with {bytes(data[:16])!r}).")
    if length > len(data) - 8:
        raise ValueError(
            f"it is truncated or damaged: its header should have {length} bytes, and there are {len(data) - 8}. Copy it again."
        )
    return 8 + length


def read_metadata(data: bytes) -> dict[str, str]:
    """The metadata of a file of ours, its format and checksum being right."""
    end = header_end(data)
    try:
        header = json.loads(data[8:end].decode("utf-8"), object_pairs_hook=once, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is damaged ({error}). Save or copy it again.") from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or metadata.get("format") != NAME:
        raise ValueError("it is a safetensors file, but not one that sklearn_ae.persistence.save wrote.")
    version = metadata.get("format_version")
    if not isinstance(version, str) or not (version.isascii() and version.isdigit() and len(version) < 10):
        raise ValueError(f"its format number is damaged ({shown(version)}). Save or copy it again.")
    if int(version) > FORMAT:
        raise ValueError(
            f"it has format {version}, and this version of sklearn-ae ({__version__}) reads formats up to {FORMAT}. It was written "
            f"with {shown(metadata.get('versions'))}: pip install --upgrade sklearn-ae."
        )
    if int(version) != FORMAT or set(metadata) != set(METADATA) or not all(isinstance(one, str) for one in metadata.values()):
        raise ValueError(f"its metadata are damaged (format {version}, {sorted(metadata)}). Save or copy it again.")
    if not is_sum(metadata["sha256"]) or checksum(data, metadata["sha256"]) != metadata["sha256"]:
        raise ValueError("its checksum is wrong, so it was changed or damaged after it was saved. Save or copy it again.")
    return metadata


def is_sum(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def checksum(data: bytes, stated: str) -> str | None:
    """The SHA-256 of a file, its own checksum being taken as zeros; None if the header does not state it once."""
    header = data[: header_end(data)]
    at = header.find(stated.encode())
    if at < 0 or header.find(stated.encode(), at + 1) >= 0:
        return None
    sha = hashlib.sha256(header[:at])
    for part in (NO_SUM.encode(), header[at + 64 :], memoryview(data)[len(header) :]):
        sha.update(part)
    return sha.hexdigest()


def with_sum(data: bytes) -> bytes:
    """A file with its checksum in the place that zeros keep for it."""
    at = data.index(NO_SUM.encode(), 0, header_end(data))
    return b"".join([data[:at], hashlib.sha256(data).hexdigest().encode(), data[at + 64 :]])


def read_arrays(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file."""
    try:
        tensors = deserialize(data)
    except SafetensorError as error:
        raise ValueError(f"its tensors are damaged ({error}). Save or copy it again.") from error
    arrays = {}
    for name, one in tensors:
        if one["dtype"] not in DTYPES:
            raise ValueError(f"its tensor {name!r} has the unknown type {one['dtype']}.")
        dtype = DTYPES[one["dtype"]]
        if dtype.kind == "b" and set(one["data"]) - {0, 1}:
            raise ValueError(f"its tensor {name!r} has other values than true and false.")
        array = np.frombuffer(one["data"], dtype.newbyteorder("<")).reshape(one["shape"])
        arrays[name] = array if array.flags.writeable and array.dtype == dtype else array.astype(dtype)
    return arrays


def once(pairs: list[tuple[str, object]]) -> dict:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name occurs twice")
    return values


def no_constant(name: str):
    raise ValueError(f"{name} is not JSON")


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Write a file under another name in the same folder, and give it its name when all of it is on the disk."""
    path = Path(os.path.realpath(path))  # a link stays, and what it leads to is replaced
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    if path.is_dir():
        raise IsADirectoryError(f"{os.fspath(path)!r} is a folder; give the path of a file.")
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~umask() if mode is None else mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def umask() -> int:
    """The process's mask of permissions, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
