"""An exported model: its manifest and certificate, and what can run it here."""

from __future__ import annotations

import json
import shlex
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx

from ..brief import counted
from ..errors import DeviceError, GatescopeError, ModelFileError
from ..gates.manifest import Manifest
from ..gates.shape import Tensor
from ..session.device import DeviceOptions
from ..session.model_file import ModelFile, read_model_file
from .batching import effect_in_words
from .inspection import InspectedRow, InspectedSection, Inspection, fact_rows, size_of

_FACTS = (
    ("heads", "heads"),
    ("fusion_heads", "fusion heads"),
    ("attention_activation", "attention gate"),
    ("gate_temperature", "temperature"),
)
_FORMATS = {"onnx": "ONNX", "torchscript": "TorchScript", "pt2": "pt2", "live": "live model"}


def inspect_model(path: Path) -> Inspection:
    """What the exported model at ``path`` says about itself, and what of this installation can run it.

    A file that is damaged or was not exported by gatescope comes back with the reason as a problem.
    """
    try:
        model = read_model_file(path)
    except ModelFileError as error:
        return Inspection(
            path,
            "model",
            "cannot be used",
            problems=(str(error),),
            details={"bytes": path.stat().st_size},
        )
    manifest = model.manifest
    runtime, problems = _runtime(model)
    nodes = _nodes(model)
    kind = f"{_FORMATS[manifest.format]}, {manifest.family}, {manifest.gating} gating"
    return Inspection(
        path,
        "model",
        f"{kind}, {counted(manifest.layers, 'fusion layer')}",
        sections=(
            InspectedSection("Model", _model(manifest, len(model.content), nodes)),
            InspectedSection("Takes", tuple(map(_tensor, manifest.inputs))),
            InspectedSection("Gives", tuple(map(_tensor, manifest.outputs))),
            InspectedSection("Compared", _certificate(manifest)),
            InspectedSection(
                "Runs with", tuple(InspectedRow(name, value) for name, value in runtime.items())
            ),
        ),
        problems=problems,
        warnings=(*manifest.warnings, *manifest.doubts, *_unverified(manifest), *_without_recipe(manifest)),
        commands=(_next(path),) if manifest.reads_datasets and not problems else (),
        details={
            "bytes": len(model.content),
            "nodes": nodes,
            "runtime": runtime,
            "manifest": manifest.to_dict(),
        },
    )


def _model(manifest: Manifest, size: int, nodes: int | None) -> tuple[InspectedRow, ...]:
    ranges = ", ".join(
        f"{kind} {low:g} to {high:g}{' (FiLM: acts as 1 + g)' if manifest.acts_as(kind) == '1+g' else ''}"
        for kind in manifest.gate_kinds
        for low, high in [manifest.gate_range(kind)]
    )
    file = size_of(size) + (f", {counted(nodes, 'node')}" if nodes else "")
    extras = [
        *(["contribution"] if manifest.contributions else []),
        *(["overridable"] if manifest.overrides else []),
    ]
    gating = manifest.facts.get("gating")
    return (
        InspectedRow("family", manifest.family),
        InspectedRow("gating", manifest.gating, gating.source if gating else ""),
        InspectedRow("layers", str(manifest.layers)),
        *_forward(manifest),
        *fact_rows(manifest.facts, _FACTS),
        InspectedRow("gates", ranges or "none"),
        InspectedRow(
            "gates depend on", "video, audio and query" if manifest.depends_on_text else "video and audio"
        ),
        InspectedRow("outputs", ", ".join([manifest.outputs_kind, *extras])),
        InspectedRow("batching", manifest.batching),
        InspectedRow(
            "precision", manifest.precision + (f", opset {manifest.opset}" if manifest.opset else "")
        ),
        InspectedRow("file", file),
        InspectedRow("checkpoint", f"SHA-256 {manifest.checkpoint_sha256[:16]}…"),
        InspectedRow(
            "exported with", ", ".join(f"{name} {number}" for name, number in manifest.versions.items())
        ),
    )


def _tensor(tensor: Tensor) -> InspectedRow:
    return InspectedRow(tensor.name, f"{tensor.dtype} ({', '.join(map(str, tensor.axes))})")


