"""TorchScript and pt2 files: the same session, the same numbers, and a message for every damaged archive."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gatescope.runtime.errors import (
    DeviceError,
    GatescopeError,
    InputError,
    ManifestError,
    ModelFileError,
    UsageError,
)
from gatescope.runtime.gates.shape import Tensor
from gatescope.runtime.session import model_archive
from gatescope.runtime.session.model_file import read_manifest
from gatescope.runtime.session.session import GateSession

from .tiny_case import TinyCase
from .tiny_model import Gating, expected, tiny_batch, tiny_model
from .tiny_torch import Format, save, tiny_torch

FORMATS: list[Format] = ["torchscript", "pt2"]


@pytest.fixture(scope="module", params=FORMATS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clipwise model in one of PyTorch's formats; tests that spoil it write elsewhere."""
    path = tmp_path_factory.mktemp("tiny") / f"m.{request.param}"
    tiny_torch(path, request.param)
    return path


@pytest.mark.parametrize("gating", ["global", "clipwise", "elementwise"])
@pytest.mark.parametrize("format", FORMATS)
def test_outputs_are_those_of_the_formulas(tmp_path: Path, format: Format, gating: Gating) -> None:
    manifest = tiny_torch(tmp_path / "m", format, gating, 3)
    with GateSession(tmp_path / "m", device="cpu") as session:
        # Lengths other than the traced ones, down to 1 on every axis.
        for clips, words in (((5, 1, 4), (3, 2, 1)), ((7, 7), (2, 2)), ((1,), (1,))):
            batch = tiny_batch(manifest, clips, words)
            outputs = session.run(batch)
            want = expected(manifest, batch)
            assert list(outputs.raw) == list(manifest.output_names)
            for name, array in outputs.raw.items():
                assert array.dtype == np.float32
                np.testing.assert_allclose(array, want[name], atol=1e-6, err_msg=name)


@pytest.mark.parametrize("format", FORMATS)
def test_a_graph_of_gates_takes_only_what_it_needs(tmp_path: Path, format: Format) -> None:
    manifest = tiny_torch(tmp_path / "m", format, outputs_kind="gates")
    batch = tiny_batch(manifest)
    with GateSession(tmp_path / "m", device="cpu") as session:
        assert session.input_names == ("src_vid", "src_aud")
        outputs = session.run(batch)
    assert outputs.predictions == {}
    np.testing.assert_allclose(outputs.gates["ffn"], expected(manifest, batch)["gate_ffn"], atol=1e-6)


