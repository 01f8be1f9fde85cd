"""Signatures as text and numbers and back, what they call visible, and damage that is told."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np
import pytest

from gatescope.runtime.monitor.diagnosis.signatures import Signature, Signatures

FEATURES = 5


def signature(label: str, variant: str = "one", **changes: Any) -> Signature:
    rng = np.random.default_rng(len(label) + len(variant))
    fields = {"shift": rng.normal(0, 1, FEATURES), "spread": rng.normal(0, 1, (FEATURES, FEATURES))}
    return Signature(label, variant, **{**fields, "power": 7.25, **changes})


def made() -> Signatures:
    faults = (signature("a", beyond=0.5, like=("b", "c")), signature("b"))
    return Signatures(200, np.eye(FEATURES) / 3, faults)


def test_what_is_written_comes_back_in_single_precision() -> None:
    own = made()
    back = Signatures.from_plain(json.loads(json.dumps(own.to_plain(), allow_nan=False)))
    assert back.videos == 200 and back.spread.dtype == np.float64
    assert np.array_equal(back.spread, own.spread.astype(np.float32))
    for one, other in zip(back.faults, own.faults, strict=True):
        assert (one.label, one.variant, one.power, one.beyond, one.like) == (
            other.label,
            other.variant,
            other.power,
            other.beyond,
            other.like,
        )
        assert np.array_equal(one.shift, other.shift.astype(np.float32))
        assert np.array_equal(one.spread, other.spread.astype(np.float32))
    assert back.to_plain() == own.to_plain()


def test_without_a_fault_there_is_still_the_spread() -> None:
    back = Signatures.from_plain(Signatures(2, np.eye(FEATURES), ()).to_plain())
    assert back.faults == () and back.invisible == () and back.spread.shape == (FEATURES, FEATURES)


@pytest.mark.parametrize(("beyond", "visible"), [(0.0, False), (0.89, False), (0.9, True), (1.0, True)])
def test_a_fault_is_visible_where_nine_windows_of_ten_are_beyond_a_threshold(
    beyond: float, visible: bool
) -> None:
    assert signature("a", beyond=beyond).visible is visible


def test_a_label_is_invisible_where_none_of_its_variants_is_seen() -> None:
    faults = (
        signature("seen", beyond=1.0),
        signature("never", beyond=0.1),
        signature("sometimes", "weak", beyond=0.2),
        signature("sometimes", "strong", beyond=0.95),
        signature("never", "other", beyond=0.3),
    )
    assert Signatures(9, np.eye(FEATURES), faults).invisible == ("never",)


def packed(numbers: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(numbers.astype("<f4").tobytes())).decode()


@pytest.mark.parametrize(
    "change",
    [
        {"videos": None},
        {"videos": "many"},
        {"features": "five"},
        {"features": FEATURES + 1},
        {"features": -1},
        {"spread": None},
        {"spread": "no base 64!"},
        {"spread": "nön-ascii"},
        {"spread": base64.b64encode(b"not compressed").decode()},
        {"spread": packed(np.zeros(FEATURES))},
        {"spread": base64.b64encode(zlib.compress(b"odd")).decode()},
        {"faults": None},
        {"faults": 3},
        {"faults": [3]},
        {"faults": [{}]},
    ],
    ids=str,
)
def test_damaged_signatures_raise_what_the_reader_of_a_baseline_catches(change: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError, TypeError, zlib.error)):
        Signatures.from_plain({**made().to_plain(), **change})


@pytest.mark.parametrize("key", ["label", "variant", "power", "beyond", "like", "shift", "spread"])
def test_a_fault_that_lacks_something_is_damage(key: str) -> None:
    plain = made().to_plain()
    del plain["faults"][0][key]
    with pytest.raises(KeyError, match=key):
        Signatures.from_plain(plain)


@pytest.mark.parametrize("at", [0, 10, -10])
def test_a_letter_that_changed_in_an_array_is_damage(at: int) -> None:
    plain = made().to_plain()
    text = plain["faults"][0]["spread"]
    place = at % len(text)
    other = "A" if text[place] != "A" else "B"
    plain["faults"][0]["spread"] = text[:place] + other + text[place + 1 :]
    with pytest.raises((ValueError, zlib.error)):
        Signatures.from_plain(plain)
