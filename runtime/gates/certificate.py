"""What an exported file was compared with before it was allowed to exist."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verification:
    """Agreement with the predictions that training left behind.

    ``errors`` holds the largest difference per quantity (score, window in seconds, saliency).
    """

    predictions: str
    predictions_sha256: str
    samples: int
    batch_size: int
    errors: dict[str, float]


@dataclass(frozen=True)
class BatchingEffect:
    """How far the file, which computes each sample by itself, is from the same samples in training's batches.

    Measured on the samples of a verification, against the model in the training code's batching.

    - ``samples``: how many. ``batch_size``: of training's batches.
    - ``outputs``: largest absolute difference per prediction output, in its own unit (``saliency_scores``
      as they are, ``pred_spans`` as fractions of the video). ``gates``: the same per kind of gate.
    - ``answers_changed``: samples whose first window, rounded as in a submission, is another one; None where
      the file predicts nothing.
    """

    samples: int
    batch_size: int
    outputs: dict[str, float]
    gates: dict[str, float]
    answers_changed: int | None

    @property
    def largest(self) -> float:
        """The largest difference of all."""
        return max((*self.outputs.values(), *self.gates.values()), default=0.0)


@dataclass(frozen=True)
class Certificate:
    """What the file was compared with before it was allowed to exist.

    - ``compared_with``: which PyTorch model; "gatescope's own model" says the rebuilt one.
    - ``shapes``: the batches compared, each ``{"clips": […], "words": […]}``.
    - ``errors``: largest absolute difference per output over valid entries.
    - ``atol``: the largest difference that was allowed.
    - ``verification``: present where real predictions were reproduced too. ``batching_effect``: present where
      the file then computes otherwise than training evaluated.
    """

    compared_with: str
    shapes: tuple[dict[str, tuple[int, ...]], ...]
    errors: dict[str, float]
    atol: float
    verification: Verification | None = None
    batching_effect: BatchingEffect | None = None
