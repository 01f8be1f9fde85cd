"""``gatescope inspect`` on checkpoints: every fact that can be told is told, whatever is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gatescope.export.inspect import inspect_checkpoint
from gatescope.runtime.cli.main import main
from gatescope.runtime.inspection.identify import identify, inspect_path

from .small import save, weights

ATTENTION_GATE = "fusion.fusion_layers.0.gating_function.mlp_mha.2.weight"


def document(path: Path) -> dict[str, Any]:
    """What a machine reads: the JSON of what was found, which must survive the journey."""
    return json.loads(json.dumps(inspect_checkpoint(path).to_dict()))


def test_a_good_checkpoint(tmp_path: Path) -> None:
    path = save(tmp_path / "model_best.ckpt")
    told = document(path)
    assert told["usable"] and told["problems"] == [] and told["unknown"] == [] and told["misfits"] == {}
    assert (told["kind"], told["family"], told["gating"]) == ("checkpoint", "avigate_custom", "clipwise")
    facts = {name: (fact["value"], fact["source"]) for name, fact in told["facts"].items()}
    assert facts["gating"] == ("clipwise", "opt")
    assert facts["heads"] == (8, "opt") and facts["fusion_heads"] == (4, "opt")
    assert facts["video_width"] == (12, "weights") and facts["fusion_layers"] == (1, "weights")
    assert facts["attention_activation"] == ("tanh", "default")
    assert told["parameters"] == sum(tensor.numel() for tensor in weights().values())
    assert told["bytes"] == path.stat().st_size and told["epoch"] == 1
    assert told["commands"] == [f"gatescope export --checkpoint {path} --output m.onnx"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["opt.json", "train.log.txt"], None),
        (["hl_val_submission.jsonl"], "hl_val_submission.jsonl"),
        (["hl_val_submission.jsonl", "best_hl_val_preds.jsonl"], "best_hl_val_preds.jsonl"),
        (["latest_hl_val_preds.jsonl", "hl_val_submission.jsonl"], "hl_val_submission.jsonl"),
        (["best_hl_val_preds_nms_thd_0.7.jsonl", "best_nms_hl_val_preds.jsonl"], None),
        (["hl_test_submission.jsonl", "hl_val_submission.jsonl"], "hl_val_submission.jsonl"),
    ],
)
def test_predictions_next_to_the_checkpoint_are_named(
    tmp_path: Path, names: list[str], found: str | None
) -> None:
    path = save(tmp_path / "model_best.ckpt")
    for name in names:
        (tmp_path / name).write_text("{}", encoding="utf-8")
    told = document(path)
    assert told["predictions"] == (None if found is None else str(tmp_path / found))
    assert (f"--verify {tmp_path / (found or '')} " in told["commands"][0]) == (found is not None)
    assert (str(found) in inspect_checkpoint(path).to_text()) == (found is not None)


def test_the_latest_checkpoint_has_the_latest_predictions(tmp_path: Path) -> None:
    path = save(tmp_path / "model_latest.ckpt")
    for name in ("best_hl_val_preds.jsonl", "latest_hl_val_preds.jsonl"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    assert document(path)["predictions"] == str(tmp_path / "latest_hl_val_preds.jsonl")


def test_where_each_fact_came_from(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save(weights(), path)
    (tmp_path / "opt.json").write_text(
        json.dumps({"gating_type": "global", "nheads": 8, "use_txt_pos": False}), encoding="utf-8"
    )
    told = document(path)
    assert told["facts"]["gating"] == {"value": "global", "source": "opt.json"}
    assert told["facts"]["heads"] == {"value": 8, "source": "opt.json"}
    assert told["facts"]["fusion_heads"] == {"value": None, "source": "unknown"}
    assert told["facts"]["clip_length"]["source"] == "default"
    assert told["options_source"] == "opt.json"
    assert [one["fact"] for one in told["unknown"]] == ["fusion_heads"]


def test_facts_recorded_nowhere_are_unknown_and_the_command_asks_for_them(tmp_path: Path) -> None:
    path = tmp_path / "bare model.pth"
    torch.save(weights(), path)
    found = inspect_checkpoint(path)
    told = document(path)
    assert found.usable and main(["inspect", str(path)]) == 0
    assert told["gating"] is None
    assert [one["fact"] for one in told["unknown"]] == ["gating", "heads", "fusion_heads"]
    (command,) = told["commands"]
    assert command == (
        f"gatescope export --checkpoint '{path}' --gating 'global|clipwise' --heads N --fusion-heads N "
        "--output m.onnx"
    )
    # The placeholders that were used to look further are not told as facts.
    assert {told["facts"][name]["value"] for name in ("gating", "heads", "fusion_heads")} == {None}
    assert "unknown gating" in found.to_text()


@pytest.mark.parametrize(
    ("changes", "options", "questions"),
    [
        (
            {},
            {"gating_type": "global"},
            ["family", "gating", "attention_activation", "heads", "fusion_heads", "text_positions"],
        ),
        (
            {},
            {"gating_type": "clipwise"},
            ["family", "gating", "heads", "fusion_heads", "text_positions"],
        ),
        (
            {"gating": "elementwise"},
            {"gating_type": "elementwise"},
            ["family", "heads", "fusion_heads", "text_positions"],
        ),
        (
            {"family": "sigmoid"},
            {"gating_type": "global"},
            ["gating", "heads", "fusion_heads", "text_positions"],
        ),
    ],
)
def test_what_the_weights_cannot_show_is_pointed_out(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], questions: list[str]
) -> None:
    told = document(save(tmp_path / "m.ckpt", weights(**changes), **options))
    assert told["usable"]
    assert [one["fact"] for one in told["ambiguous"]] == questions
    assert all(one["flag"].startswith("--") and one["decided_by"] for one in told["ambiguous"])


def test_everything_that_does_not_fit_is_told_at_once(tmp_path: Path, capsys: Any) -> None:
    state = weights()
    del state["global_rep_pos"]
    state["extra.weight"] = torch.ones(2)
    state["span_embed.layers.0.bias"] = torch.ones(3)
    state["class_embed.bias"] = torch.tensor([float("nan"), 1.0])
    path = save(tmp_path / "m.ckpt", state)
    told = document(path)
    assert not told["usable"] and told["commands"] == []
    assert set(told["misfits"]) == {"missing", "unexpected", "of another shape", "not finite"}
    assert told["misfits"]["missing"] == ["global_rep_pos"]
    assert told["misfits"]["unexpected"] == ["extra.weight"]
    assert told["facts"]["gating"]["value"] == "clipwise"  # and what could be told was told
    assert main(["inspect", str(path)]) == 1
    text = capsys.readouterr().out
    for part in ("global_rep_pos", "extra.weight", "span_embed.layers.0.bias: (3,)", "1 of 2 values"):
        assert part in text


def test_a_model_that_cannot_be_rebuilt_is_described_as_far_as_it_goes(tmp_path: Path) -> None:
    state = weights()
    state["global_rep_token"] = torch.ones(128)
    path = save(tmp_path / "m.ckpt", state)
    told = document(path)
    assert not told["usable"] and "hidden_dim 128" in told["problems"][0]
    assert told["facts"]["hidden_dim"] == {"value": 128, "source": "weights"}
    assert told["facts"]["fusion_layers"] == {"value": 1, "source": "weights"}
    assert told["facts"]["gating"] == {"value": "clipwise", "source": "opt"}
    assert "--model package.module:factory" in told["commands"][0]


def test_a_missing_layer_leaves_the_other_facts(tmp_path: Path) -> None:
    state = {name: value for name, value in weights().items() if not name.startswith("transformer.encoder.")}
    told = document(save(tmp_path / "m.ckpt", state))
    assert not told["usable"]
    assert "transformer.encoder.layers.0.linear1.weight is missing" in told["problems"][0]
    assert told["facts"]["decoder_layers"]["value"] == 1 and "encoder_layers" not in told["facts"]


def test_unknown_facts_and_a_model_that_cannot_be_rebuilt(tmp_path: Path) -> None:
    path = save(tmp_path / "m.ckpt", gating_type=..., nheads=..., span_loss_type="ce")
    told = document(path)
    assert not told["usable"] and "classes of start and end" in told["problems"][0]
    assert told["facts"]["fusion_heads"]["value"] == 4


def test_another_kind_of_model(tmp_path: Path) -> None:
    torch.save({"state_dict": {"body.w": torch.ones(3, 2), "head.w": torch.ones(5)}}, tmp_path / "m.pth")
    told = document(tmp_path / "m.pth")
    assert not told["usable"] and "no gated fusion" in told["problems"][0]
    assert told["family"] is None and told["weights"] == {"body": 6, "head": 5}
    assert "--model" in told["commands"][0]


def test_a_checkpoint_that_cannot_be_read(tmp_path: Path, capsys: Any) -> None:
    whole = save(tmp_path / "m.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    assert main(["inspect", str(tmp_path / "cut.ckpt"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == "checkpoint" and not told["usable"]
    assert "cannot be read as a PyTorch checkpoint" in told["problems"][0]


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    witness = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (witness,))

    torch.save({"model": weights(), "opt": Evil()}, tmp_path / "m.ckpt")
    found = inspect_path(tmp_path / "m.ckpt")
    assert not found.usable and "nothing in it was executed" in found.problems[0]
    assert not witness.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_checkpoints_are_known_by_their_content(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "without-a-suffix"
    torch.save(weights(), path, _use_new_zipfile_serialization=not legacy)
    assert identify(path) == "checkpoint"
    assert inspect_path(path).details["family"] == "avigate_custom"


@pytest.mark.parametrize(
    ("gating", "message"),
    [(7, "gating_type = 7"), ("rows", "gating_type = rows"), (True, "gating_type = True")],
)
def test_options_that_make_no_sense_do_not_end_it(tmp_path: Path, gating: Any, message: str) -> None:
    told = document(save(tmp_path / "m.ckpt", gating_type=gating))
    assert told["facts"]["gating"] == {"value": None, "source": "unknown"}
    told = document(save(tmp_path / "n.ckpt", clip_length="two"))
    assert not told["usable"] and "clip_length" in told["problems"][0]
    assert told["facts"]["gating"]["value"] == "clipwise"


def test_heads_that_do_not_divide_are_unknown(tmp_path: Path) -> None:
    told = document(save(tmp_path / "m.ckpt", nheads=7))
    assert [one["fact"] for one in told["unknown"]] == ["heads"]
