"""What a checkpoint is: sizes from weights, the rest from options or flags, nothing guessed in silence."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import replace

import pytest
import torch

from gatescope.export import Checkpoint, Choices, load_checkpoint
from gatescope.export.families.config import SsmConfig
from gatescope.export.reading.facts import Description, describe
from gatescope.export.reading.open_facts import flag_of_fact
from gatescope.export.reading.rebuild import rebuild
from gatescope.runtime.errors import (
    CheckpointError,
    GatescopeError,
    UnknownFactError,
    UnsupportedModelError,
    WeightsMismatchError,
)
from tests.export import small


@pytest.fixture
def described(tmp_path):
    def describe_saved(state=None, choices: Choices | None = None, **options) -> Description:
        path = small.save(tmp_path / "m.pth", state, **options)
        return describe(load_checkpoint(path), choices or Choices())

    return describe_saved


def rebuilt(tmp_path, state, choices: Choices | None = None, **options):
    checkpoint = load_checkpoint(small.save(tmp_path / "m.pth", state, **options))
    return rebuild(describe(checkpoint, choices or Choices()), checkpoint.weights)


@pytest.mark.parametrize(
    "changes",
    [
        {"fusion_layers": 3},
        {"encoder_layers": 3, "t2v_layers": 1},
        {"t2v_layers": 2},
        {"decoder_layers": 3},
        {"input_projections": 2},
        {"input_projections": 3},
        {"queries": 7},
        {"feedforward": 24},
        {"fusion_feedforward": 20},
        {"gate_hidden": 6},
        {"video_width": 30, "audio_width": 5, "text_width": 7},
    ],
    ids=str,
)
def test_sizes_come_from_the_weights(tmp_path, changes) -> None:
    model = rebuilt(tmp_path, small.weights(**changes))
    for name, value in changes.items():
        assert getattr(model.config, name) == value


def test_weights_win_over_options_with_a_warning(described) -> None:
    description = described(small.weights(fusion_layers=2), fusion_layers=4, dim_feedforward=2048)
    assert description.config.fusion_layers == 2
    assert any("fusion_layers = 4" in warning for warning in description.warnings)
    assert any("dim_feedforward = 2048" in warning for warning in description.warnings)


def test_video_width_without_tef_in_options_is_no_contradiction(described) -> None:
    assert described(v_feat_dim=10).warnings == ()


def test_elementwise_is_seen_in_the_weights(described) -> None:
    description = described(small.weights(gating="elementwise"), gating_type="clipwise")
    assert description.config.gating == "elementwise"
    assert description.facts["gating"].source == "weights"
    assert "elementwise" in description.warnings[0]


@pytest.mark.parametrize(
    ("state", "asked"),
    [("clipwise", "elementwise"), ("elementwise", "clipwise"), ("elementwise", "global")],
)
def test_gating_that_contradicts_the_weights(described, state, asked) -> None:
    with pytest.raises(WeightsMismatchError, match=f"--gating {asked}"):
        described(small.weights(gating=state), Choices(gating=asked))


def test_gating_that_fits_but_differs_from_training_is_a_warning(described) -> None:
    description = described(choices=Choices(gating="global"))
    assert description.config.gating == "global"
    assert "recorded clipwise" in description.warnings[0]


def test_unknown_gating_word(described) -> None:
    with pytest.raises(UnsupportedModelError, match="wordwise"):
        described(choices=Choices(gating="wordwise"))


@pytest.mark.parametrize(
    ("missing", "flag"),
    [("gating_type", "--gating"), ("nheads", "--heads"), ("fusion_n_heads", "--fusion-heads")],
)
def test_what_weights_cannot_tell_must_be_said(described, missing, flag) -> None:
    with pytest.raises(UnknownFactError, match=flag):
        described(**{missing: ...})


def test_all_that_weights_cannot_tell_is_asked_for_at_once(described) -> None:
    with pytest.raises(UnknownFactError) as caught:
        described(gating_type=..., nheads=..., fusion_n_heads=...)
    assert caught.value.facts == ("gating", "heads", "fusion_heads")
    assert all(
        flag_of_fact(fact, ("global", "clipwise")) in str(caught.value.fix) for fact in caught.value.facts
    )
    with pytest.raises(UnknownFactError) as caught:
        described(nheads=..., fusion_n_heads=..., choices=Choices(heads=8))
    assert caught.value.facts == ("fusion_heads",)


@pytest.mark.parametrize("key", ["dset_name", "v_feat_dirs", "clip_length", "max_v_l", "ctx_mode"])
@pytest.mark.parametrize("lost", [..., None], ids=["absent", "none"])
def test_options_that_lack_what_preprocessing_needs_are_named(described, key, lost) -> None:
    assert described().warnings == ()
    (warning,) = described(**{key: lost}).warnings
    assert f"do not record {key}:" in warning and f"{key} = " in warning


def adam(state, untouched: str) -> dict[str, object]:
    """What Adam keeps of a training in which parameters that begin with ``untouched`` got no gradient."""
    kept = {
        number: {"step": torch.tensor(1.0), "exp_avg": torch.zeros_like(value)}
        for number, (name, value) in enumerate(state.items())
        if not untouched or not name.startswith(untouched)
    }
    return {"state": kept, "param_groups": [{"params": list(range(len(state)))}]}


@pytest.mark.parametrize(
    ("untouched", "recorded", "chosen", "wanted"),
    [
        ("txt_position_embed", ..., None, (False, "optimizer")),
        ("", ..., None, (True, "optimizer")),
        ("", False, None, (False, "opt")),
        ("txt_position_embed", ..., True, (True, "flag")),
        (None, ..., None, (False, "default")),
    ],
)
def test_positions_of_words_are_told_by_the_optimizer_or_a_flag(
    tmp_path, untouched, recorded, chosen, wanted
) -> None:
    state = small.weights()
    options = {
        key: value for key, value in (small.OPTIONS | {"use_txt_pos": recorded}).items() if value != ...
    }
    content = {"model": state, "opt": argparse.Namespace(**options)}
    if untouched is not None:
        content["optimizer"] = adam(state, untouched)
    torch.save(content, tmp_path / "m.ckpt")
    found = describe(load_checkpoint(tmp_path / "m.ckpt"), Choices(text_positions=chosen))
    fact = found.facts["text_positions"]
    assert (fact.value, fact.source) == wanted and found.config.text_positions is wanted[0]


def test_an_unknown_branch_is_pointed_to_own_code(described) -> None:
    state = {name: value for name, value in small.weights().items() if "input_vid_proj" not in name}
    with pytest.raises(WeightsMismatchError, match="--model package"):
        described(state)
    with pytest.raises(CheckpointError, match="--model package"):
        described({"backbone.weight": torch.zeros(3, 3)})


def test_flags_tell_what_options_do_not(tmp_path) -> None:
    torch.save(small.weights(), tmp_path / "bare.pth")
    chosen = Choices(gating="global", heads=4, fusion_heads=2)
    description = describe(load_checkpoint(tmp_path / "bare.pth"), chosen)
    assert (description.config.heads, description.config.fusion_heads) == (4, 2)
    assert {description.facts[name].source for name in ("heads", "fusion_heads", "gating")} == {"flag"}
    assert description.facts["clip_length"].source == "default"
    assert "no training options" in description.warnings[0]


@pytest.mark.parametrize("heads", [3, 0, -1, 512])
def test_heads_must_divide_the_channels(described, heads) -> None:
    with pytest.raises(UnknownFactError, match="divide"):
        described(choices=Choices(heads=heads))


def test_text_positions_are_used_where_training_used_them(tmp_path) -> None:
    assert rebuilt(tmp_path, None, use_txt_pos=True).txt_position_embed is not None
    assert rebuilt(tmp_path, None).txt_position_embed is None


def test_training_only_parameters_are_left_out(tmp_path) -> None:
    extra = {"contrastive_align_projection_query.weight": torch.zeros(64, 256)}
    assert "contrastive" not in str(list(rebuilt(tmp_path, small.weights() | extra).state_dict()))


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


def test_missing_unexpected_and_misshapen_parameters_are_all_listed(tmp_path) -> None:
    state = without(small.weights(), "saliency_proj2.bias")
    state["class_embed.weight"] = torch.zeros(3, 256)
    state["something.new"] = torch.zeros(1)
    with pytest.raises(WeightsMismatchError) as caught:
        rebuilt(tmp_path, state)
    message = str(caught.value)
    for part in ("missing (1)", "saliency_proj2.bias", "unexpected (1)", "something.new"):
        assert part in message
    assert "class_embed.weight: (3, 256), expected (2, 256)" in message


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Checkpoint:
    return load_checkpoint(small.save(tmp_path_factory.mktemp("whole") / "m.pth"))


@pytest.mark.parametrize("name", sorted(small.weights(text_positions=False)))
def test_any_missing_parameter_is_named(whole, name) -> None:
    checkpoint = replace(whole, weights=without(whole.weights, name))
    with pytest.raises(GatescopeError) as caught:
        rebuild(describe(checkpoint, Choices()), checkpoint.weights)
    assert name in str(caught.value) or name.rsplit(".", 1)[0] in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path, value) -> None:
    state = small.weights()
    state["saliency_proj1.weight"][0, 0] = value
    with pytest.raises(WeightsMismatchError, match=r"saliency_proj1\.weight: 1 of 65536"):
        rebuilt(tmp_path, state)


def test_layers_with_a_gap_or_a_hostile_number(described) -> None:
    state = small.weights(fusion_layers=3)
    gap = {name: value for name, value in state.items() if ".fusion_layers.1." not in name}
    with pytest.raises(WeightsMismatchError, match="layers 0, 2"):
        described(gap)
    huge = small.weights() | {"fusion.fusion_layers.99999999999.norm1.weight": torch.zeros(256)}
    with pytest.raises(WeightsMismatchError, match="99999999999"):
        described(huge)


def renamed(state, old, new):
    return {name.replace(old, new): value for name, value in state.items()}


UNSUPPORTED = {
    "hidden_dim 128": lambda s: s | {"global_rep_token": torch.zeros(128)},
    "start and end": lambda s: s | {"span_embed.layers.2.weight": torch.zeros(40, 256)},
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_models_that_cannot_be_rebuilt_are_named(described, kind) -> None:
    with pytest.raises(UnsupportedModelError, match=kind):
        described(UNSUPPORTED[kind](small.weights()))


FAMILIES = {
    "sigmoid": {"family": "sigmoid", "attention_activation": "sigmoid"},
    "FiLM": {"family": "sigmoid", "attention_activation": "sigmoid", "film": True, "gating": "elementwise"},
    "base AVIGATE": {"family": "base_avigate", "gating": "global", "fusion_heads": 8},
    "SSM": {"family": "ssm", "gating": "global_diagstrip_ssm", "ssm": SsmConfig(2, 6, (1, 3), 0.1, True, 5)},
    "SSM of audio alone": {
        "family": "ssm",
        "gating": "global_diagstrip_ssm",
        "ssm": SsmConfig(2, 6, (1, 3), 0.1, False, 5),
    },
}
SSM_OPTIONS = {"ssm_dilations": [1, 3], "ssm_diag_subtract": 0.1, "mha_gate_temp": 2.0}


@pytest.mark.parametrize("kind", FAMILIES)
def test_families_are_recognised_by_their_parameters(tmp_path, kind) -> None:
    model = rebuilt(tmp_path, small.weights(**FAMILIES[kind]), **SSM_OPTIONS)
    for name, value in FAMILIES[kind].items():
        assert getattr(model.config, name) == value
    if model.config.family == "sigmoid":
        assert model.config.gate_temperature == 2.0


@pytest.mark.parametrize(
    ("kind", "choices"),
    [
        ("base AVIGATE", Choices(gating="clipwise")),
        ("SSM", Choices(gating="global")),
        ("SSM", Choices(attention_activation="tanh")),
        ("sigmoid", Choices(attention_activation="tanh")),
    ],
)
def test_flags_that_contradict_a_family(described, kind, choices) -> None:
    with pytest.raises(WeightsMismatchError, match="contradicts"):
        described(small.weights(**FAMILIES[kind]), choices, **SSM_OPTIONS)


def test_dilations_that_do_not_fit(described) -> None:
    with pytest.raises(WeightsMismatchError, match="dilations"):
        described(small.weights(**FAMILIES["SSM"]), ssm_dilations=[1, 2, 4])


@pytest.mark.parametrize(
    ("option", "value"), [("span_loss_type", "ce"), ("pre_norm", True), ("position_embedding", "learned")]
)
def test_options_that_change_the_forward_pass(described, option, value) -> None:
    with pytest.raises(UnsupportedModelError, match=option):
        described(**{option: value})


def test_other_models(described) -> None:
    with pytest.raises(CheckpointError, match="no gated fusion"):
        described({"backbone.conv1.weight": torch.zeros(3, 3)})
    with pytest.raises(CheckpointError, match="not a QD-DETR"):
        described({"fusion.layer.weight": torch.zeros(3, 3)})


def test_sigmoid_is_pointed_out_for_global_gating(described) -> None:
    plain = described(choices=Choices(gating="global"), gating_type="global")
    assert plain.config.attention_activation == "tanh"
    assert "sigmoid" in plain.warnings[0]
    branch = described(gating_type="global", ssm_band_width=8)
    assert branch.config.attention_activation == "sigmoid"


def test_preprocessing_recipe(described) -> None:
    recipe = described().preprocessing
    assert [source.path for source in recipe.video] == [
        "../features/slow_features",
        "../features/other_features/",
    ]
    assert (recipe.tef, recipe.max_v_l, recipe.max_q_l, recipe.clip_length) == (True, 20, 8, 2.0)
    assert recipe.audio.width == 7
    assert described(ctx_mode="video").preprocessing.tef is False
    assert described(no_norm_tfeat=True).preprocessing.normalize_text is False
    assert described(dset_name="tvsum").preprocessing.normalize_text is False
    assert described(dset_name="charadesSTA").preprocessing.dataset == "charades"
    assert described(v_feat_dirs="one_folder").preprocessing.video[0].width == 10


@pytest.mark.parametrize(
    ("dset_name", "round_to", "clamp"),
    [
        ("hl", 1.0, 150.0),
        ("qvhighlight", 1.0, 150.0),
        ("charades", 1.0, 150.0),
        ("charadesSTA", 1.0, 150.0),
        ("castella", 1.0, 300.0),
        ("tacos", 1.0, None),
        ("activitynet", 1.0, None),
        ("youtube_highlight", 1.0, None),
        ("youtube_uni", 1.0, None),
        ("tvsum", None, None),
    ],
)
def test_windows_are_treated_as_training_did_for_its_data_set(described, dset_name, round_to, clamp) -> None:
    found = described(dset_name=dset_name, clip_length=1)
    assert (found.preprocessing.round_to, found.preprocessing.clamp_seconds) == (round_to, clamp)
    assert not any("data set" in warning for warning in found.warnings)


def test_an_unknown_data_set_is_named(described) -> None:
    found = described(dset_name="my_own")
    assert (found.preprocessing.round_to, found.preprocessing.clamp_seconds) == (2.0, 150.0)
    assert any("'my_own' is not one whose windows we know" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    "options",
    [
        {"max_v_l": "many"},
        {"max_v_l": 0},
        *({key: 10**400} for key in ("clip_length", "mha_gate_temp", "nheads", "eval_bsz", "max_v_l")),
        {"clip_length": -2},
        {"clip_length": "two"},
        {"max_q_l": [3]},
        {"v_feat_dirs": 7},
        {"eval_bsz": "x"},
        {"a_feat_dir": None, "v_feat_dirs": []},
    ],
    ids=lambda options: str(options)[:40],
)
def test_options_that_make_no_sense_never_end_in_a_traceback(described, options) -> None:
    with contextlib.suppress(GatescopeError):
        described(**options)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("gating", ["global", "clipwise", "elementwise"])
def test_rebuilt_model_runs_in_half_precision(tmp_path, gating, dtype) -> None:
    model = rebuilt(tmp_path, small.weights(gating=gating), gating_type=gating).to(dtype)
    inputs = {
        "src_txt": torch.randn(2, 3, 6),
        "src_vid": torch.randn(2, 5, 12),
        "src_aud": torch.randn(2, 5, 9),
    }
    masks = {f"{name}_mask": torch.ones(value.shape[:2]) for name, value in inputs.items()}
    outputs = model(**{name: value.to(dtype) for name, value in inputs.items()}, **masks)
    assert {value.dtype for value in outputs} == {dtype}
