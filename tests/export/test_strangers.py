"""Code written for training on a GPU is exported as it is: gates as a hook reads them, at any size."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from gatescope.export import export_model
from gatescope.export.graph.failure import failed_in
from gatescope.export.user.adapting import adapting
from gatescope.export.user.places import Seen, place_of
from gatescope.export.user.watch import Call, Sight
from gatescope.runtime import GateSession, read_manifest
from gatescope.runtime.errors import ExportError

from . import strangers
from .strangers import OPTIONS, D

# (samples, clips, words): one of each, as many samples as clips, full length.
SIZES = [(1, 1, 1), (2, 2, 2), (5, 5, 1), (1, 14, 6), (3, 7, 4), (2, 9, 5)]


def inputs_of(samples: int, clips: int, words: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(samples + 10 * clips)
    lengths = {"src_txt": words, "src_vid": clips, "src_aud": clips}
    widths = {"src_txt": 6, "src_vid": 10 + 2, "src_aud": 8 + 2}
    batch: dict[str, np.ndarray] = {}
    for name, length in lengths.items():
        batch[name] = rng.standard_normal((samples, length, widths[name])).astype(np.float32)
        batch[f"{name}_mask"] = np.ones((samples, length), np.float32)
    return batch


def built(kind: type[nn.Module], **changes: Any) -> nn.Module:
    torch.manual_seed(0)
    return kind(strangers.options(v_feat_dim=12, a_feat_dim=10, **changes)).eval()


def exported(model: nn.Module, path: Path) -> Path:
    example = {name: torch.from_numpy(one) for name, one in inputs_of(3, 7, 4).items()}
    said = OPTIONS | {"v_feat_dim": 12, "a_feat_dim": 10}
    return export_model(model, example, path, options=said).path


def by_hook(model: nn.Module, owner: str, read: Callable[[Any], Any], batch: dict[str, np.ndarray]) -> Any:
    """``read`` of what each module that ``owner`` matches returns in the first pass, and the predictions."""
    seen: dict[str, Any] = {}

    def note(name: str, _module: nn.Module, _args: Any, out: Any) -> None:
        seen.setdefault(name, read(out))

    handles = [
        module.register_forward_hook(partial(note, name))
        for name, module in model.named_modules()
        if re.fullmatch(owner, name)
    ]
    with torch.no_grad(), adapting():
        predicted = model(**{name: torch.from_numpy(one) for name, one in batch.items()})
    for handle in handles:
        handle.remove()
    return list(seen.values()), predicted


def hold_to_hook(
    path: Path, model: nn.Module, owner: str, read: Callable[[Any], Any], kinds: list[str]
) -> None:
    with GateSession(path, device="cpu") as session:
        assert list(session.manifest.gate_kinds) == kinds
        for size in SIZES:
            batch = inputs_of(*size)
            layers, predicted = by_hook(model, owner, read, batch)
            got = session.run(batch).raw
            for name in ("pred_logits", "pred_spans", "saliency_scores"):
                np.testing.assert_allclose(
                    got[name], predicted[name].numpy(), atol=1e-5, err_msg=f"{name} {size}"
                )
            for place, kind in enumerate(kinds):
                want = torch.stack([gates[place] for gates in layers], 1).numpy()
                np.testing.assert_allclose(got[f"gate_{kind}"], want, atol=1e-6, err_msg=f"{kind} {size}")


@pytest.fixture(scope="module")
def parts_called(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    model = built(strangers.PartsCalled)
    return model, exported(model, tmp_path_factory.mktemp("parts") / "m.onnx")


def test_parts_of_layers_a_copied_attention_and_the_negative_pair(
    parts_called: tuple[nn.Module, Path],
) -> None:
    model, path = parts_called
    hold_to_hook(
        path, model, r"layers\.\d\.gates", lambda out: [one[:, None, :] for one in out], ["attention", "ffn"]
    )
    assert read_manifest(path).facts["hidden_dim"].value == D
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert operators.count("Tanh") == 4  # two gates in each of two layers, and no second pass


def test_manifest_says_what_was_adapted_and_where_without_a_path(
    parts_called: tuple[nn.Module, Path],
) -> None:
    forward = read_manifest(parts_called[1]).forward
    assert forward is not None
    assert sorted(re.sub(r"line \d+", "line N", one) for one in forward.adapted) == [
        ".cuda() left its tensor on the CPU (tests.export.strangers, line N)",
        ".to('cuda:0') left its tensor on the CPU (tests.export.strangers, line N)",
        "device='cuda' was the CPU (tests.export.strangers, line N)",
        "has_torch_function answered False in tests.export.strangers",
    ]


def test_certificate_names_the_lengths_at_which_code_may_differ(parts_called: tuple[nn.Module, Path]) -> None:
    certificate = read_manifest(parts_called[1]).certificate
    assert certificate is not None
    compared = {(len(shape["clips"]), max(shape["clips"])) for shape in certificate.shapes}
    assert {(b, clips) for b in (1, 2, 5) for clips in (1, 2, 14)} <= compared


def test_lists_that_grow_in_one_tuple_with_the_clips_first(tmp_path: Path) -> None:
    model = built(strangers.Growing)
    path = exported(model, tmp_path / "m.ts")

    def last(out: Any) -> list[Tensor]:
        return [gates[-1][:, None, None] for gates in out[2:]]

    hold_to_hook(path, model, r"blocks\.\d", last, ["attention", "ffn"])
    assert read_manifest(path).gate_range("ffn") == pytest.approx((0.0, 0.5))


def test_a_gate_on_the_audio_alone_is_one_kind(tmp_path: Path) -> None:
    model = built(strangers.OneGate)
    path = exported(model, tmp_path / "m.ts")
    hold_to_hook(path, model, r"refine\.valve", lambda out: [out[:, :, None]], ["audio"])
    assert read_manifest(path).gate_range("audio") == pytest.approx((0.0, 1.0))
    with GateSession(path, device="cpu") as session:
        session.tracker.enable_gate_tracking()
        session.tracker.set_current_sample_id("a")
        session.run(inputs_of(1, 7, 4))
        assert list(session.tracker.gate_history) == ["a"]


def test_an_if_on_the_number_of_clips_is_right_at_every_number(tmp_path: Path) -> None:
    model = built(strangers.Banded)
    path = exported(model, tmp_path / "m.onnx")
    hold_to_hook(path, model, r"layers\.0\.gates", lambda out: list(out), ["attention", "ffn"])


def test_an_if_that_a_graph_cannot_follow_is_refused_with_the_lengths(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"for clips \(\d,\)") as caught:
        exported(built(strangers.Banded, whole=True), tmp_path / "m.onnx")
    assert "an if on a length" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_everything_is_as_it_was_afterwards_and_after_a_failure() -> None:
    before = strangers.has_torch_function
    with pytest.raises(KeyError), adapting() as outer, adapting() as inner:
        assert inner is outer
        assert torch.zeros(2, device="cuda").to("cuda:1").cuda().device.type == "cpu"
        assert not strangers.has_torch_function((torch.zeros(1),))
        assert nn.Linear(2, 2).cuda().weight.device.type == "cpu"
        raise KeyError
    assert strangers.has_torch_function is before
    assert len(torch.overrides._get_current_function_mode_stack()) == 0
    with adapting() as again:
        assert again is not outer
        assert again.met == ()


def test_an_axis_that_code_fixes_is_named_with_what_to_write_instead() -> None:
    message = (
        "Found the following conflicts between user-specified ranges and inferred ranges:\n"
        "- Received a hint, but inferred a static shape of 3 for dimension inputs['src_txt'].shape[0].\n"
    )
    error = failed_in(built(strangers.Growing), "its graph was captured", ValueError(message))
    assert "a static shape of 3 for dimension inputs['src_txt'].shape[0]" in str(error.received)
    assert "x.shape[0] and not len(x)" in str(error.fix)


def test_a_global_gate_that_is_expanded_over_clips_and_channels_is_global() -> None:
    passes: list[Seen] = []
    for samples, clips in ((3, 9), (4, 7)):
        gate = torch.rand(samples, 1, 1)
        call = Call(set(), None, {(): ("", gate.expand(-1, clips, 16))})
        passes.append(Seen(Sight({"gates": call}), samples, clips))
    place = place_of("gates", (), passes)
    assert place is not None and not place.per_clip and place.channels == 1
    assert place.take(torch.ones(2, 5, 1).expand(-1, -1, 16)).shape == (2, 1, 1)
