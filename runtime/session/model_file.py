"""What is inside an exported file, checked before any runtime is allowed to see it.

An exported model is one file from a place we cannot know. ONNX Runtime follows references to other files
and turns damaged input into messages about its own source code; so the file is parsed and judged here,
and the session is built from the very bytes that were judged. TorchScript and pt2 files are archives and
judged in :mod:`gatescope.runtime.session.model_archive`; what they have in common with ONNX files is here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from ..errors import ManifestError, ModelFileError
from ..files import local
from ..gates.manifest import METADATA_KEY, Manifest
from ..gates.shape import Tensor
from .model_archive import read_archive

ZIP_ENTRY_MAGIC = b"PK\x03\x04"
# Protobuf cannot hold more than 2 GiB; reading such a file would only cost memory.
MOST_MODEL_BYTES = 2**31 - 1


@dataclass(frozen=True)
class ModelFile:
    """One exported file that passed every check: where it came from, what it says, and its bytes."""

    path: Path
    manifest: Manifest
    content: bytes


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """The manifest of the exported model at ``path``.

    Raises what :func:`read_model_file` raises.
    """
    return read_model_file(path).manifest


def read_model_file(path: str | os.PathLike[str]) -> ModelFile:
    """Read and check the exported model at ``path``.

    Raises :class:`ModelFileError` where it is no file, cannot be read, is damaged, is not a model,
    refers to other files, or does not fit its manifest; :class:`ManifestError` where the manifest is
    absent, damaged or newer than this version. PyTorch is not needed, whatever the format.
    """
    path = local(path)
    content = _read(path)
    if not content.startswith(ZIP_ENTRY_MAGIC):
        return ModelFile(path, _read_onnx(path, content), content)
    archive = read_archive(path, content)
    manifest = Manifest.from_json(archive.manifest, origin=str(path))
    _check_manifest(path, manifest, archive.format)
    return ModelFile(path, manifest, content)


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of the file's bytes, in hexadecimal; read in pieces, so any size is fine."""
    with local(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest_onnx(model: ModelProto, manifest: Manifest) -> None:
    """Put ``manifest`` into the metadata of ``model``, in place of any it already carries."""
    others = [(entry.key, entry.value) for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    for key, value in [*others, (METADATA_KEY, manifest.to_json())]:
        model.metadata_props.add(key=key, value=value)


def _read(path: Path) -> bytes:
    """The file's bytes, or a :class:`ModelFileError` that says why there are none."""
    expected = "an ONNX, TorchScript or pt2 file written by 'gatescope export'"
    if path.is_dir():
        raise ModelFileError(f"{path} is a directory", expected=expected)
    if not path.exists():
        raise ModelFileError(f"there is no file {path}", expected=expected, fix="check the path")
    if not path.is_file():
        raise ModelFileError(f"{path} is not a regular file", expected=expected)
    try:
        size = path.stat().st_size
        if size == 0:
            raise ModelFileError(f"{path} is empty", expected=expected, fix="export the model again")
        if size > MOST_MODEL_BYTES:
            raise ModelFileError(
                f"{path} is too large for a model in one file",
                received=f"{size:,} bytes",
                expected=f"at most {MOST_MODEL_BYTES:,} bytes",
            )
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read",
            received=error.strerror or str(error),
            fix="check the file's permissions and its disk",
        ) from error


def _read_onnx(path: Path, content: bytes) -> Manifest:
    """Check the ONNX model in ``content`` and return its manifest."""
    try:
        model = onnx.load_model_from_string(content)
        # Protobuf decodes some foreign bytes into a message without content.
        if not model.HasField("graph") or model.ir_version == 0 or not model.opset_import:
            raise _not_onnx(path, "no graph, no version or no operator set: cut short or another format")
        _refuse_other_files(path, model)
        manifest = _manifest_of(path, model)
        _refuse_other_operators(path, model)
        _compare_graph(path, model.graph, manifest)
    except (DecodeError, UnicodeDecodeError) as error:  # text is decoded only when it is looked at
        raise _not_onnx(path, "bytes that do not decode: damaged, cut short or another format") from error
    return manifest


def _not_onnx(path: Path, received: str) -> ModelFileError:
    return ModelFileError(
        f"{path} is not an ONNX model",
        received=received,
        expected="an ONNX file written by 'gatescope export'",
        fix="copy the file again, or export the model again",
    )


def _manifest_of(path: Path, model: ModelProto) -> Manifest:
    documents = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    if not documents:
        producer = f"{model.producer_name} {model.producer_version}".strip() or "an unnamed tool"
        raise ManifestError(
            f"{path} was not exported by gatescope: it carries no manifest",
            received=f"an ONNX model written by {producer}",
            fix="gatescope export --checkpoint … --output model.onnx",
        )
    if len(documents) > 1:
        raise ManifestError(
            f"{path} carries {len(documents)} manifests", expected="one", fix="export the model again"
        )
    manifest = Manifest.from_json(documents[0], origin=str(path))
    _check_manifest(path, manifest, "onnx")
    return manifest


def _check_manifest(path: Path, manifest: Manifest, found: str) -> None:
    """The manifest must be of this kind of file, and agree with itself."""
    if manifest.format != found:
        raise _damaged_manifest(path, f"format {manifest.format}", f"format {found}, as the file is")
    stored = {gate.output for gate in manifest.gates if manifest.outputs_kind in ("tracked", "gates")}
    stored |= {*manifest.contributions.values(), *(summary.output for summary in manifest.summaries.values())}
    for used, declared, what in (
        (stored, manifest.output_names, "outputs"),
        (set(manifest.override_names), manifest.input_names, "inputs"),
    ):
        if unknown := sorted(used - set(declared)):
            raise _damaged_manifest(
                path, f"gates in {', '.join(unknown)}", f"gates in its {what}: {', '.join(declared)}"
            )
    recipe = manifest.preprocessing
    widths = {"src_vid": recipe.video_width, "src_aud": recipe.audio_width, "src_txt": recipe.text_width}
    taken = {tensor.name: tensor.axes[-1] for tensor in manifest.inputs if tensor.name in widths}
    _compare(
        path,
        "feature widths",
        (f"{name} {width}" for name, width in taken.items()),
        (f"{name} {widths[name]}" for name in taken),
    )


def _damaged_manifest(path: Path, received: str, expected: str) -> ManifestError:
    return ManifestError(
        f"the manifest of {path} is damaged",
        received=received,
        expected=expected,
        fix="export the model again",
    )


def _refuse_other_operators(path: Path, model: ModelProto) -> None:
    known = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain not in ("", "ai.onnx"):
            # Not needed by any export, and some of them (EPContext) open files that the graph names.
            raise ModelFileError(
                f"{path} uses operators that are not ONNX's own",
                received=f"operators of {opset.domain}",
                expected="a graph written by 'gatescope export'",
                fix="export the model again",
            )
        if opset.version > known:
            raise ModelFileError(
                f"{path} uses newer operators than the installed onnx package knows",
                received=f"opset {opset.version}",
                expected=f"opset {known} or older (onnx {onnx.__version__})",
                fix="pip install --upgrade onnx, or export with a lower --opset",
            )


def _compare_graph(path: Path, graph: GraphProto, manifest: Manifest) -> None:
    """The graph must take and give exactly what its manifest says, in the same order."""
    # Older ONNX files list their constants among the inputs; an input with a default is one all the same.
    constants = {tensor.name for tensor in graph.initializer} - set(manifest.input_names)
    inputs = [value for value in graph.input if value.name not in constants]
    _compare(path, "inputs", map(_described, inputs), map(_declared, manifest.inputs))
    # Names suffice for outputs: nothing is allocated or checked by an output's declared shape.
    names = (str(value.name) for value in graph.output)
    _compare(path, "outputs", names, manifest.output_names)


def _compare(path: Path, what: str, found: Iterable[str], declared: Iterable[str]) -> None:
    received, expected = list(found), list(declared)
    if received != expected:
        raise ModelFileError(
            f"the graph in {path} does not have the {what} its manifest declares",
            received=", ".join(received) or "none",
            expected=", ".join(expected) or "none",
            fix="export the model again; the file was changed after its export",
        )


def _described(value: ValueInfoProto) -> str:
    """An input of the graph as text: name, element type, and its axes with ``*`` for a free one."""
    tensor = value.type.tensor_type
    axes = (str(axis.dim_value) if axis.HasField("dim_value") else "*" for axis in tensor.shape.dim)
    kind = tensor.elem_type
    known = kind in TensorProto.DataType.values() and kind != TensorProto.UNDEFINED
    dtype = helper.tensor_dtype_to_np_dtype(kind).name if known else f"type {kind}"
    return f"{value.name} {dtype} ({', '.join(axes)})"


def _declared(tensor: Tensor) -> str:
    """The same text for what the manifest says."""
    axes = (str(axis) if isinstance(axis, int) else "*" for axis in tensor.axes)
    return f"{tensor.name} {tensor.dtype} ({', '.join(axes)})"


def _refuse_other_files(path: Path, model: ModelProto) -> None:
    """An exported model is one file: weights elsewhere could be any file the process may read."""
    for tensor in _tensors_of_model(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            raise ModelFileError(
                f"{path} keeps weights outside the file",
                received=f"tensor '{tensor.name}' in {entries.get('location', 'an unnamed file')!r}",
                expected="one file that holds everything",
                fix="gatescope export --checkpoint … writes such a file",
            )


def _tensors_of_model(model: ModelProto) -> Iterator[TensorProto]:
    yield from _tensors_of_graph(model.graph)
    for function in model.functions:
        yield from _tensors_of_nodes(function.node)
        yield from _tensors_of_attributes(function.attribute_proto)
    for training in model.training_info:
        yield from _tensors_of_graph(training.initialization)
        yield from _tensors_of_graph(training.algorithm)


def _tensors_of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        yield from _tensors_of_attributes(node.attribute)


def _tensors_of_attributes(attributes: Iterable[AttributeProto]) -> Iterator[TensorProto]:
    for attribute in attributes:
        yield from _tensors_of_attribute(attribute)


def _tensors_of_attribute(attribute: AttributeProto) -> Iterator[TensorProto]:
    yield attribute.t
    yield from attribute.tensors
    for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
        yield from (sparse.values, sparse.indices)
    for graph in (attribute.g, *attribute.graphs):
        yield from _tensors_of_graph(graph)
