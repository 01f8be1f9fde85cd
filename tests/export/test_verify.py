"""--verify: the trained model's own predictions are reproduced, and each planted mistake is found by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gatescope.export import Choices, VerifyRequest, load_checkpoint
from gatescope.export.graph.variant import Variant, VariantGraph
from gatescope.export.proof.subject import CheckpointSubject
from gatescope.export.proof.verify import reproduce
from gatescope.export.reading.facts import describe
from gatescope.export.reading.rebuild import rebuild
from gatescope.runtime import read_manifest
from gatescope.runtime.data.batches import batches
from gatescope.runtime.data.dataset import FeatureSources
from gatescope.runtime.errors import DatasetError, UsageError, VerificationError
from gatescope.runtime.gates.certificate import BatchingEffect, Verification
from gatescope.runtime.inspection.batching import effect_in_words
from gatescope.runtime.runs.predictions import format_prediction, write_predictions
from tests.golden.case import FOLDER, load_case
from tests.golden.rounding import allowed

pytestmark = pytest.mark.slow

SUBMISSION = FOLDER / "dataset_clipwise.jsonl"


@pytest.fixture
def effects() -> list[BatchingEffect | None]:
    """What each verification that passed said of the file's batching."""
    return []


@pytest.fixture
def try_verify(tmp_path, dataset, exported, effects):
    """Verify the golden dataset's model with changed options; the file is run by PyTorch in its place."""
    case, annotations = dataset
    manifest = read_manifest(exported("dataset_clipwise", suffix=".ts"))

    def run(
        choices: Choices | None = None,
        predictions: Path = SUBMISSION,
        annotations: Path = annotations,
        batch_size: int | None = 1,
        **options,
    ) -> Verification:
        changed = replace(case, spec=case.spec | {"opt": case.options | options})
        checkpoint = load_checkpoint(changed.save_checkpoint(tmp_path / "m.pth"))
        wanted = choices or Choices()
        description = describe(checkpoint, wanted)
        request = VerifyRequest(
            predictions, annotations, FeatureSources(dataset[1].parent), batch_size=batch_size
        )
        recipe = replace(manifest, preprocessing=description.preprocessing, eval_batch_size=None)
        graph = VariantGraph(rebuild(description, checkpoint.weights), Variant())
        recipe = replace(recipe, batching=wanted.batching)
        model = reproduce(request, CheckpointSubject(checkpoint), wanted, recipe)
        found = model.compare_file(Variant(), recipe, graph.run)
        assert (found.batching_effect is None) == (wanted.batching == "reference")
        effects.append(found.batching_effect)
        return found.verification

    return run


def test_the_references_own_submission_is_reproduced(try_verify, effects) -> None:
    verified = try_verify()
    assert verified.samples == 12
    assert verified.errors["score"] < 1.5e-4  # one step of the four decimals that are written
    assert verified.errors["saliency"] <= allowed("saliency_scores")
    assert verified.errors["window_seconds"] <= 150.0 * allowed("pred_spans")
    assert verified.errors["file_gate_attention"] <= allowed("gate_attention")
    assert effects[-1].largest <= 1e-4 and not effects[-1].answers_changed  # batches of one are exact


PLANTED = {
    "gating": ({"gating_type": "global"}, None, "--gating clipwise"),
    "heads": ({"nheads": 4}, None, "--heads 8"),
    "fusion heads": ({"fusion_n_heads": 8}, None, "--fusion-heads 4"),
    "activation": ({}, Choices(attention_activation="sigmoid"), "--attention-activation tanh"),
    "feature order": ({"v_feat_dirs": ["clip_features", "slowfast_features"]}, None, "--video-features"),
    "TEF": ({"ctx_mode": "video"}, None, "--tef"),
    "two at once": ({"nheads": 4, "gating_type": "global"}, None, "--gating clipwise"),
}


# Found after everything else was tried.
LAST = ("heads", "fusion heads", "two at once")


