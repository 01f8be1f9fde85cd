"""From a checkpoint and a dataset to a gate report in one go: export, run, ablate where asked, analyse.

    DIR/
      model.onnx    the exported model, its gates outputs, and inputs that change them
      run/          every gate and every prediction
      ablation/     with ``ablate``: what gates and audio cause
      report/       ANALYSIS_REPORT.md, its statistics and figures

The same command on the same DIR goes on where it was interrupted, and nothing is ever removed: a model that
is what this command would export is used again, an unfinished run or ablation is resumed, a finished one is
kept, and the report is written again from them. A DIR that holds another model, another run or other things
is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from ..runtime import plugins
from ..runtime.brief import counted
from ..runtime.causes import told_causes
from ..runtime.data.annotations import Annotation
from ..runtime.data.check import check_samples
from ..runtime.data.dataset import BATCH_SIZE, Dataset, FeatureSources
from ..runtime.data.mistaken import refuse_wrong_order
from ..runtime.data.subsets import read_subsets
from ..runtime.errors import DatasetError, UsageError
from ..runtime.files import local
from ..runtime.gates.manifest import Manifest
from ..runtime.progress import steps_progress
from ..runtime.running.pipeline import RunResult, run_dataset
from ..runtime.running.settings import RunSettings
from ..runtime.session.model_file import file_sha256, read_model_file
from .export import export_checkpoint
from .families.choices import Choices
from .graph.variant import Variant
from .proof.certified import ExportResult
from .proof.verify import VerifyRequest
from .reading.checkpoint import load_checkpoint
from .reading.facts import describe
from .user.apart.process import CodeChoice
from .user.export import export_with_factory

MODEL, RUN, ABLATION, REPORT = "model.onnx", "run", "ablation", "report"
# What an ablation ends with.
_ABLATED = "ablation.json"
# Samples whose features are looked at before the export.
_LOOKED_AT = 20

_log = logging.getLogger("gatescope")


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


class Ablation(Protocol):
    """What the plug-in ``ablate`` returns, as far as this room needs it."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything it wrote, the report first."""
        ...


@dataclass(frozen=True)
class ReportResult:
    """What was made.

    - ``files``: everything in ``report/``, ANALYSIS_REPORT.md first. ``statistics``: the content of
      ``overall_statistics.json``. ``warnings``: what to know before believing it.
    - ``exported_before``: the model was there already. ``ablation``: everything in ``ablation/``, ABLATION.md
      first; empty where none was asked for.
    """

    output: Path
    export: ExportResult
    exported_before: bool
    run: RunResult
    files: tuple[Path, ...]
    statistics: dict[str, Any]
    warnings: tuple[str, ...]
    ablation: tuple[Path, ...] = ()


