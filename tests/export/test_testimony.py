"""What the optimizer's state says of a checkpoint, and what becomes of a model that contradicts it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from gatescope.export.export import export_checkpoint
from gatescope.export.families.choices import Choices
from gatescope.export.inspect import inspect_checkpoint
from gatescope.export.reading.checkpoint import Checkpoint, load_checkpoint
from gatescope.export.reading.facts import describe
from gatescope.export.reading.forward import refuse_other_forward
from gatescope.export.reading.rebuild import rebuild
from gatescope.export.reading.testimony import highlights_alone, never_trained, unmoved
from gatescope.runtime.errors import UnsupportedModelError
from gatescope.runtime.gates.manifest import Forward

from . import known_code, small

ENCODER, WORDS = "transformer.encoder.", "txt_position_embed."
MOMENTS = ("transformer.decoder.", "span_embed.", "class_embed.", "query_embed.")


WEIGHTS = small.weights()
NAMES = list(WEIGHTS)


def adam(
    groups: Sequence[Sequence[str]], untouched: tuple[str, ...], *, named: bool = False
) -> dict[str, Any]:
    """An optimizer's state of the small model's parameters in ``groups``, none of those in ``untouched``."""
    states, held = dict[int, Any](), list[dict[str, Any]]()
    number = 0
    for group in groups:
        first = number
        for name in group:
            if not name.startswith(untouched):
                states[number] = {"exp_avg": torch.zeros_like(WEIGHTS[name])}
            number += 1
        held.append({"params": list(range(first, number))} | ({"param_names": list(group)} if named else {}))
    return {"state": states, "param_groups": held}


def saved(path: Path, optimizer: dict[str, Any] | None, **options: Any) -> Checkpoint:
    small.save(path, **options)
    content = torch.load(path, weights_only=False)
    torch.save(content | {"optimizer": optimizer}, path)
    return load_checkpoint(path)


def parted(rule: Callable[[str], bool]) -> list[list[str]]:
    return [[one for one in NAMES if rule(one)], [one for one in NAMES if not rule(one)]]


@pytest.mark.parametrize(
    "groups",
    [
        [NAMES],
        parted(lambda name: WEIGHTS[name].ndim <= 1),
        parted(lambda name: "bias" not in name),
        parted(lambda name: name.startswith("fusion.")),
    ],
    ids=["one group", "one-dimensional", "biases", "a module"],
)
def test_what_never_had_a_gradient_is_found_in_the_usual_groups(
    groups: list[list[str]], tmp_path: Path
) -> None:
    read = saved(tmp_path / "m.ckpt", adam(groups, (ENCODER, WORDS)))
    assert never_trained(read) == {name for name in NAMES if name.startswith((ENCODER, WORDS))}


def test_names_that_the_optimizer_keeps_are_believed_in_any_order(tmp_path: Path) -> None:
    mixed = sorted(NAMES)
    read = saved(tmp_path / "m.ckpt", adam([mixed[:7], mixed[7:20], mixed[20:]], (WORDS,), named=True))
    assert never_trained(read) == {name for name in NAMES if name.startswith(WORDS)}


@pytest.mark.parametrize(
    "optimizer",
    [
        None,
        {},
        {"state": {}, "param_groups": [{"params": [0]}]},
        adam([NAMES[:-1]], (WORDS,)),
        adam([NAMES[::-1]], (WORDS,)),
        adam([NAMES[:5], NAMES[5:9], NAMES[9:]], (WORDS,)),
        {"state": {0: {"momentum_buffer": None}}, "param_groups": [{"params": list(range(len(NAMES)))}]},
        {"state": {0: 3}, "param_groups": [{"params": "no"}]},
    ],
    ids=["none", "empty", "no state", "too few", "another order", "three groups", "no momentum", "nonsense"],
)
def test_where_the_order_is_not_certain_nothing_is_said(optimizer: Any, tmp_path: Path) -> None:
    read = saved(tmp_path / "m.ckpt", optimizer)
    assert never_trained(read) is None
    assert unmoved(read, NAMES) == () and not highlights_alone(read)


def test_a_model_that_uses_what_training_never_moved_is_refused_before_it_is_captured(tmp_path: Path) -> None:
    saved(tmp_path / "m.ckpt", adam([NAMES], (ENCODER + "layers.0.norm1", WORDS)))
    with pytest.raises(UnsupportedModelError) as raised:
        export_checkpoint(tmp_path / "m.ckpt", tmp_path / "m.onnx")
    text = str(raised.value)
    assert "training never moved 2 parameters that this one uses" in text
    assert "without any for transformer.encoder.* (2)" in text
    assert all(way in text for way in ("--code", "--model", "--verify", "--frozen transformer.encoder."))
    assert not (tmp_path / "m.onnx").exists()


def check(read: Checkpoint, choices: Choices | None = None) -> None:
    wanted = choices or Choices()
    model = rebuild(describe(read, wanted), read.weights)
    refuse_other_forward(read, model.state_dict(), wanted.frozen)


def test_parameters_frozen_on_purpose_are_no_reason_and_are_recorded(tmp_path: Path) -> None:
    read = saved(tmp_path / "m.ckpt", adam([NAMES], (ENCODER + "layers.0.norm1", "query_embed")))
    choices = Choices(frozen=("transformer.encoder.", "query_"))
    check(read, choices)
    fact = describe(read, choices).facts["frozen"]
    assert (fact.value, fact.source) == ("transformer.encoder., query_", "flag")
    with pytest.raises(UnsupportedModelError, match=r"without any for query_embed\.\* \(1\)"):
        check(read, Choices(frozen=("transformer.",)))


def test_words_without_positions_are_no_reason_and_with_them_they_are(tmp_path: Path) -> None:
    read = saved(tmp_path / "m.ckpt", adam([NAMES], (WORDS,)))
    check(read)
    with pytest.raises(UnsupportedModelError, match=r"txt_position_embed\.position_embeddings\.\* \(1\)"):
        check(read, Choices(text_positions=True))


def test_training_on_highlights_alone_is_no_other_forward_pass_and_is_said(tmp_path: Path) -> None:
    read = saved(tmp_path / "m.ckpt", adam([NAMES], (*MOMENTS, WORDS)))
    check(read)
    warnings = describe(read, Choices()).warnings
    assert any("windows (pred_spans, pred_logits) mean nothing" in one for one in warnings)
    part = saved(tmp_path / "m.ckpt", adam([NAMES], ("span_embed.", WORDS)))
    assert not any("mean nothing" in one for one in describe(part, Choices()).warnings)
    with pytest.raises(UnsupportedModelError, match=r"span_embed\.layers\.\*"):
        check(part)


class Known:
    """Results folders whose code is a branch that is known."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **facts: Any) -> None:
        self.folder = folder
        branch = known_code.branch_of(known_code.write(folder / "lab"), **facts)
        monkeypatch.setattr("gatescope.export.reading.code.known_branches", lambda: (branch,))

    def results(self, **changed: Any) -> Checkpoint:
        known_code.zipped(self.folder / "results" / "code.zip", **changed)
        return load_checkpoint(small.save(self.folder / "results" / "model_best.ckpt", gating_type="global"))


