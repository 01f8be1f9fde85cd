"""Export, run and verify once per model and format, in the environment this runs in."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gatescope.export import Choices, Variant, VerifyRequest, export_checkpoint
from gatescope.export.graph.variant import VariantGraph
from gatescope.export.proof.parity import ATOL
from gatescope.export.reading.checkpoint import load_checkpoint
from gatescope.export.reading.facts import describe
from gatescope.export.reading.rebuild import rebuild
from gatescope.export.user.export import export_with_factory
from gatescope.runtime import GateSession, read_manifest
from gatescope.runtime.data.dataset import FeatureSources
from gatescope.runtime.errors import GatescopeError
from gatescope.runtime.profiling.samples import random_batch
from tests.export import lab, small
from tests.golden.case import FOLDER, load_case

FORMATS = {"onnx": ".onnx", "torchscript": ".ts", "pt2": ".pt2"}
# Clips and words per sample: not those that were traced, and down to one.
LENGTHS = (((4, 3), (9, 2), (1, 1)), ((1, 1),))


@dataclass(frozen=True)
class Outcome:
    """What came of one model in one format; ``error`` is the first line of what failed, with its kind."""

    model: str
    format: str
    error: str | None


def verified(folder: Path, suffix: str) -> None:
    """The model of the reference's dataset: exported, and verified with the reference's own submission."""
    case = load_case("dataset_clipwise")
    annotations = case.save_dataset(folder / "data")
    request = VerifyRequest(
        FOLDER / "dataset_clipwise.jsonl",
        annotations,
        sources=FeatureSources(annotations.parent),
        batch_size=1,
    )
    result = export_checkpoint(
        case.save_checkpoint(folder / "m.ckpt"), folder / f"m{suffix}", verification=request
    )
    certificate = result.manifest.certificate
    assert certificate is not None and certificate.verification is not None
    run_and_compare(folder / "m.ckpt", result.path, Variant())


def small_model(folder: Path, suffix: str) -> None:
    """A small one: global gates, every output there is, gates that can be changed, from a checkpoint in the
    file format that PyTorch wrote before 1.6."""
    new = small.save(
        folder / "new.ckpt",
        small.weights(gating="global", fusion_layers=2),
        gating_type="global",
        fusion_layers=2,
    )
    checkpoint = folder / "m.ckpt"
    torch.save(torch.load(new, weights_only=False), checkpoint, _use_new_zipfile_serialization=False)
    variant = Variant(contribution=True, overridable=True)
    result = export_checkpoint(checkpoint, folder / f"m{suffix}", variant=variant)
    run_and_compare(checkpoint, result.path, variant)


def own_code(folder: Path, suffix: str) -> None:
    """A model that a user's own code builds; the export compares the file with it."""
    export_with_factory(lab.save(folder / "m.ckpt"), "tests.export.lab:build", folder / f"m{suffix}")
    with GateSession(folder / f"m{suffix}", device="cpu") as session:
        session.run(random_batch(session.manifest.preprocessing, LENGTHS[0], np.random.default_rng(0)))


MODELS: dict[str, Callable[[Path, str], None]] = {
    "small": small_model,
    "own code": own_code,
    "reference": verified,
}


def run_and_compare(checkpoint: Path, exported: Path, variant: Variant) -> None:
    """Run the file at lengths the export did not see, and compare with PyTorch."""
    read = load_checkpoint(checkpoint)
    graph = VariantGraph(rebuild(describe(read, Choices()), read.weights), variant)
    recipe = read_manifest(exported).preprocessing
    with GateSession(exported, device="cpu") as session:
        for lengths in LENGTHS:
            batch = random_batch(recipe, lengths, np.random.default_rng(1))
            got = session.run(batch).raw
            valid = batch["src_vid_mask"].astype(bool)
            for name, values in graph.run(batch).items():
                bound = ATOL * max(1.0, float(np.abs(values).max()))
                assert got[name].shape == values.shape, name
                difference = np.abs(got[name] - values)
                if name == "saliency_scores":  # padding has none
                    difference = difference[valid]
                assert float(difference.max()) <= bound, f"{name} differs by {difference.max():.2g}"


def probe(
    models: Iterable[str] = tuple(MODELS), formats: Iterable[str] = tuple(FORMATS)
) -> Iterable[Outcome]:
    """Try every model in every format; what fails is an outcome too."""
    for model in models:
        for kind in formats:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    MODELS[model](Path(folder), FORMATS[kind])
                    error = None
                except GatescopeError as failed:
                    error = " | ".join(part.strip() for part in str(failed).splitlines())
                except Exception as failed:  # a traceback for a user: the worst outcome, told apart
                    error = f"TRACEBACK {type(failed).__name__}: {str(failed).splitlines()[:1]}"
            yield Outcome(model, kind, error)


if __name__ == "__main__":
    for outcome in probe(*(argument.split(",") for argument in sys.argv[1:])):
        print(json.dumps(vars(outcome)), flush=True)
