"""The manifest of a model that is being exported."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from ...runtime.gates.manifest import Manifest, Training
from ...runtime.gates.shape import Tensor, role_of, rows_of
from ...runtime.gates.vocabulary import FileFormat, Precision
from ..families.family import FAMILIES
from ..reading.checkpoint import Checkpoint
from ..reading.facts import Description
from .variant import CONTRIBUTION_OUTPUTS, OVERRIDES, SUMMARIES, Axes, VariantGraph


def build_manifest(
    checkpoint: Checkpoint,
    description: Description,
    graph: VariantGraph,
    file_format: FileFormat,
    opset: int | None,
    *,
    precision: Precision = "float32",
    rewrites: tuple[str, ...] = (),
) -> Manifest:
    """Everything the exported ``graph`` has to say about itself, without a certificate yet."""
    config, variant = description.config, graph.variant
    return Manifest(
        family=description.family,
        gating=config.gating,
        gates=rows_of(graph.gate_shapes, "family"),
        inputs=tuple(
            Tensor(name, _declared(name, axes), role=role_of(name)) for name, axes in graph.input_axes.items()
        ),
        outputs=tuple(Tensor(name, axes) for name, axes in graph.output_axes.items()),
        preprocessing=description.preprocessing,
        facts=description.facts,
        checkpoint_sha256=checkpoint.sha256,
        versions=package_versions(),
        opset=opset,
        precision=precision,
        rewrites=rewrites,
        batching=config.batching,
        outputs_kind=variant.outputs,
        depends_on_text=FAMILIES[description.family].words_first,
        format=file_format,
        contributions=dict(CONTRIBUTION_OUTPUTS) if variant.contribution else {},
        overrides=dict(OVERRIDES) if variant.overridable else {},
        summaries=dict(SUMMARIES) if variant.outputs == "summary" else {},
        eval_batch_size=description.eval_batch_size,
        warnings=description.warnings,
        forward=description.forward,
        training=trained_with(checkpoint),
    )


def trained_with(checkpoint: Checkpoint) -> Training:
    """How the model in ``checkpoint`` was trained, as far as it was recorded."""
    options = checkpoint.options
    seed, epoch = options.get("seed"), checkpoint.content.get("epoch")
    words = {key: options.get(key) for key in ("exp_id", "dset_name", "dset_domain")}
    return Training(
        seed=seed if isinstance(seed, int) else None,
        epoch=epoch if isinstance(epoch, int) else None,
        **{key: None if value is None else str(value) for key, value in words.items()},
        opt={str(key): str(value) for key, value in options.items()},
    )


def _declared(name: str, axes: Axes) -> Axes:
    """An input's axes; an override broadcasts, so that all of them but the layers are free."""
    changes = any(name in (override.scale, override.offset) for override in OVERRIDES.values())
    return ("batch", axes[1], "clip", "channel") if changes else axes


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages an export depends on."""
    found = {"python": platform.python_version()}
    for package in ("gatescope", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
