"""An older PyTorch than any that works is refused unimported; a newer one than tried is a warning."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gatescope.runtime import GateSession, torch_range
from gatescope.runtime.errors import UnsupportedTorchError
from tests.runtime.tiny_torch import tiny_torch

ROOT = Path(__file__).parent.parent.parent


def installed(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    monkeypatch.setattr(torch_range, "version", lambda package: {"torch": release}[package])


@pytest.mark.parametrize("release", ["1.9.0", "1.13.1+cu117", "2.0", "2.8.0a0+git1f2", "2.8.1.post2"])
def test_older_releases_are_refused_with_what_to_do(monkeypatch, release) -> None:
    installed(monkeypatch, release)
    with pytest.raises(UnsupportedTorchError) as caught:
        torch_range.refuse_old_torch()
    error = caught.value
    assert release in (error.received or "")
    assert "2.9" in (error.expected or "")
    assert "environment of its own" in (error.fix or "")


@pytest.mark.parametrize("release", ["2.9.0", "2.9.1+cpu", "2.10.0", "2.13.0+cu130", "2.15.0", "main"])
def test_others_are_not(monkeypatch, release) -> None:
    installed(monkeypatch, release)
    torch_range.refuse_old_torch()


@pytest.mark.parametrize(
    ("release", "warned"), [("2.9.1", False), ("2.20.9", False), ("2.21.0", True), ("3.0.0a0+git1f2", True)]
)
def test_a_release_newer_than_tried_is_a_warning(monkeypatch, release, warned) -> None:
    installed(monkeypatch, release)
    monkeypatch.setattr(torch_range, "NEWEST_TESTED", (2, 20))
    note = torch_range.untested_torch()
    assert (note is not None) == warned
    assert note is None or release in note


def test_the_oldest_release_is_pyprojects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    oldest = ".".join(map(str, torch_range.OLDEST))
    assert f"torch>={oldest}" in project["project"]["optional-dependencies"]["export"]


COMMANDS = [
    ["export", "--checkpoint", "m.ckpt"],
    ["report", "--checkpoint", "m.ckpt", "--annotations", "a.jsonl", "--features", "f", "--output", "o"],
    ["demo"],
    ["inspect", "m.ckpt"],
]


def test_every_way_in_says_so_before_torch_is_imported(tmp_path) -> None:
    """In a process that finds an old PyTorch, which must not even be imported."""
    (tmp_path / "torch-1.9.0.dist-info").mkdir()
    (tmp_path / "torch-1.9.0.dist-info" / "METADATA").write_text(
        "Name: torch\nVersion: 1.9.0\n", encoding="utf-8"
    )
    (tmp_path / "torch.py").write_text("raise SystemError('imported')\n", encoding="utf-8")
    (tmp_path / "m.ckpt").write_bytes(b"PK\x03\x04")
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from gatescope.runtime.cli.main import main
for arguments in {COMMANDS!r}:
    print(main(arguments))
try:
    import gatescope.export
except Exception as error:
    print(type(error).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1"] * len(COMMANDS) + ["UnsupportedTorchError"]
    assert done.stderr.count("received: torch 1.9.0") == len(COMMANDS)
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.ckpt", "torch-1.9.0.dist-info", "torch.py"]


@pytest.mark.parametrize("kind", ["torchscript", "pt2"])
def test_files_that_torch_runs_are_refused_too(tmp_path, monkeypatch, kind) -> None:
    tiny_torch(tmp_path / "m", kind)
    installed(monkeypatch, "1.9.0")
    with pytest.raises(UnsupportedTorchError):
        GateSession(tmp_path / "m", device="cpu")
