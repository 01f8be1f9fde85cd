"""What Python calls say to people who have no command line before them, and what stands for a checkpoint."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from gatescope.export import adapt_legacy_model, load_legacy_model_with_gate_tracking
from gatescope.export.live.manifest import fingerprint
from gatescope.export.user import export as user_export
from gatescope.export.user.anatomy import study
from gatescope.runtime.errors import GatescopeError, UsageError
from gatescope.runtime.gates.preprocessing import InputSource, Preprocessing
from tests.export import lab

from .live_models import Block, TwoGates, batch_of, detector
from .small import save


@pytest.mark.parametrize(
    "options",
    [
        {"gating_type": ..., "nheads": ..., "fusion_n_heads": ...},
        {"nheads": ...},
        {"gating_type": "global"},
        {"gating_type": "global", "ssm_band_width": 8},
    ],
    ids=str,
)
def test_warnings_and_errors_name_arguments_and_no_flags(tmp_path, options) -> None:
    path = save(tmp_path / "m.ckpt", **options)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            load_legacy_model_with_gate_tracking(path, device="cpu")
        except GatescopeError as error:
            told_words = [str(error)]
        else:
            told_words = [str(one.message) for one in told]
    assert told_words
    for text in told_words:
        assert "--" not in text.replace("gatescope export --verify", "")
    with pytest.raises(GatescopeError, match=r"there is no file") as caught:
        load_legacy_model_with_gate_tracking(tmp_path / "absent.ckpt")
    assert "--" not in str(caught.value)


def test_another_gating_is_refused_and_what_was_tracked_stays() -> None:
    model = adapt_legacy_model(detector(lambda: Block(TwoGates())))
    model.mixer.enable_gate_tracking()
    model.mixer.set_current_sample_id("a")
    with torch.no_grad():
        model(**batch_of())
    with pytest.raises(UsageError, match="already adapted"):
        adapt_legacy_model(model, "global")
    assert model.mixer.track_gates and list(model.mixer.gate_history) == ["a"]
    assert adapt_legacy_model(model, "clipwise") is model
    assert model.mixer.track_gates and list(model.mixer.gate_history) == ["a"]


def test_a_loaded_model_keeps_the_gating_of_its_checkpoint(tmp_path) -> None:
    model = load_legacy_model_with_gate_tracking(save(tmp_path / "m.ckpt"), device="cpu")
    model.avigate_fusion.enable_gate_tracking()
    with pytest.raises(UsageError, match="already adapted") as caught:
        adapt_legacy_model(model, "global")
    assert "restore_legacy_model" in str(caught.value)
    assert model.avigate_fusion.track_gates


@pytest.mark.parametrize("change", ["float", "half", "bfloat16", "double"])
def test_one_hash_stands_for_a_live_models_weights(change: str) -> None:
    """Buffers of whole numbers (a batch norm's counter) and every precision count, wherever it is made."""
    assert user_export.fingerprint is fingerprint
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model = getattr(model, change)()
    before = fingerprint(model)
    assert fingerprint(model) == before
    model[1].num_batches_tracked.add_(1)
    counted = fingerprint(model)
    assert counted != before
    with torch.no_grad():
        model[0].bias[0] = torch.nextafter(model[0].bias[0].float(), torch.tensor(9.0)) + 1
    assert fingerprint(model) not in (before, counted)


@pytest.mark.parametrize("elementwise", [False, True])
def test_width_of_the_stream_is_the_same_in_an_export_and_live(elementwise: bool, tmp_path) -> None:
    options = lab.save(tmp_path / "m.ckpt", elementwise=elementwise)
    opt = torch.load(options, weights_only=False)["opt"]
    model = lab.build(opt)[0].eval()
    recipe = Preprocessing(
        dataset="hl",
        video=(InputSource("v", opt.v_feat_dim),),
        audio=InputSource("a", opt.a_feat_dim),
        text=InputSource("t", opt.t_feat_dim),
        video_width=opt.v_feat_dim,
        audio_width=opt.a_feat_dim,
        text_width=opt.t_feat_dim,
        normalize_video=True,
        normalize_text=True,
        tef=False,
        clip_length=2.0,
        max_v_l=75,
        max_q_l=32,
        round_to=2.0,
        clamp_seconds=150.0,
    )
    names = ("src_txt", "src_txt_mask", "src_vid", "src_vid_mask", "src_aud", "src_aud_mask")
    anatomy = study(model, recipe, names)
    adapt_legacy_model(model)
    fusion = model.avigate_fusion
    fusion.enable_gate_tracking()
    fusion.set_current_sample_id("a")
    widths = {"src_txt": opt.t_feat_dim, "src_vid": opt.v_feat_dim, "src_aud": opt.a_feat_dim}
    with torch.no_grad():
        model(
            **{name: torch.randn(2, 5, width) for name, width in widths.items()},
            **{f"{name}_mask": torch.ones(2, 5) for name in widths},
        )
    assert fusion.gate_history["a"]["layer_info"][0]["hidden_dim"] == anatomy.hidden_dim == 32
    assert fusion.as_run().manifest.facts["hidden_dim"].value == 32
