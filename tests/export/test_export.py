"""A certified file or none: what a failed export leaves behind, and what a good one says."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch

from gatescope.export import Choices, export_checkpoint, load_checkpoint
from gatescope.export.graph.capture import capture
from gatescope.export.graph.variant import Variant, VariantGraph
from gatescope.export.proof import certified as writing
from gatescope.export.proof.parity import certify
from gatescope.export.reading.facts import describe
from gatescope.export.reading.rebuild import rebuild
from gatescope.runtime import GateSession, read_manifest
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import ExportError, GatescopeError, ParityError, UsageError
from tests.export import small


@pytest.fixture(scope="module")
def small_export(tmp_path_factory):
    """A small checkpoint with text positions and three sizes that differ from the defaults, exported."""
    folder = tmp_path_factory.mktemp("small")
    state = small.weights(gating="elementwise", fusion_layers=2, input_projections=3, decoder_layers=1)
    checkpoint = small.save(folder / "m.pth", state, use_txt_pos=True, gating_type="elementwise")
    result = export_checkpoint(checkpoint)
    return checkpoint, result


@pytest.mark.slow
def test_default_output_stands_beside_the_checkpoint(small_export) -> None:
    checkpoint, result = small_export
    assert result.path == checkpoint.with_suffix(".onnx")
    assert result.bytes == result.path.stat().st_size
    assert sorted(p.name for p in checkpoint.parent.iterdir()) == ["m.onnx", "m.pth"]


@pytest.mark.slow
def test_file_is_readable_like_any_other(small_export) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert small_export[1].path.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.slow
@pytest.mark.parametrize("clips", [1, 2, 20, 33])
@pytest.mark.parametrize("words", [1, 8])
@pytest.mark.parametrize("count", [1, 4])
def test_any_size_down_to_one_runs_and_equals_pytorch(small_export, clips, words, count) -> None:
    checkpoint = load_checkpoint(small_export[0])
    graph = VariantGraph(rebuild(describe(checkpoint, Choices()), checkpoint.weights), Variant())
    rng = np.random.default_rng(clips)
    batch = {
        "src_txt": rng.standard_normal((count, words, 6)).astype(np.float32),
        "src_txt_mask": np.ones((count, words), np.float32),
        "src_vid": rng.standard_normal((count, clips, 12)).astype(np.float32),
        "src_vid_mask": np.ones((count, clips), np.float32),
        "src_aud": rng.standard_normal((count, clips, 9)).astype(np.float32),
        "src_aud_mask": np.ones((count, clips), np.float32),
    }
    with GateSession(small_export[1].path, device="cpu") as session:
        got = session.run(batch).raw
    for name, values in graph.run(batch).items():
        np.testing.assert_allclose(got[name], values, atol=1e-4, rtol=1e-4, err_msg=name)


@pytest.mark.slow
def test_verification_failure_leaves_no_file_and_names_the_flag(
    tmp_path, dataset, checkpoint, capsys
) -> None:
    from tests.golden.case import FOLDER

    target = tmp_path / "out" / "m.ts"
    code = main(
        [
            "export",
            f"--checkpoint={checkpoint('dataset_clipwise')}",
            "--gating=global",
            f"--output={target}",
            f"--verify={FOLDER / 'dataset_clipwise.jsonl'}",
            f"--annotations={dataset[1]}",
            f"--features={dataset[1].parent}",
            "--verify-batch-size=1",
        ]
    )
    assert code == 1
    assert "--gating clipwise" in capsys.readouterr().err
    assert not target.parent.exists()  # nothing was begun


def test_command_prints_what_it_wrote(tmp_path, capsys) -> None:
    path = small.save(tmp_path / "m.pth")
    command = ["export", "--checkpoint", str(path), "--gating", "global", "--format", "torchscript"]
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["output"] == str(tmp_path / "m.ts")
    assert document["manifest"]["gating"] == "global"
    assert any("recorded clipwise" in warning for warning in document["manifest"]["warnings"])
    assert "src_aud_mask" in read_manifest(tmp_path / "m.ts").input_names


@pytest.fixture
def fake_graph(monkeypatch, tmp_path):
    """An export whose graph is never captured: for what happens around it."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the graph was captured")

    monkeypatch.setattr(writing, "capture", refuse)
    return small.save(tmp_path / "m.pth")


