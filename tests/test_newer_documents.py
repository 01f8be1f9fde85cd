"""Every versioned document of ours: one from a newer gatescope is called so, whatever else is in it; one that
cannot be read is called damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatescope.analysis.causes.ablation.plan import PLAN_FILE, earlier_plan
from gatescope.runtime.errors import GatescopeError
from gatescope.runtime.gates.manifest import Manifest
from gatescope.runtime.monitor.baseline.stored import load_baseline
from gatescope.runtime.monitor.log.folder import open_folder
from gatescope.runtime.runs.member import MEMBER_FILE, read_member
from gatescope.runtime.runs.reader import open_run


def manifest(folder: Path, text: str) -> Any:
    return Manifest.from_json(text, origin=str(folder))


def run(folder: Path, text: str) -> Any:
    (folder / "run.json").write_text(text, encoding="utf-8")
    return open_run(folder)


def log(folder: Path, text: str) -> Any:
    (folder / "log.json").write_text(text, encoding="utf-8")
    return open_folder(folder)


def baseline(folder: Path, text: str) -> Any:
    (folder / "b.json").write_text(text, encoding="utf-8")
    return load_baseline(folder / "b.json")


def plan(folder: Path, text: str) -> Any:
    from contextlib import ExitStack

    (folder / PLAN_FILE).write_text(text, encoding="utf-8")
    with ExitStack() as stack:
        return earlier_plan(folder, stack, resume=True)


def member(folder: Path, text: str) -> Any:
    (folder / MEMBER_FILE).write_text(text, encoding="utf-8")
    return read_member(folder)


READERS = [manifest, run, log, baseline, plan, member]
MARKS = {log: '"format": "gatescope gate log", ', baseline: '"format": "gatescope baseline", '}


@pytest.mark.parametrize("read", READERS)
def test_a_newer_document_is_called_newer(tmp_path: Path, read: Callable[[Path, str], Any]) -> None:
    text = f'{{{MARKS.get(read, "")}"format_version": 99, "all else": {{"is": ["new"]}}}}'
    with pytest.raises(GatescopeError) as caught:
        read(tmp_path, text)
    assert "newer" in caught.value.problem and "99" in str(caught.value.received)
    assert str(caught.value.fix).startswith("update gatescope")


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "text", ["{", "\xff", '{"format_version": 1, ', "[" * 40, "[]", '{"format_version": "1"}']
)
def test_a_damaged_document_is_not_called_newer(
    tmp_path: Path, read: Callable[[Path, str], Any], text: str
) -> None:
    with pytest.raises(GatescopeError) as caught:
        read(tmp_path, text)
    assert "newer" not in str(caught.value)
    assert "is damaged" in caught.value.problem or "is not a" in caught.value.problem


def test_every_kind_of_document_is_tried_here_and_read_by_the_one_reader() -> None:
    sources = [
        (path, path.read_text(encoding="utf-8"))
        for room in ("runtime", "export", "analysis")
        for path in (Path(__file__).parents[1] / room).rglob("*.py")
    ]
    assert sum(text.count("= DocumentFormat(") for _, text in sources) == len(READERS)
    assert [path.name for path, text in sources if "by a newer gatescope" in text] == ["documents.py"]
