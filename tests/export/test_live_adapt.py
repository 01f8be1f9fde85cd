"""Users' own models gain gate tracking: found by structure, outputs bit for bit the same."""

from __future__ import annotations

import copy
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gatescope.analysis import GateAnalyzer
from gatescope.export import adapt_legacy_model, restore_legacy_model
from gatescope.export.live.find import find_fusion
from gatescope.export.live.forward_pass import FusionGates
from gatescope.export.live.hooks import FusionHooks
from gatescope.runtime.errors import InputError, UnsupportedModelError, UsageError
from gatescope.runtime.tracking.tracker import GateTrackingWarning

from .live_models import (
    Added,
    Block,
    D,
    Detector,
    FlatGates,
    InlineBlock,
    Mixer,
    NamedGates,
    Split,
    ThreeBranches,
    TwoGates,
    Wrapped,
    batch_of,
    detector,
    mlp,
)

# name: (a fusion layer, shape of its gates for B = 2 and L = 7, gating, range of (attention, ffn) or None)
TANH, SIGMOID = (-1.0, 1.0), (0.0, 1.0)
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str, Any]] = {
    "clipwise": (lambda: Block(TwoGates()), (2, 7, 1), "clipwise", (TANH, TANH)),
    "global": (lambda: Block(TwoGates(pooled=True)), (2, 1, 1), "global", (TANH, TANH)),
    "elementwise": (lambda: Block(TwoGates(D)), (2, 7, D), "elementwise", (TANH, TANH)),
    "flat": (lambda: Block(FlatGates()), (2, 1, 1), "global", (TANH, TANH)),
    "named": (lambda: Block(NamedGates()), (2, 7, 1), "clipwise", (TANH, TANH)),
    "film": (lambda: Block(ThreeBranches()), (2, 7, D), "elementwise", (None, TANH)),
    "wrapped": (lambda: Block(Wrapped()), (2, 7, 1), "clipwise", (SIGMOID, SIGMOID)),
    "split": (lambda: Block(Split()), (2, 7, 1), "clipwise", (TANH, TANH)),
    "added": (lambda: Block(Added()), (2, 7, D), "elementwise", (TANH, TANH)),
    "returned": (lambda: InlineBlock(returned=True, bounded=False), (2, 7, 1), "clipwise", (TANH, TANH)),
    "returned wide": (
        lambda: InlineBlock(returned=True, bounded=False, channels=D),
        (2, 7, D),
        "elementwise",
        (TANH, TANH),
    ),
    "inline": (lambda: InlineBlock(returned=False, bounded=True), (2, 7, 1), "clipwise", (TANH, TANH)),
}