def report_checkpoint(
    checkpoint: str | Path,
    dataset: Dataset,
    output: str | Path,
    choices: Choices | None = None,
    settings: RunSettings | None = None,
    *,
    factory: str | None = None,
    code: CodeChoice | None = None,
    verification: VerifyRequest | None = None,
    subsets: Sequence[str] = (),
    ablate: bool = False,
    analyse: bool = True,
    others: Collection[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> ReportResult:
    """Export ``checkpoint``, run it on ``dataset`` and analyse its gates, all into the folder ``output``.

    Arguments are those of :func:`~gatescope.export.export.export_checkpoint` and
    :func:`~gatescope.runtime.running.pipeline.run_dataset`. The model gives predictions, gates and
    contributions, and takes overrides; one that the user's own code builds, through
    ``factory`` (``package.module:function``) or ``code``, gives predictions and gates.

    - ``settings``: a ``batch_size`` of None takes what training evaluated with for a model in reference
      batching, else 32. An earlier run in ``output`` is always resumed.
    - ``subsets``: specifications NAME=FILE; the report and the ablation set each against the rest.
    - ``ablate``: also run the model with its gates and audio changed. The verdicts stand in the report; those
      of an ablation that an earlier report finished stand there too.
    - ``analyse``: False stops after the run; a later call goes on from there.
    - ``others`` names what else may lie in ``output``. ``tell`` is called with a line for each step.

    Raises :class:`~gatescope.runtime.errors.UsageError` where ``output`` holds something else, or an ablation
    is asked of a model of the user's own code, :class:`~gatescope.runtime.errors.MissingExtraError` without
    the analysis room's libraries, and whatever the steps raise; what is finished by then is kept for the next
    try.
    """
    analyze = plugins.load(plugins.PLUGINS, "analyze")
    ablation = plugins.load(plugins.PLUGINS, "ablate") if ablate else None
    own = factory is None and code is None
    if ablate and not own:
        raise UsageError(
            "--ablate with --model or --code",
            received="a model of the user's own code, whose gates cannot be changed from outside",
            expected="a checkpoint whose model gatescope rebuilds",
            fix="leave out --ablate, or --model and --code",
        )
    folder, wanted = local(output), choices or Choices()
    _refuse_foreign(folder, {MODEL, RUN, REPORT, ABLATION, *others})
    # Better now than after the export.
    queries = dataset.queries()
    read_subsets(subsets, [query.qid for query in queries])
    model = folder / MODEL
    graph = Variant(contribution=True, overridable=True) if own else Variant()
    branch = factory if code is None else code.branch()
    exported = (
        _exported_before(model, local(checkpoint), wanted, graph, branch, verification)
        if model.exists()
        else None
    )
    if exported is not None:
        tell(f"using {model}, which an earlier report exported from this checkpoint")
    elif own:
        _refuse_other_features(checkpoint, wanted, dataset.sources, queries)
    build = export_checkpoint if factory is None else partial(export_with_factory, factory=factory)
    export = exported or (build if code is None else code.export)(
        checkpoint, output=model, choices=wanted, variant=graph, verification=verification, tell=tell
    )
    wanted_run = settings or RunSettings()
    batch_size = wanted_run.batch_size or default_batch_size(export.manifest)
    how = replace(wanted_run, batch_size=batch_size, resume=True)
    caused: Ablation | None = None
    try:
        tell("running the model on the dataset")
        run = run_dataset(model, dataset, folder / RUN, how)
        if not analyse:
            return ReportResult(folder, export, exported is not None, run, (), {}, ())
        if ablation is not None:
            tell("changing gates and audio, to see what they cause")
            caused = ablation(model, dataset, folder / ABLATION, how, subsets=subsets)
        tell("analysing the gates")
        with steps_progress("analysing") as show:
            analysis: Analysis = analyze(
                folder / RUN,
                folder / REPORT,
                annotations=dataset.annotations,
                subsets=subsets,
                training_predictions=_training_predictions(verification, export.manifest),
                ablation=folder / ABLATION if (folder / ABLATION / _ABLATED).exists() else None,
                progress=show,
            )
    except BaseException:
        tell(f"{model} is kept: the same command goes on from there")
        raise
    return ReportResult(
        folder,
        export,
        exported is not None,
        run,
        analysis.files,
        analysis.document,
        analysis.warnings,
        () if caused is None else caused.files,
    )


def _refuse_other_features(
    checkpoint: str | Path, choices: Choices, sources: FeatureSources, queries: Sequence[Annotation]
) -> None:
    """Look for the features' folders, and into the first samples' files: before the export, not after it.

    Raises what :meth:`FeatureSources.find` raises, and
    :class:`~gatescope.runtime.errors.DatasetError` where none of the first samples can be used.
    """
    folders = sources.locate(describe(load_checkpoint(local(checkpoint)), choices).preprocessing)
    first = queries[:_LOOKED_AT]
    bad = check_samples(folders, first).bad
    if len(bad) == len(first):
        refuse_wrong_order(folders, first)
        raise DatasetError(
            f"none of the first {counted(len(first), 'sample')} can be run\n    "
            + "\n    ".join(told_causes(bad, "sample", len(first))),
            fix="check that --features is the right folder for these annotations",
        )


def default_batch_size(manifest: Manifest) -> int:
    """What training evaluated with where that decides the numbers."""
    if manifest.batching == "exact":
        return BATCH_SIZE
    certificate = manifest.certificate
    verified = None if certificate is None else certificate.verification
    trained = manifest.eval_batch_size if verified is None else verified.batch_size
    if trained is None:
        _log.warning(
            "this model computes in the training code's batching, and the batch size training evaluated with "
            "is not recorded: batches of %d are used; --batch-size N gives another",
            BATCH_SIZE,
        )
    return trained or BATCH_SIZE


def _training_predictions(request: VerifyRequest | None, manifest: Manifest) -> Path | None:
    """What training predicted: the file asked for, else the one the model was verified with before, if it is
    still there and the same."""
    if request is not None:
        return request.predictions
    done = None if manifest.certificate is None else manifest.certificate.verification
    if done is None:
        return None
    file = Path(done.predictions)
    return file if file.is_file() and file_sha256(file) == done.predictions_sha256 else None


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
    path: Path,
    checkpoint: Path,
    choices: Choices,
    variant: Variant,
    branch: str | None,
    verification: VerifyRequest | None,
) -> ExportResult:
    """The model at ``path``, if exporting now would make the same; raises UsageError if not."""
    file = read_model_file(path)
    there = file.manifest
    read = load_checkpoint(checkpoint)
    same = {
        "checkpoint": there.checkpoint_sha256 == read.sha256,
        "code": (there.forward.branch if there.forward and there.forward.source == "code" else None)
        == branch,
        "outputs": (there.outputs_kind, bool(there.contributions), bool(there.overrides))
        == (variant.outputs, variant.contribution, variant.overridable),
        "version of gatescope": there.versions.get("gatescope") == version("gatescope"),
        "verification": verification is None or _verified(there, verification),
    }
    if branch is None:  # of the user's own code only its name is known without building it
        now = describe(read, choices)
        same |= {
            "batching": there.batching == choices.batching,
            **{name: there.facts.get(name) == fact for name, fact in now.facts.items()},
            "preprocessing": there.preprocessing == now.preprocessing,
        }
    different = [name for name, is_same in same.items() if not is_same]
    if different:
        raise UsageError(
            f"{path} is not what this command would export",
            received=f"a model that differs in {', '.join(different)}",
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
