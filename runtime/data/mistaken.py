"""Recognises a mistake that fails at every sample: folders in the wrong order, annotations as predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, cast

from ..errors import DatasetError
from .annotations import Annotation
from .arrays import find_array_file, read_array
from .folders import FeatureFolders
from .layouts import layout_named

# Videos looked at: the first may lack a file for a reason of its own.
_LOOKED_AT = 20
_ANNOTATED = ("duration", "relevant_windows", "relevant_clip_ids", "saliency_scores")


def refuse_annotations(path: Path, line: bytes, where: str) -> None:
    """Raise :class:`~gatescope.runtime.errors.DatasetError` where ``line`` of ``path``, which should hold
    predictions, is an annotation: a query without predictions. ``where`` names the line.
    """
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError):
        return
    if not isinstance(found, dict):
        return
    row = cast(dict[str, Any], found)
    annotated = [key for key in _ANNOTATED if key in row]
    if annotated and not any(key.startswith("pred_") for key in row):
        raise DatasetError(
            f"{path} holds annotations, not predictions",
            received=f"{where} with {' and '.join(annotated)}",
            expected="one JSON object per line with qid, pred_relevant_windows and pred_saliency_scores",
            fix="give the predictions that were made for these annotations",
        )


def refuse_wrong_order(folders: FeatureFolders, annotations: Sequence[Annotation]) -> None:
    """Raise :class:`~gatescope.runtime.errors.DatasetError` where the video folders are in the wrong order.

    For a dataset of which no sample can be run. The widths tell: another order of the folders fits the model.
    """
    sources = folders.preprocessing.video
    wanted = [source.width for source in sources]
    if len(wanted) < 2 or None in wanted or layout_named(folders.preprocessing.dataset).video_streams:
        return
    for vid in list(dict.fromkeys(one.vid for one in annotations))[:_LOOKED_AT]:
        widths = _widths(folders, vid)
        if widths is None:
            continue
        if widths == wanted:
            return
        for order in permutations(range(len(wanted))):
            if [widths[place] for place in order] == wanted:
                _refuse(folders, widths, order)
        return


def _refuse(folders: FeatureFolders, widths: list[int], order: Sequence[int]) -> None:
    count = "two" if len(order) == 2 else str(len(order))
    sources = folders.preprocessing.video
    came = (f"{folder} ({width} channels)" for folder, width in zip(folders.video, widths, strict=True))
    raise DatasetError(
        f"the {count} --video-features seem to be in the wrong order",
        received=", ".join(came),
        expected=", ".join(f"{source.path} ({source.width} channels)" for source in sources),
        fix=" ".join(f"--video-features {folders.video[place]}" for place in order),
    )


def _widths(folders: FeatureFolders, vid: str) -> list[int] | None:
    """Channels of each video folder's features of ``vid``; None where one cannot be read."""
    try:
        arrays = [
            read_array(find_array_file(folder, vid, ".npz"), "features").values for folder in folders.video
        ]
    except DatasetError:
        return None
    return [array.shape[1] for array in arrays] if all(array.ndim == 2 for array in arrays) else None
