"""The examples work: every cell of the notebook runs, and the service answers and is watched."""

from __future__ import annotations

import ast
import io
import json
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from gatescope.runtime.monitor import read_log

from .compat.test_0_1_0 import FROZEN
from .runtime.tiny_model import tiny_batch, tiny_model

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOK: dict[str, Any] = json.loads((EXAMPLES / "gates.ipynb").read_text(encoding="utf-8"))


def test_the_notebook_holds_no_outputs() -> None:
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    cells = NOTEBOOK["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_every_cell_of_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a kernel does it: one namespace, and the value of a cell's last expression is shown."""
    shutil.copytree(FROZEN / "runs" / "clipwise", tmp_path / "demo" / "run")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    shown: list[Any] = []
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop()
        assert isinstance(last, ast.Expr)
        exec(compile(tree, cell["id"], "exec"), namespace)
        shown.append(eval(compile(ast.Expression(last.value), cell["id"], "eval"), namespace))
    assert all(value is not None for value in shown)
    assert any(isinstance(value, Figure) for value in shown)
    assert shown[0].height == 5 and shown[1].height == 4


@pytest.fixture
def service(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The service of a tiny model, on ports that are free."""
    tiny_model(tmp_path / "m.onnx")
    words = [str(tmp_path / "m.onnx"), "--log", str(tmp_path / "log"), "--port", "0", "--metrics-port", "0"]
    command = [sys.executable, str(EXAMPLES / "service.py"), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_the_service_answers_and_is_watched(service: subprocess.Popen[str], tmp_path: Path) -> None:
    assert service.stdout is not None
    own, metrics = service.stdout.readline().split()
    manifest = tiny_model(tmp_path / "again.onnx")
    stream = io.BytesIO()
    np.savez(stream, **tiny_batch(manifest, clips=(5,), words=(4,)))
    request = urllib.request.Request(own, stream.getvalue(), {"X-Video": "video-1"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        predictions = json.load(answer)
    assert np.shape(predictions["pred_spans"])[0] == 1
    for body in (b"no archive", b""):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(own, body), timeout=60)
        assert caught.value.code in (400, 413)
        assert json.load(caught.value)["error"]
    with urllib.request.urlopen(metrics, timeout=60) as answer:
        assert "gatescope_" in answer.read().decode()
    service.send_signal(signal.SIGTERM)
    _, told = service.communicate(timeout=60)
    assert service.returncode == 0 and "Traceback" not in told
    assert [one.video.sample_id for one in read_log(tmp_path / "log")] == ["video-1"]
