"""A baseline as one JSON file: readable where people look, packed where the videos' counts lie."""

from __future__ import annotations

import base64
import zlib
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ...errors import BaselineError
from ...files import local, new_file
from ...gates.documents import DocumentFormat
from ..counting.totals import GateTotals
from ..counting.videos import INTEGERS, SUMS, VideoCounts
from ..diagnosis.features import NAMES
from ..diagnosis.signatures import Signatures
from ..model import WatchedModel
from .baseline import Baseline, BaselineSource
from .thresholds import Thresholds
from .videos import BaselineVideos

_DOCUMENT = DocumentFormat(
    "baseline format",
    1,
    BaselineError,
    fix="make it again from its run or log",
    expected="a file that 'gatescope monitor baseline' wrote",
    mark="gatescope baseline",
)


def save_baseline(baseline: Baseline, path: Path) -> None:
    """Write ``baseline`` to ``path``, at once and whole.

    Raises :class:`~gatescope.runtime.errors.BaselineError` where it cannot be written.
    """
    document = {
        "format": _DOCUMENT.mark,
        "format_version": _DOCUMENT.version,
        "gatescope": version("gatescope"),
        "created": baseline.created,
        "model": asdict(baseline.model),
        "sources": [asdict(source) for source in baseline.sources],
        "videos": len(baseline.videos),
        "slices": baseline.videos.slice_sizes,
        "false_alarms": baseline.false_alarms,
        "windows": baseline.windows,
        "totals": baseline.totals().to_plain(),
        "thresholds": {name: [one.to_plain() for one in own] for name, own in baseline.thresholds.items()},
        "missing": baseline.missing,
        "signatures_note": baseline.signatures_note,
        "signatures": baseline.signatures.to_plain() if baseline.signatures else None,
        "counts": _pack_videos(baseline.videos),
    }
    try:
        with new_file(path) as partial:
            partial.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    except OSError as error:
        raise BaselineError(
            f"the baseline {path} cannot be written",
            received=error.strerror or str(error),
            fix="choose another --output",
        ) from error


def load_baseline(path: str | Path) -> Baseline:
    """Read what :func:`save_baseline` wrote.

    Raises :class:`~gatescope.runtime.errors.BaselineError` where it is missing, damaged or newer.
    """
    path = local(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BaselineError(
            f"the baseline {path} cannot be read",
            received=error.strerror or str(error),
            expected="a file that 'gatescope monitor baseline' wrote",
        ) from error
    plain = _DOCUMENT.decode(content, path)
    try:
        return _unpack(plain)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, zlib.error) as error:
        raise _DOCUMENT.damaged(f"the baseline {path}", error) from error


def _unpack(plain: dict[str, Any]) -> Baseline:
    model = msgspec.convert(plain["model"], WatchedModel)
    videos = _unpack_videos(plain["counts"], len(model.layout))
    totals = GateTotals(model.layout)
    totals.update(videos.counts)
    if not np.array_equal(totals.integers, GateTotals.from_plain(plain["totals"], model.layout).integers):
        raise ValueError("its totals are not those of its videos")
    signatures = Signatures.from_plain(plain["signatures"]) if plain["signatures"] else None
    features = len(model.layout) * len(NAMES)
    if signatures is not None and len(signatures.spread) != features:
        raise ValueError(f"its faults have {len(signatures.spread)} features, expected {features}")
    made = Baseline(
        model,
        videos,
        float(plain["false_alarms"]),
        tuple(int(window) for window in plain["windows"]),
        dict.fromkeys(plain["thresholds"], ()),
        {name: int(gap) for name, gap in plain["missing"].items()},
        signatures,
        str(plain["signatures_note"]),
        tuple(msgspec.convert(plain["sources"], list[BaselineSource])),
        str(plain["created"]),
    )
    kept = {
        name: tuple(
            Thresholds.from_plain(one, len(model.layout))
            if Thresholds.has_all(one)
            else made.thresholds_for(int(one["window"]), name)
            for one in own
        )
        for name, own in plain["thresholds"].items()
    }
    return replace(made, thresholds=kept)


def _pack_videos(videos: BaselineVideos) -> dict[str, Any]:
    names = sorted(set(videos.slices.tolist()))
    return {
        "videos": _pack(videos.videos),
        "samples": _pack(videos.samples),
        "slice_names": names,
        "slices": _pack(np.searchsorted(np.array(names, dtype=np.str_), videos.slices).astype(np.int32)),
        "integers": _pack(videos.counts.integers),
        "sums": _pack(videos.counts.sums),
    }


def _unpack_videos(plain: dict[str, Any], rows: int) -> BaselineVideos:
    names = np.array([str(name) for name in plain["slice_names"]] or [""], dtype=np.str_)
    videos = _unpack_array(plain["videos"], "<u8", (-1,))
    count = len(videos)
    return BaselineVideos(
        videos,
        _unpack_array(plain["samples"], "<u8", (count,)),
        np.asarray(names[_unpack_array(plain["slices"], "<i4", (count,))], np.str_),
        VideoCounts(
            _unpack_array(plain["integers"], "<i8", (count, rows, INTEGERS)),
            _unpack_array(plain["sums"], "<f8", (count, rows, len(SUMS))),
        ),
    )


def _pack(array: NDArray[Any]) -> str:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(zlib.compress(np.ascontiguousarray(little).tobytes(), 6)).decode()


def _unpack_array(text: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    data = zlib.decompress(base64.b64decode(text, validate=True))
    return np.frombuffer(data, dtype).astype(np.dtype(dtype).newbyteorder("="), copy=True).reshape(shape)
