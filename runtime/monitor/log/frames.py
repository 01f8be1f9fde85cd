"""Frames of a segment: what is whole can be told from what is not, byte by byte.

A segment begins with a preamble, the format version and eight random bytes (the salt) three times over, so
that no single damage makes it unreadable. Then come frames::

    marker 4 B | kind 1 B | length 4 B | head check 2 B | CRC-32 4 B | payload

Numbers are little-endian. Both checks take in the salt and the frame's place in the file: no payload can pose
as a frame, and no frame can be read where it was not written. A head that holds and a payload that is cut off
by the end of the file is a frame that was being written; anything else that does not hold is damage.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass

from zlib_ng.zlib_ng import crc32

from ...errors import GateLogError
from ...gates.documents import DocumentFormat

#: Of ``log.json``, and of the segments beside it, which count their formats together.
LOG_DOCUMENT = DocumentFormat(
    "log format",
    1,
    GateLogError,
    fix="restore it from a copy, or from another log of the same model",
    expected="the file that a gate log begins with",
    mark="gatescope gate log",
)
HEADER, VIDEO, LOSS, END = 1, 2, 3, 4

_MARKER = b"\xd3GS\x1e"
_HEAD = struct.Struct("<4sBIHI")
_COPY = struct.Struct("<4sHH8s")
_MAGIC = b"GATE"
_COPIES = 3
PREAMBLE_BYTES = _COPY.size * _COPIES
HEAD_BYTES = _HEAD.size
SALT_BYTES = 8
# A frame that claims more than this is damage: a video's gates, kept whole, are far below.
MOST_FRAME_BYTES = 2**30


@dataclass(frozen=True)
class Frame:
    """One whole frame: where it begins, what it is, and its payload."""

    offset: int
    kind: int
    payload: bytes

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.offset + HEAD_BYTES + len(self.payload)


@dataclass(frozen=True)
class Torn:
    """A frame whose end is not there yet, or never will be."""

    offset: int


@dataclass(frozen=True)
class SkippedFrame:
    """Bytes from ``start`` to ``end`` that hold no whole frame."""

    start: int
    end: int


def preamble(salt: bytes) -> bytes:
    """The first bytes of a segment."""
    return _COPY.pack(_MAGIC, LOG_DOCUMENT.version, 0, salt) * _COPIES


def read_preamble(data: bytes, name: str) -> bytes:
    """The salt, by the majority of its copies.

    Raises :class:`~gatescope.runtime.errors.GateLogError` where there is none, or a newer version's.
    """
    copies = Counter(
        data[start : start + _COPY.size] for start in range(0, min(len(data), PREAMBLE_BYTES), _COPY.size)
    )
    # With all three damaged in different places, each byte still has a majority.
    bytewise = bytes(
        Counter(data[at + copy * _COPY.size] for copy in range(_COPIES)).most_common(1)[0][0]
        for at in range(_COPY.size)
        if len(data) >= PREAMBLE_BYTES
    )
    best, votes = copies.most_common(1)[0] if copies else (b"", 0)
    chosen = best if votes > 1 else bytewise
    if len(chosen) < _COPY.size:
        raise GateLogError(
            f"{name} is not a segment of a gate log",
            received=f"{len(data)} bytes, no preamble",
            expected=f"a preamble of {PREAMBLE_BYTES} bytes",
        )
    magic, version, _, salt = _COPY.unpack(chosen)
    if magic != _MAGIC:
        raise GateLogError(f"{name} is not a segment of a gate log", received=f"it begins with {data[:8]!r}")
    LOG_DOCUMENT.refuse_newer(version, name)
    return salt


def pack(salt: bytes, offset: int, kind: int, payload: bytes) -> bytes:
    """The frame that holds ``payload`` and begins at ``offset`` of its file."""
    head, check = _checks(salt, offset, kind, payload)
    return _HEAD.pack(_MARKER, kind, len(payload), head, check) + payload


def next_frame(data: bytes, base: int, salt: bytes, at: int) -> Frame | Torn | None:
    """The frame at index ``at`` of ``data``, which begins at ``base`` of the file; None for damage."""
    if len(data) - at < HEAD_BYTES:
        # The beginning of a head is a frame being written; other bytes are not.
        return Torn(base + at) if _MARKER.startswith(data[at : at + 4]) else None
    marker, kind, length, head, check = _HEAD.unpack_from(data, at)
    if marker != _MARKER or length > MOST_FRAME_BYTES or head != _head_check(salt, base + at, kind, length):
        return None
    end = at + HEAD_BYTES + length
    if end > len(data):
        return Torn(base + at)
    payload = data[at + HEAD_BYTES : end]
    return Frame(base + at, kind, payload) if check == _checks(salt, base + at, kind, payload)[1] else None


def find_frame(data: bytes, base: int, salt: bytes, start: int) -> tuple[int, Frame | Torn] | None:
    """The first index from ``start`` on at which a frame begins, whole or torn; None where none does."""
    at = data.find(_MARKER, start)
    while at >= 0:
        found = next_frame(data, base, salt, at)
        if found is not None:
            return at, found
        at = data.find(_MARKER, at + 1)
    return None


def _checks(salt: bytes, offset: int, kind: int, payload: bytes) -> tuple[int, int]:
    place = _place(salt, offset, kind, len(payload))
    return crc32(place) & 0xFFFF, crc32(payload, crc32(place + b"payload"))


def _head_check(salt: bytes, offset: int, kind: int, length: int) -> int:
    return crc32(_place(salt, offset, kind, length)) & 0xFFFF


def _place(salt: bytes, offset: int, kind: int, length: int) -> bytes:
    return salt + struct.pack("<QBI", offset, kind, length)
