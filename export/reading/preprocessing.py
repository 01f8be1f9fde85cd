"""The preprocessing recipe of a checkpoint, from the options that training recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from ...runtime.data.layouts import layout_trained_on, window_steps
from ...runtime.gates.preprocessing import InputSource, Preprocessing
from ...runtime.gates.vocabulary import TEF_CHANNELS
from ..families.choices import Choices
from .options import DEFAULT, FLAG, TrainingOptions

# Channels of the extractors this field uses, by a word in the folder's name. Only believed where the
# widths add up to what the weights have.
_USUAL_WIDTHS = (("slowfast", 2304), ("clip", 512), ("pann", 2048), ("i3d", 1024))

# What the recipe is made of; each has a default that is right for one dataset and one set of features.
_NEEDED = {
    "dset_name": "dataset",
    "v_feat_dirs": "video_sources",
    "a_feat_dir": "audio_source",
    "t_feat_dir": "text_source",
    "ctx_mode": "tef",
    "clip_length": "clip_length",
    "max_v_l": "max_v_l",
    "max_q_l": "max_q_l",
}

_DEFAULT_VIDEO = ("slowfast_features", "clip_features")
_DEFAULT_AUDIO = "pann_features"
_DEFAULT_TEXT = "clip_text_features"


def find_preprocessing(
    options: TrainingOptions, choices: Choices, *, widths: tuple[int, int, int], max_words: int
) -> Preprocessing:
    """The recipe for inputs of ``widths`` (video, audio, text; channels with TEF).

    Facts and warnings go into ``options``. Raises :class:`~gatescope.runtime.errors.CheckpointError` for an
    option that makes no sense.
    """
    video_width, audio_width, text_width = widths
    dset_name = options.text("dataset", "dset_name", "hl")
    layout = layout_trained_on(dset_name)
    tef = _tef(options, choices)
    folders = options.texts("video_sources", "v_feat_dirs", _DEFAULT_VIDEO)
    if choices.video_sources is not None:
        folders = choices.video_sources
        options.record("video_sources", ", ".join(folders), FLAG)
    extra = TEF_CHANNELS if tef else 0
    clip_length = options.seconds("clip_length", "clip_length", 2)
    round_to, clamp_seconds, known = window_steps(dset_name, clip_length)
    if not known:
        options.warnings.append(
            f"training's data set {dset_name!r} is not one whose windows we know: they are rounded to clips "
            "and end at 150 s, as for QVHighlights"
        )
    recipe = Preprocessing(
        dataset=layout.name,
        video=_sources(folders, video_width - extra),
        audio=InputSource(options.text("audio_source", "a_feat_dir", _DEFAULT_AUDIO), audio_width - extra),
        text=InputSource(options.text("text_source", "t_feat_dir", _DEFAULT_TEXT), text_width),
        video_width=video_width,
        audio_width=audio_width,
        text_width=text_width,
        normalize_video=not options.switch("no_norm_vfeat", "no_norm_vfeat", False),
        normalize_text=not options.switch("no_norm_tfeat", "no_norm_tfeat", False) and layout.normalize_text,
        tef=tef,
        clip_length=clip_length,
        max_v_l=options.count("max_v_l", "max_v_l", 75),
        max_q_l=options.count("max_q_l", "max_q_l", max_words),
        round_to=round_to,
        clamp_seconds=clamp_seconds,
    )
    _warn_of_defaults(options)
    return recipe


def _warn_of_defaults(options: TrainingOptions) -> None:
    """Say what options that were recorded do not hold, and what is taken instead."""
    lacking = [key for key, fact in _NEEDED.items() if options.facts[fact].source == DEFAULT]
    if options.recorded and lacking:
        taken = ", ".join(f"{key} = {options.facts[_NEEDED[key]].value}" for key in lacking)
        options.warnings.append(
            f"the options ({options.source}) do not record {', '.join(lacking)}: the training script's "
            f"defaults are taken ({taken}), and inputs are prepared wrongly where training used others"
        )


def _tef(options: TrainingOptions, choices: Choices) -> bool:
    mode = options.text("tef", "ctx_mode", "video_tef")
    trained = "tef" in mode
    options.record("tef", trained, options.facts["tef"].source)
    if choices.tef is None:
        return trained
    if choices.tef != trained and options.get("ctx_mode") is not None:
        flag = "--tef" if choices.tef else "--no-tef"
        options.warnings.append(f"{flag} differs from training, which recorded ctx_mode = {mode}")
    options.record("tef", choices.tef, FLAG)
    return choices.tef


def _sources(folders: Sequence[str], total: int) -> tuple[InputSource, ...]:
    """One source per folder; widths only where they are certain: one source, or usual ones that add up."""
    if len(folders) == 1:
        return (InputSource(folders[0], total),)
    widths = [_usual_width(folder) for folder in folders]
    certain = None not in widths and sum(width or 0 for width in widths) == total
    return tuple(
        InputSource(folder, width if certain else None) for folder, width in zip(folders, widths, strict=True)
    )


def _usual_width(folder: str) -> int | None:
    name = PurePath(folder).name.lower()
    return next((width for word, width in _USUAL_WIDTHS if word in name), None)
