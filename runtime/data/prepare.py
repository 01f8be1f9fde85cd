"""Raw features of one sample → what the model was trained on; several samples → one padded batch.

The steps are those of the training code, in an order that gives the same numbers:

1. every clip-wise source is cut to the shortest of ``max_v_l``, the video sources and the audio: L clips;
   text to ``max_q_l`` words; all become float32;
2. each row of each source is divided by its L2 norm + 1e-5, where training normalised;
3. video sources are concatenated in the manifest's order;
4. with TEF, [i/L, (i+1)/L] is appended to video and audio;
5. samples are padded with zeros, and masks say which entries are valid.

Training cuts the sources to a common length only after normalising. Rows are normalised one by one, so
cutting first changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..array_types import Float32s
from ..brief import brief
from ..errors import InputError
from ..gates.manifest import Manifest
from ..gates.preprocessing import InputSource, Preprocessing
from ..gates.vocabulary import TEF_CHANNELS
from ..session.inputs import as_numbers

NORM_EPS = 1e-5


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample as the model takes it: ``video`` (L, Dv), ``audio`` (L, Da), ``text`` (T, Dt), float32.

    ``text`` is None where the model does not take any.
    """

    video: Float32s
    audio: Float32s
    text: Float32s | None

    @property
    def clips(self) -> int:
        """Number of clips, L."""
        return len(self.video)

    @property
    def words(self) -> int:
        """Number of words, T; 0 without text."""
        return 0 if self.text is None else len(self.text)

    def as_batch(self) -> dict[str, Float32s]:
        """A batch of this sample alone, for ``GateSession.run``."""
        return collate([self])

    def __repr__(self) -> str:
        return brief(self)


def prepare(
    manifest: Manifest,
    *,
    video: Sequence[ArrayLike] | NDArray[Any],
    audio: ArrayLike,
    text: ArrayLike | None = None,
) -> Sample:
    """Raw features of one sample as the model takes them.

    - ``video``: one (clips, width) array per source in the manifest's order, or one array where there
      is one source. For TVSum a source is its RGB and optical-flow features side by side.
    - ``audio``: (clips, width). ``text``: (words, width), or with a leading axis of length 1; may be
      left out where the graph has no text input.

    Numbers of any width; lengths may differ, the shortest counts. Raises
    :class:`~gatescope.runtime.errors.InputError` that names the source.
    """
    recipe = manifest.preprocessing
    sources = [video] if isinstance(video, np.ndarray) else list(video)
    if len(sources) != len(recipe.video):
        raise InputError(
            f"{len(sources)} video sources instead of {len(recipe.video)}",
            received=", ".join(str(np.shape(source)) for source in sources) or "none",
            expected=", ".join(_described(source) for source in recipe.video) + ", in this order",
        )
    tef = TEF_CHANNELS if recipe.tef else 0
    clipwise = [
        _rows(f"video source {source.path}", array, source.width)
        for source, array in zip(recipe.video, sources, strict=True)
    ]
    _check_total("video", clipwise, recipe.video_width - tef)
    sound = _rows(f"audio source {recipe.audio.path}", audio, recipe.audio_width - tef)
    length = min(recipe.max_v_l, *(len(array) for array in [*clipwise, sound]))
    rows = (
        np.empty((length, recipe.video_width), np.float32),
        np.empty((length, recipe.audio_width), np.float32),
    )
    write_clips(recipe, clipwise, sound, *rows)
    return Sample(*rows, text=_prepare_text(manifest, text))


def write_clips(
    recipe: Preprocessing,
    video: Sequence[NDArray[Any]],
    audio: NDArray[Any],
    video_rows: Float32s,
    audio_rows: Float32s,
) -> None:
    """Prepare ``video``, one (≥ L, width) array per source, and ``audio`` (≥ L, width) into rows of a batch.

    ``video_rows`` is (L, Dv) and ``audio_rows`` (L, Da). The arrays' axes and widths must have been checked;
    raises :class:`~gatescope.runtime.errors.InputError` where their first L rows hold NaN or Inf.
    """
    length = len(video_rows)
    column = 0
    for source, array in zip(recipe.video, video, strict=True):
        columns = video_rows[:, column : column + array.shape[1]]
        _finish(f"video source {source.path}", array[:length], columns, normalize=recipe.normalize_video)
        column += array.shape[1]
    own = audio_rows[:, : audio.shape[1]]
    _finish(f"audio source {recipe.audio.path}", audio[:length], own, normalize=recipe.normalize_video)
    if recipe.tef:
        position = tef_channels(length)
        video_rows[:, column:] = position
        audio_rows[:, audio.shape[1] :] = position


def write_words(recipe: Preprocessing, text: NDArray[Any], rows: Float32s) -> None:
    """Prepare the first T words of ``text`` (≥ T, Dt) into ``rows`` (T, Dt); as :func:`write_clips`."""
    _finish(f"text source {recipe.text.path}", text[: len(rows)], rows, normalize=recipe.normalize_text)


