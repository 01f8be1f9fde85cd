"""The chapter that sets a run next to what training evaluated: whose numbers are whose, and what for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...runtime.brief import counted
from ...runtime.errors import DatasetError, UsageError
from ...runtime.gates.certificate import Verification
from ...runtime.gates.manifest import Manifest
from ...runtime.inspection.batching import effect_in_words, matters
from ...runtime.runs.predictions import read_predictions
from ...runtime.session.model_file import file_sha256
from ..evaluation.evaluate import Evaluation, evaluate
from ..evaluation.known import evaluation_of, truth_of
from ..evaluation.metrics import short_metric
from ..report.chapter import chapter
from ..report.context import Context
from ..report.markdown import number, plain, shared_name, table
from ..report.section import Section

_SHOWN = (
    "MR-full-mAP",
    "MR-full-R1@0.5",
    "MR-full-R1@0.7",
    "HL-min-Fair-mAP",
    "HL-min-Fair-Hit1",
    "HL-min-VeryGood-mAP",
    "HL-min-VeryGood-Hit1",
)

# Two numbers written with two decimals that are the same number.
_ROUNDED = 0.011


def _check(context: Context) -> None:
    """See that the file that was given is the one that the model was verified with, where it was.

    Raises :class:`~gatescope.runtime.errors.UsageError` where it is another, and
    :class:`~gatescope.runtime.errors.DatasetError` where it cannot be read.
    """
    given = context.options.training_predictions
    if given is None:
        return
    verified = _verification(context.run.manifest)
    try:
        sha256 = file_sha256(given)
    except OSError as error:
        raise DatasetError(f"{given} cannot be read", received=error.strerror or str(error)) from error
    if verified is not None and sha256 != verified.predictions_sha256:
        raise UsageError(
            f"{given} is not the file that this run's model was verified with",
            received=f"SHA-256 {sha256[:12]}…",
            expected=f"{verified.predictions}, SHA-256 {verified.predictions_sha256[:12]}…",
            fix="give that file",
        )


@chapter("Training's numbers and this run's", check=_check)
def training_chapter(context: Context) -> Section | None:
    """Both columns and what they are for; None where the run was never compared with training.

    Raises :class:`~gatescope.runtime.errors.DatasetError` for predictions that cannot be used.
    """
    verified, given = _verification(context.run.manifest), context.options.training_predictions
    if verified is None and given is None:
        return None
    both = _both(context)
    blocks: list[str | None] = [_verified_text(verified, given), _this_run(context)]
    recorded = _recorded(context)
    if both:
        blocks.append(_table(both, recorded))
        blocks.append(_why_other_than_recorded(context, both, recorded))
    blocks.append(_purpose(context, has_both=bool(both)))
    document: dict[str, Any] = {
        "predictions": verified.predictions if verified else str(given),
        "verified_samples": verified.samples if verified else None,
        "metrics": {metric: {"training": theirs, "run": ours} for metric, (theirs, ours) in both.items()},
        "metrics_file": {metric: recorded[metric] for metric in both if metric in recorded},
    }
    return Section(
        training_chapter.heading, "\n\n".join(filter(None, blocks)), document={"training": document}
    )


def training_answer(context: Context) -> str | None:
    """Whether it is the trained model and whose metrics are whose, in a sentence or two; None for a run whose
    model was not exported."""
    manifest = context.run.manifest
    verified, certificate = _verification(manifest), manifest.certificate
    if certificate is None:
        return None
    if verified is None:
        return _unverified(manifest)
    text = f"Yes: it reproduces {_what(verified)}."
    both = _both(context)
    if both:
        metric, (theirs, ours) = next(iter(both.items()))
        name, theirs, ours = short_metric(metric), number(theirs, 2), number(ours, 2)
        how = "each query by itself" if manifest.batching == "exact" else "this run"
        return f"{text} As training evaluated: {name} {theirs}, equal to its file; {how}: {ours}."
    if certificate.batching_effect is not None and matters(certificate.batching_effect):
        return f"{text} Each query by itself, as in this run: {effect_in_words(certificate.batching_effect)}."
    return text


def _unverified(manifest: Manifest) -> str:
    """What is known of a model that was not compared with training's predictions."""
    text = "the export was not compared with predictions of the training run (`gatescope report --verify`)."
    if manifest.assumption is not None:
        return f"Not shown, {text} **{plain(manifest.assumption, 600)}**"
    if manifest.forward is not None and manifest.forward.branch is not None:
        who = plain(manifest.forward.branch)
        if manifest.forward.source == "family":
            return f"By its code: branch {who} trained it, and this is its forward pass; {text}"
        return f"By its code: {who} built it; {text}"
    return f"Not shown: {text}"


def _what(verified: Verification) -> str:
    return f"{plain(shared_name(verified.predictions))} on {counted(verified.samples, 'sample')}"


def _verification(manifest: Manifest) -> Verification | None:
    return None if manifest.certificate is None else manifest.certificate.verification