def test_code_that_is_known_says_the_forward_pass_and_the_activation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"computes": {"avigate_custom": "avigate_custom"}, "attention": {"global": "sigmoid"}}
    read = Known(tmp_path, monkeypatch, **facts).results()
    found = describe(read, Choices())
    assert found.forward == Forward("family", branch="lab")
    fact = found.facts["attention_activation"]
    assert (fact.value, fact.source) == ("sigmoid", "code")
    assert found.open_questions == ()
    against = describe(read, Choices(attention_activation="tanh"))
    assert against.forward == Forward("assumed")
    assert "differs from the code that trained it (code.zip), where it is sigmoid" in against.warnings[-1]


def test_unknown_code_and_no_code_leave_the_forward_pass_assumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Known(tmp_path, monkeypatch, computes={"avigate_custom": "avigate_custom"})
    changed = describe(lab.results(fusion=known_code.FUSION.replace("tanh", "erf")), Choices())
    assert changed.forward == Forward("assumed")
    (question,) = [one for one in changed.open_questions if "(code.zip) is unknown" in one]
    assert "nearest is lab, other in fusion.Fusion.forward" in question
    without = describe(load_checkpoint(small.save(tmp_path / "m.ckpt")), Choices())
    assert without.forward == Forward("assumed") and without.open_questions == ()


def test_code_of_other_weights_did_not_train_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = describe(Known(tmp_path, monkeypatch, computes={"ssm": "ssm"}).results(), Choices())
    assert found.forward == Forward("assumed")
    assert any("it did not train this checkpoint" in one for one in found.open_questions)


def test_code_whose_forward_pass_is_another_is_refused_with_the_way_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Known(tmp_path, monkeypatch, other="it fuses last").results()
    assert describe(read, Choices()).forward == Forward("assumed")
    with pytest.raises(UnsupportedModelError) as raised:
        check(read)
    assert "branch lab (code.zip): it fuses last" in str(raised.value)
    assert "--code" in str(raised.value) and "--verify" in str(raised.value)


def told(read: Checkpoint) -> tuple[dict[str, Any], str]:
    found = inspect_checkpoint(read.path)
    return json.loads(json.dumps(found.to_dict())), found.to_text()


def test_inspect_says_which_code_trained_it_and_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"computes": {"avigate_custom": "avigate_custom"}, "follows": "gates depend on the video alone"}
    lab = Known(tmp_path, monkeypatch, **facts)
    document, text = told(lab.results())
    assert document["code"]["branches"] == ["lab"] and document["forward"] == "family"
    assert "branch lab" in text and "that of avigate_custom" in text
    assert "gates depend on the video alone" in text
    document, text = told(lab.results(model="print 1"))
    assert document["code"]["branches"] is None and document["forward"] == "assumed"
    assert "unknown code, code/model.py is not Python 3" in text
    assert "assumed to be that of avigate_custom" in text


def test_inspect_refuses_what_an_export_refuses_and_names_what_training_never_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, _ = told(Known(tmp_path, monkeypatch, other="it fuses last").results())
    assert not document["usable"] and "it fuses last" in document["problems"][0]
    assert "--model package.module:factory" in document["commands"][0]
    document, text = told(saved(tmp_path / "m.ckpt", adam([NAMES], (ENCODER + "layers.0.norm1", WORDS))))
    assert not document["usable"] and len(document["never_moved"]) == 5 and document["code"] is None
    assert "transformer.encoder.* (2)" in text and "txt_position_embed.LayerNorm.* (2)" in text
    document, text = told(saved(tmp_path / "m.ckpt", adam([NAMES], (WORDS,))))
    assert document["usable"] and "txt_position_embed.LayerNorm.* (2)" in text


def test_inspect_names_the_branch_of_a_model_that_is_none_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Known(tmp_path, monkeypatch, other="it fuses last").results()
    small.save(read.path, {"backbone.weight": torch.ones(2, 2)})
    document, text = told(read)
    assert document["code"]["branches"] == ["lab"] and document["forward"] is None
    assert "none of gatescope's: it fuses last" in text
