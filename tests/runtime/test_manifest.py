"""Contract 1: what a manifest of format 2 says, and what one of format 1 is taken to mean."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gatescope.runtime.gates.manifest import Forward, Manifest, Training
from gatescope.runtime.gates.shape import role_of
from tests.runtime.tiny_model import tiny_manifest

NEW_IN_2 = ("acts_as", "activation", "source", "role", "round_to", "clamp_seconds", "forward", "training")


def as_format_1(manifest: Manifest) -> str:
    """The document as the first exporter wrote it: no field of format 2 anywhere."""

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without(one) for key, one in value.items() if key not in NEW_IN_2}
        return [without(one) for one in value] if isinstance(value, list) else value

    written = json.loads(manifest.to_json())
    facts = written["facts"]  # a fact has a source in format 1 too
    return json.dumps({**without(written), "facts": facts, "format_version": 1})


def test_format_2_is_written_and_read_back() -> None:
    made = replace(
        tiny_manifest(),
        forward=Forward("code", branch="lab.build:make", adapted=("x.cuda() stays on its input's device",)),
        training=Training(seed=2018, epoch=19, exp_id="one", dset_name="hl", opt={"lr": "0.0001"}),
    )
    gates = tuple(replace(gate, acts_as="1+g", activation="tanh", source="family") for gate in made.gates)
    made = replace(made, gates=gates)
    assert json.loads(made.to_json())["format_version"] == 2
    assert Manifest.from_json(made.to_json()) == made


def test_a_manifest_of_format_1_keeps_its_number_and_its_meaning() -> None:
    made = tiny_manifest(clip_length=4.0)
    text = as_format_1(made)
    assert not any(f'"{name}"' in text for name in NEW_IN_2 if name != "source")
    read = Manifest.from_json(text)
    assert read.format_version == 1
    assert (read.preprocessing.round_to, read.preprocessing.clamp_seconds) == (4.0, 150.0)
    assert {gate.acts_as for gate in read.gates} == {"g"}
    assert (read.forward, read.training) == (None, None)


@pytest.mark.parametrize("family", ["sigmoid", "avigate_custom"])
@pytest.mark.parametrize("contribution", [True, False])
def test_what_format_1_leaves_open_is_said(family: str, contribution: bool) -> None:
    """Only the sigmoid family has FiLM; whether this file has it, format 1 could not say."""
    made = replace(tiny_manifest(contribution=contribution), family=family)
    assert made.doubts == () == made.doubtful_kinds
    old = Manifest.from_json(as_format_1(made))
    assert old.doubtful_kinds == (("ffn",) if family == "sigmoid" else ())
    assert len(old.doubts) == len(old.doubtful_kinds)
    for doubt in old.doubts:
        assert "1 + g" in doubt
        assert ("cannot be compared with those of newer files" in doubt) is contribution


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("src_vid", "video"),
        ("src_aud", "audio"),
        ("src_txt", "text"),
        ("src_vid_mask", "mask:src_vid"),
        ("src_txt_mask", "mask:src_txt"),
        ("attention_scale", "other"),
        ("some_mask", "other"),
    ],
)
def test_the_role_of_an_input(name: str, role: str) -> None:
    assert role_of(name) == role