def _training(context: Context) -> Evaluation | None:
    """How good training's own predictions are for the queries of the run's evaluation; None without either.

    Raises :class:`~gatescope.runtime.errors.DatasetError` where they lack some of these queries.
    """
    path, truth, own = (
        context.options.training_predictions,
        context.once(truth_of),
        context.once(evaluation_of),
    )
    if path is None or truth is None or own is None:
        return None
    mine = set(own.per_query["qid"].to_list())
    lines = [line for line in read_predictions(path) if str(line["qid"]) in mine]
    if len(lines) < len(mine):
        raise DatasetError(
            f"{path} has no predictions for {len(mine) - len(lines)} of the run's queries",
            expected="predictions for every query of the run",
            fix="give the file that was made for these annotations",
        )
    return evaluate(lines, truth, allow_missing=True)


def _both(context: Context) -> dict[str, tuple[float | None, float | None]]:
    """By metric, training's file and this run on the same queries; empty without file or ground truth."""
    theirs, own = context.once(_training), context.once(evaluation_of)
    if theirs is None or own is None:
        return {}
    before: dict[str, Any] = theirs.metrics["brief"]
    after: dict[str, Any] = own.metrics["brief"]
    return {name: (before[name], after[name]) for name in _SHOWN if name in before and name in after}


def _metrics_file(predictions: Path) -> Path:
    """Where training writes its metrics of these predictions."""
    return predictions.with_name(f"{predictions.stem}_metrics.json")


def _recorded(context: Context) -> dict[str, float]:
    """Training's own metrics of its predictions, by name; empty where they are not there or unreadable."""
    path = context.options.training_predictions
    if path is None:
        return {}
    try:
        document: Any = json.loads(_metrics_file(path).read_text(encoding="utf-8"))
        brief: dict[str, Any] = dict(document["brief"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return {name: float(value) for name, value in brief.items() if isinstance(value, int | float)}


def _table(both: dict[str, tuple[float | None, float | None]], recorded: dict[str, float]) -> str:
    """Training's own metrics file, its predictions evaluated here, this run, and how far that is off."""
    rows: list[list[str]] = []
    for metric, (theirs, ours) in both.items():
        difference = None if theirs is None or ours is None else ours - theirs
        rows.append(
            [
                short_metric(metric),
                *([number(recorded.get(metric), 2)] if recorded else []),
                number(theirs, 2),
                number(ours, 2),
                "" if difference is None else f"{difference:+.2f}",
            ]
        )
    first = ["training's metrics file"] if recorded else []
    return table(["percent", *first, "as training evaluated", "this run", "difference"], rows)


def _why_other_than_recorded(
    context: Context, both: dict[str, tuple[float | None, float | None]], recorded: dict[str, float]
) -> str | None:
    """Why training's metrics file says other than its predictions give here; None without that file."""
    path, own = context.options.training_predictions, context.once(evaluation_of)
    if not recorded or path is None or own is None:
        return None
    name = plain(_metrics_file(path).name)
    differing = [
        short_metric(metric)
        for metric, (theirs, _) in both.items()
        if metric in recorded and (theirs is None or abs(theirs - recorded[metric]) > _ROUNDED)
    ]
    if not differing:
        return f"{name} and its predictions agree, to the two decimals that training writes."
    predicted, here = len({str(line["qid"]) for line in read_predictions(path)}), own.per_query.height
    if here < predicted:
        return (
            f"{name} is of {counted(predicted, 'query')}, this run has {here:,} of them: "
            "the other columns are of these alone."
        )
    return (
        f"{name} does **not** agree with the predictions next to it ({', '.join(differing)}): it is of "
        "another evaluation, or was made with other annotations."
    )


def _verified_text(verified: Verification | None, given: Path | None) -> str:
    if verified is None:
        return (
            f"The export was **not** compared with {plain(given and given.name)}; "
            "`gatescope export --verify` does that. The file's metrics are shown here next to the run's."
        )
    return (
        f"The model reproduces {_what(verified)}, run as training evaluated: "
        f"in batches of {verified.batch_size}, in file order (reference batching)."
    )


def _this_run(context: Context) -> str:
    manifest, size = context.run.manifest, context.run.record.batch_size
    certificate = manifest.certificate
    if manifest.batching == "exact":
        text = "This run computes each query by itself (exact batching), whatever it is batched with."
        effect = certificate and certificate.batching_effect
        return text if effect is None else f"{text} In figures: {effect_in_words(effect)}."
    trained = _verification(manifest)
    text = f"This run computes in batches of {size} in file order (reference batching), as training did"
    if trained is None or trained.batch_size == size:
        return f"{text}: a query's numbers depend on the others in its batch."
    return f"{text}, but training's batches had {trained.batch_size}: its numbers are **not** training's."


def _purpose(context: Context, *, has_both: bool) -> str:
    if context.run.manifest.batching == "reference":
        return (
            "Its numbers are for comparison with training's. They are not for a service, where a query "
            "comes with others or alone: export without `--batching reference` for that."
        )
    text = (
        "Training's numbers are for comparison with other results of the training code, such as its logs and "
        "papers. This run's are what its gates belong to, and what the model answers wherever queries do not "
        "come in training's batches. `gatescope report --batching reference` gives training's numbers "
        "throughout, gates included."
    )
    if not has_both and context.once(evaluation_of) is not None:
        text += (
            " Give training's predictions to have both columns: "
            "`gatescope analyze --training-predictions FILE`."
        )
    return text
