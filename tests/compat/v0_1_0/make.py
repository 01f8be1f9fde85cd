"""Made the files in this folder, with the code of commit c6af9666db3a4beec2ae41c2b3f81f3b048cae32 (0.1.0).

From a checkout of that commit, in which the package is installed:

    PYTHONPATH=. python path/to/this/make.py /compat-0.1.0

It imports that commit's modules, which later ones moved: it is not kept up to date, and need not run again.
The folder is the one whose name stands in the files; a test that resumes puts its own in its place.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from gatescope.analysis.ablation.ablate import ablate
from gatescope.runtime import GateSession, open_run
from gatescope.runtime.manifest import Manifest
from gatescope.runtime.monitor import LogSettings, Monitor, MonitoredSession, MonitorSettings
from gatescope.runtime.monitor.baseline.baseline import make_baseline
from gatescope.runtime.monitor.baseline.sources import model_of_run, videos_of_run
from gatescope.runtime.monitor.baseline.stored import save_baseline
from gatescope.runtime.monitor.log.folder import open_folder
from gatescope.runtime.monitor.log.sealing import seal_finished
from gatescope.runtime.pipeline import run_model
from gatescope.runtime.runs import writer
from tests.analysis import heard as heard_module
from tests.analysis.heard import heard_dataset, heard_model
from tests.runtime import tiny_model as tiny_model_module
from tests.runtime import tiny_torch as tiny_torch_module
from tests.runtime.tiny_dataset import tiny_dataset
from tests.runtime.tiny_model import tiny_batch, tiny_model
from tests.runtime.tiny_model import tiny_manifest as plain_manifest
from tests.runtime.tiny_torch import tiny_torch


class Stopped(BaseException):
    """Stands for a kill: nothing in the code catches it."""


def tiny_manifest_as_exported(*words: object, **options: object) -> Manifest:
    """That of the tests at this commit says "fp32" for what exporters called "float32"."""
    return replace(plain_manifest(*words, **options), precision="float32")


def models_and_runs(folder: Path) -> None:
    """One model per gating and kind of outputs, one dataset, and a run of each."""
    clipwise = tiny_model(folder / "clipwise.onnx", "clipwise", overridable=True, contribution=True)
    tiny_model(folder / "global.onnx", "global")
    tiny_model(folder / "elementwise.onnx", "elementwise")
    tiny_model(folder / "summary.onnx", "clipwise", outputs_kind="summary")
    tiny_model(folder / "gates.onnx", "clipwise", outputs_kind="gates")
    tiny_torch(folder / "clipwise.ts", "torchscript")
    (folder / "manifest.json").write_text(clipwise.to_json() + "\n", encoding="utf-8")
    data = tiny_dataset(folder / "data", clipwise)
    writer._MOST_SAMPLES_PER_PART = 2
    expected = {}
    for name in ("clipwise", "global", "elementwise", "summary", "gates"):
        output = folder / "runs" / name
        most = 2 if name in ("summary", "elementwise", "global") else None
        options = {"device": "cpu", "batch_size": 2, "max_samples": most}
        run_model(folder / f"{name}.onnx", data.annotations, data.root, output, **options)
        run = open_run(output)
        if name != "summary":
            first = run.samples.collect()["sample_id"][0]
            expected[name] = {kind: run.tensor(first, kind).tolist() for kind in run.manifest.gate_kinds}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n", encoding="utf-8")


def stopped_run(folder: Path) -> None:
    """A run that was killed after two of its four parts."""
    write_part, written = writer.RunWriter.write_part, []

    def stopping(*args: object, **options: object) -> object:
        if len(written) == 2:
            raise Stopped
        written.append(None)
        return write_part(*args, **options)

    writer.RunWriter.write_part = stopping
    data = folder / "data"
    output = folder / "runs" / "stopped"
    try:
        run_model(folder / "clipwise.onnx", data / "val.jsonl", data, output, device="cpu", batch_size=2)
    except Stopped:
        pass
    finally:
        writer.RunWriter.write_part = write_part


def ablation(folder: Path) -> None:
    """A model that hears, its dataset, and what its gates cause."""
    heard_model(folder / "heard.onnx")
    annotations = heard_dataset(folder / "heard", 3)
    ablate(
        folder / "heard.onnx", annotations, folder / "heard", folder / "ablation", device="cpu", batch_size=4
    )
    # What nothing reads again.
    for name in ("ablation.png", "ABLATION.md"):
        (folder / "ablation" / name).unlink()
    shutil.rmtree(folder / "ablation" / "queries")


def baseline_and_logs(folder: Path) -> None:
    """A baseline of the clipwise run, and two logs of requests to its model: one sealed, one cut off."""
    run = open_run(folder / "runs" / "clipwise")
    save_baseline(
        make_baseline(model_of_run(run), [videos_of_run(run)], windows=(50,), insist=True),
        folder / "baseline.json",
    )
    quiet = LogSettings(seal=False)
    for name in ("gate-log", "gate-log-cut"):
        settings = MonitorSettings(keep_gates=0.5, poll_seconds=0.01, log=quiet)
        monitor = Monitor(folder / name, baseline=folder / "baseline.json", settings=settings)
        with MonitoredSession(GateSession(folder / "clipwise.onnx", device="cpu"), monitor) as session:
            for number in range(10):
                batch = tiny_batch(session.manifest, seed=number)
                session.run(
                    batch, ids=[f"video {number}", f"영상 {number}"], slice="ko" if number % 2 else "en"
                )
                monitor.flush()
        monitor.close()
    seal_finished(open_folder(folder / "gate-log"))
    [segment] = (folder / "gate-log-cut" / "segments").glob("*.gatelog")
    segment.write_bytes(segment.read_bytes()[:-700])


def main() -> None:
    """Make everything in the folder named on the command line."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    for module in (tiny_model_module, tiny_torch_module, heard_module):
        module.tiny_manifest = tiny_manifest_as_exported
    models_and_runs(folder)
    stopped_run(folder)
    ablation(folder)
    baseline_and_logs(folder)
    for path in (*folder.rglob("*.lock"), *folder.rglob(".holder.json")):
        path.unlink()


if __name__ == "__main__":
    main()
