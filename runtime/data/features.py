"""Reads one sample's raw arrays from the feature folders, and says per file what is wrong with it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..array_types import Float32s
from ..errors import DatasetError
from .annotations import Annotation
from .arrays import StoredArray, find_array_file, read_array
from .folders import FeatureFolders
from .layouts import Layout, layout_named
from .scratch import Scratch

# Queries of one video follow each other in annotation files, so a few videos are enough.
_CACHED_VIDEOS = 4


@dataclass(frozen=True)
class RawFeatures:
    """A sample's features as stored: float32, finite, not normalised, not cut, without TEF.

    - ``video``: one (L_i, D_i) array per source, in the model's order. ``audio``: (L_a, D). ``text``: (T, D);
      None where the model takes no text.
    """

    video: tuple[Float32s, ...]
    audio: Float32s
    text: Float32s | None


class StoredVideo(NamedTuple):
    """Every video source of one video, each (L_i, D_i), and the state of their files together."""

    sources: tuple[Float32s, ...]
    state: int


def read_raw(folders: FeatureFolders, annotation: Annotation) -> RawFeatures:
    """The features of one query.

    Raises :class:`~gatescope.runtime.errors.DatasetError` that names the file: missing, empty, truncated,
    not an array file, without its key, NaN or Inf, no clips, another width than the model takes.
    """
    text = read_text(folders, annotation.qid)
    return RawFeatures(
        read_video(folders, annotation.vid).sources,
        read_audio(folders, annotation.vid).values,
        None if text is None else text.values,
    )


def read_video(
    folders: FeatureFolders, vid: str, *, verify: bool = True, scratch: Scratch | None = None
) -> StoredVideo:
    """Every video source of ``vid``; errors as :func:`read_raw`.

    Without ``verify`` neither checksums nor NaN and Inf are looked for: enough for files that were verified
    and whose state is still the same. The arrays may lie in ``scratch`` and are gone with its next reset.
    """
    recipe = folders.preprocessing
    layout = layout_named(recipe.dataset)
    arrays: list[Float32s] = []
    states: list[int] = []
    paths: list[Path] = []
    for source, folder in zip(recipe.video, folders.video, strict=True):
        if layout.video_streams:
            (array, state), path = _read_streams(layout, folder, vid, verify, scratch)
        else:
            path = find_array_file(folder, vid, ".npz")
            stored = read_array(path, "features", verify=verify, scratch=scratch)
            array, state = _checked(path, stored, "clips", verify)
        if source.width is not None:
            _check_width(path, array, source.width)
        paths.append(path)
        arrays.append(array)
        states.append(state)
    width = sum(array.shape[1] for array in arrays)
    expected = recipe.video_width - (2 if recipe.tef else 0)
    if width != expected:
        parts = " + ".join(str(array.shape[1]) for array in arrays)
        names = " + ".join(map(str, paths))
        raise DatasetError(f"{names} are {parts} wide; the model takes {expected} in all")
    return StoredVideo(tuple(arrays), hash(tuple(states)))


def read_audio(
    folders: FeatureFolders, vid: str, *, verify: bool = True, scratch: Scratch | None = None
) -> StoredArray:
    """The audio of ``vid``, (L, D); ``verify`` and ``scratch`` as for :func:`read_video`."""
    path = find_array_file(folders.audio, vid, ".npy")
    stored = read_array(path, "features", own_key=False, verify=verify, scratch=scratch)
    width = folders.preprocessing.audio_width - (2 if folders.preprocessing.tef else 0)
    _check_width(path, _checked(path, stored, "clips", verify).values, width)
    return stored


def read_text(
    folders: FeatureFolders, qid: str, *, verify: bool = True, scratch: Scratch | None = None
) -> StoredArray | None:
    """The words of ``qid``, (T, D), or None where the model takes no text.

    ``verify`` and ``scratch`` as for :func:`read_video`, errors as :func:`read_raw`.
    """
    if folders.text is None:
        return None
    layout = layout_named(folders.preprocessing.dataset)
    # Not str.format: an id may hold braces.
    path = find_array_file(folders.text, layout.text_file.replace("{qid}", qid), ".npz")
    array, state = read_array(path, layout.text_key, verify=verify, scratch=scratch)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    stored = _checked(path, StoredArray(array, state), "words", verify)
    _check_width(path, stored.values, folders.preprocessing.text_width)
    return stored


class FeatureReader:
    """Reads the queries of a dataset one after the other; the last few videos stay in memory."""

    def __init__(self, folders: FeatureFolders) -> None:
        self._folders = folders
        self._videos: OrderedDict[str, tuple[tuple[Float32s, ...], Float32s]] = OrderedDict()

    def read(self, annotation: Annotation) -> RawFeatures:
        """Like :func:`read_raw`, without reading the same video again for its next query."""
        vid = annotation.vid
        if vid not in self._videos:
            self._videos[vid] = read_video(self._folders, vid).sources, read_audio(self._folders, vid).values
            if len(self._videos) > _CACHED_VIDEOS:
                self._videos.popitem(last=False)
        self._videos.move_to_end(vid)
        video, audio = self._videos[vid]
        text = read_text(self._folders, annotation.qid)
        return RawFeatures(video, audio, None if text is None else text.values)


def _read_streams(
    layout: Layout, folder: Path, vid: str, verify: bool, scratch: Scratch | None
) -> tuple[StoredArray, Path]:
    """A source whose streams are stored apart: their channels side by side, and the first one's file."""
    paths = [find_array_file(folder, f"{vid}_{stream}", ".npy") for stream in layout.video_streams]
    streams = [
        _checked(
            path,
            read_array(path, "features", own_key=False, verify=verify, scratch=scratch),
            "clips",
            verify,
        )
        for path in paths
    ]
    first = len(streams[0].values)
    for path, stream in zip(paths, streams, strict=True):
        if len(stream.values) != first:
            raise DatasetError(f"{paths[0]} has {first} clips, {path} has {len(stream.values)}")
    together = np.concatenate([stream.values for stream in streams], axis=1)
    return StoredArray(together, hash(tuple(stream.state for stream in streams))), paths[0]


def _checked(path: Path, stored: StoredArray, rows: str, verify: bool) -> StoredArray:
    array = stored.values
    if array.ndim != 2:
        raise DatasetError(f"{path} has shape {array.shape}, not ({rows}, width)")
    if array.shape[0] == 0:
        raise DatasetError(f"{path} holds no {rows}: its shape is {array.shape}")
    if not verify:
        return stored
    with np.errstate(over="ignore", invalid="ignore"):
        # A row's sum of squares is finite only if all of it is: one look at (rows,) is enough for most files.
        if np.isfinite(np.vecdot(array, array)).all():
            return stored
        norms = np.linalg.norm(array, axis=1)
    if not np.isfinite(norms).all():
        count = array.size - int(np.isfinite(array).sum())
        what = f"{count} NaN or Inf values" if count else "values too large for float32"
        first = int(np.flatnonzero(~np.isfinite(norms))[0])
        raise DatasetError(f"{path} holds {what}, the first in row {first} (from 0)")
    return stored


def _check_width(path: Path, array: Float32s, width: int) -> None:
    if array.shape[1] != width:
        raise DatasetError(f"{path} is {array.shape[1]} wide; the model takes {width}")
