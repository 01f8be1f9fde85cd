"""Exported files: what is read from them, and that no broken one gets further than a clear error."""

from __future__ import annotations

import hashlib
import random
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gatescope.runtime.errors import GatescopeError, ManifestError, ModelFileError
from gatescope.runtime.gates.manifest import METADATA_KEY
from gatescope.runtime.gates.shape import Gate, Tensor
from gatescope.runtime.session.model_file import (
    file_sha256,
    read_manifest,
    read_model_file,
    write_manifest_onnx,
)
from gatescope.runtime.session.session import GateSession

from .tiny_model import tiny_batch, tiny_manifest, tiny_model, tiny_proto


def external(tensor: TensorProto) -> TensorProto:
    """The same tensor, with its numbers moved to another file."""
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def weight(name: str = "far") -> TensorProto:
    return numpy_helper.from_array(np.zeros(2, np.float32), name)


def test_the_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    written = tiny_model(path, "elementwise", 3, video_widths=(5, 4))
    assert read_manifest(path) == written
    assert read_model_file(path).content == path.read_bytes()
    assert read_manifest(str(path)) == written


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    tiny_model(path)
    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_writing_a_manifest_replaces_an_older_one_and_keeps_other_metadata() -> None:
    model = tiny_proto(tiny_manifest(layers=1))
    model.metadata_props.add(key="author", value="someone")
    newer = tiny_manifest(layers=2)
    write_manifest_onnx(model, newer)
    assert [entry.key for entry in model.metadata_props] == ["author", METADATA_KEY]
    assert model.metadata_props[1].value == newer.to_json()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"not a model at all\n", "is not an ONNX model", id="text"),
        pytest.param(random.Random(0).randbytes(5000), "is not an ONNX model", id="random"),
        pytest.param(b'{"qid": 1}', "is not an ONNX model", id="json"),
        pytest.param(b"\x08\x08", "is not an ONNX model", id="decodes, but holds no graph"),
    ],
)
def test_foreign_bytes_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        read_manifest(path)


def test_a_missing_file_a_folder_and_an_archive_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no file"):
        read_manifest(tmp_path / "absent.onnx")
    with pytest.raises(ModelFileError, match="is a directory"):
        read_manifest(tmp_path)
    with pytest.raises(ModelFileError, match="not a regular file"):
        read_manifest("/dev/null")
    with zipfile.ZipFile(tmp_path / "model.pth", "w") as archive:
        archive.writestr("data.pkl", b"")
    with pytest.raises(ModelFileError, match="is a zip archive"):
        read_manifest(tmp_path / "model.pth")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    tiny_model(path)
    whole = path.read_bytes()
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        with pytest.raises(ModelFileError):
            read_manifest(path)


def test_flipped_bits_end_in_a_named_error_or_a_model_that_runs(tmp_path: Path) -> None:
    """Nothing but GatescopeError leaves, whichever byte is hit: text that is not UTF-8 included."""
    path = tmp_path / "model.onnx"
    batch = tiny_batch(tiny_model(path))
    whole = path.read_bytes()
    rng = random.Random(7)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            with GateSession(path, device="cpu", threads=1) as session:
                session.run(batch)
        except GatescopeError:
            refused += 1
    assert refused > 200


def in_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(external(weight()))


def in_constant(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["far"], value=external(weight())))


def in_subgraph(model: onnx.ModelProto) -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["far"], ["y"])],
        "inner",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        [external(weight())],
    )
    outer = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)],
        "outer",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=outer, else_branch=outer))


