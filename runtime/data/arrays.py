"""Reads one feature array from a ``.npy`` or ``.npz`` file without trusting the file.

Nothing is unpickled, and no memory is set aside for a size that the file only claims to have.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
from numpy.lib import format as npy

from ..array_types import Float32s
from ..errors import DatasetError
from .plain import NPY_MAGIC, ZIP_MAGIC, read_plain
from .scratch import Scratch


class StoredArray(NamedTuple):
    """An array, and the state of its file: a number that changes when size or modification time do."""

    values: Float32s
    state: int


def find_array_file(folder: Path, name: str, suffix: str) -> Path:
    """The file of an id: ``name`` + ``suffix``, or with the other of .npy and .npz where only that exists.

    ``name`` comes from an annotation and is data. A ``/`` in it names a sub-folder of ``folder``; whatever
    could lead elsewhere (``..``, an absolute path, a backslash, NUL) raises
    :class:`~gatescope.runtime.errors.DatasetError`, as does a missing file.
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in name or "\0" in name:
        raise DatasetError(f"{name!r} is not a safe file name: it could lead out of {folder}")
    if os.path.splitdrive(name)[0]:
        raise DatasetError(f"{name!r} is not a safe file name: it names a drive")
    other = ".npy" if suffix == ".npz" else ".npz"
    for ending in (suffix, other):
        path = folder / f"{name}{ending}"
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DatasetError(f"{path}: {error.strerror or error}") from error
        if not stat.S_ISREG(mode):
            raise DatasetError(f"{path} is not an ordinary file")
        return path
    raise DatasetError(f"no file {folder / name}{suffix}")


def read_array(
    path: Path,
    key: str,
    *,
    own_key: bool = True,
    verify: bool = True,
    scratch: Scratch | None = None,
) -> StoredArray:
    """The array of ``path`` as float32, every axis as stored.

    An .npz must hold ``key``; where ``own_key`` is false (an .npz in the place of an .npy) a single array of
    another name will do. ``verify`` compares an archive's checksum, which is idle for a file that was
    verified and has not changed. The array may lie in ``scratch`` and is gone with its next reset. Raises
    :class:`~gatescope.runtime.errors.DatasetError` that names the file and says what is wrong with it: empty,
    truncated, not an array file, no such key, pickled, not numbers.
    """
    try:
        with io.FileIO(path) as raw:
            size, state = _state(raw)
            if size == 0:
                raise DatasetError(f"{path} is empty")
            values = read_plain(raw, size, key, scratch or Scratch(), own_key=own_key, verify=verify)
            if values is None or _state(raw)[1] != state:
                raw.seek(0)
                with io.BufferedReader(raw) as stream:
                    values = _read_any(path, stream, size, key, own_key)
            return StoredArray(values, state)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error


def _state(stream: io.FileIO) -> tuple[int, int]:
    status = os.fstat(stream.fileno())
    return status.st_size, hash((status.st_size, status.st_mtime_ns))


def _read_any(path: Path, stream: BinaryIO, size: int, key: str, own_key: bool) -> Float32s:
    magic = stream.read(len(NPY_MAGIC))
    stream.seek(0)
    if magic == NPY_MAGIC:
        return _read_npy(path, stream, size)
    if magic.startswith(ZIP_MAGIC):
        return _read_npz(path, stream, key, own_key)
    raise DatasetError(f"{path} is neither an .npy nor an .npz file")


def _read_npz(path: Path, stream: BinaryIO, key: str, own_key: bool) -> Float32s:
    try:
        with zipfile.ZipFile(stream) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if key not in members and not own_key and len(members) == 1:
                key = next(iter(members))
            if key not in members:
                keys = ", ".join(sorted(members)) or "nothing"
                raise DatasetError(f"{path} has no array '{key}'; it holds {keys}")
            info = archive.getinfo(members[key])
            with archive.open(info) as member:
                return _read_npy(path, cast(BinaryIO, member), info.file_size)
    except DatasetError:
        raise
    except Exception as error:
        # zipfile and its decompressors let many kinds of error through (struct, zlib, lzma, zipfile's own).
        raise DatasetError(f"{path} is truncated or damaged: {error}") from error


def _read_npy(path: Path, stream: BinaryIO, size: int) -> Float32s:
    try:
        version = npy.read_magic(stream)
        read_header = {(1, 0): npy.read_array_header_1_0}.get(version, npy.read_array_header_2_0)
        shape, fortran_order, dtype = read_header(stream)
    except Exception as error:
        # numpy's header parser lets errors of its own, of ast and of tokenize through.
        raise DatasetError(f"{path} is truncated or damaged: {error}") from error
    if dtype.hasobject:
        raise DatasetError(f"{path} holds pickled Python objects, which are never loaded")
    if dtype.kind not in "fiu":
        raise DatasetError(f"{path} holds {dtype} values, not numbers")
    claimed = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if min(shape, default=0) < 0 or claimed > size:
        raise DatasetError(f"{path} is truncated: {size} bytes for an array of shape {shape}")
    data = stream.read(claimed)
    if len(data) < claimed:
        raise DatasetError(f"{path} is truncated: {len(data)} of {claimed} bytes of shape {shape}")
    flat = np.frombuffer(data, dtype=dtype)
    # A value too large for float32 becomes Inf here and is reported as such.
    with np.errstate(over="ignore"):
        return flat.reshape(shape, order="F" if fortran_order else "C").astype(np.float32)
