"""From a checkpoint and a dataset to a gate report in one go: export, run, analyse.

    DIR/
      model.onnx    the exported model, its gates outputs
      run/          every gate and every prediction
      report/       ANALYSIS_REPORT.md, its statistics and figures

The same command on the same DIR goes on where it was interrupted, and nothing is ever removed: a model that
is what this command would export is used again, an unfinished run is resumed, a finished one is kept, and the
report is written anew from it. A DIR that holds another model, another run or other things is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from ..runtime import plugins
from ..runtime.data.annotations import read_annotations
from ..runtime.errors import UsageError
from ..runtime.files import local
from ..runtime.manifest import Manifest
from ..runtime.model_file import file_sha256, read_model_file
from ..runtime.pipeline import RunResult, run_model
from ..runtime.progress import steps_progress
from .choices import Choices
from .export import ExportResult, export_checkpoint
from .graph.variant import Variant
from .proof.verify import VerifyRequest
from .reading.checkpoint import load_checkpoint
from .reading.facts import describe

MODEL, RUN, REPORT = "model.onnx", "run", "report"


class Analysis(Protocol):
    """What the plug-in ``analyze`` returns, as far as this room needs it."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything it wrote, the report first."""
        ...

    @property
    def document(self) -> dict[str, Any]:
        """The content of ``overall_statistics.json``."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before believing it."""
        ...


@dataclass(frozen=True)
class ReportResult:
    """What was made.

    - ``files``: everything in ``report/``, ANALYSIS_REPORT.md first. ``statistics``: the content of
      ``overall_statistics.json``. ``warnings``: what to know before believing it.
    - ``exported_before``: the model was there already.
    """

    output: Path
    export: ExportResult
    exported_before: bool
    run: RunResult
    files: tuple[Path, ...]
    statistics: dict[str, Any]
    warnings: tuple[str, ...]


def report_checkpoint(
    checkpoint: str | Path,
    annotations: str | Path,
    features: str | Path | None,
    output: str | Path,
    choices: Choices | None = None,
    *,
    variant: Variant | None = None,
    verification: VerifyRequest | None = None,
    video_features: Collection[Path] | None = None,
    audio_features: Path | None = None,
    text_features: Path | None = None,
    device: str = "auto",
    batch_size: int = 32,
    max_samples: int | None = None,
    skip_bad: bool = False,
    others: Collection[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> ReportResult:
    """Export ``checkpoint``, run it on the dataset and analyse its gates, all into the folder ``output``.

    Arguments are those of :func:`~gatescope.export.export.export_checkpoint` and
    :func:`~gatescope.runtime.pipeline.run_model`. ``variant``: what the model returns and takes; it must
    give predictions and gates, as it does by default. ``others`` names what else may lie in ``output``.
    ``tell`` is called with a line for each step.

    Raises :class:`~gatescope.runtime.errors.UsageError` where ``output`` holds something else,
    :class:`~gatescope.runtime.errors.MissingExtraError` without the analysis room's libraries, and whatever
    the three steps raise; what is finished by then is kept for the next try.
    """
    analyze = plugins.load(plugins.PLUGINS, "analyze")
    folder, wanted = local(output), choices or Choices()
    _refuse_foreign(folder, {MODEL, RUN, REPORT, *others})
    # Better now than after the export.
    read_annotations(annotations)
    model = folder / MODEL
    graph = variant or Variant()
    exported = (
        _exported_before(model, local(checkpoint), wanted, graph, verification) if model.exists() else None
    )
    if exported is not None:
        tell(f"using {model}, which an earlier report exported from this checkpoint")
    export = exported or export_checkpoint(
        checkpoint, model, wanted, variant=graph, verification=verification, tell=tell
    )
    try:
        tell("running the model on the dataset")
        run = run_model(
            model,
            annotations,
            features,
            folder / RUN,
            video_features=None if video_features is None else list(video_features),
            audio_features=audio_features,
            text_features=text_features,
            device=device,
            batch_size=batch_size,
            max_samples=max_samples,
            skip_bad=skip_bad,
            resume=True,
        )
        tell("analysing the gates")
        with steps_progress("analysing") as show:
            analysis: Analysis = analyze(
                folder / RUN, folder / REPORT, annotations=annotations, progress=show
            )
    except BaseException:
        tell(f"{model} is kept: the same command goes on from there")
        raise
    return ReportResult(
        folder, export, exported is not None, run, analysis.files, analysis.document, analysis.warnings
    )


def _refuse_foreign(folder: Path, known: Collection[str]) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file", expected="a folder for the model, the run and the report")
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in known and not _partial(path))
    if foreign:
        raise UsageError(
            f"{folder} holds other things, which a report would mix with",
            received=", ".join(foreign[:8]) + (f" and {len(foreign) - 8} more" if len(foreign) > 8 else ""),
            expected="a new or empty folder, or one this command wrote",
            fix="choose another --output",
        )


def _partial(path: Path) -> bool:
    """Whether a killed export left this behind."""
    return path.name.startswith(f".{MODEL}.") and path.suffix == ".partial"


def _exported_before(
    path: Path, checkpoint: Path, choices: Choices, variant: Variant, verification: VerifyRequest | None
) -> ExportResult:
    """The model at ``path``, if exporting now would make the same; raises UsageError if not."""
    file = read_model_file(path)
    there = file.manifest
    read = load_checkpoint(checkpoint)
    now = describe(read, choices)
    same = {
        "checkpoint": there.checkpoint_sha256 == read.sha256,
        "batching": there.batching == choices.batching,
        "facts of the model": there.facts == now.facts,
        "preprocessing": there.preprocessing == now.preprocessing,
        "outputs": (there.outputs_kind, bool(there.contributions), bool(there.overrides))
        == (variant.outputs, variant.contribution, variant.overridable),
        "version of gatescope": there.versions.get("gatescope") == version("gatescope"),
        "verification": verification is None or _verified(there, verification),
    }
    different = [name for name, is_same in same.items() if not is_same]
    if different:
        raise UsageError(
            f"{path} is not what this command would export",
            received=f"a model of another {', another '.join(different)}",
            expected="the model of an earlier, interrupted or finished, report by the same command",
            fix="choose another --output",
        )
    return ExportResult(path, there, len(file.content))


def _verified(manifest: Manifest, request: VerifyRequest) -> bool:
    """Whether the model was compared with these very predictions."""
    done = None if manifest.certificate is None else manifest.certificate.verification
    return (
        done is not None
        and done.predictions_sha256 == file_sha256(request.predictions)
        and done.batch_size == (request.batch_size or manifest.eval_batch_size)
    )
