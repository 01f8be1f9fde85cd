"""The whole demo: make a dataset, a model and its predictions, then do what ``gatescope report`` does.

DIR/
  demo.json     marks the folder as the demo's own, so that the next demo may replace what is in it
  training/     the checkpoint, its options, its predictions
  data/         annotations and features
  model.onnx, run/, ablation/, report/    what ``gatescope report --ablate`` writes, with the queries that ask
                for the sound apart
  full/         of ``--full`` alone: the same weights with global gating, and both runs side by side, every
                sample by itself
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ...runtime import plugins
from ...runtime.cli.main import main
from ...runtime.data.dataset import Dataset, FeatureSources
from ...runtime.errors import GatescopeError, UsageError
from ...runtime.files import local
from ...runtime.running.pipeline import run_model
from ...runtime.runs.lock import lock_run
from ..export import export_checkpoint
from ..families.choices import Choices
from ..proof.verify import VerifyRequest
from ..report import ABLATION, MODEL, REPORT, RUN, ReportResult, report_checkpoint
from .dataset import ANNOTATIONS, AUDIO_QUERIES, FEATURES, write_dataset
from .findings import gate_findings
from .plan import DEMO_SEED, DEMO_VIDEOS, DemoPlan, make_plan
from .training import CHECKPOINT, SUBMISSION, write_training

MARK, TRAINING, DATA, FULL = "demo.json", "training", "data", "full"
# The queries that ask for the sound.
SUBSET = "sound"


@dataclass(frozen=True)
class DemoResult:
    """What was made, what the gates turned out to do, and the commands that do it all.

    - ``findings``: see :func:`~gatescope.export.demo.findings.gate_findings`. ``ablation``: the report of the
      ablation and every other file of it. ``comparison``: of a full demo, the folder with both gatings side
      by side, else None.
    - ``commands``: ``gatescope report`` first, then the four steps it consists of.
    """

    output: Path
    plan: DemoPlan
    report: ReportResult
    findings: pl.DataFrame
    ablation: tuple[Path, ...]
    commands: tuple[str, ...]
    comparison: Path | None = None


def make_demo(
    output: str | Path,
    *,
    videos: int = DEMO_VIDEOS,
    seed: int = DEMO_SEED,
    full: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> DemoResult:
    """Write the demo into the folder ``output``, in place of one that an earlier demo wrote there.

    ``full``: also run the same weights with global gating, and analyse both side by side with every sample by
    itself. ``tell`` is called with a line for each step. Raises
    :class:`~gatescope.runtime.errors.UsageError` for a folder that is neither empty nor the demo's own, and
    whatever :func:`~gatescope.export.report.report_checkpoint` raises.
    """
    folder = local(output)
    # Better now than after everything was made.
    for name in ("analyze", "ablate"):
        plugins.load(plugins.PLUGINS, name)
    _claim(folder)
    plan = make_plan(videos, seed)
    tell(f"making a dataset of {len(plan.videos)} videos and {len(plan.queries)} queries")
    write_dataset(plan, folder / DATA)
    tell("making a trained model, and its predictions with PyTorch")
    write_training(plan, folder / TRAINING)
    checkpoint = folder / TRAINING / CHECKPOINT
    dataset = Dataset(folder / DATA / ANNOTATIONS, FeatureSources(folder / DATA / FEATURES))
    report = report_checkpoint(
        checkpoint,
        dataset,
        folder,
        verification=VerifyRequest(
            folder / TRAINING / SUBMISSION, dataset.annotations, sources=dataset.sources
        ),
        subsets=[f"{SUBSET}={folder / DATA / AUDIO_QUERIES}"],
        ablate=True,
        others=[path.name for path in folder.iterdir()],
        tell=tell,
    )
    findings = gate_findings(plan, folder / RUN, report.statistics)
    comparison = _compare_gatings(folder, tell) if full else None
    return DemoResult(folder, plan, report, findings, report.ablation, _commands(folder), comparison)


def _compare_gatings(folder: Path, tell: Callable[[str], None]) -> Path:
    """Export and run the demo's weights with global gating, and set both runs side by side."""
    annotations, features = folder / DATA / ANNOTATIONS, folder / DATA / FEATURES
    model, run, comparison = (folder / FULL / name for name in ("global.onnx", "run_global", "comparison"))
    tell("exporting the same weights with global gating, which training did not use")
    export_checkpoint(folder / TRAINING / CHECKPOINT, model, Choices(gating="global"), tell=tell)
    tell("running it")
    run_model(model, annotations, features, run)
    tell("analysing both runs side by side, every sample by itself")
    words = ["analyze", folder / RUN, run, "--annotations", annotations, "--output", comparison]
    # Asked for by its command: its result is files alone, and the analysis is another room.
    with redirect_stdout(sys.stderr):
        code = main([*map(str, words), "--sample", "all", "--raw", "--compare"])
    if code != 0:
        raise GatescopeError("the demo's runs could not be set side by side", fix="see what is said above")
    return comparison


def _claim(folder: Path) -> None:
    """Make ``folder`` the demo's, empty of what an earlier demo put there; other files in it stay."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", expected="a folder for the demo")
    mark = folder / MARK
    if not mark.is_file() and folder.exists() and (held := sorted(path.name for path in folder.iterdir())):
        raise UsageError(
            f"{folder} is not empty and was not made by gatescope demo",
            received=", ".join(held[:8]) + (f" and {len(held) - 8} more" if len(held) > 8 else ""),
            expected="a new or empty folder, or an earlier demo's",
            fix="choose another --output",
        )
    if (folder / RUN).is_dir():
        with lock_run(folder / RUN):
            pass  # another demo that is running there would lose its files under its hands
    for name in (TRAINING, DATA, RUN, REPORT, ABLATION, FULL):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    (folder / MODEL).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps({"made_by": "gatescope demo"}) + "\n", encoding="utf-8")


def _commands(folder: Path) -> tuple[str, ...]:
    """Commands that work as they stand: what they write goes next to the demo, not over it."""
    checkpoint = ["--checkpoint", folder / TRAINING / CHECKPOINT]
    annotations = ["--annotations", folder / DATA / ANNOTATIONS]
    data = [*annotations, "--features", folder / DATA / FEATURES]
    verify = ["--verify", folder / TRAINING / SUBMISSION]
    subset = f"{SUBSET}={folder / DATA / AUDIO_QUERIES}"
    again = folder.with_name(f"{folder.resolve().name}-again")
    commands = (
        ["report", *checkpoint, *data, *verify, "--ablate", "--subset", subset, "--output", again],
        ["export", *checkpoint, *data, *verify, "--contribution", "--overridable", "--output", again / MODEL],
        ["run", again / MODEL, *data, "--output", again / RUN],
        ["ablate", again / MODEL, *data, "--subset", subset, "--output", again / ABLATION],
        [
            "analyze",
            again / RUN,
            *annotations,
            *("--subset", subset, "--training-predictions", folder / TRAINING / SUBMISSION),
            *("--ablation", again / ABLATION, "--output", again / REPORT),
        ],
    )
    return tuple(shlex.join(["gatescope", *map(str, words)]) for words in commands)
