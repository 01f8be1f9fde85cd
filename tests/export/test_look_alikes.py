"""Families whose parameters are all alike: which one it is, and that each computes what its code computes."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from gatescope.export import Checkpoint, Choices, Variant, export_checkpoint, load_checkpoint
from gatescope.export.families.family import FAMILIES
from gatescope.export.graph.variant import VariantGraph
from gatescope.export.inspect import inspect_checkpoint
from gatescope.export.optimize import choose_rewrites, optimize
from gatescope.export.proof.causes import rebuilding_causes
from gatescope.export.reading.code import KnownCode
from gatescope.export.reading.facts import describe
from gatescope.export.reading.family import ENCODER
from gatescope.export.reading.known_branches import known_branches
from gatescope.export.reading.rebuild import rebuild
from gatescope.runtime import open_run, read_manifest
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import UnknownFactError, WeightsMismatchError
from tests.export import small
from tests.golden.case import load_case, valid
from tests.golden.rounding import allowed

ALIKE = ("avigate_custom", "text_first", "t2v_ffn")


@pytest.mark.slow
@pytest.mark.parametrize("rewrites", ["none", "all"])
@pytest.mark.parametrize("batching", ["exact", "reference"])
@pytest.mark.parametrize("name", ["text_first", "text_first_global", "t2v_ffn"])
def test_the_model_gives_the_references_numbers(name, batching, rewrites, checkpoint) -> None:
    case = load_case(name)
    read = load_checkpoint(checkpoint(name))
    model = rebuild(describe(read, Choices(family=case.family, batching=batching)), read.weights)
    outputs = VariantGraph(optimize(model, choose_rewrites(rewrites))[0], Variant()).run(case.inputs())
    expected = case.expected
    for output, values in outputs.items():
        for i, clips in enumerate(case.clips):
            want = expected[output][i] if batching == "reference" else expected[f"solo{i}_{output}"][0]
            got, want = valid(output, values[i], clips), valid(output, want, clips)
            np.testing.assert_allclose(got, want, atol=allowed(output), rtol=0, err_msg=f"{output}[{i}]")


@pytest.mark.slow
def test_what_lies_in_the_padding_is_not_looked_at_in_exact_batching(checkpoint) -> None:
    case = load_case("text_first_global")
    read = load_checkpoint(checkpoint(case.name))
    graph = VariantGraph(rebuild(describe(read, Choices(family="text_first")), read.weights), Variant())
    given = case.inputs()
    filled = {name: values.copy() for name, values in given.items()}
    for name in ("src_txt", "src_vid", "src_aud"):
        filled[name][given[f"{name}_mask"] == 0] = 7
    before, after = graph.run(given), graph.run(filled)
    for output in before:
        for i, clips in enumerate(case.clips):
            pair = (valid(output, outputs[output][i], clips) for outputs in (before, after))
            np.testing.assert_allclose(*pair, atol=allowed(output), rtol=0, err_msg=output)


def read_small(path: Path, *, trained: frozenset[str] | None = None) -> Checkpoint:
    """A small checkpoint whose optimizer has a state for each parameter in ``trained``, or none at all."""
    state = small.weights()
    names = list(state)
    states = {
        i: {"exp_avg": torch.zeros_like(state[name])}
        for i, name in enumerate(names)
        if trained is not None and name in trained
    }
    optimizer = {"state": states, "param_groups": [{"params": list(range(len(names)))}]}
    options = argparse.Namespace(**small.OPTIONS)
    torch.save({"model": state, "optimizer": optimizer, "opt": options, "epoch": 1}, path)
    return load_checkpoint(path)


def without_encoder() -> frozenset[str]:
    return frozenset(name for name in small.weights() if not name.startswith(ENCODER))


def test_families_that_are_alike_know_each_other() -> None:
    assert tuple(one.name for one in FAMILIES["t2v_ffn"].look_alikes) == ALIKE
    assert FAMILIES["ssm"].look_alikes == (FAMILIES["ssm"],)


def test_nothing_says_it(tmp_path) -> None:
    found = describe(read_small(tmp_path / "m.ckpt"), Choices())
    assert (found.family, found.facts["family"].source) == ("avigate_custom", "default")


def test_the_optimizer_says_that_the_encoder_was_trained(tmp_path) -> None:
    found = describe(read_small(tmp_path / "m.ckpt", trained=frozenset(small.weights())), Choices())
    assert (found.family, found.facts["family"].source) == ("avigate_custom", "optimizer")


def test_an_encoder_that_was_never_trained_is_not_used(tmp_path) -> None:
    read = read_small(tmp_path / "m.ckpt", trained=without_encoder())
    with pytest.raises(UnknownFactError, match="skips the encoder") as caught:
        describe(read, Choices())
    assert caught.value.facts == ("family",)
    assert "--family text_first or --family t2v_ffn" in str(caught.value)
    assert describe(read, Choices(family="t2v_ffn")).facts["family"].source == "flag"
    told = inspect_checkpoint(tmp_path / "m.ckpt")
    assert told.details["family"] is None
    assert {"fact": "family", "flag": "--family NAME"} in told.details["unknown"]
    assert "a model that does not use its encoder" in told.summary


@pytest.mark.parametrize("family", ALIKE)
def test_the_code_that_trained_it_says_it(tmp_path, family, monkeypatch) -> None:
    branch = next(one for one in known_branches() if one.computes.get("avigate_custom") == family)
    monkeypatch.setattr("gatescope.export.reading.checkpoint.code_of", lambda path: KnownCode(path, branch))
    found = describe(read_small(tmp_path / "m.ckpt", trained=without_encoder()), Choices())
    assert (found.family, found.facts["family"].source) == (family, "code")


def test_a_family_of_other_parameters_is_refused(tmp_path) -> None:
    read = read_small(tmp_path / "m.ckpt")
    with pytest.raises(WeightsMismatchError, match="--family ssm contradicts the weights") as caught:
        describe(read, Choices(family="ssm"))
    assert "--family text_first" in str(caught.value)


def test_verification_tries_the_others_that_the_optimizer_allows(tmp_path) -> None:
    read = read_small(tmp_path / "m.ckpt")
    for family in ALIKE:
        flags = [cause.flag for cause in rebuilding_causes(read, Choices(family=family))]
        tried = [flag for flag in flags if flag.startswith("--family")]
        assert tried == [f"--family {one}" for one in ALIKE if one != family]
    read = read_small(tmp_path / "m.ckpt", trained=without_encoder())
    causes = rebuilding_causes(read, Choices(family="t2v_ffn"))
    assert [cause.flag for cause in causes if "--family" in cause.options] == ["--family text_first"]


def test_inspect_says_that_the_weights_do_not_show_it(tmp_path) -> None:
    told = inspect_checkpoint(small.save(tmp_path / "m.ckpt")).details
    (open_fact,) = (one for one in told["ambiguous"] if one["fact"] == "family")
    assert open_fact["why"].endswith("avigate_custom, text_first, t2v_ffn")
    assert open_fact["decided_by"] == "default"


def test_gates_behind_the_words_need_the_query(tmp_path) -> None:
    read = load_checkpoint(small.save(tmp_path / "m.ckpt"))
    for family in ("text_first", "t2v_ffn"):
        model = rebuild(describe(read, Choices(family=family)), read.weights)
        for variant in ("tracked", "gates", "summary"):
            graph = VariantGraph(model, Variant(variant))
            assert ("src_txt" in graph.input_axes) is (family == "text_first" or variant != "gates")
            assert ("pred_spans" in graph.output_axes) is (variant != "gates")


@pytest.mark.slow
def test_a_run_up_to_the_gates_has_gates_of_its_own_for_every_query(
    tmp_path, checkpoint, dataset, capsys
) -> None:
    case, annotations = dataset
    model, run = tmp_path / "m.ts", tmp_path / "run"
    export_checkpoint(
        checkpoint("text_first_global"), model, Choices(family="text_first"), variant=Variant("gates")
    )
    manifest = read_manifest(model)
    assert manifest.depends_on_text and manifest.family == "text_first"
    options = ["--annotations", str(annotations), "--features", str(annotations.parent), "--output", str(run)]
    assert main(["run", str(model), *options]) == 0
    capsys.readouterr()
    opened = open_run(run)
    qids = [str(row["qid"]) for row in case.spec["queries"]]
    assert set(opened.samples.collect()["sample_id"]) == set(qids)
    by_video: dict[str, list[np.ndarray]] = {}
    for row in case.spec["queries"]:
        by_video.setdefault(row["vid"], []).append(opened.tensor(str(row["qid"]), "attention"))
    shared = [tensors for tensors in by_video.values() if len(tensors) > 1]
    assert shared and all(np.abs(tensors[0] - tensors[1]).max() > 1e-4 for tensors in shared)
