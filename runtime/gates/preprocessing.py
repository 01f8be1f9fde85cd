"""How raw features become model input, as an exported model says it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InputSource:
    """One folder of features: ``path`` as training knew it, ``width`` (channels) where it is known."""

    path: str
    width: int | None = None


@dataclass(frozen=True)
class Preprocessing:
    """How raw features become model input (the steps are in :mod:`gatescope.runtime.data.prepare`).

    - ``dataset``: a layout of :mod:`gatescope.runtime.data.layouts`, such as ``hl`` (QVHighlights).
    - ``video``: video sources in the order they are concatenated.
    - ``video_width``, ``audio_width``, ``text_width``: channels of the model's inputs, TEF included.
    - ``normalize_video`` (audio too), ``normalize_text``: whether each row is L2-normalised.
    - ``tef``: whether [i/L, (i+1)/L] is appended to video and audio.
    - ``clip_length``: seconds a clip lasts. ``max_v_l``: most clips. ``max_q_l``: most words.
    - ``round_to``: predicted windows are rounded to multiples of so many seconds; None: not rounded.
    - ``clamp_seconds``: predicted windows are clamped to 0 … so many seconds, whatever the video's length;
      None: not clamped, at either end.
    """

    dataset: str
    video: tuple[InputSource, ...]
    audio: InputSource
    text: InputSource
    video_width: int
    audio_width: int
    text_width: int
    normalize_video: bool
    normalize_text: bool
    tef: bool
    clip_length: float
    max_v_l: int
    max_q_l: int
    round_to: float | None
    clamp_seconds: float | None

    @classmethod
    def unknown(cls, why: str, longest: int) -> Preprocessing:
        """No recipe, for gates of unknown origin: zeros where a number would be a guess.

        ``why`` stands in place of names; ``longest``: clips of the longest sample.
        """
        return cls(
            dataset=why,
            video=(),
            audio=InputSource(why),
            text=InputSource(why),
            video_width=0,
            audio_width=0,
            text_width=0,
            normalize_video=False,
            normalize_text=False,
            tef=False,
            clip_length=0.0,
            max_v_l=longest,
            max_q_l=0,
            round_to=None,
            clamp_seconds=None,
        )
