"""From a checkpoint to a certified file: describe, rebuild, capture, compare, and only then write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..runtime.files import local
from ..runtime.gates.vocabulary import FileFormat, Precision
from .families.choices import Choices
from .graph.manifest import build_manifest
from .graph.onnx_graph import OPSET
from .graph.target import choose_target
from .graph.variant import Variant, VariantGraph
from .optimize import choose_rewrites
from .optimize import optimize as optimized
from .proof.certified import ExportResult, write_certified
from .proof.subject import CheckpointSubject
from .proof.verify import VerifyRequest, reproduce
from .reading.checkpoint import load_checkpoint
from .reading.facts import describe
from .reading.forward import refuse_other_forward
from .reading.left_behind import find_predictions
from .reading.rebuild import rebuild


def export_checkpoint(
    checkpoint: str | Path,
    output: str | Path | None = None,
    choices: Choices | None = None,
    *,
    variant: Variant | None = None,
    file_format: FileFormat | None = None,
    opset: int = OPSET,
    optimize: str = "all",
    precision: Precision = "float32",
    verification: VerifyRequest | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> ExportResult:
    """Export the model in ``checkpoint`` to a file whose gates are outputs.

    - ``output`` defaults to the checkpoint's name with the format's suffix; ``file_format`` to what the
      output's suffix says, else ONNX. ``opset``: 18 to 22, of ONNX files.
    - ``variant``: what the graph returns and takes; by default predictions and gates.
    - ``optimize``: the rewrites that make it faster: ``all``, ``none``, or names of
      :data:`~gatescope.export.optimize.REWRITES` separated by commas. Whichever they are, the file is
      compared with the model before any of them.
    - ``precision``: ``float16`` computes in half precision, for GPUs; inputs and outputs stay float32. The
      error this causes in each output is measured and kept in the file's certificate.
    - ``verification``: predictions of the training run that the model must reproduce.
    - ``tell`` is called with a line for each step.

    The file appears at once and whole, after it was compared with PyTorch (and with ``verification``, after
    the model was compared with the user's own predictions); on any failure nothing is written and a file that
    was there before is left as it was. Without ``verification`` a model is refused that uses parameters which
    training never moved, unless ``choices.frozen`` names them. Raises any
    :class:`~gatescope.runtime.errors.CheckpointError` or :class:`~gatescope.runtime.errors.ExportError`, and
    :class:`~gatescope.runtime.errors.UnsupportedModelError`.
    """
    source, wanted = local(checkpoint), choices or Choices()
    target, kind = choose_target(source, output, file_format, opset)
    tell(f"reading {source}")
    read = load_checkpoint(source)
    description = describe(read, wanted)
    model = rebuild(description, read.weights)
    graph = VariantGraph(model, variant or Variant())
    faster, applied = optimized(model, choose_rewrites(optimize))
    captured = VariantGraph(faster, graph.variant, precision)
    manifest = build_manifest(
        read,
        description,
        graph,
        kind,
        opset if kind == "onnx" else None,
        precision=precision,
        rewrites=applied,
    )
    certify_with = None
    if verification is None:
        refuse_other_forward(read, model.state_dict(), wanted.frozen)
    else:
        reproduced = reproduce(verification, CheckpointSubject(read), wanted, manifest, tell=tell)
        certify_with = partial(reproduced.compare_file, graph.variant)
    result = write_certified(
        graph,
        manifest,
        target,
        captured=captured,
        verification=certify_with,
        open_questions=description.open_questions,
        tell=tell,
    )
    return result if verification is not None else replace(result, left_behind=find_predictions(source))
