"""The eager model that ``gatescope profile --checkpoint`` compares with: the same numbers, hooks and all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gatescope.export import Choices, export_checkpoint
from gatescope.export.eager import eager_model
from gatescope.runtime import GateSession, plugins, read_manifest
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import DeviceError
from gatescope.runtime.profiling import profile
from gatescope.runtime.profiling.samples import random_batch
from gatescope.runtime.profiling.start import Tried
from tests.runtime.profiles import made_up

from .small import save, weights


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint that does not record its gating and heads, and the file exported from it with flags."""
    folder = tmp_path_factory.mktemp("eager")
    unrecorded = {"gating_type": ..., "nheads": ..., "fusion_n_heads": ...}
    checkpoint = save(folder / "m.ckpt", weights(fusion_layers=2), fusion_layers=2, **unrecorded)
    choices = Choices(gating="global", heads=4, fusion_heads=2, batching="reference")
    export_checkpoint(checkpoint, folder / "m.ts", choices)
    return checkpoint, folder / "m.ts"


def test_it_computes_what_the_file_computes_and_leaves_no_trace(pair: tuple[Path, Path]) -> None:
    checkpoint, path = pair
    manifest = read_manifest(path)
    batch = random_batch(manifest.preprocessing, [(5, 3), (3, 3)], np.random.default_rng(0))
    with GateSession(path, device="cpu") as session:
        wanted = session.run(batch).raw
    before = torch.get_num_threads()
    used = 1 if before > 1 else 2
    opened = plugins.load(plugins.PLUGINS, "eager-model")(checkpoint, manifest, device="cpu", threads=used)
    with opened as run:
        assert torch.get_num_threads() == used
        for _ in range(2):  # what the hooks recorded before does not come again
            got = run(batch)
            assert set(got) == set(wanted)
            for name, values in got.items():
                assert values.shape == wanted[name].shape
                clips = values.shape[1] == 5
                shown = (values[0], wanted[name][0]) if clips else (values, wanted[name])
                np.testing.assert_allclose(*shown, atol=1e-5, err_msg=name)
    assert torch.get_num_threads() == before


def test_a_gpu_that_is_not_there_is_named(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    checkpoint, path = pair
    with pytest.raises(DeviceError), eager_model(checkpoint, read_manifest(path), device="cuda", threads=1):
        pass


def test_the_command_compares_with_it(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "measure_start", lambda _: (made_up().start, {1: Tried(1)}))
    checkpoint, path = pair
    command = ["profile", str(path), "--checkpoint", str(checkpoint), "--json", "--device", "cpu"]
    assert main([*command, "--batch-size", "1", "--clips", "4", "--threads", "1", "--repeats", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["batch_size"] for one in told["eager"]] == [1]
    assert told["eager"][0]["ratio"]["median"] > 0
    assert told["trace"] == told["tracking"] == {"unavailable": "only for ONNX files"}
    assert read_manifest(path).checkpoint_sha256 == told["subject"]["checkpoint_sha256"]
