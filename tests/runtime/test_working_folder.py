"""Python that gatescope starts imports nothing of what lies in the folder a service stands in."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import msgspec
import pytest

from gatescope.runtime.profiling.fresh import in_fresh_process

from .monitor.log.logs import logged, segments_of, videos_of, written_log

ROOT = Path(__file__).parents[2]
ROOMS = ("runtime", "export", "analysis")
NAMES = ("polars", "numpy", "json", "msgspec", "onnx", "onnxruntime", "filelock", "gatescope", "pathlib")


def places() -> list[tuple[str, ast.List]]:
    """Every command that begins with this Python."""
    found: list[tuple[str, ast.List]] = []
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.List) and node.elts and ast.unparse(node.elts[0]) == "sys.executable":
                found.append((f"{path.relative_to(ROOT)}:{node.lineno}", node))
    return found


def test_every_command_that_starts_python_leaves_the_working_folder_out() -> None:
    found = places()
    assert len(found) >= 2
    assert [where for where, node in found if ast.unparse(node.elts[1]) != "'-P'"] == []


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with modules that say so when they are imported; where they say it."""
    marks, folder = tmp_path / "marks", tmp_path / "service"
    marks.mkdir()
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"open({str(marks / name)!r}, 'w').close()\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    return marks


def test_the_maintenance_of_a_log_runs_nothing_from_there(planted: Path, tmp_path: Path) -> None:
    written_log(Path("../log"), videos_of(2), seal=True)
    log = tmp_path / "log"
    until = time.monotonic() + 120
    while segments_of(log) and not list(planted.iterdir()) and time.monotonic() < until:
        time.sleep(0.02)
    assert [path.name for path in planted.iterdir()] == []
    assert not segments_of(log) and len(logged(log)) == 2


def test_a_measurement_in_a_process_of_its_own_runs_nothing_from_there(planted: Path) -> None:
    with pytest.raises(Exception, match=r".") as failed:
        in_fresh_process("start", msgspec.json.decode(b"{}"))
    # It got as far as its request, which is none.
    assert "missing required field" in str(failed.value)
    assert [path.name for path in planted.iterdir()] == []
