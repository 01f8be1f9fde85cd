"""How strong the audio of every clip is: the L2 norm of its feature row, before any normalisation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...runtime.data.features import read_audio
from ...runtime.data.folders import FeatureFolders
from ...runtime.errors import DatasetError
from ...runtime.runs.reader import Run
from ..report.context import Context
from ..report.markdown import shared_name, without_folders

_NAMED = 3


@dataclass(frozen=True)
class AudioStrength:
    """The strength of the audio by video.

    - ``clips``: by vid one float32 (L,), row i of the file for clip i; nothing for a video that could not be
      read. ``lacking``: what is not there and why, a sentence; empty where all was read.
    """

    clips: Mapping[str, NDArray[np.float32]] = field(default_factory=dict[str, NDArray[np.float32]])
    lacking: str = ""


def strength_of(context: Context) -> AudioStrength:
    """How strong the audio of every clip of a run is, where its features are still to be found."""
    return audio_strength(context.run, context.videos["vid"].to_list())


def audio_strength(run: Run, vids: Iterable[str]) -> AudioStrength:
    """Read the audio features of ``vids`` from the folder the run took them from, one file at a time.

    Where that folder is gone nothing is read, and ``lacking`` says so; so for files that cannot be read.
    """
    folder = Path(run.record.features.audio)
    if not folder.is_dir():
        return AudioStrength(
            lacking=f"The audio features are not where the run took them from ({shared_name(folder)}): "
            "the strength of the audio is not known."
        )
    recipe = run.manifest.preprocessing
    folders = FeatureFolders(recipe, video=(), audio=folder, text=None)
    strengths: dict[str, NDArray[np.float32]] = {}
    unread: list[str] = []
    for vid in dict.fromkeys(vids):
        try:
            rows = read_audio(folders, vid).values[: recipe.max_v_l]
        except DatasetError as error:
            unread.append(without_folders(error.problem))
            continue
        strengths[vid] = np.linalg.norm(rows, axis=1).astype(np.float32)
    lacking = ""
    if unread:
        more = f"; and {len(unread) - _NAMED} more" if len(unread) > _NAMED else ""
        lacking = f"The audio of {len(unread)} videos could not be read ({'; '.join(unread[:_NAMED])}{more})."
    return AudioStrength(strengths, lacking)