def gates_by_hand(model: Detector, batch: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The gates of every layer, by calling its modules one after another."""
    found: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        v, a = model.video_in(batch["src_vid"]), model.audio_in(batch["src_aud"])
        for layer in model.mixer.stack:
            if isinstance(layer, Block):
                found.append(layer.gates(v, a))
            else:
                joint = torch.cat((v, a), -1)
                one, two = layer.to_one(joint), layer.to_two(joint)
                found.append((one, two) if layer.bounded else (one.tanh(), two.tanh()))
            out = layer(v, a)
            v = out[0] if isinstance(out, tuple) else out
    return found


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", MODELS)
def test_gates_are_those_the_model_computes_and_outputs_stay_bit_for_bit(name: str) -> None:
    block, shape, gating, _ = MODELS[name]
    model, batch = detector(block), batch_of()
    with torch.no_grad():
        before = model(**batch)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    parameters = [key for key, _ in model.named_parameters()]

    assert adapt_legacy_model(model) is model
    with torch.no_grad():
        off = model(**batch)
    model.avigate_fusion.enable_gate_tracking()
    model.avigate_fusion.set_current_sample_id("a")
    with torch.no_grad():
        on = model(**batch)
    assert same(before, off)
    assert same(before, on)
    assert list(model.state_dict()) == list(weights)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert [key for key, _ in model.named_parameters()] == parameters

    entry = model.avigate_fusion.gate_history["a"]
    model.avigate_fusion.disable_gate_tracking()
    want = gates_by_hand(model, batch)
    for layer, (attention, ffn) in enumerate(want):
        for key, gate in (("attention_gates", attention), ("ffn_gates", ffn)):
            got = entry[key][layer]
            assert got.dtype == np.float32
            assert got.shape == shape
            np.testing.assert_array_equal(got, gate.numpy())
        assert entry["layer_info"][layer] == {
            "layer_idx": layer,
            "gating_type": gating,
            "sequence_length": 7,
            "batch_size": 2,
            "hidden_dim": D,
        }


@pytest.mark.parametrize("name", MODELS)
def test_a_run_of_it_holds_valid_clips_and_the_range_of_its_activation(name: str, tmp_path: Path) -> None:
    block, shape, gating, ranges = MODELS[name]
    model = adapt_legacy_model(detector(block))
    fusion = model.avigate_fusion
    fusion.enable_gate_tracking()
    fusion.set_current_sample_id(["x", "y"])
    with torch.no_grad():
        model(**batch_of())
    run = fusion.to_run(tmp_path / "run")
    fusion.disable_gate_tracking()
    clips = (7, 4) if shape[1] > 1 else (1, 1)
    want = gates_by_hand(model, batch_of())
    for row, (sample, length) in enumerate(zip("xy", clips, strict=True)):
        stacked = np.stack([ffn[row, :length].numpy() for _, ffn in want])
        np.testing.assert_array_equal(run.tensor(sample, "ffn"), stacked)
    assert run.samples.collect()["clips"].to_list() == [7, 4]
    manifest = run.manifest
    assert (manifest.family, manifest.gating, manifest.layers) == ("Detector", gating, 2)
    assert manifest.format == "live"
    for kind, expected in zip(("attention", "ffn"), ranges, strict=True):
        values = np.concatenate([np.ravel(pair[kind == "ffn"]) for pair in want])
        found = manifest.gate_range(kind)
        if expected is None:
            assert found == (0.0, pytest.approx(values.max()))
            assert any(f"range of the {kind} gate" in text for text in manifest.warnings)
        else:
            assert found == expected


@pytest.mark.parametrize("mode", ["train", "autocast", "half", "inference"])
def test_every_way_of_running_gives_the_same_with_and_without(mode: str) -> None:
    model, batch = detector(lambda: Block(TwoGates(D))), batch_of()
    if mode == "half":
        model, batch = model.to(torch.bfloat16), {key: value.bfloat16() for key, value in batch.items()}
    if mode == "train":
        model.train()

    def run() -> dict[str, Tensor]:
        torch.manual_seed(3)
        if mode == "train":
            return model(**batch)
        with (
            torch.inference_mode(mode == "inference"),
            torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"),
        ):
            return model(**batch)

    before = run()
    adapt_legacy_model(model, "elementwise")
    model.avigate_fusion.enable_gate_tracking()
    model.avigate_fusion.set_current_sample_id(0)
    after = run()
    assert same(before, after)
    gates = model.avigate_fusion.gate_history[0]["ffn_gates"]
    assert all(gate.dtype == np.float32 and gate.shape == (2, 7, D) for gate in gates)
    assert np.abs(gates[0]).max() > 0
    if mode == "train":
        after["scores"].sum().backward()
        assert model.mixer.stack[0].mix.p[0].weight.grad is not None


@pytest.mark.slow
def test_a_compiled_model_is_tracked() -> None:
    model, batch = adapt_legacy_model(detector(lambda: Block(TwoGates()))), batch_of()
    with torch.no_grad():
        before = model(**batch)
    model.avigate_fusion.enable_gate_tracking()
    compiled = torch.compile(model, backend="eager")
    for sample_id in ("a", "b"):
        model.avigate_fusion.set_current_sample_id(sample_id)
        with torch.no_grad():
            assert same(compiled(**batch), before)
    model.avigate_fusion.disable_gate_tracking()
    torch._dynamo.reset()
    want = gates_by_hand(model, batch)
    for sample_id in ("a", "b"):
        got = model.avigate_fusion.gate_history[sample_id]["attention_gates"]
        np.testing.assert_array_equal(got[1], want[1][0].numpy())


def test_hooks_work_while_a_graph_is_captured() -> None:
    """What an export of a user's model needs: gates as tensors inside the captured program."""

    class Tapped(nn.Module):
        def __init__(self, model: Detector) -> None:
            super().__init__()
            self.model = model
            self.hooks = FusionHooks(model, find_fusion(model), self)
            self.found: Any = None

        def begin_pass(self, samples: int) -> None: ...

        def end_pass(self, token: Any, found: FusionGates) -> None:
            self.found = found

        def forward(self, **batch: Tensor) -> tuple[Tensor, ...]:
            self.hooks.attach()
            out = self.model(**batch)
            self.hooks.detach()
            return (*out.values(), *self.found.gates["attention"])

    model = detector(lambda: Block(TwoGates()))
    program = torch.export.export(Tapped(model), (), batch_of(), strict=False)
    other = batch_of(seed=5)
    captured = program.module()(**other)
    with torch.no_grad():
        want = [*model(**other).values(), *(pair[0] for pair in gates_by_hand(model, other))]
    for one, expected in zip(captured, want, strict=True):
        torch.testing.assert_close(one, expected)


def test_a_gate_that_is_changed_in_place_afterwards_is_kept_as_it_was() -> None:
    class InPlace(Block):
        def forward(self, v: Tensor, a: Tensor) -> Tensor:
            g, h = self.mix(v, a)
            return v + g.mul_(0) * v + h * self.ffn1(v)

    model = adapt_legacy_model(detector(lambda: InPlace(TwoGates())))
    model.avigate_fusion.enable_gate_tracking()
    model.avigate_fusion.set_current_sample_id("a")
    with torch.no_grad():
        model(**batch_of())
    assert np.abs(model.avigate_fusion.gate_history["a"]["attention_gates"][0]).max() > 0


def test_of_two_passes_through_the_fusion_the_first_counts() -> None:
    model, batch = detector(lambda: Block(TwoGates()), twice=True), batch_of()
    single = detector(lambda: Block(TwoGates()), twice=True)
    calls = []
    handle = single.mixer.stack[1].mix.register_forward_hook(lambda *call: calls.append(call[2]))
    with torch.no_grad():
        before = single(**batch)
    handle.remove()
    adapt_legacy_model(model)
    fusion = model.avigate_fusion
    fusion.enable_gate_tracking()
    for sample_id in ("a", "b"):
        fusion.set_current_sample_id(sample_id)
        with torch.no_grad():
            assert same(model(**batch), before)
    assert len(calls) == 2
    assert not torch.equal(calls[0][0], calls[1][0])
    for sample_id in ("a", "b"):
        got = fusion.gate_history[sample_id]["attention_gates"]
        assert len(got) == 2
        np.testing.assert_array_equal(got[1], calls[0][0].numpy())


def test_calling_the_fusion_alone_is_a_pass_of_its_own() -> None:
    model = adapt_legacy_model(detector(lambda: Block(TwoGates())))
    model.mixer.enable_gate_tracking()
    model.mixer.set_current_sample_id("alone")
    valid = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]]).bool()  # here 1 is padding
    with torch.no_grad():
        model.mixer(torch.randn(2, 5, D), torch.randn(2, 5, D), valid=valid)
    assert list(model.mixer.gate_history) == ["alone"]
    assert model.mixer.as_run().samples.collect()["clips"].to_list() == [5, 3]