def in_sparse(model: onnx.ModelProto) -> None:
    indices = numpy_helper.from_array(np.asarray([0, 3], np.int64), "indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(external(weight()), indices, [9]))


def in_sparse_attribute(model: onnx.ModelProto) -> None:
    indices = external(numpy_helper.from_array(np.asarray([0, 3], np.int64), "indices"))
    sparse = helper.make_sparse_tensor(weight(), indices, [9])
    model.graph.node.append(helper.make_node("Constant", [], ["far"], sparse_value=sparse))


def in_function(model: onnx.ModelProto) -> None:
    model.functions.append(
        helper.make_function(
            "own", "f", [], ["y"], [helper.make_node("Constant", [], ["y"], value=external(weight()))], []
        )
    )


def without_location_flag(model: onnx.ModelProto) -> None:
    tensor = weight()
    tensor.external_data.add(key="location", value="weights.bin")
    model.graph.initializer.append(tensor)


@pytest.mark.parametrize(
    "hide",
    [
        in_initializer,
        in_constant,
        in_subgraph,
        in_sparse,
        in_sparse_attribute,
        in_function,
        without_location_flag,
    ],
)
def test_weights_outside_the_file_are_refused(
    tmp_path: Path, hide: Callable[[onnx.ModelProto], None]
) -> None:
    model = tiny_proto(tiny_manifest())
    hide(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="keeps weights outside the file"):
        read_manifest(path)


@pytest.mark.parametrize("location", ["../../secret", "/etc/passwd", "beside.bin", "link.bin", ""])
def test_paths_out_of_the_file_are_named_and_never_opened(tmp_path: Path, location: str) -> None:
    (tmp_path / "link.bin").symlink_to("/etc/passwd")
    model = tiny_proto(tiny_manifest())
    tensor = external(weight())
    del tensor.external_data[:]
    tensor.external_data.add(key="location", value=location)
    model.graph.initializer.append(tensor)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="keeps weights outside the file") as caught:
        GateSession(tmp_path / "m.onnx", device="cpu")
    assert repr(location) in str(caught.value)


def saved(tmp_path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    model = tiny_proto(tiny_manifest())
    change(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_model_of_another_tool_is_refused(tmp_path: Path) -> None:
    def strip(model: onnx.ModelProto) -> None:
        del model.metadata_props[:]
        model.producer_name, model.producer_version = "pytorch", "2.9.0"
        model.metadata_props.add(key="author", value="someone")

    with pytest.raises(ManifestError, match="not exported by gatescope") as caught:
        read_manifest(saved(tmp_path, strip))
    assert "pytorch 2.9.0" in str(caught.value)
    assert "gatescope export" in str(caught.value)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param("{", "is not JSON", id="cut"),
        pytest.param('{"format_version": 99}', "newer gatescope", id="newer"),
        pytest.param('{"format_version": 1}', "is damaged", id="fields missing"),
        pytest.param("[]", "no format_version", id="another document"),
    ],
)
def test_a_damaged_or_newer_manifest_is_refused(tmp_path: Path, document: str, message: str) -> None:
    def swap(model: onnx.ModelProto) -> None:
        model.metadata_props[0].value = document

    path = saved(tmp_path, swap)
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)


def test_two_manifests_are_refused(tmp_path: Path) -> None:
    def add(model: onnx.ModelProto) -> None:
        model.metadata_props.add(key=METADATA_KEY, value=tiny_manifest().to_json())

    with pytest.raises(ManifestError, match="carries 2 manifests"):
        read_manifest(saved(tmp_path, add))


def test_gates_in_an_output_that_is_not_there_are_refused(tmp_path: Path) -> None:
    manifest = tiny_manifest()
    lost = Gate("fusion.9.extra", "extra", 9, "gate_extra", 0, ("batch", "layer", "clip", "1"), (-1.0, 1.0))

    def swap(model: onnx.ModelProto) -> None:
        write_manifest_onnx(model, replace(manifest, gates=(*manifest.gates, lost)))

    with pytest.raises(ManifestError, match="gate_extra"):
        read_manifest(saved(tmp_path, swap))


