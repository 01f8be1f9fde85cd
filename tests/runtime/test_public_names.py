"""The room's public names: what there is, and that looking costs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import gatescope.runtime as room
import gatescope.runtime.monitor as monitoring
from gatescope.runtime.errors import MissingExtraError

from .tiny_model import tiny_model

NAMES = [
    "Dataset",
    "FeatureSources",
    "GateSession",
    "GatescopeError",
    "Manifest",
    "Monitor",
    "MonitoredSession",
    "Outputs",
    "Sample",
    "batches",
    "open_run",
    "prepare",
    "read_manifest",
]


def fresh(code: str) -> str:
    """What ``code`` prints in a new interpreter."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_the_public_names() -> None:
    assert room.__all__ == NAMES
    for name in NAMES:
        assert getattr(room, name) is not None


def test_the_public_names_of_monitoring() -> None:
    names = ["Alarm", "LogSettings", "MetricsServer", "Monitor", "MonitorSettings", "MonitoredSession"]
    assert monitoring.__all__ == [*names, "WatchSettings", "load_baseline", "read_log"]
    assert all(
        getattr(monitoring, name).__module__.startswith(monitoring.__name__) for name in monitoring.__all__
    )
    assert fresh("import sys, gatescope.runtime.monitor; print('numpy' in sys.modules)") == "False"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Gates'"):
        _ = room.Gates


def test_importing_the_room_loads_nothing_heavy() -> None:
    heavy = ["torch", "onnxruntime", "onnx", "polars", "matplotlib", "numpy", "sklearn"]
    code = f"import sys, gatescope.runtime; print(sorted(set({heavy}) & set(sys.modules)))"
    assert fresh(code) == "[]"


def test_a_session_needs_no_torch_and_preparing_no_onnx_runtime() -> None:
    code = (
        "import sys; from gatescope.runtime import prepare, Sample, Manifest; "
        "print('onnxruntime' in sys.modules, 'onnx' in sys.modules); "
        "from gatescope.runtime import GateSession; "
        "print('torch' in sys.modules, 'polars' in sys.modules, 'matplotlib' in sys.modules)"
    )
    assert fresh(code).split() == ["False"] * 5


def test_watching_a_session_loads_nothing_heavy() -> None:
    """A service that watches its gates carries no table library, no model format and no metrics client."""
    heavy = ["torch", "onnxruntime", "onnx", "polars", "matplotlib", "sklearn", "prometheus_client"]
    code = (
        "import sys; from gatescope.runtime import Monitor, MonitoredSession; "
        f"print(sorted(set({heavy}) & set(sys.modules)))"
    )
    assert fresh(code) == "[]"


def test_without_onnx_runtime_the_message_says_which_to_install(tmp_path: Path) -> None:
    tiny_model(tmp_path / "m.onnx")
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "import gatescope.runtime as room\n"
        "from gatescope.runtime.errors import MissingExtraError\n"
        f"try: room.GateSession({str(tmp_path / 'm.onnx')!r})\n"
        "except MissingExtraError as error: print(error)"
    )
    message = fresh(code)
    assert "gatescope[cpu]" in message
    assert "gatescope[gpu]" in message
    assert issubclass(MissingExtraError, room.GatescopeError)