def test_masks_of_text_are_not_taken_for_masks_of_clips() -> None:
    model = adapt_legacy_model(detector(lambda: Block(TwoGates())))
    batch = batch_of((7, 4), words=7)
    batch["src_txt_mask"][1, 2:] = 0
    model.avigate_fusion.enable_gate_tracking()
    model.avigate_fusion.set_current_sample_id("a")
    with torch.no_grad():
        model(**batch)
    assert model.avigate_fusion.as_run().samples.collect()["clips"].to_list() == [7, 4]


@pytest.mark.parametrize("off", [False, True])
def test_switching_on_again_still_knows_the_range(off: bool, tmp_path: Path) -> None:
    model = adapt_legacy_model(detector(lambda: Block(TwoGates())))
    fusion = model.avigate_fusion
    for time in range(2):
        if off:
            fusion.disable_gate_tracking()
        fusion.enable_gate_tracking()
        fusion.set_current_sample_id("a")
        with torch.no_grad():
            model(**batch_of())
        assert fusion.to_run(tmp_path / str(time)).manifest.gate_range("attention") == TANH
        assert "gate/ffn/layer0/share_saturated" in fusion.scalars()


def test_off_means_no_hook_at_all() -> None:
    def hooks(model: nn.Module) -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())

    model = adapt_legacy_model(detector(lambda: Block(TwoGates())))
    fusion = model.avigate_fusion
    assert hooks(model) == 0
    assert not fusion.track_gates
    fusion.enable_gate_tracking()
    assert fusion.track_gates
    assert hooks(model) > 0
    fusion.set_current_sample_id("a")
    assert fusion.current_sample_id == "a"
    with torch.no_grad():
        model(**batch_of())
    fusion.disable_gate_tracking()
    assert not fusion.track_gates
    assert hooks(model) == 0
    with torch.no_grad():
        model(**batch_of())
    assert list(fusion.gate_history) == ["a"]
    fusion.enable_gate_tracking()
    assert len(fusion.gate_history) == 0


