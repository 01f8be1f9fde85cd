"""What frames hold: a segment's beginning and end, a video, and videos that were lost.

Of a video's integers those that are not zero are kept: a bit for each says which, then the values in as few
bytes as the largest needs. A video with eight rows of clipwise gates takes about 600 bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..counting.observed import ObservedVideo
from ..counting.videos import INTEGERS, SUMS
from ..model import WatchedModel

#: Characters of an id that are kept.
MOST_ID = 512
_DIGEST = 16
_DTYPES = ("<u1", "<u2", "<u4", "<u8")


class HeaderRecord(msgspec.Struct, array_like=True):
    """``process``: whose segment; ``number``: which of it, from 0. ``started``: Unix nanoseconds.

    ``model`` and ``manifest`` (JSON) as in the folder's ``log.json``, which may be lost.
    """

    process: str
    number: int
    started: int
    model: WatchedModel
    manifest: str


class LossRecord(msgspec.Struct, array_like=True):
    """``videos`` were not written between ``since`` and ``until`` (Unix nanoseconds); ``why``."""

    videos: int
    since: int
    until: int
    why: str


class EndRecord(msgspec.Struct, array_like=True):
    """The segment was closed with ``videos`` in it; ``next``: the number of the one that follows, or −1."""

    videos: int
    next: int


class GatesRecord(msgspec.Struct, array_like=True):
    """Gates of one kind, kept whole: float32, little-endian."""

    kind: str
    shape: tuple[int, ...]
    values: bytes


class VideoRecord(msgspec.Struct, array_like=True):
    """One video; ``present``, ``values``: its integers as above, ``width`` an index of the integer types."""

    time: int
    sample_id: str
    slice: str
    clips: int
    present: bytes
    width: int
    values: bytes
    sums: bytes
    gates: Sequence[GatesRecord] | None = None


_encoder = msgspec.msgpack.Encoder()
_video_decoder = msgspec.msgpack.Decoder(VideoRecord)


def encode(record: HeaderRecord | LossRecord | EndRecord) -> bytes:
    """As bytes."""
    return _encoder.encode(record)


def encode_video(video: ObservedVideo) -> bytes:
    """As bytes; :func:`decode_video` gives the same video back."""
    flat = video.integers.reshape(-1)
    there = flat != 0
    values = flat[there]
    width = int(np.searchsorted([2**8, 2**16, 2**32], int(values.max(initial=0)), side="right"))
    gates = None
    if video.gates is not None:
        gates = [
            GatesRecord(kind, array.shape, np.ascontiguousarray(array, "<f4").tobytes())
            for kind, array in video.gates.items()
        ]
    return _encoder.encode(
        VideoRecord(
            video.time,
            short_id(video.sample_id),
            video.slice,
            video.clips,
            np.packbits(there).tobytes(),
            width,
            values.astype(_DTYPES[width]).tobytes(),
            np.ascontiguousarray(video.sums, "<f8").tobytes(),
            gates,
        )
    )


def decode_video(payload: bytes, rows: int) -> ObservedVideo:
    """The video that :func:`encode_video` wrote; ``rows``: R of its model.

    Raises ``ValueError`` or ``msgspec.DecodeError`` for anything else.
    """
    record = _video_decoder.decode(payload)
    there = np.unpackbits(np.frombuffer(record.present, np.uint8), count=rows * INTEGERS).astype(np.bool_)
    integers = np.zeros(rows * INTEGERS, np.int64)
    integers[there] = np.frombuffer(record.values, _DTYPES[record.width])
    sums: NDArray[np.float64] = np.frombuffer(record.sums, "<f8").astype(np.float64)
    gates = None
    if record.gates is not None:
        gates = {
            one.kind: np.frombuffer(one.values, "<f4").astype(np.float32).reshape(one.shape)
            for one in record.gates
        }
    return ObservedVideo(
        record.time,
        record.sample_id,
        record.slice,
        record.clips,
        integers.reshape(rows, INTEGERS),
        sums.reshape(rows, len(SUMS)),
        gates,
    )


def short_id(text: str) -> str:
    """An id as it is kept: text that can be written, of 512 characters at most.

    Of a longer one the beginning, and a hash of the whole at its end, so that different ids stay different.
    """
    clean = text.encode("utf-8", "backslashreplace").decode()
    if len(clean) <= MOST_ID:
        return clean
    digest = hashlib.blake2b(clean.encode(), digest_size=_DIGEST // 2).hexdigest()
    return f"{clean[: MOST_ID - _DIGEST - 1]}~{digest}"