@pytest.mark.parametrize("mistake", PLANTED)
def test_planted_mistake_is_found_and_its_flag_named(try_verify, mistake) -> None:
    options, choices, flag = PLANTED[mistake]
    with pytest.raises(VerificationError) as caught:
        try_verify(choices, **options)
    fix = caught.value.fix or ""
    assert fix.startswith("export again with")
    assert flag in fix
    if mistake == "two at once":
        assert "--heads 8" in fix
    if mistake == "feature order":
        assert fix.index("slowfast_features") < fix.index("clip_features")
    assert " ".join(caught.value.again) in fix
    # What is less likely than the cause was not tried, and what the widths rule out is not named.
    assert ("--fusion-heads" in str(caught.value)) == (mistake in LAST)
    assert ("TEF" in str(caught.value)) == (mistake == "TEF")


@pytest.mark.parametrize(
    "name", ["clipwise_padded", "global_padded", "base_avigate", "sigmoid_film_elementwise", "ssm"]
)
def test_a_few_samples_give_what_they_give_in_their_batch(name, checkpoint) -> None:
    """Without the others they would not: the reference masks a sample with another one's mask."""
    case = load_case(name)
    subject = CheckpointSubject(load_checkpoint(checkpoint(name)))
    choices = Choices(batching="reference")
    whole = case.inputs()
    lengths = list(zip(case.clips, case.spec["words"], strict=True))
    wanted = subject.graph(choices, Variant("plain")).run(whole)
    run = subject.excerpts(choices)
    for places in ((len(lengths) - 1, 0), (1,)):
        few = {}
        for key, value in whole.items():
            longest = max(lengths[place][key.startswith("src_txt")] for place in places)
            few[key] = value[list(places), :longest]
        got = run(few, lengths, places)
        for i, place in enumerate(places):
            clips = lengths[place][0]
            for output in ("pred_logits", "pred_spans"):
                np.testing.assert_allclose(got[output][i], wanted[output][place], atol=1e-5)
            here, there = got["saliency_scores"][i, :clips], wanted["saliency_scores"][place, :clips]
            np.testing.assert_allclose(here, there, atol=1e-5)


def test_code_next_to_the_checkpoint_is_the_way_on(tmp_path, checkpoint) -> None:
    path = tmp_path / "model_best.ckpt"
    path.symlink_to(checkpoint("clipwise"))
    subject = CheckpointSubject(load_checkpoint(path))
    assert "--model package.module:factory" in subject.way_on.advice and not subject.way_on.options
    (tmp_path / "code.zip").touch()
    assert subject.way_on.options == ("--code", str(tmp_path / "code.zip"))


def test_predictions_of_another_model_name_no_flag(try_verify, tmp_path) -> None:
    lines = [json.loads(line) for line in SUBMISSION.read_text(encoding="utf-8").splitlines()]
    rng = np.random.default_rng(0)
    for line in lines:
        line["pred_saliency_scores"] = rng.standard_normal(len(line["pred_saliency_scores"])).tolist()
    other = tmp_path / "other.jsonl"
    other.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    with pytest.raises(VerificationError, match="none of 9 likely causes explains it") as caught:
        try_verify(predictions=other)
    assert "--model" in (caught.value.fix or "")
    # As given, the closest three, the others' flags in one line.
    assert len((caught.value.received or "").splitlines()) == 6


def test_predictions_made_in_batches_need_the_same_batches(
    try_verify, tmp_path, checkpoint, dataset, effects
) -> None:
    """The reference's numbers depend on the batch, so its batch size does too."""
    read = load_checkpoint(checkpoint("dataset_clipwise"))
    manifest = replace(  # only the recipe is used
        read_manifest_of(read), eval_batch_size=None
    )
    description = describe(read, Choices(batching="reference"))
    graph = VariantGraph(rebuild(description, read.weights), Variant())
    rows = {
        str(json.loads(line)["qid"]): json.loads(line)
        for line in dataset[1].read_text(encoding="utf-8").splitlines()
    }
    lines = []
    for ids, batch in batches(manifest, dataset[1], features=dataset[1].parent, batch_size=5):
        outputs = graph.run(batch)
        for i, qid in enumerate(ids):
            lines.append(
                format_prediction(
                    qid=rows[qid]["qid"],
                    query=rows[qid]["query"],
                    vid=rows[qid]["vid"],
                    duration=rows[qid]["duration"],
                    logits=outputs["pred_logits"][i],
                    spans=outputs["pred_spans"][i],
                    saliency=outputs["saliency_scores"][i],
                    clips=int(batch["src_vid_mask"][i].sum()),
                    round_to=2,
                    clamp_seconds=150.0,
                )
            )
    path = tmp_path / "batched.jsonl"
    write_predictions(path, lines)
    assert try_verify(predictions=path, batch_size=5).batch_size == 5
    # What is verified so is not what an exact file computes, and that is told, not only in the report.
    effect = effects[-1]
    assert (effect.samples, effect.batch_size) == (12, 5)
    assert effect.outputs["saliency_scores"] > 1e-2 and effect.answers_changed
    assert max(effect.gates.values()) <= 1e-4  # a clip's gates do not know what the video is batched with
    told = effect_in_words(effect)
    assert "saliency differs by up to" in told and "the attention gate and the ffn gate do not differ" in told
    assert try_verify(Choices(batching="reference"), predictions=path, batch_size=5).samples == 12
    assert effects[-1] is None
    with pytest.raises(VerificationError):
        try_verify(predictions=path, batch_size=1)