def _certificate(manifest: Manifest) -> tuple[InspectedRow, ...]:
    certificate = manifest.certificate
    if certificate is None:
        return (InspectedRow("certificate", "none: it was never compared with PyTorch"),)
    batches = ", ".join("+".join(map(str, shape["clips"])) for shape in certificate.shapes)
    worst = max(certificate.errors.items(), key=lambda item: item[1], default=("nothing", 0.0))
    rows = [
        InspectedRow("compared with", certificate.compared_with),
        InspectedRow("largest error", f"{worst[1]:.2g} in {worst[0]} (allowed {certificate.atol:g})"),
        InspectedRow("on batches of", f"{batches} clips"),
    ]
    if verified := certificate.verification:
        rows.append(
            InspectedRow(
                "reproduces",
                f"{counted(verified.samples, 'prediction')} of training, {verified.predictions}, "
                f"in batches of {verified.batch_size}",
            )
        )
    if effect := certificate.batching_effect:
        rows.append(InspectedRow("each by itself", f"as this file computes: {effect_in_words(effect)}"))
    return tuple(rows)


def _without_recipe(manifest: Manifest) -> tuple[str, ...]:
    if manifest.reads_datasets:
        return ()
    return ("it has no recipe for datasets: prepare its inputs yourself and give them to GateSession.run",)


def _forward(manifest: Manifest) -> tuple[InspectedRow, ...]:
    """Where the forward pass is known from; files of format 1 do not say it."""
    forward = manifest.forward
    if forward is None:
        return ()
    known = {
        "family": f"of {manifest.family}",
        "code": "of the user's own code",
        "assumed": f"assumed to be that of {manifest.family}",
    }
    branch = f"as in {forward.branch}" if forward.branch is not None else ""
    return (InspectedRow("forward pass", known[forward.source], branch),)


def _unverified(manifest: Manifest) -> tuple[str, ...]:
    if manifest.certificate is not None and manifest.certificate.verification is not None:
        return ()
    note = "not compared with predictions of the training run ('gatescope export --verify' does)"
    return (note,) if manifest.assumption is None else (manifest.assumption, note)


def _nodes(model: ModelFile) -> int | None:
    """Nodes of the graph; None where only PyTorch could count them."""
    if model.manifest.format == "onnx":
        return len(onnx.load_model_from_string(model.content).graph.node)
    if model.manifest.format == "pt2":
        with zipfile.ZipFile(model.path) as archive:
            names = [name for name in archive.namelist() if name.endswith("/models/model.json")]
            program: Any = json.loads(archive.read(names[0])) if names else {}
            return len(program.get("graph_module", {}).get("graph", {}).get("nodes", [])) or None
    return None


def _runtime(model: ModelFile) -> tuple[dict[str, str], tuple[str, ...]]:
    """What is installed to run ``model``, and what keeps it from running at all."""
    if model.manifest.format != "onnx":
        return _torch()
    if find_spec("onnxruntime") is None:
        missing = "ONNX Runtime is not installed: pip install 'gatescope[cpu]', or 'gatescope[gpu]'"
        return {"ONNX Runtime": "not installed"}, (missing,)
    from ..session.backends import onnx_runtime

    found = {"ONNX Runtime": onnx_runtime.installed_builds()}
    try:
        for device in ("cpu", "cuda"):
            wanted = DeviceOptions(device, threads=1)
            onnx_runtime.create_session(model.content, wanted, 1, origin=str(model.path))
            found[device.upper()] = "ready"
    except DeviceError as error:
        found["CUDA"] = f"{error.problem.rpartition(': ')[2]} ({error.fix})"
    except GatescopeError as error:
        return found, (str(error),)
    return found, ()


def _torch() -> tuple[dict[str, str], tuple[str, ...]]:
    if find_spec("torch") is None:
        return {"PyTorch": "not installed"}, ("PyTorch is not installed: pip install 'gatescope[export]'",)
    from ..session.backends.torch_device import choose_device, installed_build

    found = {"PyTorch": installed_build(), "CPU": "ready"}
    try:
        choose_device("cuda")
        found["CUDA"] = "ready"
    except DeviceError as error:
        found["CUDA"] = f"{error.problem.rpartition(': ')[2]} ({error.fix})"
    return found, ()


def _next(path: Path) -> str:
    return shlex.join(["gatescope", "run", str(path)]) + (
        " --annotations val.jsonl --features features/ --output run/"
    )
