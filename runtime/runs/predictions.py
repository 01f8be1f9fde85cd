"""Predictions in the benchmark's submission format: one JSON object per line.

    {"qid": …, "query": …, "vid": …, "pred_relevant_windows": [[start, end, score], …],
     "pred_saliency_scores": […]}

The numbers go through the same roundings as in the training code, in the same order and precision, so
that a file written here can be compared with one that training left behind, character for character.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..data.mistaken import refuse_annotations
from ..errors import DatasetError, GatescopeError
from ..files import local, new_file


class Prediction(TypedDict):
    """One line: windows are [start s, end s, score], best first; one saliency per clip."""

    qid: int | str
    query: str
    vid: str
    pred_relevant_windows: list[Annotated[list[float], msgspec.Meta(min_length=3, max_length=3)]]
    pred_saliency_scores: list[float]


def format_prediction(
    *,
    qid: int | str,
    query: str,
    vid: str,
    duration: float,
    logits: NDArray[Any],
    spans: NDArray[Any],
    saliency: NDArray[Any],
    clips: int,
    round_to: float | None,
    clamp_seconds: float | None,
) -> Prediction:
    """The line for one sample.

    ``logits`` (Q, 2), class 0 is foreground; ``spans`` (Q, 2), centre and width as fractions of
    ``duration`` (seconds); ``saliency`` (at least ``clips``), of which the first ``clips`` are valid;
    ``round_to`` and ``clamp_seconds`` in seconds, as the recipe has them
    (:class:`~gatescope.runtime.gates.preprocessing.Preprocessing`).

    Raises :class:`GatescopeError` where the model gave NaN or Inf.
    """
    logits, spans = np.asarray(logits, np.float32), np.asarray(spans, np.float32)
    with np.errstate(over="ignore"):  # beyond 65,504 a float16 is Inf, refused with the rest
        curve = np.asarray(saliency[:clips], np.float32).astype(np.float16)
    if not all(np.isfinite(array).all() for array in (logits, spans, curve)):
        raise GatescopeError(
            f"the model's predictions for qid {qid} are not finite",
            received="NaN or Inf in its logits, spans or saliency",
            fix="check the sample's features, and the model with 'gatescope inspect'",
        )
    rows = _windows(logits, spans, np.float32(duration), round_to, clamp_seconds)
    return {
        "qid": qid,
        "query": query,
        "vid": vid,
        "pred_relevant_windows": rows.tolist(),
        "pred_saliency_scores": curve.tolist(),
    }


def prediction_line(prediction: Prediction) -> str:
    """``prediction`` as one line of JSON, with its line end."""
    return json.dumps(prediction) + "\n"


def write_predictions(path: str | os.PathLike[str], predictions: Iterable[Prediction]) -> None:
    """Write one line per prediction to ``path``, which appears only when all of them are in it."""
    with new_file(local(path)) as partial, partial.open("w", encoding="utf-8") as stream:
        stream.writelines(map(prediction_line, predictions))


def read_predictions(path: str | os.PathLike[str]) -> list[Prediction]:
    """The predictions in ``path``, in file order.

    Raises :class:`DatasetError` that names the line, for one that is not JSON, lacks a field or repeats
    a qid, and for a file that cannot be read, holds no prediction or holds annotations.
    """
    path = local(path)
    decoder = msgspec.json.Decoder(Prediction)
    predictions: list[Prediction] = []
    seen: dict[int | str, int] = {}
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                prediction = _decode(decoder, line, path, number)
                first = seen.setdefault(prediction["qid"], number)
                if first != number:
                    raise DatasetError(
                        f"{path} predicts one query twice",
                        received=f"qid {prediction['qid']} in lines {first} and {number}",
                        expected="one line per query",
                    )
                predictions.append(prediction)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read", received=error.strerror or str(error)) from error
    if not predictions:
        raise DatasetError(f"{path} holds no predictions", expected="one JSON object per line")
    return predictions


def _decode(decoder: msgspec.json.Decoder[Prediction], line: bytes, path: Path, number: int) -> Prediction:
    where = f"{path}, line {number}"
    try:
        return decoder.decode(line)
    except msgspec.ValidationError as error:
        refuse_annotations(path, line, f"line {number}")
        raise DatasetError(
            f"{where} is not a prediction",
            received=str(error),
            expected=f"an object with {', '.join(Prediction.__annotations__)}; windows [start, end, score]",
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{where} is not JSON", received=str(error)) from error


def _windows(
    logits: NDArray[np.float32],
    spans: NDArray[np.float32],
    duration: np.float32,
    round_to: float | None,
    clamp_seconds: float | None,
) -> NDArray[np.float64]:
    """(Q, 3) start, end, score, best first; every step but the last rounding in float32."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = exponents[:, 0] / exponents.sum(axis=1)
    centre, half = spans[:, 0], np.float32(0.5) * spans[:, 1]
    ends = (centre - half) * duration, (centre + half) * duration
    rows: NDArray[np.float32] = np.stack([*ends, scores], axis=1, dtype=np.float32)
    rows = rows[np.argsort(-scores, kind="stable")]
    # Windows are rounded twice: to four decimals with the scores, as the reference does, then to whole clips.
    rounded = _four(rows)
    if clamp_seconds is not None:
        np.clip(rounded[:, :2], 0, clamp_seconds, out=rounded[:, :2])
    if round_to is not None:
        step = np.float32(round_to)
        rounded[:, :2] = np.round(rounded[:, :2].astype(np.float32) / step) * step
    return rounded


def _four(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """``values`` with four decimals, exactly as ``float(f"{value:.4f}")`` gives each of them.

    A float32 has 24 binary digits and 10,000 = 2^4 · 625 adds 10, so their product is exact in float64:
    rounding it to a whole number, half to even, is what the text does. Dividing again gives the nearest
    float64, which is what reading the text gives.
    """
    return np.rint(values.astype(np.float64) * 10_000) / 10_000
