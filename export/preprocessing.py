"""The preprocessing recipe of a checkpoint, from the options that training recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ..runtime.manifest import Fact, Preprocessing, Source
from .choices import Choices

TEF_CHANNELS = 2

# Channels of the extractors this field uses, by a word in the folder's name. Only believed where the
# widths add up to what the weights have.
_USUAL_WIDTHS = (("slowfast", 2304), ("clip", 512), ("pann", 2048), ("i3d", 1024))

_DEFAULT_VIDEO = ("slowfast_features", "clip_features")
_DEFAULT_AUDIO = "pann_features"
_DEFAULT_TEXT = "clip_text_features"


def find_preprocessing(
    options: Mapping[str, Any],
    options_source: str,
    *,
    widths: tuple[int, int, int],
    max_words: int,
    choices: Choices,
    facts: dict[str, Fact],
    warnings: list[str],
) -> Preprocessing:
    """The recipe for inputs of ``widths`` (video, audio, text; channels with TEF).

    Adds to ``facts`` what was decided and from where, and to ``warnings`` what a reader should know.
    """

    def option(name: str, key: str, default: Any) -> Any:
        value = options.get(key)
        facts[name] = Fact(
            _scalar(default if value is None else value), "default" if value is None else options_source
        )
        return default if value is None else value

    video_width, audio_width, text_width = widths
    dataset = _dataset(str(option("dataset", "dset_name", "hl")))
    tef = "tef" in str(option("tef", "ctx_mode", "video_tef"))
    facts["tef"] = Fact(tef, facts["tef"].source)
    if choices.tef is not None:
        if choices.tef != tef and options.get("ctx_mode") is not None:
            warnings.append(
                f"--{'' if choices.tef else 'no-'}tef differs from training, which recorded ctx_mode = "
                f"{options['ctx_mode']}"
            )
        tef = choices.tef
        facts["tef"] = Fact(tef, "flag")
    folders = option("video_sources", "v_feat_dirs", list(_DEFAULT_VIDEO))
    folders = [folders] if isinstance(folders, str) else [str(folder) for folder in folders]
    if choices.video_sources is not None:
        folders = list(choices.video_sources)
        facts["video_sources"] = Fact(", ".join(folders), "flag")
    extra = TEF_CHANNELS if tef else 0
    return Preprocessing(
        dataset=dataset,
        video=_sources(folders, video_width - extra),
        audio=_sources([str(option("audio_source", "a_feat_dir", _DEFAULT_AUDIO))], audio_width - extra)[0],
        text=_sources([str(option("text_source", "t_feat_dir", _DEFAULT_TEXT))], text_width)[0],
        video_width=video_width,
        audio_width=audio_width,
        text_width=text_width,
        normalize_video=not option("no_norm_vfeat", "no_norm_vfeat", False),
        normalize_text=not option("no_norm_tfeat", "no_norm_tfeat", False) and dataset != "tvsum",
        tef=tef,
        clip_length=float(option("clip_length", "clip_length", 2)),
        max_v_l=int(option("max_v_l", "max_v_l", 75)),
        max_q_l=int(option("max_q_l", "max_q_l", max_words)),
    )


def _dataset(name: str) -> str:
    lowered = name.lower()
    if "tvsum" in lowered:
        return "tvsum"
    return "charades" if "charades" in lowered else "hl"


def _sources(folders: list[str], total: int) -> tuple[Source, ...]:
    """One source a folder; widths only where they are certain: a single source, or usual ones that add up."""
    if len(folders) == 1:
        return (Source(folders[0], total),)
    widths = [_usual_width(folder) for folder in folders]
    certain = None not in widths and sum(width or 0 for width in widths) == total
    return tuple(
        Source(folder, width if certain else None) for folder, width in zip(folders, widths, strict=True)
    )


def _usual_width(folder: str) -> int | None:
    name = PurePath(folder).name.lower()
    return next((width for word, width in _USUAL_WIDTHS if word in name), None)


def _scalar(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
