"""Sessions: right numbers for right arrays, and a message that names the fault for wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatescope.runtime.errors import DeviceError, GatescopeError, InputError, UsageError
from gatescope.runtime.session.backends.onnx_runtime import OnnxBackend
from gatescope.runtime.session.session import GateSession

from .tiny_model import CHANNELS, QUERIES, Gating, Kind, expected, tiny_batch, tiny_model

Batch = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tiny_model(tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def session(path: Path) -> GateSession:
    return GateSession(path, device="cpu", threads=1)


@pytest.fixture
def batch(session: GateSession) -> Batch:
    return tiny_batch(session.manifest)


@pytest.mark.parametrize("gating", ["global", "clipwise", "elementwise"])
@pytest.mark.parametrize("kind", ["tracked", "plain", "gates"])
def test_outputs_are_those_of_the_formulas(tmp_path: Path, gating: Gating, kind: Kind) -> None:
    path = tmp_path / "model.onnx"
    manifest = tiny_model(path, gating, 3, outputs_kind=kind)
    batch = tiny_batch(manifest, clips=(5, 1, 4), words=(3, 2, 1))
    with GateSession(path, device="cpu") as session:
        outputs = session.run(batch)
    want = expected(manifest, batch)
    assert set(outputs.raw) == set(manifest.output_names)
    for name, array in outputs.raw.items():
        np.testing.assert_allclose(array, want[name], atol=1e-6, err_msg=name)
    shape = {"global": (3, 3, 1, 1), "clipwise": (3, 3, 5, 1), "elementwise": (3, 3, 5, CHANNELS)}[gating]
    assert {name: gate.shape for name, gate in outputs.gates.items()} == (
        {} if kind == "plain" else {"attention": shape, "ffn": shape}
    )
    predictions = {"pred_logits": (3, QUERIES, 2), "pred_spans": (3, QUERIES, 2), "saliency_scores": (3, 5)}
    assert {name: array.shape for name, array in outputs.predictions.items()} == (
        {} if kind == "gates" else predictions
    )
    assert all(
        array.dtype == np.float32 for array in (*outputs.gates.values(), *outputs.predictions.values())
    )


def test_every_axis_goes_down_to_one(session: GateSession) -> None:
    batch = tiny_batch(session.manifest, clips=(1,), words=(1,))
    outputs = session.run(batch)
    np.testing.assert_allclose(outputs.gates["ffn"], expected(session.manifest, batch)["gate_ffn"], atol=1e-6)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 7)), min_size=1, max_size=5),
    seed=st.integers(0, 99),
)
def test_any_lengths_run(session: GateSession, lengths: list[tuple[int, int]], seed: int) -> None:
    clips, words = zip(*lengths, strict=True)
    batch = tiny_batch(session.manifest, clips, words, seed)
    outputs = session.run(batch)
    want = expected(session.manifest, batch)
    for name, array in outputs.raw.items():
        np.testing.assert_allclose(array, want[name], atol=1e-5, err_msg=name)


def test_what_a_session_says_about_itself(path: Path) -> None:
    session = GateSession(str(path), device="auto", threads=2)
    assert session.device == "cpu"
    assert session.providers == ("CPUExecutionProvider",)
    assert session.threads == 2
    assert session.input_names == ("src_txt", "src_txt_mask", "src_vid", "src_vid_mask", "src_aud")
    assert session.manifest.gating == "clipwise"
    assert "use_tf32" not in session.provider_options


def test_threads_default_to_the_cpus_of_the_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatescope.runtime.session.backends.onnx_runtime.available_cpus", lambda: 1)
    assert GateSession(path, device="cpu").threads == 1
    with pytest.raises(UsageError, match="0 threads"):
        GateSession(path, threads=0)


def test_cuda_is_never_silently_the_cpu(path: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this build of ONNX Runtime has CUDA")
    with pytest.raises(DeviceError, match=r"gatescope\[gpu\]"):
        GateSession(path, device="cuda")


def test_a_closed_session_runs_nothing(path: Path, batch: Batch) -> None:
    with GateSession(path, device="cpu") as session:
        session.run(batch)
    session.close()
    with pytest.raises(GatescopeError, match="is closed"):
        session.run(batch)
    with pytest.raises(GatescopeError, match="is closed"), session:
        pass


def test_a_failure_inside_the_runtime_has_a_name(
    session: GateSession, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Non-zero status code returned while running MatMul\nstack")

    monkeypatch.setattr(OnnxBackend, "run", fail)
    with pytest.raises(GatescopeError, match="Non-zero status code") as caught:
        session.run(batch)
    assert "src_vid (2, 5, 7)" in str(caught.value)


# Arrays that fit, in other clothes.


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, ">f4"])
def test_features_of_other_widths_are_cast(session: GateSession, batch: Batch, dtype: Any) -> None:
    whole = {name: np.round(array) for name, array in batch.items()}
    given_ = {name: array if "mask" in name else array.astype(dtype) for name, array in whole.items()}
    np.testing.assert_array_equal(
        session.run(given_).gates["attention"], session.run(whole).gates["attention"]
    )


@pytest.mark.parametrize("dtype", [bool, np.int64, np.uint8, np.float64])
def test_masks_of_other_dtypes_are_cast(session: GateSession, batch: Batch, dtype: Any) -> None:
    given_ = {name: array.astype(dtype) if "mask" in name else array for name, array in batch.items()}
    np.testing.assert_array_equal(
        session.run(given_).predictions["saliency_scores"],
        session.run(batch).predictions["saliency_scores"],
    )


def test_torch_tensors_lists_and_strided_views_are_read(session: GateSession, batch: Batch) -> None:
    torch = pytest.importorskip("torch")
    want = session.run(batch).raw
    forms = {
        "tensors": {name: torch.from_numpy(array) for name, array in batch.items()},
        "lists": {name: array.tolist() for name, array in batch.items()},
        "views": {name: np.asfortranarray(array) for name, array in batch.items()},
    }
    for form, given_ in forms.items():
        for name, array in session.run(given_).raw.items():
            np.testing.assert_array_equal(array, want[name], err_msg=f"{form} {name}")


def test_inputs_the_graph_does_not_need_are_not_looked_at(tmp_path: Path) -> None:
    manifest = tiny_model(tmp_path / "gates.onnx", outputs_kind="gates")
    session = GateSession(tmp_path / "gates.onnx", device="cpu")
    batch = tiny_batch(manifest)
    want = session.run(batch).gates["attention"]
    needed = {name: batch[name] for name in session.input_names}
    assert set(needed) == {"src_vid", "src_aud"}
    np.testing.assert_array_equal(session.run(needed).gates["attention"], want)
    odd = {**batch, "src_txt": "no array at all", "src_aud_mask": None}
    np.testing.assert_array_equal(session.run(odd).gates["attention"], want)


def test_the_callers_arrays_are_left_alone(session: GateSession, batch: Batch) -> None:
    kept = {name: array.copy() for name, array in batch.items()}
    session.run(batch)
    for name, array in batch.items():
        np.testing.assert_array_equal(array, kept[name])


# Arrays that do not fit.


def put(batch: Batch, name: str, index: Any, value: float) -> Batch:
    changed = batch[name].astype(np.float64)
    changed[index] = value
    return {**batch, name: changed}


WRONG: dict[str, tuple[Any, list[str]]] = {
    "an unknown name": (
        lambda b: {**b, "src_video": b["src_vid"]},
        ["no input src_video", "src_vid"],
    ),
    "a missing input": (
        lambda b: {name: b[name] for name in b if name != "src_aud"},
        ["lacks src_aud", "(batch, clip, 5)"],
    ),
    "a missing mask": (
        lambda b: {name: b[name] for name in b if name != "src_vid_mask"},
        ["lacks src_vid_mask", "numpy.ones"],
    ),
    "nothing at all": (lambda b: {}, ["an empty batch", "src_vid"]),
    "one sample without batch axis": (
        lambda b: {**b, "src_vid": b["src_vid"][0]},
        ["src_vid has 2 axes instead of 3", "(5, 7)", "array[None]"],
    ),
    "a scalar": (lambda b: {**b, "src_vid": 3.0}, ["src_vid has 0 axes"]),
    "another width": (
        lambda b: {**b, "src_aud": np.ones((2, 5, 6), np.float32)},
        ["src_aud", "(2, 5, 6)", "(batch, clip, 5)"],
    ),
    "a forgotten TEF": (
        lambda b: {**b, "src_vid": b["src_vid"][..., :-2]},
        ["src_vid", "TEF", "prepare"],
    ),
    "another batch size": (
        lambda b: {**b, "src_aud": b["src_aud"][:1]},
        ["src_aud and src_txt differ on the axis 'batch'", "(1, 5, 5)", "batch = 2"],
    ),
    "another number of clips": (
        lambda b: {**b, "src_aud": b["src_aud"][:, :4]},
        ["src_aud and src_vid differ on the axis 'clip'", "(2, 4, 5)"],
    ),
    "a mask of another length": (
        lambda b: {**b, "src_txt_mask": np.ones((2, 9))},
        ["src_txt_mask and src_txt differ on the axis 'word'"],
    ),
    "an empty batch": (
        lambda b: {name: array[:0] for name, array in b.items()},
        ["'batch' has length 0"],
    ),
    "no clips": (
        lambda b: {name: array if "txt" in name else array[:, :0] for name, array in b.items()},
        ["src_vid is empty", "'clip' has length 0"],
    ),
    "no words": (
        lambda b: {name: array[:, :0] if "txt" in name else array for name, array in b.items()},
        ["src_txt is empty", "'word' has length 0"],
    ),
    "a mask of probabilities": (
        lambda b: put(b, "src_vid_mask", (0, 1), 0.5),
        ["src_vid_mask", "0.5", "0 and 1"],
    ),
    "a mask with NaN": (lambda b: put(b, "src_vid_mask", (0, 1), np.nan), ["src_vid_mask", "nan"]),
    "a mask without a valid entry": (
        lambda b: put(b, "src_txt_mask", 1, 0),
        ["src_txt_mask", "without a valid entry", "batch rows 1"],
    ),
    "padding first": (
        lambda b: put(b, "src_vid_mask", (0, 0), 0),
        ["src_vid_mask", "padding before valid", "batch rows 0"],
    ),
    "an inverted mask": (
        lambda b: {**b, "src_vid_mask": np.asarray([[0, 0, 0, 0, 1], [0, 0, 0, 1, 1]])},
        ["1 - mask"],
    ),
    "NaN": (
        lambda b: put(b, "src_vid", (1, 2, 3), np.nan),
        ["src_vid holds NaN or Inf", "nan at batch 1, clip 2, channel 3", "1 such values"],
    ),
    "NaN in the padding": (lambda b: put(b, "src_vid", (1, 4, 0), np.nan), ["batch 1, clip 4"]),
    "Inf": (lambda b: put(b, "src_txt", (0, 0, 0), -np.inf), ["-inf at batch 0, word 0"]),
    "Inf both ways": (
        lambda b: put(put(b, "src_aud", (0, 0, 0), np.inf), "src_aud", (0, 1, 0), -np.inf),
        ["src_aud", "2 such values"],
    ),
    "more than float32 holds": (lambda b: put(b, "src_aud", (0, 0, 0), 1e300), ["src_aud", "inf at batch 0"]),
    "text": (lambda b: {**b, "src_vid": np.full((2, 5, 7), "a")}, ["src_vid", "real numbers", "<U1"]),
    "complex numbers": (lambda b: {**b, "src_vid": b["src_vid"] * 1j}, ["src_vid", "complex"]),
    "booleans as features": (lambda b: {**b, "src_vid": b["src_vid"] > 0}, ["src_vid", "dtype bool"]),
    "objects": (lambda b: {**b, "src_vid": np.full((2, 5, 7), None)}, ["src_vid", "dtype object"]),
    "nothing": (lambda b: {**b, "src_vid": None}, ["src_vid", "object"]),
    "ragged rows": (lambda b: {**b, "src_vid": [[1.0], [1.0, 2.0]]}, ["src_vid cannot be read", "list"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_arrays_that_do_not_fit_are_refused_by_name(session: GateSession, batch: Batch, case: str) -> None:
    spoil, parts = WRONG[case]
    with pytest.raises(InputError) as caught:
        session.run(spoil(batch))
    for part in parts:
        assert part in str(caught.value)
    session.run(batch)  # and the session lives on


def test_a_tensor_that_requires_gradients_says_what_to_do(session: GateSession, batch: Batch) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match="detach"):
        session.run({**batch, "src_vid": torch.ones(2, 5, 7, requires_grad=True)})
    with pytest.raises(InputError, match="src_vid cannot be read"):
        session.run({**batch, "src_vid": torch.ones(2, 5, 7, dtype=torch.bfloat16)})


def test_large_finite_values_are_not_taken_for_inf(session: GateSession, batch: Batch) -> None:
    """Their sum overflows, which must not be mistaken for an Inf among them."""
    assert session.run(put(batch, "src_vid", (0, slice(0, 3)), 3e38)) is not None


@pytest.mark.parametrize("batch", [None, [1, 2], "text", 3])
def test_what_is_no_batch_is_named(tmp_path: Path, batch: object) -> None:
    tiny_model(tmp_path / "m.onnx")
    session = GateSession(tmp_path / "m.onnx", device="cpu")
    with session, pytest.raises(InputError, match="maps names"):
        session.run(batch)  # type: ignore[arg-type]
