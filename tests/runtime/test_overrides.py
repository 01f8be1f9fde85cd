"""Gate overrides: g' = scale · g + offset, in every format, checked, and neutral when left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.runtime.errors import InputError
from gatescope.runtime.session.overrides import override_inputs
from gatescope.runtime.session.session import GateSession, Outputs

from .tiny_model import CHANNELS, FACTOR, Gating, tiny_batch, tiny_manifest, tiny_model
from .tiny_torch import tiny_torch

GATINGS: list[Gating] = ["global", "clipwise", "elementwise"]
LAYERS = 3


def model(folder: Path, format: str, gating: Gating, **options: Any) -> GateSession:
    path = folder / f"{gating}.{format}"
    if format == "onnx":
        tiny_model(path, gating, LAYERS, **options)
    else:
        tiny_torch(path, format, gating, LAYERS, **options)  # type: ignore[arg-type]
    return GateSession(path, device="cpu")


@pytest.fixture(scope="module", params=["onnx", "torchscript", "pt2"])
def sessions(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[Gating, tuple[GateSession, GateSession]]:
    """Per gating, the ordinary model and the overridable one."""
    folder = tmp_path_factory.mktemp("overrides")
    return {
        gating: (
            model(folder, request.param, gating),
            model(folder, request.param, gating, overridable=True),
        )
        for gating in GATINGS
    }


@pytest.mark.parametrize("gating", GATINGS)
def test_left_neutral_outputs_are_exactly_those_of_the_ordinary_file(sessions: Any, gating: Gating) -> None:
    ordinary, session = sessions[gating]
    for clips in ((5, 3), (1,)):
        batch = tiny_batch(ordinary.manifest, clips, clips)
        want = ordinary.run(batch).raw
        for given in (None, {}, {"ffn": {}}, {"attention": {"scale": 1.0, "offset": 0}}):
            for name, array in session.run(batch, overrides=given).raw.items():
                np.testing.assert_array_equal(array, want[name], err_msg=f"{name} {given}")


# By case: the override, from the gates' shape (B, layers, L | 1, C).
CASES: dict[str, Callable[[tuple[int, ...]], tuple[Any, Any]]] = {
    "shut": lambda shape: (0, 0),
    "a constant": lambda shape: (0, 0.25),
    "a scale alone": lambda shape: (-0.5, None),
    "an offset alone": lambda shape: (None, np.float64(0.125)),
    "by layer": lambda shape: (np.arange(LAYERS)[None, :, None, None], np.ones((LAYERS, 1, 1))),
    "by sample": lambda shape: (np.arange(shape[0]).reshape(-1, 1, 1, 1), None),
    "whole": lambda shape: (np.zeros(shape), np.linspace(-1, 1, int(np.prod(shape))).reshape(shape)),
    "as lists": lambda shape: ([[[[2.0]]]], [[[[1]]]]),
}


@pytest.mark.parametrize("gating", GATINGS)
@pytest.mark.parametrize("case", CASES)
def test_a_gate_becomes_scale_times_gate_plus_offset(sessions: Any, gating: Gating, case: str) -> None:
    ordinary, session = sessions[gating]
    batch = tiny_batch(ordinary.manifest, (5, 3, 1), (2, 1, 2))
    before = ordinary.run(batch).gates
    scale, offset = CASES[case](before["attention"].shape)
    asked = {name: value for name, value in (("scale", scale), ("offset", offset)) if value is not None}
    after = session.run(batch, overrides={"attention": asked}).gates
    wide = before["attention"].astype(np.float64)
    want = (1 if scale is None else np.asarray(scale)) * wide + (0 if offset is None else np.asarray(offset))
    np.testing.assert_allclose(after["attention"], want, atol=1e-6)
    np.testing.assert_array_equal(after["ffn"], before["ffn"])


@pytest.mark.parametrize("film", [False, True])
def test_a_gate_is_shut_where_it_multiplies_by_0(sessions: Any, film: bool) -> None:
    """In words: 0 for a gate that acts as g, −1 for one that acts as 1 + g, here in the last layer alone."""
    _, session = sessions["clipwise"]
    gates = tuple(
        replace(gate, acts_as="1+g" if film and gate.layer == LAYERS - 1 else "g")
        for gate in session.manifest.gates
    )
    manifest = replace(session.manifest, gates=gates)
    assert manifest.acts_as("ffn") == ("1+g" if film else "g")
    batch = tiny_batch(manifest)
    shape = {"samples": batch["src_vid"].shape[0], "clips": batch["src_vid"].shape[1]}
    asked = override_inputs(manifest, batch, {"ffn": "shut"}, **shape)
    after = session.run({**batch, **asked}).gates["ffn"]
    assert not after[:, :-1].any()
    assert (after[:, -1] == (-1 if film else 0)).all()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format_version": 1, "family": "sigmoid"}, "an earlier version"),
        ({"gates": ()}, "does not describe them"),
    ],
)
def test_what_shuts_a_gate_is_not_guessed(sessions: Any, changes: dict[str, Any], told: str) -> None:
    _, session = sessions["clipwise"]
    manifest, batch = replace(session.manifest, **changes), tiny_batch(session.manifest)
    with pytest.raises(InputError, match="what shuts the ffn gates") as caught:
        override_inputs(manifest, batch, {"ffn": "shut"}, samples=2, clips=5)
    assert told in str(caught.value)


def test_by_clip_and_by_channel(sessions: Any) -> None:
    ordinary, session = sessions["elementwise"]
    batch = tiny_batch(ordinary.manifest, (5, 3), (2, 1))
    before = ordinary.run(batch).gates["ffn"]
    for scale in (np.arange(5)[:, None], np.arange(CHANNELS), np.arange(5 * CHANNELS).reshape(5, CHANNELS)):
        after = session.run(batch, overrides={"ffn": {"scale": scale}}).gates["ffn"]
        np.testing.assert_allclose(after, scale * before, atol=1e-5)


def test_inputs_may_be_fed_by_their_own_names(sessions: Any) -> None:
    _, session = sessions["clipwise"]
    batch = tiny_batch(session.manifest)
    named = session.run({**batch, "ffn_scale": np.zeros((1, LAYERS, 1, 1)), "ffn_offset": 0.5})
    asked = session.run(batch, overrides={"ffn": {"scale": 0, "offset": 0.5}})
    np.testing.assert_array_equal(named.gates["ffn"], np.full_like(named.gates["ffn"], 0.5))
    for name, array in asked.raw.items():
        np.testing.assert_array_equal(named.raw[name], array)
    with pytest.raises(InputError, match="scale of the ffn gates is given twice"):
        session.run({**batch, "ffn_scale": 1}, overrides={"ffn": {"scale": 0}})


def test_another_videos_gates_can_be_put_in(sessions: Any) -> None:
    _, session = sessions["clipwise"]
    batch = tiny_batch(session.manifest, (4, 4), (1, 1))
    swapped = session.run(batch).gates["attention"][::-1]
    outputs: Outputs = session.run(batch, overrides={"attention": {"scale": 0, "offset": swapped}})
    np.testing.assert_array_equal(outputs.gates["attention"], swapped)


BAD: dict[str, tuple[Any, list[str]]] = {
    "an unknown kind": ({"ffm": {"scale": 0}}, ["no overrides of ffm", "attention, ffn"]),
    "an unknown word": ({"ffn": {"shift": 0}}, ["overrides of ffn", "shift", "scale, offset"]),
    "no dict": ({"ffn": 0}, ["overrides of ffn", "a dict"]),
    "another word": ({"ffn": "open"}, ["overrides of ffn", "'open'", "'shut'"]),
    "NaN": ({"ffn": {"scale": np.nan}}, ["scale of the ffn gates holds NaN or Inf"]),
    "too large": ({"ffn": {"offset": 1e300}}, ["offset of the ffn gates holds NaN or Inf"]),
    "text": ({"ffn": {"offset": "0"}}, ["real numbers"]),
    "another batch": ({"ffn": {"scale": np.ones((5, 1, 1, 1))}}, ["(5, 1, 1, 1)", "(2, 3, 5, 1)"]),
    "another length": ({"ffn": {"scale": np.ones((4, 1))}}, ["(4, 1)", "does not fit"]),
    "channels of a gate without": ({"ffn": {"scale": np.ones(4)}}, ["(4,)", "does not fit"]),
    "layers on the wrong axis": ({"ffn": {"scale": np.ones(3)}}, ["array[:, None, None]"]),
    "five axes": ({"ffn": {"scale": np.ones((1, 1, 1, 1, 1))}}, ["(1, 1, 1, 1, 1)"]),
    "nothing in it": ({"ffn": {"scale": np.ones((0, 1))}}, ["(0, 1)"]),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused(sessions: Any, case: str) -> None:
    _, session = sessions["clipwise"]
    batch = tiny_batch(session.manifest, (5, 3), (2, 1))
    overrides, parts = BAD[case]
    with pytest.raises(InputError) as caught:
        session.run(batch, overrides=overrides)
    for part in parts:
        assert part in str(caught.value)


def test_clips_of_a_global_gate_are_refused(sessions: Any) -> None:
    _, session = sessions["global"]
    batch = tiny_batch(session.manifest, (5, 3), (2, 1))
    with pytest.raises(InputError, match="does not fit"):
        session.run(batch, overrides={"ffn": {"scale": np.ones((5, 1))}})


def test_a_model_without_overrides_says_how_to_get_one(sessions: Any) -> None:
    ordinary, _ = sessions["clipwise"]
    batch = tiny_batch(ordinary.manifest)
    with pytest.raises(InputError, match="without gate overrides") as caught:
        ordinary.run(batch, overrides={"attention": {"scale": 0}})
    assert "--overridable" in str(caught.value)
    with pytest.raises(InputError, match="no input ffn_scale"):
        ordinary.run({**batch, "ffn_scale": 1.0})


@pytest.mark.parametrize("gating", GATINGS)
def test_graphs_without_gate_outputs_take_overrides_too(tmp_path: Path, gating: Gating) -> None:
    session = model(tmp_path, "onnx", gating, overridable=True, outputs_kind="plain")
    batch = tiny_batch(session.manifest)
    shape = {"global": (1, 1), "clipwise": (5, 1), "elementwise": (5, CHANNELS)}[gating]
    for kind in FACTOR:
        session.run(batch, overrides={kind: {"scale": np.ones((2, LAYERS, *shape))}})
        with pytest.raises(InputError):
            session.run(batch, overrides={kind: {"scale": np.ones((2, LAYERS, 2, 2))}})


def test_overrides_that_are_not_a_dict_are_answered_with_one() -> None:
    manifest = tiny_manifest(overridable=True)
    with pytest.raises(InputError, match=r'"attention": "shut"'):
        override_inputs(manifest, {}, "shut", samples=1, clips=2)  # type: ignore[arg-type]