def test_a_pass_that_fails_leaves_nothing_and_the_next_one_works() -> None:
    model = adapt_legacy_model(detector(lambda: Block(TwoGates())))
    fusion = model.avigate_fusion
    fusion.enable_gate_tracking()
    fusion.set_current_sample_id(["a", "b", "c"])
    with pytest.raises(InputError, match="3 ids for a batch of 2"):
        model(**batch_of())
    fusion.set_current_sample_id("bad")
    batch = batch_of()
    with pytest.raises(RuntimeError):
        model(**batch | {"src_aud": batch["src_aud"][:, :3]})
    with torch.no_grad():
        fusion.set_current_sample_id("good")
        model(**batch)
    assert list(fusion.gate_history) == ["good"]


def test_an_id_assigned_to_the_attribute_counts() -> None:
    model = adapt_legacy_model(detector(lambda: Block(TwoGates())))
    model.avigate_fusion.enable_gate_tracking()
    model.avigate_fusion.current_sample_id = "assigned"
    with torch.no_grad():
        model(**batch_of())
    assert list(model.avigate_fusion.gate_history) == ["assigned"]


# --- copies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tracking", [False, True])
def test_a_copy_tracks_by_itself(tracking: bool) -> None:
    model, batch = adapt_legacy_model(detector(lambda: Block(TwoGates()))), batch_of()
    fusion = model.avigate_fusion
    if tracking:
        fusion.enable_gate_tracking()
        fusion.set_current_sample_id("mine")
        with torch.no_grad():
            model(**batch)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    for other in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(buffer, weights_only=False),
    ):
        assert other.avigate_fusion is other.mixer
        assert list(other.state_dict()) == list(model.state_dict())
        assert len(other.mixer.gate_history) == 0
        assert other.mixer.track_gates == tracking
        other.mixer.enable_gate_tracking()
        other.mixer.set_current_sample_id("theirs")
        with torch.no_grad():
            assert same(other(**batch), model_without(model, batch))
        assert list(other.mixer.gate_history) == ["theirs"]
        other.mixer.disable_gate_tracking()
        assert sum(len(m._forward_hooks) for m in other.modules()) == 0
    assert list(fusion.gate_history) == (["mine"] if tracking else [])


