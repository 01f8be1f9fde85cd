"""A family and a gating are asked what they do, never what they are called."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from gatescope.export.families.family import FAMILIES
from gatescope.runtime.gates.gatings import GATINGS, gating_of_form, one_of
from gatescope.runtime.gates.vocabulary import Family, Gating

ROOT = Path(__file__).parents[2]
ROOMS = ("runtime", "export", "analysis")
OWNERS = ("export/families/", "runtime/gates/")
# Only a comparison of these is one with a name: "sigmoid" is also an activation.
SUBJECTS = ("family", "gating")
NAMES = {*get_args(Family), *get_args(Gating)}


def compared(tree: ast.AST) -> Iterator[tuple[int, set[str], set[str]]]:
    """(line, words of the names, texts) of every ``==``, ``!=``, ``in``, ``not in`` and ``match``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            if any(isinstance(op, (ast.Eq, ast.NotEq, ast.In, ast.NotIn)) for op in node.ops):
                yield node.lineno, words(node), texts(node)
        elif isinstance(node, ast.Match):
            patterns = [case.pattern for case in node.cases]
            yield node.lineno, words(node.subject), set().union(*map(texts, patterns))


def words(tree: ast.AST) -> set[str]:
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    names += [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {word for name in names for word in name.lower().split("_")}


def texts(tree: ast.AST) -> set[str]:
    found = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in found if isinstance(value, str)}


def offences(source: str) -> list[int]:
    """Lines that compare a family or a gating, or anything, with a name that only they have."""
    own = NAMES - {"sigmoid", "global"}  # an activation; a statement of Python and a part of words
    return [
        line
        for line, subject, said in compared(ast.parse(source))
        if said & own or (said & NAMES and subject & set(SUBJECTS))
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_is_compared_with_the_name_of_a_family_or_a_gating(room: str) -> None:
    found = [
        f"{place}:{line}"
        for path in sorted((ROOT / room).rglob("*.py"))
        if not (place := str(path.relative_to(ROOT))).startswith(OWNERS)
        for line in offences(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "caught"),
    [
        ('config.family == "sigmoid"', True),
        ('gating not in (None, "global")', True),
        ('kind == "clipwise"', True),
        ('match manifest.gating:\n    case "elementwise":\n        pass', True),
        ('activation == "sigmoid"', False),
        ('GATINGS[gating] == form or name in FAMILIES', False),
        ('gating = "global"', False),
    ],
)  # fmt: skip
def test_what_counts_as_such_a_comparison(source: str, caught: bool) -> None:
    assert bool(offences(source)) is caught


def test_every_name_has_its_record_and_every_gating_a_family() -> None:
    assert tuple(GATINGS) == get_args(Gating)
    assert tuple(FAMILIES) == get_args(Family)
    assert {gating for family in FAMILIES.values() for gating in family.gatings} == set(GATINGS)
    # Without a mark, or with the same one, are those whose parameters are all alike.
    marks = [family.mark for family in FAMILIES.values() if not family.skips_encoder]
    assert marks.count(None) == 1 and len(set(marks)) == len(marks)
    assert {family.mark for family in FAMILIES.values() if family.skips_encoder} == {None}


def test_gates_of_every_form_have_a_name() -> None:
    for per_clip in (True, False):
        for per_channel in (True, False):
            form = GATINGS[gating_of_form(per_clip=per_clip, per_channel=per_channel)]
            assert form.per_clip == per_clip
            assert form.per_channel == per_channel or not any(
                (one.per_clip, one.per_channel) == (per_clip, per_channel) for one in GATINGS.values()
            )
    assert gating_of_form(per_clip=False, per_channel=False) == "global"


def test_names_for_people() -> None:
    assert one_of(["a"]) == "a" and one_of(["a", "b"]) == "a or b" and one_of(["a", "b", "c"]) == "a, b or c"