def read_manifest_of(checkpoint):
    """A manifest with the checkpoint's recipe; nothing else of it is read."""
    from tests.runtime.tiny_model import tiny_manifest

    return replace(tiny_manifest(), preprocessing=describe(checkpoint, Choices()).preprocessing)


def test_batch_size_unknown(try_verify) -> None:
    with pytest.raises(VerificationError, match="verify-batch-size"):
        try_verify(batch_size=None)


def test_predictions_for_other_queries(try_verify, tmp_path) -> None:
    lines = SUBMISSION.read_text(encoding="utf-8").splitlines()
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(lines[3:]), encoding="utf-8")
    with pytest.raises(DatasetError, match="no predictions for 3 of the first 12"):
        try_verify(predictions=few)


@pytest.mark.parametrize(
    ("key", "words"), [("pred_relevant_windows", "NMS"), ("pred_saliency_scores", "features")]
)
def test_predictions_of_another_size(try_verify, tmp_path, key, words) -> None:
    lines = [json.loads(line) for line in SUBMISSION.read_text(encoding="utf-8").splitlines()]
    path = tmp_path / "cut.jsonl"
    path.write_text("\n".join(json.dumps(line | {key: line[key][:-1]}) for line in lines), encoding="utf-8")
    with pytest.raises(VerificationError, match="another number") as caught:
        try_verify(predictions=path)
    assert words in (caught.value.fix or "")


def test_predictions_that_are_not_there(try_verify, tmp_path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        try_verify(predictions=tmp_path / "absent.jsonl")


def test_verify_needs_its_data() -> None:
    from argparse import ArgumentParser

    from gatescope.export.commands.export import command, verification_from

    parser = ArgumentParser()
    command.configure(parser)
    for arguments in (["--verify", "p.jsonl"], ["--verify-batch-size", "3"]):
        with pytest.raises(UsageError):
            verification_from(parser.parse_args(["--checkpoint", "m.pth", *arguments]))


def test_what_differs_is_said_also_where_it_is_neither_saliency_nor_a_gate() -> None:
    outputs = {"pred_logits": 3e-4, "pred_spans": 0.0, "saliency_scores": 2e-5}
    effect = BatchingEffect(1, 100, outputs, {"attention": 5e-5, "ffn": 1e-6}, 0)
    assert effect_in_words(effect) == (
        "on this sample pred_logits differs by up to 0.0003, saliency, the attention gate and the ffn gate "
        "do not differ; the best window is another one for 0 of them"
    )


def test_a_request_is_built_from_folders_or_from_sources() -> None:
    """0.1.0 had the folders as fields, in this order."""
    whole = VerifyRequest(Path("p"), Path("a"), Path("f"), (Path("v"),), Path("s"), Path("t"), 4)
    sources = FeatureSources(Path("f"), (Path("v"),), Path("s"), Path("t"))
    assert whole.sources == sources and whole.batch_size == 4
    assert VerifyRequest(Path("p"), Path("a"), features=Path("f")).sources == FeatureSources(Path("f"))
    assert VerifyRequest(Path("p"), Path("a"), sources=sources, batch_size=4) == whole
    assert VerifyRequest(Path("p"), Path("a"), sources, batch_size=4) == whole
    assert replace(whole, batch_size=2).sources == sources
