"""Finds the folder of each feature source, from the paths that training used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DatasetError, UsageError
from ..files import local
from ..gates.manifest import Manifest
from ..gates.preprocessing import InputSource, Preprocessing

_SHOWN = 20

# What a trained path contains → the names under which people keep such features. The first entry that
# occurs in the path counts, so the more telling ones come first.
_VIDEO_NAMES: dict[str, tuple[str, ...]] = {
    "slowfast": ("slowfast_features", "slowfast", "vid_slowfast", "video_slowfast"),
    "i3d": ("i3d_features", "i3d", "vid_i3d", "video_features"),
    "vgg": ("vgg_features", "vgg", "vid_vgg"),
    "c3d": ("c3d_features", "c3d"),
    "resnet": ("resnet_features", "resnet"),
    "clip": ("clip_features", "clip_video_features", "clip", "vid_clip", "video_clip"),
    "": ("video_features", "video"),
}
_AUDIO_NAMES: dict[str, tuple[str, ...]] = {
    "": ("pann_features", "panns_features", "pann", "panns", "audio_features", "audio", "vggish_features"),
}
_TEXT_NAMES: dict[str, tuple[str, ...]] = {
    "": (
        "clip_text_features",
        "text_features",
        "query_features",
        "txt_features",
        "txt_clip",
        "text_clip",
        "clip_text",
        "text",
        "query",
    ),
}


@dataclass(frozen=True)
class FeatureFolders:
    """Where each source of a dataset lies, and how its features are to be read.

    - ``video``: one folder per source, in the order the model concatenates them.
    - ``audio``, ``text``: one folder each; ``text`` is None where the model takes no text.
    """

    preprocessing: Preprocessing
    video: tuple[Path, ...]
    audio: Path
    text: Path | None

    @classmethod
    def find(
        cls,
        manifest: Manifest,
        root: str | Path | None,
        *,
        video: Sequence[str | Path] | None = None,
        audio: str | Path | None = None,
        text: str | Path | None = None,
    ) -> FeatureFolders:
        """Find the folder of every source ``manifest`` needs under ``root``; explicit folders override it.

        Under ``root`` a source is found by the last part of the path that training used (its last two where
        sources share the last one), then by the usual names for what that path contains.

        Raises :class:`~gatescope.runtime.errors.DatasetError` where the model's file has no recipe for
        datasets, or, listing what was looked for and what lies under ``root``, where folders are missing, and
        :class:`~gatescope.runtime.errors.UsageError` where the number of ``video`` folders is not the model's
        number of video sources or nothing says where to look.
        """
        _refuse_no_recipe(manifest)
        takes_text = "src_txt" in manifest.input_names
        return cls.locate(
            manifest.preprocessing, root, video=video, audio=audio, text=text, takes_text=takes_text
        )

    @classmethod
    def locate(
        cls,
        preprocessing: Preprocessing,
        root: str | Path | None,
        *,
        video: Sequence[str | Path] | None = None,
        audio: str | Path | None = None,
        text: str | Path | None = None,
        takes_text: bool = True,
    ) -> FeatureFolders:
        """:meth:`find` for a recipe whose model is not exported yet."""
        sources = preprocessing.video
        if video and len(video) != len(sources):
            raise UsageError(
                "the number of video feature folders does not fit the model",
                received=f"{len(video)}: {', '.join(str(folder) for folder in video)}",
                expected=f"{len(sources)}, in this order: {', '.join(source.path for source in sources)}",
                fix="repeat --video-features once per source, or leave it out and pass --features ROOT",
            )
        wanted = [
            _Wanted("video", source, _VIDEO_NAMES, local(video[i]) if video else None)
            for i, source in enumerate(sources)
        ]
        wanted.append(_Wanted("audio", preprocessing.audio, _AUDIO_NAMES, local(audio) if audio else None))
        if takes_text:
            wanted.append(_Wanted("text", preprocessing.text, _TEXT_NAMES, local(text) if text else None))
        found = _find_all(wanted, local(root) if root is not None else None)
        rest = found[len(sources) :]
        return cls(preprocessing, tuple(found[: len(sources)]), rest[0], rest[1] if len(rest) > 1 else None)


def _refuse_no_recipe(manifest: Manifest) -> None:
    if not manifest.reads_datasets:
        raise DatasetError(
            "this model's file has no recipe for datasets: it does not say which features the model takes, "
            "and how wide they are",
            received=f"preprocessing for '{manifest.preprocessing.dataset}'",
            fix="prepare the inputs as its training did and give them to GateSession.run, or export it again "
            "with training's options",
        )


@dataclass(frozen=True)
class _Wanted:
    """One source to find: its modality, the trained source, the usual names, an explicit folder."""

    modality: str
    source: InputSource
    usual: dict[str, tuple[str, ...]]
    explicit: Path | None


def _find_all(wanted: list[_Wanted], root: Path | None) -> list[Path]:
    if root is None and (without := [w.modality for w in wanted if w.explicit is None]):
        flags = ", ".join(f"--{modality}-features" for modality in dict.fromkeys(without))
        raise UsageError("nothing says where the features are", fix=f"pass --features ROOT, or {flags}")
    if root is not None and any(w.explicit is None for w in wanted) and not root.is_dir():
        raise DatasetError(
            f"the feature root {root} is {'not a folder' if root.exists() else 'not there'}",
            expected="a folder that holds one folder per source",
        )
    found: list[Path] = []
    problems: list[str] = []
    for one in wanted:
        candidates = [one.explicit] if one.explicit is not None else _candidates(one, wanted, root or Path())
        folder = next((path for path in candidates if path.is_dir()), None)
        if folder is not None:
            found.append(folder)
            continue
        names = ", ".join(str(path if root is None else _below(path, root)) for path in candidates)
        problems.append(f"{one.modality} source '{one.source.path}': looked for {names}")
    if problems:
        raise DatasetError(
            "feature folders are missing\n    " + "\n    ".join(problems),
            received=f"under {root}: {_listing(root)}" if root is not None else None,
            fix=_below_or_above(wanted, root)
            or "correct --features, or use --video-features, --audio-features, --text-features",
        )
    _refuse_shared(wanted, found)
    return found


def _below_or_above(wanted: list[_Wanted], root: Path | None) -> str | None:
    """Where a folder directly below ``root``, or the one above it, has every source: how to name it."""
    if root is None:
        return None
    below = sorted(path for path in root.iterdir() if path.is_dir())
    for place, near in (*(("below it", path) for path in below), ("above it", root.resolve().parent)):
        folders = [_candidates(one, wanted, near) for one in wanted if one.explicit is None]
        if all(any(path.is_dir() for path in names) for names in folders):
            return f"{near.name or near}/ {place} has them: --features {near}"
    return None


def _candidates(one: _Wanted, wanted: list[_Wanted], root: Path) -> list[Path]:
    parts = _parts(one.source.path)
    last = parts[-1:]
    shared = any(_parts(other.source.path)[-1:] == last for other in wanted if other is not one)
    names = ["/".join(parts[-2:])] if shared and len(parts) > 1 else []
    names += last
    names += _usual_names(one)
    return [root / name for name in dict.fromkeys(names)]


def _usual_names(one: _Wanted) -> Iterator[str]:
    trained = one.source.path.lower()
    # The last part says more than its parents, which may name a whole collection of features.
    for text in (trained.rstrip("/").rpartition("/")[2], trained):
        for token, names in one.usual.items():
            if token and token in text:
                return _with_variants(names)
    return _with_variants(one.usual.get("", ()))


def _with_variants(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        yield name
        yield f"umt_{name}"


def _parts(path: str) -> list[str]:
    """The parts of a trained path, of whichever system it came from; ``.`` and ``..`` say nothing."""
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]


def _refuse_shared(wanted: list[_Wanted], found: list[Path]) -> None:
    """Two video sources that training kept apart must not come from one folder unless the user says so."""
    owners: dict[Path, _Wanted] = {}
    for one, folder in zip(wanted, found, strict=True):
        if one.modality != "video" or one.explicit is not None:
            continue
        other = owners.setdefault(folder.resolve(), one)
        if other.source.path != one.source.path:
            raise DatasetError(
                f"two video sources were found in the same folder {folder}",
                received=f"'{other.source.path}' and '{one.source.path}'",
                fix="name each source's folder with --video-features, in this order",
            )


def _below(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _listing(root: Path) -> str:
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in root.iterdir())
    shown = names[:_SHOWN] + ([f"… and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else [])
    return ", ".join(shown) or "nothing"
