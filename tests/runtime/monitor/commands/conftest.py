"""What every test of a command needs: the command, and one baseline for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from .world import Commands, write_baseline


@pytest.fixture
def monitor(capsys: pytest.CaptureFixture[str]) -> Commands:
    """``gatescope monitor``."""
    return Commands(capsys)


@pytest.fixture(scope="session")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline file of 300 videos."""
    return write_baseline(tmp_path_factory.mktemp("baseline") / "baseline.json")
