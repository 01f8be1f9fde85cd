"""Recognises what makes every sample of a dataset fail at once: folders of features in the wrong order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from ..errors import DatasetError
from .annotations import Annotation
from .arrays import find_array_file, read_array
from .folders import FeatureFolders
from .layouts import layout_named

# Videos looked at: the first may lack a file for a reason of its own.
_LOOKED_AT = 20


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