def test_operators_newer_than_onnx_knows_are_refused(tmp_path: Path) -> None:
    def raise_opset(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = onnx.defs.onnx_opset_version() + 1

    with pytest.raises(ModelFileError, match="newer operators"):
        read_manifest(saved(tmp_path, raise_opset))


def test_operators_of_others_are_refused(tmp_path: Path) -> None:
    def run_a_compiled_file(model: onnx.ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        model.graph.node.append(
            helper.make_node(
                "EPContext",
                [],
                ["far"],
                domain="com.microsoft",
                embed_mode=0,
                ep_cache_context="../../secret",
            )
        )

    with pytest.raises(ModelFileError, match="not ONNX's own") as caught:
        read_manifest(saved(tmp_path, run_a_compiled_file))
    assert "com.microsoft" in str(caught.value)


def of_no_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 0


def of_an_unknown_domain(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Foo", ["src_vid"], ["far"], domain="own"))


def of_a_future_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 99


@pytest.mark.parametrize("change", [of_no_opset, of_an_unknown_domain, of_a_future_ir])
def test_versions_nobody_knows_are_refused(tmp_path: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    with pytest.raises(ModelFileError, match="ONNX Runtime refuses"):
        GateSession(saved(tmp_path, change), device="cpu")


def renamed_input(model: onnx.ModelProto) -> None:
    model.graph.input[2].name = "video"


def additional_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mystery", TensorProto.FLOAT, [1]))


def other_dtype(model: onnx.ModelProto) -> None:
    model.graph.input[2].type.tensor_type.elem_type = TensorProto.FLOAT16


def unknown_dtype(model: onnx.ModelProto) -> None:
    model.graph.input[2].type.tensor_type.elem_type = 99


def other_width(model: onnx.ModelProto) -> None:
    model.graph.input[2].type.tensor_type.shape.dim[2].dim_value = 8


def frozen_batch(model: onnx.ModelProto) -> None:
    model.graph.input[2].type.tensor_type.shape.dim[0].dim_value = 1


@pytest.mark.parametrize(
    "change", [renamed_input, additional_input, other_dtype, unknown_dtype, other_width, frozen_batch]
)
def test_inputs_that_differ_from_the_manifest_are_refused(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None]
) -> None:
    with pytest.raises(ModelFileError, match="does not have the inputs"):
        read_manifest(saved(tmp_path, change))


def test_outputs_that_differ_from_the_manifest_are_refused(tmp_path: Path) -> None:
    def drop(model: onnx.ModelProto) -> None:
        del model.graph.output[-1]

    with pytest.raises(ModelFileError, match="does not have the outputs"):
        read_manifest(saved(tmp_path, drop))


def test_a_recipe_of_another_width_than_the_graph_is_refused(tmp_path: Path) -> None:
    manifest = tiny_manifest()
    other = replace(manifest, preprocessing=replace(manifest.preprocessing, audio_width=99))

    def swap(model: onnx.ModelProto) -> None:
        write_manifest_onnx(model, other)

    with pytest.raises(ModelFileError, match="feature widths") as caught:
        read_manifest(saved(tmp_path, swap))
    assert "src_aud 99" in str(caught.value)


def test_an_initializer_listed_as_input_is_no_input(tmp_path: Path) -> None:
    """Old writers list weights among the inputs."""

    def list_weight(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(weight("w"))
        model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2]))

    assert read_manifest(saved(tmp_path, list_weight)).input_names == tiny_manifest().input_names


def test_what_onnx_runtime_refuses_is_a_model_file_error(tmp_path: Path) -> None:
    def foreign_operator(model: onnx.ModelProto) -> None:
        model.graph.node[0].op_type = "NoSuchOperator"

    path = saved(tmp_path, foreign_operator)
    with pytest.raises(ModelFileError, match="ONNX Runtime refuses") as caught:
        GateSession(path, device="cpu")
    assert str(path) in str(caught.value)


def test_bytes_that_also_read_as_onnx_runtimes_own_format_run_as_what_was_checked(tmp_path: Path) -> None:
    """Field 99, which nobody knows and protobuf passes over, puts that format's mark at bytes 4 to 8."""
    tiny_model(tmp_path / "honest.onnx")
    honest = (tmp_path / "honest.onnx").read_bytes()
    (tmp_path / "both.onnx").write_bytes(b"\x9a\x06\x05\x00ORTM" + honest)
    with GateSession(tmp_path / "honest.onnx") as one, GateSession(tmp_path / "both.onnx") as other:
        batch = tiny_batch(one.manifest, (3,), (2,))
        want, found = one.run(batch).raw, other.run(batch).raw
    assert all(np.array_equal(want[name], found[name]) for name in want)


def test_inputs_may_have_any_axis_names(tmp_path: Path) -> None:
    """Only fixed lengths are compared; what an exporter calls its free axes is its own affair."""

    def rename(model: onnx.ModelProto) -> None:
        for value in model.graph.input:
            value.type.tensor_type.shape.dim[0].dim_param = "s77"

    manifest = read_manifest(saved(tmp_path, rename))
    assert manifest.inputs[0] == Tensor("src_txt", ("batch", "word", 4))