@pytest.mark.parametrize("name", ["m.pth", "model.bin", "model"])
def test_output_of_another_kind_is_refused_before_any_work(fake_graph, name) -> None:
    with pytest.raises(UsageError):
        export_checkpoint(fake_graph, fake_graph.parent / name)


def test_output_that_is_a_folder(fake_graph) -> None:
    (fake_graph.parent / "m.onnx").mkdir()
    with pytest.raises(UsageError, match="folder"):
        export_checkpoint(fake_graph)


def test_output_below_a_file(fake_graph) -> None:
    with pytest.raises(ExportError, match="not a folder"):
        export_checkpoint(fake_graph, fake_graph / "m.onnx")


def test_failed_parity_leaves_no_file_and_keeps_an_older_one(monkeypatch, tmp_path) -> None:
    checkpoint = small.save(tmp_path / "m.pth")
    older = tmp_path / "m.ts"
    older.write_bytes(b"older")

    def differ(*_: object, **__: object) -> None:
        raise ParityError("different")

    monkeypatch.setattr(writing, "certify", differ)
    with pytest.raises(ParityError):
        export_checkpoint(checkpoint, older)
    assert older.read_bytes() == b"older"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.pth", "m.ts"]


def test_training_mode_in_one_submodule_is_refused(tmp_path) -> None:
    checkpoint = load_checkpoint(small.save(tmp_path / "m.pth"))
    model = rebuild(describe(checkpoint, Choices()), checkpoint.weights)
    model.fusion.fusion_layers[0].norm1.train()
    with pytest.raises(ExportError, match=r"fusion\.fusion_layers\.0\.norm1"):
        capture(model, {}, {})


class Untraceable(torch.nn.Module):
    def forward(self, src_txt, **_):
        return src_txt if float(src_txt.sum()) > 0 else -src_txt


def test_model_that_cannot_be_captured_is_an_export_error() -> None:
    example = {"src_txt": torch.ones(3, 5, 4)}
    with pytest.raises(ExportError, match="while its graph was captured"):
        capture(Untraceable().eval(), example, {"src_txt": ("batch", "word", 4)})


@pytest.fixture
def certified(tmp_path):
    """A model that stands for both sides of a comparison, and its manifest."""
    from tests.runtime.tiny_model import expected, tiny_manifest

    manifest = tiny_manifest()

    def run(batch):
        outputs = expected(manifest, batch)
        return {name: outputs[name] for name in manifest.output_names}

    return run, manifest


def test_certificate_of_equal_models(certified) -> None:
    run, manifest = certified
    certificate = certify(run, run, manifest)
    assert set(certificate.errors.values()) == {0.0}
    assert {len(shape["clips"]) for shape in certificate.shapes} == {1, 2, 4}


SPOILED = {
    "a difference": lambda value: value + 1e-2,
    "NaN": lambda value: value * np.nan,
    "another shape": lambda value: value[..., None],
}


@pytest.mark.parametrize("kind", SPOILED)
def test_certificate_is_refused_for(certified, kind) -> None:
    run, manifest = certified
    name = manifest.output_names[-1]

    def spoiled(batch):
        return {k: SPOILED[kind](v) if k == name else v for k, v in run(batch).items()}

    with pytest.raises(ParityError, match=name):
        certify(run, spoiled, manifest)


def test_certificate_is_refused_for_other_names(certified) -> None:
    run, manifest = certified
    with pytest.raises(ParityError, match="other outputs"):
        certify(run, lambda batch: dict(list(run(batch).items())[:-1]), manifest)


def test_every_error_of_a_bad_checkpoint_is_named(tmp_path) -> None:
    with pytest.raises(GatescopeError, match="no file"):
        export_checkpoint(tmp_path / "absent.pth")
