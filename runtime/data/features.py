"""Reads one sample's raw arrays from the feature folders, and says per file what is wrong with it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DatasetError
from .annotations import Annotation
from .arrays import Floats, find_array_file, read_array
from .folders import FeatureFolders

# Queries of one video follow each other in annotation files, so a few videos are enough.
_CACHED_VIDEOS = 4


@dataclass(frozen=True)
class RawFeatures:
    """A sample's features as stored: float32, finite, not normalised, not cut, without TEF.

    - ``video``: one (L_i, D_i) array per source, in the model's order. ``audio``: (L_a, D). ``text``: (T, D);
      None where the model takes no text.
    """

    video: tuple[Floats, ...]
    audio: Floats
    text: Floats | None


def read_raw(folders: FeatureFolders, annotation: Annotation) -> RawFeatures:
    """The features of one query.

    Raises :class:`~gatescope.runtime.errors.DatasetError` that names the file: missing, empty, truncated,
    not an array file, without its key, NaN or Inf, no clips, another width than the model takes.
    """
    return RawFeatures(
        read_video(folders, annotation.vid),
        read_audio(folders, annotation.vid),
        read_text(folders, annotation.qid),
    )


def read_video(folders: FeatureFolders, vid: str) -> tuple[Floats, ...]:
    """Every video source of ``vid``, each (L_i, D_i); errors as :func:`read_raw`."""
    recipe = folders.preprocessing
    arrays: list[Floats] = []
    for source, folder in zip(recipe.video, folders.video, strict=True):
        if recipe.dataset == "tvsum":
            array, path = _read_tvsum_video(folder, vid)
        else:
            path = find_array_file(folder, vid, ".npz")
            array = _checked(path, read_array(path, "features"), "clips")
        if source.width is not None:
            _check_width(path, array, source.width)
        arrays.append(array)
    width = sum(array.shape[1] for array in arrays)
    expected = recipe.video_width - (2 if recipe.tef else 0)
    if width != expected:
        parts = " + ".join(str(array.shape[1]) for array in arrays)
        raise DatasetError(f"video features of {vid} are {parts} wide; the model takes {expected} in all")
    return tuple(arrays)


def read_audio(folders: FeatureFolders, vid: str) -> Floats:
    """The audio of ``vid``, (L, D); errors as :func:`read_raw`."""
    path = find_array_file(folders.audio, vid, ".npy")
    array = _checked(path, read_array(path, "features", own_key=False), "clips")
    _check_width(path, array, folders.preprocessing.audio_width - (2 if folders.preprocessing.tef else 0))
    return array


def read_text(folders: FeatureFolders, qid: str) -> Floats | None:
    """The words of ``qid``, (T, D), or None where the model takes no text; errors as :func:`read_raw`."""
    if folders.text is None:
        return None
    if folders.preprocessing.dataset == "tvsum":
        name, key = qid, "token"
    else:
        name, key = f"qid{qid}", "last_hidden_state"
    path = find_array_file(folders.text, name, ".npz")
    array = read_array(path, key)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    array = _checked(path, array, "words")
    _check_width(path, array, folders.preprocessing.text_width)
    return array


class FeatureReader:
    """Reads the queries of a dataset one after the other; the last few videos stay in memory."""

    def __init__(self, folders: FeatureFolders) -> None:
        self._folders = folders
        self._videos: OrderedDict[str, tuple[tuple[Floats, ...], Floats]] = OrderedDict()

    def read(self, annotation: Annotation) -> RawFeatures:
        """Like :func:`read_raw`, without reading the same video again for its next query."""
        vid = annotation.vid
        if vid not in self._videos:
            self._videos[vid] = read_video(self._folders, vid), read_audio(self._folders, vid)
            if len(self._videos) > _CACHED_VIDEOS:
                self._videos.popitem(last=False)
        self._videos.move_to_end(vid)
        video, audio = self._videos[vid]
        return RawFeatures(video, audio, read_text(self._folders, annotation.qid))


def _read_tvsum_video(folder: Path, vid: str) -> tuple[Floats, Path]:
    """TVSum stores the two streams of I3D apart; they are one source and are normalised as one row."""
    paths = [find_array_file(folder, f"{vid}_{stream}", ".npy") for stream in ("rgb", "opt")]
    rgb, flow = (_checked(path, read_array(path, "features", own_key=False), "clips") for path in paths)
    if len(rgb) != len(flow):
        raise DatasetError(f"{paths[0]} has {len(rgb)} clips, {paths[1].name} has {len(flow)}")
    return np.concatenate([rgb, flow], axis=1), paths[0]


def _checked(path: Path, array: Floats, rows: str) -> Floats:
    if array.ndim != 2:
        raise DatasetError(f"{path} has shape {array.shape}, not ({rows}, width)")
    if array.shape[0] == 0:
        raise DatasetError(f"{path} holds no {rows}: its shape is {array.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(array, axis=1)
    # A row's norm is finite only if all of it is: one look at (rows,) is enough for most files.
    if not np.isfinite(norms).all():
        count = array.size - int(np.isfinite(array).sum())
        what = f"{count} NaN or Inf values" if count else "values too large for float32"
        first = int(np.flatnonzero(~np.isfinite(norms))[0])
        raise DatasetError(f"{path} holds {what}, the first in row {first} (from 0)")
    return array


def _check_width(path: Path, array: Floats, width: int) -> None:
    if array.shape[1] != width:
        raise DatasetError(f"{path} is {array.shape[1]} wide; the model takes {width}")
