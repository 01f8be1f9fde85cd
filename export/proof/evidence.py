"""Real samples and what training predicted for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...runtime.data.annotations import Annotation, read_annotations
from ...runtime.errors import DatasetError
from ...runtime.runs.predictions import Prediction, read_predictions

MOST_VERIFIED = 200


@dataclass(frozen=True)
class Evidence:
    """The first rows of the annotations, training's line for each, and how many it evaluated at a time."""

    rows: tuple[Annotation, ...]
    predictions: dict[str, Prediction]
    batch_size: int

    @property
    def samples(self) -> int:
        """How many rows."""
        return len(self.rows)

    @property
    def batches(self) -> Iterator[tuple[Annotation, ...]]:
        """The rows in training's batches; the last may be short."""
        for start in range(0, len(self.rows), self.batch_size):
            yield self.rows[start : start + self.batch_size]

    def by_batch(self, places: tuple[int, ...]) -> Iterator[tuple[tuple[Annotation, ...], tuple[int, ...]]]:
        """Each batch that some of the rows at ``places`` stand in, with their places in that batch."""
        for number, batch in enumerate(self.batches):
            inside = tuple(place % self.batch_size for place in places if place // self.batch_size == number)
            if inside:
                yield batch, inside


def read_evidence(predictions: Path, annotations: Path, batch_size: int) -> Evidence:
    """The samples to compare on.

    Raises :class:`~gatescope.runtime.errors.DatasetError` where a file cannot be read, or training predicted
    nothing for some of the rows.
    """
    rows = read_annotations(annotations)
    lines = {str(line["qid"]): line for line in read_predictions(predictions)}
    # A sample's numbers depend on its batch, so batches are taken whole; only the last of the file is short.
    chosen = tuple(rows[: max(MOST_VERIFIED // batch_size, 1) * batch_size])
    absent = [row.qid for row in chosen if row.qid not in lines]
    if absent:
        raise DatasetError(
            f"{predictions} has no predictions for {len(absent)} of the first {len(chosen)} queries "
            f"of {annotations}",
            received=f"no line for qid {', '.join(absent[:5])}",
            expected="predictions for the annotations in their order",
            fix="give the annotation file these predictions were made for",
        )
    return Evidence(chosen, lines, batch_size)
