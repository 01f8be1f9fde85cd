"""No file without parity: the exported model is compared with PyTorch, on several shapes, first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...runtime.array_types import Float32s
from ...runtime.errors import ParityError
from ...runtime.gates.certificate import Certificate
from ...runtime.gates.manifest import Manifest
from ...runtime.gates.preprocessing import Preprocessing
from ...runtime.gates.vocabulary import SUMMARY_FIELDS
from ...runtime.profiling.samples import random_batch

ATOL = 1e-4
# By precision. Half precision keeps 11 bits: its errors are measured and recorded, and bounded only to
# distinguish rounding (a few thousandths) from a broken graph.
TOLERANCES = {"float32": ATOL, "float16": 5e-2}
OWN_MODEL = "gatescope's own model"

_OTHER_WAY = (
    "the model's code may do something else at these lengths (an if on a length, a batch of one); a graph "
    "does the same at all of them: let the code do so, or run it in PyTorch with adapt_legacy_model"
)

RunFeed = Callable[[Mapping[str, Float32s]], Mapping[str, Float32s]]


@dataclass(frozen=True)
class Shape:
    """Valid clips and words of each sample of one batch."""

    clips: tuple[int, ...]
    words: tuple[int, ...]


def shapes(preprocessing: Preprocessing) -> tuple[Shape, ...]:
    """B = 1 at full length, B > 1 at unequal lengths, B > 1 at equal lengths, and single clips and words."""
    most_clips, most_words = preprocessing.max_v_l, preprocessing.max_q_l
    some = max(1, most_clips * 2 // 3)
    few = max(1, most_clips // 4)
    words = max(1, most_words // 3)
    return (
        Shape((most_clips,), (words,)),
        Shape((some, most_clips, few, 1), (most_words, words, 1, words)),
        Shape((some, some), (words, words)),
        Shape((1,), (1,)),
    )


def _shapes_of_other_code(preprocessing: Preprocessing, assumed_clips: int) -> tuple[Shape, ...]:
    """More shapes, for a forward pass that is not ours: B = 1, 2, 5 with L = 1, 2 and full length, B = L.

    And every L up to ``assumed_clips``, from where on the code goes one way.

    A capture of code that treats some lengths otherwise (an ``if`` on the number of clips, a batch shifted by
    one) may be right at all other lengths.
    """
    most_clips, most_words = preprocessing.max_v_l, preprocessing.max_q_l
    lengths = dict.fromkeys(min(n, most_clips) for n in (*range(1, assumed_clips), 1, 2, 3, 5, 9, most_clips))
    words = [min(n, most_words) for n in (1, 2, most_words, 3, 1)]
    equal = tuple(Shape((clips,) * size, (words[size - 1],) * size) for size in (1, 2) for clips in lengths)
    five = tuple(Shape((clips,) * 5, tuple(words)) for clips in lengths)
    mixed = Shape(tuple(min(n, most_clips) for n in (2, 1, 3, 2, 2)), tuple(words))
    return (*equal, *five, mixed)


def certify(
    expected: RunFeed,
    actual: RunFeed,
    manifest: Manifest,
    *,
    compared_with: str = OWN_MODEL,
    atol: float = ATOL,
    assumed_clips: int = 1,
) -> Certificate:
    """Compare two ways of running the same model; raises :class:`ParityError` where they differ.

    Names, finiteness and size are checked apart from the tolerance, which is ``atol`` times the largest
    magnitude of the expected output where that exceeds 1. Entries at padding clips are not compared.
    ``assumed_clips`` is the number of clips that the file was captured for at least: fewer are all compared.
    """
    rng = np.random.default_rng(20_260)
    used = shapes(manifest.preprocessing)
    foreign = manifest.forward is not None and manifest.forward.source == "code"
    if foreign:
        used += _shapes_of_other_code(manifest.preprocessing, assumed_clips)
    errors = dict.fromkeys(manifest.output_names, 0.0)
    compared: dict[Shape, None] = {}
    for shape, batch in _batches(manifest, used, rng):
        try:
            want = expected(batch)
        except Exception:  # a user's code may raise anything, and may not take a batch or a video of one
            if not foreign or not compared:
                raise
            continue
        got = _run(actual, batch, shape) if foreign else actual(batch)
        compared[shape] = None
        if list(got) != list(manifest.output_names) or not set(got) <= set(want):
            raise ParityError(
                "the exported file has other outputs than the model",
                received=", ".join(got),
                expected=", ".join(want),
            )
        for name in manifest.output_names:
            error = _compare(name, want[name], got[name], shape, manifest, atol)
            errors[name] = max(errors[name], error)
    return Certificate(
        compared_with=compared_with,
        shapes=tuple({"clips": shape.clips, "words": shape.words} for shape in compared),
        errors=errors,
        atol=atol,
    )


def _run(actual: RunFeed, batch: Mapping[str, Float32s], shape: Shape) -> Mapping[str, Float32s]:
    try:
        return actual(batch)
    except Exception as error:  # whatever the runtime raises
        raise ParityError(
            "the exported file fails where the model's own code runs",
            received=f"{str(error).splitlines()[0]:.200}, for clips {shape.clips} and words {shape.words}",
            fix=_OTHER_WAY,
        ) from error


def _batches(
    manifest: Manifest, used: Sequence[Shape], rng: np.random.Generator
) -> Iterator[tuple[Shape, dict[str, Float32s]]]:
    """Each shape once as it is; where gates can be overridden, once more with random overrides."""
    for shape in used:
        batch = random_batch(manifest.preprocessing, zip(shape.clips, shape.words, strict=True), rng)
        yield shape, batch
        if manifest.overrides:
            size = manifest.shapes[manifest.gate_kinds[0]].size_in(len(shape.clips), max(shape.clips))
            changed = {
                tensor.name: rng.uniform(0, 1, size).astype(np.float32)
                for tensor in manifest.inputs
                if tensor.name not in batch
            }
            yield shape, batch | changed


def _compare(
    name: str, want: Float32s, got: Float32s, shape: Shape, manifest: Manifest, atol: float
) -> float:
    if want.shape != got.shape:
        raise ParityError(
            f"output {name} has another shape than PyTorch's",
            received=str(got.shape),
            expected=str(want.shape),
        )
    axes = next(tensor.axes for tensor in manifest.outputs if tensor.name == name)
    want, got = valid_entries(want, axes, shape.clips), valid_entries(got, axes, shape.clips)
    for which, values in (("PyTorch model", want), ("exported file", got)):
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise ParityError(
                f"the {which} gives NaN or Inf in {name}",
                received=f"{bad} of {values.size} values, for clips {shape.clips} and words {shape.words}",
                fix="check the checkpoint: finite weights can still overflow",
            )
    if any(summary.output == name for summary in manifest.summaries.values()):
        want, got = _without_flips(want, got, share=min(10 * atol, 0.05))
    error = float(np.abs(want - got).max(initial=0.0))
    allowed = atol * max(1.0, float(np.abs(want).max(initial=0.0)))
    if error > allowed:
        raise ParityError(
            f"the exported file differs from PyTorch in {name}",
            received=f"a difference of {error:.3g}, for clips {shape.clips} and words {shape.words}",
            expected=f"at most {allowed:.3g}",
            fix=_OTHER_WAY
            if manifest.forward is not None and manifest.forward.source == "code"
            else "this is a fault of the export, not of the model: report it with the checkpoint's sizes",
        )
    return error


def _without_flips(want: Float32s, got: Float32s, share: float) -> tuple[Float32s, Float32s]:
    """Summaries with counts compared as shares: to ``share`` of the gates (0.1 % in float32) or one of them.

    A gate within rounding of a bin's edge may be counted on either side of it.
    """
    shape = (-1, len(SUMMARY_FIELDS))
    want, got = want.reshape(shape).copy(), got.reshape(shape).copy()
    counted = [i for i, field in enumerate(SUMMARY_FIELDS) if field.startswith(("bin_", "rail_"))]
    count = want[:, :1]
    flips = np.abs(want[:, counted] - got[:, counted]) <= np.maximum(1, share * count)
    got[:, counted] = np.where(flips, want[:, counted], got[:, counted])
    return want, got


def valid_entries(values: Float32s, axes: Sequence[str | int], clips: Sequence[int]) -> Float32s:
    """The entries at valid clips, flattened; all of them where ``axes`` has no clip axis."""
    if "clip" not in axes:
        return values.ravel()
    axis = list(axes).index("clip")
    moved = np.moveaxis(values, axis, 1)
    return np.concatenate([moved[i, :n].ravel() for i, n in enumerate(clips)])