def test_what_a_session_says_about_itself(path: Path) -> None:
    threads = torch.get_num_threads()
    with GateSession(path, device="auto") as session:
        assert session.device == "cpu"
        assert session.providers == ("torch cpu",)
        assert session.provider_options == {}
        assert session.threads == torch.get_num_threads() == threads
        assert session.versions == {"torch": torch.__version__}
    try:
        assert GateSession(path, device="cpu", threads=1).threads == torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    with pytest.raises(GatescopeError, match="is closed"):
        session.run({})
    with pytest.raises(UsageError, match="auto, cpu or cuda"):
        GateSession(path, device="gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_is_never_silently_the_cpu(path: Path) -> None:
    with pytest.raises(DeviceError, match="CUDA was asked for"):
        GateSession(path, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_gives_the_same_numbers(path: Path) -> None:
    with GateSession(path, device="cuda") as session:
        batch = tiny_batch(session.manifest, (5, 1, 4), (3, 2, 1))
        want = expected(session.manifest, batch)
        assert session.device == "cuda"
        for name, array in session.run(batch).raw.items():
            np.testing.assert_allclose(array, want[name], atol=1e-5, err_msg=name)


def test_a_traced_model_makes_its_tensors_where_it_is_moved_to(tmp_path: Path) -> None:
    """Tracing writes the device into the program; moving only the weights would leave it behind."""
    from gatescope.runtime.session.backends.torchscript import _move

    tiny_torch(tmp_path / "m", "torchscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: Any = torch.jit.load(str(tmp_path / "m"))
        constants = [
            node.output().toIValue()
            for node in module.model.graph.findAllNodes("prim::Constant")
            if node.output().type().kind() == "DeviceObjType"
        ]
        assert constants and all(device.type == "cpu" for device in constants)
        _move(module, "meta")
        batch = [torch.ones(2, 4, width, device="meta") for width in (4, 7, 5)]
        masks = [torch.ones(2, 4, device="meta")] * 2
        outputs = module(batch[0], masks[0], batch[1], masks[1], batch[2])
    assert {output.device.type for output in outputs} == {"meta"}


def test_a_run_of_such_a_file(tmp_path: Path, path: Path) -> None:
    case = TinyCase(tmp_path)
    case.run(output=tmp_path / "onnx")
    case.model = path
    case.run()
    from gatescope.runtime import open_run

    run, other = open_run(case.output), open_run(tmp_path / "onnx")
    assert run.info["versions"]["torch"] == torch.__version__
    assert "onnxruntime" not in run.info["versions"]
    for qid in case.data.qids:
        np.testing.assert_allclose(run.tensor(qid, "ffn"), other.tensor(qid, "ffn"), atol=1e-6)


def test_inputs_are_checked_as_for_any_file(path: Path) -> None:
    with GateSession(path, device="cpu") as session:
        batch = tiny_batch(session.manifest)
        with pytest.raises(InputError, match="lacks src_aud"):
            session.run({name: batch[name] for name in batch if name != "src_aud"})


def test_read_only_arrays_are_taken(path: Path) -> None:
    with GateSession(path, device="cpu") as session:
        batch = tiny_batch(session.manifest)
        for array in batch.values():
            array.flags.writeable = False
        assert session.run(batch).gates


# What is imported for what.


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_manifest_is_read_without_torch(path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        f"from gatescope.runtime import read_manifest; print(read_manifest({str(path)!r}).format)"
    )
    assert fresh(code) == path.suffix[1:]


def test_without_torch_the_message_says_what_to_install(path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from gatescope.runtime import GateSession, GatescopeError\n"
        f"try: GateSession({str(path)!r})\n"
        "except GatescopeError as error: print(error)"
    )
    assert "gatescope[export]" in fresh(code)


def test_neither_needs_onnx_runtime_nor_onnx_files_torch(path: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from gatescope.runtime import GateSession\n"
        f"print(GateSession({str(path)!r}, device='cpu').device)"
    )
    assert fresh(code) == "cpu"
    tiny_model(tmp_path / "m.onnx")
    code = (
        "import sys; from gatescope.runtime import GateSession\n"
        f"GateSession({str(tmp_path / 'm.onnx')!r}); print('torch' in sys.modules)"
    )
    assert fresh(code) == "False"


# Archives that are damaged, foreign, or do not fit their manifest.


def rewritten(path: Path, target: Path, change: Callable[[dict[str, bytes]], None], **options: int) -> Path:
    """``path`` as an archive whose entries, without the archive's own folder, ``change`` has edited."""
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].split("/")[0]
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(target, "w", **options) as archive:
        for name, content in entries.items():
            archive.writestr(f"{root}/{name}", content)
    return target


def test_a_file_cut_anywhere_is_refused(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    for end in range(0, len(whole), max(1, len(whole) // 60)):
        (tmp_path / "m").write_bytes(whole[:end])
        with pytest.raises(ModelFileError):
            read_manifest(tmp_path / "m")


def test_an_archive_inside_a_cut_one_is_not_taken_for_it(tmp_path: Path) -> None:
    """A pt2 file holds its example inputs as an archive of its own."""
    tiny_torch(tmp_path / "whole", "pt2")
    (tmp_path / "m").write_bytes((tmp_path / "whole").read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="is a damaged archive"):
        read_manifest(tmp_path / "m")


def test_a_flipped_bit_in_any_entry_is_found(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.compress_size]
    for entry in entries:
        spoiled = bytearray(whole)
        # Names and extra fields, which PyTorch uses for alignment, stand before the content.
        name, extra = (int.from_bytes(whole[entry.header_offset + i :][:2], "little") for i in (26, 28))
        spoiled[entry.header_offset + 30 + name + extra + entry.compress_size // 2] ^= 4
        (tmp_path / "m").write_bytes(spoiled)
        with pytest.raises(ModelFileError, match="is a damaged archive"):
            read_manifest(tmp_path / "m")


def test_an_archive_without_a_manifest_says_so(path: Path, tmp_path: Path) -> None:
    save(tmp_path / "m", read_manifest(path), document="")
    with pytest.raises(ManifestError, match="carries no manifest"):
        read_manifest(tmp_path / "m")


def test_a_manifest_that_is_not_json_or_newer(path: Path, tmp_path: Path) -> None:
    manifest = read_manifest(path)
    save(tmp_path / "m", manifest, document="{")
    with pytest.raises(ManifestError, match="is not JSON"):
        read_manifest(tmp_path / "m")
    newer = {**manifest.to_dict(), "format_version": 999}
    save(tmp_path / "m", manifest, document=json.dumps(newer))
    with pytest.raises(ManifestError, match="newer gatescope"):
        read_manifest(tmp_path / "m")


def test_a_manifest_of_another_format_is_refused(path: Path, tmp_path: Path) -> None:
    manifest = read_manifest(path)
    other = replace(manifest, format="onnx")
    save(tmp_path / "m", manifest, document=other.to_json())
    with pytest.raises(ManifestError, match="format onnx"):
        read_manifest(tmp_path / "m")


def test_a_manifest_that_declares_other_inputs_is_refused(path: Path, tmp_path: Path) -> None:
    manifest = read_manifest(path)
    fewer = replace(manifest, inputs=manifest.inputs[:-1])
    save(tmp_path / "m", manifest, document=fewer.to_json())
    with pytest.raises(ModelFileError, match="does not have the inputs"):
        GateSession(tmp_path / "m", device="cpu")


def test_a_manifest_that_declares_other_outputs_is_refused(path: Path, tmp_path: Path) -> None:
    manifest = read_manifest(path)
    more = replace(manifest, outputs=(*manifest.outputs, Tensor("pred_more", ("batch",))))
    save(tmp_path / "m", manifest, document=more.to_json())
    with GateSession(tmp_path / "m", device="cpu") as session, pytest.raises(GatescopeError) as caught:
        session.run(tiny_batch(manifest))
    assert "5 outputs" in str(caught.value) and "pred_more" in str(caught.value)


def test_a_checkpoint_is_told_from_an_exported_model(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.ones(2)}}, tmp_path / "m.ckpt")
    with pytest.raises(ModelFileError, match="is a PyTorch checkpoint") as caught:
        read_manifest(tmp_path / "m.ckpt")
    assert f"--checkpoint {tmp_path / 'm.ckpt'}" in str(caught.value)


def test_other_archives_are_not_models(tmp_path: Path) -> None:
    for names in ([], ["a.txt"], ["a/b.txt"], ["a/b.txt", "c/d.txt"], ["../up.txt"]):
        with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
            archive.writestr("pad/pad" if not names else names[0], b"x")
            for name in names[1:]:
                archive.writestr(name, b"x")
        with pytest.raises(ModelFileError, match="is a zip archive, but not a model"):
            read_manifest(tmp_path / "m.zip")
    (tmp_path / "m.npz").write_bytes(b"")
    np.savez(tmp_path / "m.npz", a=np.ones(3))
    with pytest.raises(ModelFileError, match="is a zip archive, but not a model"):
        read_manifest(tmp_path / "m.npz")


def test_an_archive_that_unpacks_to_too_much_is_refused_unread(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inflate(entries: dict[str, bytes]) -> None:
        entries["code/bomb.py"] = bytes(model_archive.MOST_COMPRESSED_CONTENT + 1)

    bomb = rewritten(path, tmp_path / "m", inflate, compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 500_000
    monkeypatch.setattr(zipfile.ZipFile, "open", None)  # it must not come so far
    with pytest.raises(ModelFileError, match="unpacks to more"):
        read_manifest(bomb)


def test_a_huge_manifest_is_refused(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_archive, "MOST_MANIFEST_BYTES", 100)
    with pytest.raises(ManifestError, match="too large"):
        read_manifest(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    (tmp_path / "m").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "m", "a") as archive:
        archive.writestr(archive.namelist()[0], b"another")
    with pytest.raises(ModelFileError, match="is a damaged archive"):
        read_manifest(tmp_path / "m")


def test_pickled_weights_of_a_pt2_file_are_never_unpickled(tmp_path: Path) -> None:
    tiny_torch(tmp_path / "good", "pt2")
    witness = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (witness,))

    pickled = io.BytesIO()
    torch.save(Evil(), pickled)

    def poison(entries: dict[str, bytes]) -> None:
        name = "data/weights/model_weights_config.json"
        listed = json.loads(entries[name])
        item = next(iter(listed["config"].values()))
        item["use_pickle"] = True
        entries[f"data/weights/{item['path_name']}"] = pickled.getvalue()
        entries[name] = json.dumps(listed).encode()

    path = rewritten(tmp_path / "good", tmp_path / "m", poison)
    with pytest.raises(ModelFileError, match="pickled objects"):
        GateSession(path, device="cpu")
    assert not witness.exists()


def test_a_program_that_torch_cannot_load_is_named(path: Path, tmp_path: Path) -> None:
    def spoil(entries: dict[str, bytes]) -> None:
        for name in entries:
            if name.endswith((".py", "models/model.json")):
                entries[name] = b"{}"

    with pytest.raises(ModelFileError, match="PyTorch refuses"):
        GateSession(rewritten(path, tmp_path / "m", spoil), device="cpu")
