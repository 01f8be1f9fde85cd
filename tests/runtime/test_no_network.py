"""Running a model sends nothing anywhere: ONNX Runtime is told not to, before it is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .tiny_case import TinyCase

PROGRAM = """
import os, sys
from gatescope.runtime import GateSession
with GateSession(sys.argv[1], device="cpu"):
    pass
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


@pytest.mark.parametrize("said", [None, "0"], ids=["nothing said", "the user allows it"])
def test_onnx_runtime_is_told_to_be_silent_unless_the_user_said_something(said, tmp_path: Path) -> None:
    case = TinyCase(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    # With CI set ONNX Runtime is silent by itself.
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "XDG_CACHE_HOME")}
    environment |= {"HOME": str(home)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    if said is not None:
        environment["ORT_DISABLE_TELEMETRY"] = said
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(case.model)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert done.stdout.strip() == (said or "1")
    if said is None:
        assert not (home / ".cache").exists()