def collate(samples: Sequence[Sample]) -> dict[str, Float32s]:
    """One batch of ``samples``, in their order, padded with zeros to the longest of them.

    Returns ``src_vid``, ``src_aud`` (B, L, D), ``src_txt`` (B, T, D) and ``…_mask`` (B, L or T), 1 where
    valid, all float32; without text where the samples have none. Raises
    :class:`~gatescope.runtime.errors.InputError` for no samples, or samples of different models.
    """
    if not samples:
        raise InputError("a batch needs at least one sample", received="none")
    batch: dict[str, Float32s] = {}
    texts = [sample.text for sample in samples if sample.text is not None]
    if texts:
        if len(texts) != len(samples):
            raise InputError(
                "some samples have text and some have none", expected="samples prepared for one model"
            )
        batch["src_txt"], batch["src_txt_mask"] = _pad("text", texts)
    batch["src_vid"], batch["src_vid_mask"] = _pad("video", [sample.video for sample in samples])
    batch["src_aud"], batch["src_aud_mask"] = _pad("audio", [sample.audio for sample in samples])
    return batch


def tef_channels(length: int) -> Float32s:
    """Temporal endpoint features (L, 2): where each clip starts and ends, as fractions of the video.

    The end is the start plus 1/L, both float32, as training computes it; i+1 over L differs in the last bit.
    """
    start = np.arange(length, dtype=np.float32) / np.float32(length)
    return np.stack([start, start + np.float32(1.0 / length)], axis=1)


def _prepare_text(manifest: Manifest, text: ArrayLike | None) -> Float32s | None:
    recipe = manifest.preprocessing
    name = f"text source {recipe.text.path}"
    if text is None:
        if "src_txt" in manifest.input_names:
            raise InputError(
                "this model needs text features", expected=f"(words, {recipe.text_width}) numbers"
            )
        return None
    array = as_numbers(name, text, f"(words, {recipe.text_width}) numbers")
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    words = _rows(name, array, recipe.text_width)[: recipe.max_q_l]
    rows = np.empty(words.shape, np.float32)
    write_words(recipe, words, rows)
    return rows


def _rows(name: str, value: ArrayLike, width: int | None) -> NDArray[Any]:
    """``value`` as a two-dimensional array with at least one row, of ``width`` columns where known."""
    expected = f"({'words' if name.startswith('text') else 'clips'}, {width or 'width'}) numbers"
    array = as_numbers(name, value, expected)
    if array.ndim != 2:
        raise InputError(
            f"{name} has {array.ndim} axes instead of 2", received=f"shape {array.shape}", expected=expected
        )
    if len(array) == 0:
        raise InputError(f"{name} is empty", received=f"shape {array.shape}", expected=expected)
    if width is not None and array.shape[1] != width:
        raise InputError(
            f"{name} has the wrong width",
            received=f"{array.shape[1]} channels",
            expected=f"{width} channels, as the model was trained on",
            fix="check that this is the right folder of features, and the order of the sources",
        )
    return array


def _check_total(what: str, arrays: Sequence[NDArray[Any]], width: int) -> None:
    """Widths of single sources are not always recorded; their sum always is."""
    widths = [array.shape[1] for array in arrays]
    if sum(widths) != width:
        raise InputError(
            f"the {what} sources have the wrong width together",
            received=f"{' + '.join(map(str, widths))} = {sum(widths)} channels",
            expected=f"{width} channels, as the model was trained on (without TEF)",
            fix="check which feature folders the model was trained on",
        )


def _finish(name: str, rows: NDArray[Any], target: Float32s, *, normalize: bool) -> None:
    """``rows`` as float32 into ``target``, each row divided by its length where training did so."""
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes Inf and is refused below
        features = np.asarray(rows, dtype=np.float32)
        # Four times as fast as np.linalg.norm, which training uses, and as near to the truth: measured over
        # rows of 2,304, both are off by 1.2e-7 at most. The last bit may differ.
        norms = np.sqrt(np.vecdot(features, features))[:, None]
    # A row's norm is finite only if all of it is (and its squares fit): one look at (rows, 1) is enough.
    if not np.isfinite(norms).all():
        row = int(np.flatnonzero(~np.isfinite(norms))[0])
        finite = bool(np.isfinite(features[row]).all())
        raise InputError(
            f"{name} holds {'values too large for float32' if finite else 'NaN or Inf'}",
            received=f"first in row {row} (from 0)",
            expected="finite features",
        )
    if normalize:
        np.divide(features, norms + np.float32(NORM_EPS), out=target)
    else:
        target[:] = features


def _described(source: InputSource) -> str:
    return f"{source.path} ({source.width} channels)" if source.width else source.path


def _pad(what: str, arrays: Sequence[Float32s]) -> tuple[Float32s, Float32s]:
    widths = {array.shape[1] for array in arrays}
    if len(widths) > 1:
        raise InputError(
            f"samples differ in the width of their {what}",
            received=", ".join(map(str, sorted(widths))),
            expected="samples prepared for one model",
        )
    longest = max(len(array) for array in arrays)
    padded = np.zeros((len(arrays), longest, widths.pop()), np.float32)
    mask = np.zeros((len(arrays), longest), np.float32)
    for i, array in enumerate(arrays):
        padded[i, : len(array)] = array
        mask[i, : len(array)] = 1
    return padded, mask