def model_without(model: Detector, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    plain = detector(lambda: Block(TwoGates()))
    plain.load_state_dict(model.state_dict(), strict=True)
    return plain(**batch)


def test_what_was_adapted_can_be_restored() -> None:
    model = detector(lambda: Block(TwoGates()))
    untouched = {name: set(vars(module)) for name, module in model.named_modules()}
    adapt_legacy_model(model).avigate_fusion.enable_gate_tracking()
    assert restore_legacy_model(model) is model
    assert {name: set(vars(module)) for name, module in model.named_modules()} == untouched
    assert not hasattr(model, "avigate_fusion")
    restore_legacy_model(model)


def test_adapting_twice_keeps_what_was_tracked() -> None:
    model = adapt_legacy_model(detector(lambda: Block(TwoGates())))
    model.mixer.enable_gate_tracking()
    model.mixer.set_current_sample_id("a")
    with torch.no_grad():
        model(**batch_of())
    adapt_legacy_model(model)
    assert list(model.mixer.gate_history) == ["a"]
    adapt_legacy_model(model, "clipwise")
    assert list(model.mixer.gate_history) == ["a"]


# --- finding --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_fusion_is_found_by_structure(name: str) -> None:
    found = find_fusion(detector(MODELS[name][0], depth=3))
    assert found.name == "mixer"
    assert [layer.name for layer in found.layers] == [f"mixer.stack.{place}" for place in range(3)]


def test_one_layer_and_no_stack() -> None:
    class Lone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Block(TwoGates())
            self.out = nn.Linear(D, 1)

        def forward(self, v: Tensor, a: Tensor) -> Tensor:
            return self.out(self.inner(v, a))

    model = adapt_legacy_model(Lone().eval())
    assert model.avigate_fusion is model.inner
    model.inner.enable_gate_tracking()
    model.inner.set_current_sample_id("a")
    with torch.no_grad():
        model(torch.randn(2, 5, D), torch.randn(2, 5, D))
    assert model.inner.gate_history["a"]["ffn_gates"][0].shape == (2, 5, 1)


def test_a_fusion_called_avigate_fusion_stays_itself() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.avigate_fusion = Mixer(lambda: Block(TwoGates()))

        def forward(self, v: Tensor, a: Tensor) -> Tensor:
            return self.avigate_fusion(v, a)

    model = Named().eval()
    names = list(model.state_dict())
    fusion = adapt_legacy_model(model).avigate_fusion
    assert fusion is model._modules["avigate_fusion"]
    assert list(model.state_dict()) == names
    assert "avigate_fusion" not in vars(model)


def test_a_fusion_with_tracking_of_its_own_is_taken_over() -> None:
    class Own(Mixer):
        def __init__(self) -> None:
            super().__init__(lambda: Block(TwoGates()))
            self.track_gates = False
            self.gate_history: Any = {}

        def enable_gate_tracking(self) -> None:
            self.track_gates = True

        def forward(self, v: Tensor, a: Tensor, valid: Tensor | None = None) -> Tensor:
            if self.track_gates:
                self.gate_history["own"] = v
            return super().forward(v, a)

    model = detector(lambda: Block(TwoGates()))
    model.mixer = Own()
    adapt_legacy_model(model.eval())
    model.mixer.enable_gate_tracking()
    model.mixer.set_current_sample_id("a")
    with torch.no_grad():
        model(**batch_of())
    assert list(model.mixer.gate_history) == ["a"]


def test_without_a_gate_the_error_says_what_was_looked_for() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(D, 2, 16, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
            layer = nn.TransformerDecoderLayer(D, 2, 16, batch_first=True)
            self.decoder = nn.TransformerDecoder(layer, 2)
            self.query_scale, self.ref_point_head = mlp(D, D), mlp(D, D)
            self.class_embed, self.saliency = nn.Linear(D, 2), nn.Linear(D, 1)

    with pytest.raises(UnsupportedModelError, match="no gated fusion was found in this Plain") as caught:
        adapt_legacy_model(Plain())
    assert "two perceptrons" in str(caught.value)
    assert "encoder (TransformerEncoder)" in str(caught.value)


def test_two_fusions_are_both_named_and_one_can_be_chosen() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.early = Mixer(lambda: Block(TwoGates()))
            self.late = Mixer(lambda: Block(TwoGates()), 3)

        def forward(self, v: Tensor, a: Tensor) -> Tensor:
            return self.late(self.early(v, a), a)

    model = Two().eval()
    with pytest.raises(UnsupportedModelError, match="2 gated fusions") as caught:
        adapt_legacy_model(model)
    assert "early (gates in early.stack.0.mix" in str(caught.value)
    assert "late (gates in" in str(caught.value)
    adapt_legacy_model(model, fusion="late")
    assert model.avigate_fusion is model.late
    model.late.enable_gate_tracking()
    model.late.set_current_sample_id("a")
    with torch.no_grad():
        model(torch.randn(2, 5, D), torch.randn(2, 5, D))
    assert len(model.late.gate_history["a"]["ffn_gates"]) == 3
    with pytest.raises(UnsupportedModelError, match="no gated fusion called 'middle'"):
        adapt_legacy_model(model, fusion="middle")


def test_a_layer_that_hides_its_gates_is_named() -> None:
    model = adapt_legacy_model(detector(lambda: InlineBlock(returned=False, bounded=False)))
    model.avigate_fusion.enable_gate_tracking()
    model.avigate_fusion.set_current_sample_id("a")
    with (
        torch.no_grad(),
        pytest.raises(UnsupportedModelError, match=r"mixer\.stack\.0 does not return") as caught,
    ):
        model(**batch_of())
    assert "(2, 7, 8)" in str(caught.value)
    assert "return (stream, attention gate, ffn gate)" in str(caught.value)
    model.avigate_fusion.disable_gate_tracking()
    model(**batch_of())


def test_gates_that_nothing_bounds_are_warned_of() -> None:
    class Outside(Block):
        def gates(self, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
            one, two = self.mix(torch.cat((v, a), -1))
            return one.tanh(), two.tanh()

    from .live_models import Logits

    model = adapt_legacy_model(detector(lambda: Outside(Logits())))
    model.avigate_fusion.enable_gate_tracking()
    model.avigate_fusion.set_current_sample_id("a")
    with torch.no_grad(), pytest.warns(GateTrackingWarning, match=r"nothing in mixer\.stack\.0\.mix bounds"):
        model(**batch_of())


@pytest.mark.parametrize(
    ("name", "given", "error"),
    [
        ("clipwise", "elementwise", UnsupportedModelError),
        ("elementwise", "clipwise", UnsupportedModelError),
        ("clipwise", "spiral", UsageError),
    ],
)
def test_a_gating_type_against_the_parameters(name: str, given: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="gating_type"):
        adapt_legacy_model(detector(MODELS[name][0]), given)


@pytest.mark.parametrize(("name", "given"), [("clipwise", "global"), ("global", "clipwise")])
def test_a_gating_type_against_what_is_seen(name: str, given: str) -> None:
    model = adapt_legacy_model(detector(MODELS[name][0]), given)
    model.avigate_fusion.enable_gate_tracking()
    model.avigate_fusion.set_current_sample_id("a")
    with torch.no_grad(), pytest.raises(UsageError, match=f"'{given}' contradicts") as caught:
        model(**batch_of())
    assert f"{name} gating" in str(caught.value)
    assert len(model.avigate_fusion.gate_history) == 0


def test_a_single_clip_says_nothing_of_the_gating_but_the_next_batch_does() -> None:
    model = adapt_legacy_model(detector(MODELS["clipwise"][0]))
    fusion = model.avigate_fusion
    fusion.enable_gate_tracking()
    with torch.no_grad():
        for sample_id, clips in (("short", (1,)), ("long", (6,)), ("short again", (1,))):
            fusion.set_current_sample_id(sample_id)
            model(**batch_of(clips))
    assert fusion.as_run().manifest.gating == "clipwise"
    assert fusion.gate_history["short again"]["layer_info"][0]["gating_type"] == "clipwise"


@pytest.mark.parametrize("given", [{"model": 1}, "m.pth", None])
def test_what_is_no_model(given: Any) -> None:
    with pytest.raises(UsageError, match="not a PyTorch model"):
        adapt_legacy_model(given)


def test_data_parallel_is_refused() -> None:
    with pytest.raises(UsageError, match="DataParallel"):
        adapt_legacy_model(nn.DataParallel(detector(lambda: Block(TwoGates()))))


def test_an_attribute_that_is_something_else_is_left_alone() -> None:
    model = detector(lambda: Block(TwoGates()))
    model.avigate_fusion = None
    with pytest.warns(GateTrackingWarning, match=r"methods .* are on model\.mixer"):
        adapt_legacy_model(model)
    assert model.avigate_fusion is None
    model.mixer.enable_gate_tracking()


def test_gates_computed_outside_of_the_model_are_not_tracked_silently() -> None:
    model = adapt_legacy_model(detector(lambda: Block(TwoGates())))
    model.mixer.enable_gate_tracking()
    with pytest.warns(GateTrackingWarning, match="outside of a call of the model"):
        model.mixer.stack[0](torch.randn(1, 4, D), torch.randn(1, 4, D))
    assert len(model.mixer.gate_history) == 0


# --- the seed's second snippet --------------------------------------------------------------------------


def test_method_2_of_the_old_guide(tmp_path: Path) -> None:
    YourModelClass = lambda: detector(lambda: Block(TwoGates(pooled=True)))  # noqa: E731
    torch.save({"model": YourModelClass().state_dict()}, tmp_path / "your_model.pth")
    dataloader = [batch_of((5,), seed=seed) for seed in range(3)]

    from gatescope.export import load_checkpoint

    checkpoint = load_checkpoint(tmp_path / "your_model.pth")
    model = YourModelClass()
    model.load_state_dict(checkpoint["model"])
    adapted_model = adapt_legacy_model(model, gating_type="global")
    adapted_model.avigate_fusion.enable_gate_tracking()

    for batch_idx, batch in enumerate(dataloader):
        adapted_model.avigate_fusion.set_current_sample_id(f"sample_{batch_idx}")
        adapted_model(**batch)
    analyzer = GateAnalyzer(adapted_model.avigate_fusion)
    analyzer.analyze_all_samples(tmp_path / "gate_analysis_results")
    found = json.loads(
        (tmp_path / "gate_analysis_results" / "overall_statistics.json").read_text(encoding="utf-8")
    )
    assert (found["total_samples"], found["gating_type"], found["num_layers"]) == (3, "global", 2)
    # What the guide's own analysis function and debugging lines read.
    for sample_id, data in adapted_model.avigate_fusion.gate_history.items():
        assert sample_id.startswith("sample_")
        for layer_idx in range(len(data["attention_gates"])):
            att_gate, ffn_gate = data["attention_gates"][layer_idx], data["ffn_gates"][layer_idx]
            assert att_gate.shape == ffn_gate.shape == (1, 1, 1)
            assert -1 <= att_gate.mean() <= 1


class NamedFilm(ThreeBranches):
    """FiLM with the shift's scale under the training code's name."""

    def __init__(self) -> None:
        super().__init__()
        self.ffn_beta = nn.Parameter(torch.tensor(0.5))


@pytest.mark.parametrize(("gate", "ffn"), [(NamedFilm, "1+g"), (ThreeBranches, "g"), (TwoGates, "g")])
def test_what_a_gate_multiplies_by_is_known_from_the_training_codes_name(
    gate: type[nn.Module], ffn: str
) -> None:
    model = detector(lambda: Block(gate()))
    fusion = adapt_legacy_model(model).avigate_fusion
    fusion.enable_gate_tracking()
    fusion.set_current_sample_id("a")
    with torch.no_grad():
        model(**batch_of())
    manifest = GateAnalyzer(fusion).run.manifest
    assert (manifest.acts_as("attention"), manifest.acts_as("ffn")) == ("g", ffn)
