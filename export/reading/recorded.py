"""Where the data that training recorded lie on this machine: its annotations and its folders of features.

A path is looked for by its last parts, the longest first, under the folders the user names; then as it was
recorded: from the current folder, or from a folder above the results, where the training script was started.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, cast

from ...runtime.data.dataset import FeatureSources

ANNOTATIONS, VIDEO, AUDIO, TEXT = "eval_path", "v_feat_dirs", "a_feat_dir", "t_feat_dir"
# How many folders above the results folder the training script may have been started in.
_ABOVE = 4


@dataclass(frozen=True)
class Recorded:
    """What was found of the paths in training's options.

    ``missing``: recorded paths that are not here, by option, several separated by commas. ``how``: by option,
    where the others were found.
    """

    annotations: Path | None
    sources: FeatureSources
    missing: dict[str, str] = field(default_factory=dict[str, str])
    how: dict[str, str] = field(default_factory=dict[str, str])


def find_recorded(
    options: Mapping[str, Any], folder: Path, under: Sequence[Path], given: FeatureSources
) -> Recorded:
    """Look for what ``options`` record, of a training whose results are in ``folder``.

    ``under``: folders that the user named, first to be looked in. ``given``: sources the user named, which
    are taken as they are.
    """
    missing: dict[str, str] = {}
    how: dict[str, str] = {}

    def find(option: str, text: object, *, is_file: bool = False) -> Path | None:
        if not isinstance(text, str) or not text:
            return None
        for path, where in _places(text, folder, under):
            if path.is_file() if is_file else path.is_dir():
                how[option] = where
                return path
        missing[option] = f"{missing[option]}, {text}" if option in missing else text
        return None

    annotations = find(ANNOTATIONS, options.get(ANNOTATIONS), is_file=True)
    audio = given.audio or find(AUDIO, options.get(AUDIO))
    text = given.text or find(TEXT, options.get(TEXT))
    video = given.video
    if not video:
        found = [find(VIDEO, one) for one in _several(options.get(VIDEO))]
        # In part they would be taken for all: then they are looked for by their usual names.
        video = tuple(path for path in found if path is not None) if None not in found else ()
        if not video:
            how.pop(VIDEO, None)
    return Recorded(annotations, FeatureSources(given.root, video, audio, text), missing, how)


def _several(value: object) -> list[object]:
    return [value] if isinstance(value, str) else cast(list[object], value) if isinstance(value, list) else []


def _places(text: str, folder: Path, under: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Where the recorded path ``text`` may lie, likeliest first, and how it would have been found."""
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for root in under:
        for first in range(len(parts)):
            yield root.joinpath(*parts[first:]), "by the last parts of the recorded path"
    path = PurePosixPath(text)
    if path.is_absolute():
        yield Path(text), "as recorded"
        return
    yield Path(text), "as recorded"
    above = folder.absolute().parents
    for parent in above[:_ABOVE]:
        yield parent / text, "as recorded, from a folder above the results"
