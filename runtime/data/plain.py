"""Array files whose numbers lie in one piece on disk, read with one system call: ``.npy``, and ``.npz``
members that are stored without compression, as ``numpy.savez`` writes them.

Whatever is compressed, unusual or damaged is left to :mod:`gatescope.runtime.data.arrays`, which reads
anything and names what is wrong. So nothing here raises for a bad file: the answer is then None.
"""

from __future__ import annotations

import io
import struct
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from zlib_ng.zlib_ng import crc32  # several times as fast as the standard library's

from .scratch import Scratch

NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK"

# Enough for a zip member's own header and an .npy header behind it; and for the directory of a few members.
_HEAD = 1024
_TAIL = 1024
_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s4B4H3L5H2L")
_LOCAL = struct.Struct("<4s2B4HL2L2H")
_UTF8_NAME = 0x800
_DATA_DESCRIPTOR = 0x8


class _Member(NamedTuple):
    """Where a member's bytes lie in the file, and their CRC-32; an .npy file has none."""

    start: int
    size: int
    crc: int | None


class _Header(NamedTuple):
    """What an .npy header says; ``length`` is its own, in bytes."""

    length: int
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    values: int


def read_plain(
    stream: io.FileIO, size: int, key: str, scratch: Scratch, *, own_key: bool, verify: bool
) -> NDArray[np.float32] | None:
    """The array ``key`` of the file as float32, every axis as stored; None where another way must be found.

    ``stream`` is unbuffered and ``size`` bytes long; the other arguments are those of
    :func:`~gatescope.runtime.data.arrays.read_array`.
    """
    head = _at(stream, 0, _HEAD)
    if head.startswith(NPY_MAGIC):
        member = _Member(0, size, None)
    elif not head.startswith(ZIP_MAGIC):
        return None
    else:
        found = _find_member(stream, size, key, own_key)
        if found is None:
            return None
        entry, offset = found
        if offset:
            head = _at(stream, offset, _HEAD)
        begin = _member_begin(head, entry)
        if begin is None:
            return None
        member = _Member(offset + begin, entry.size, entry.crc)
        head = head[begin : begin + member.size]
    header = _header(head)
    if header is None:
        return None
    needed = header.length + header.values * header.dtype.itemsize
    if needed > min(member.size, size - member.start) or (member.crc is not None and needed != member.size):
        return None
    flat = scratch.empty(header.values, header.dtype)
    content = memoryview(cast(Any, flat.view(np.uint8)))
    if not _fill(stream, member.start + header.length, content):
        return None
    if verify and member.crc is not None and crc32(content, crc32(head[: header.length])) != member.crc:
        return None
    array = flat.reshape(header.shape, order="F" if header.fortran_order else "C")
    if array.dtype == np.float32:
        return array
    # A value too large for float32 becomes Inf here and is reported as such.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


class _Entry(NamedTuple):
    """A member in the archive's directory."""

    name: bytes
    size: int
    crc: int


def _find_member(stream: io.FileIO, size: int, key: str, own_key: bool) -> tuple[_Entry, int] | None:
    """The directory's entry of ``key``, and where its local header lies."""
    tail = _at(stream, max(size - _TAIL, 0), _TAIL)
    if len(tail) < _END.size:
        return None
    signature, *_, entries, length, start, comment = _END.unpack(tail[-_END.size :])
    first = len(tail) - _END.size - length
    if signature != b"PK\5\6" or comment or start + length + _END.size != size or first < 0:
        return None
    found: dict[str, tuple[_Entry, int]] = {}
    place = first
    for _ in range(entries):
        if place + _ENTRY.size > len(tail):
            return None
        fields = _ENTRY.unpack_from(tail, place)
        mark, flags, method, crc, packed, unpacked = fields[0], fields[5], fields[6], *fields[9:12]
        name_length, extra, note, offset = fields[12], fields[13], fields[14], fields[18]
        name = tail[place + _ENTRY.size : place + _ENTRY.size + name_length]
        place += _ENTRY.size + name_length + extra + note
        odd = flags & ~(_UTF8_NAME | _DATA_DESCRIPTOR) or method or packed != unpacked or not name.isascii()
        if mark != b"PK\1\2" or odd or 0xFFFFFFFF in (unpacked, offset):
            return None
        text = name.decode("ascii").removesuffix(".npy")
        if text in found:
            return None
        found[text] = _Entry(name, unpacked, crc), offset
    if key not in found and not own_key and len(found) == 1:
        return next(iter(found.values()))
    return found.get(key)


def _member_begin(head: bytes, entry: _Entry) -> int | None:
    """Where the member's own bytes begin behind its local header, with which ``head`` begins."""
    if len(head) < _LOCAL.size:
        return None
    fields = _LOCAL.unpack_from(head)
    name_length, extra = fields[-2:]
    name = head[_LOCAL.size : _LOCAL.size + name_length]
    return _LOCAL.size + name_length + extra if fields[0] == b"PK\3\4" and name == entry.name else None


def _header(head: bytes) -> _Header | None:
    """The .npy header that ``head`` begins with."""
    if not head.startswith(NPY_MAGIC) or len(head) < 12:
        return None
    begin, length = (10, head[8:10]) if head[6] == 1 else (12, head[8:12])
    end = begin + int.from_bytes(length, "little")
    return _parsed(head[:end]) if end <= len(head) else None


@lru_cache(maxsize=256)
def _parsed(head: bytes) -> _Header | None:
    # Files of one source have few different headers, and numpy takes longer to parse one than the disk's
    # cache takes to hand over the numbers behind it.
    stream = io.BytesIO(head)
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = read(stream)
    except Exception:
        return None
    count = int(np.prod(shape, dtype=object))
    if dtype.hasobject or dtype.kind not in "fiu" or min(shape, default=1) < 0 or count == 0:
        return None
    return _Header(len(head), shape, fortran_order, dtype, count)


def _at(stream: io.FileIO, place: int, length: int) -> bytes:
    stream.seek(place)
    return stream.read(length) or b""


def _fill(stream: io.FileIO, place: int, target: memoryview) -> bool:
    """Fill ``target`` from ``place`` on; False where the file ends before."""
    stream.seek(place)
    while target:
        read = stream.readinto(target)
        if not read:
            return False
        target = target[read:]
    return True
