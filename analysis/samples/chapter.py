"""The chapters on samples one by one and on samples side by side."""

from __future__ import annotations

from typing import Any

import polars as pl

from ...runtime.brief import counted
from ...runtime.tracking.ids import file_names
from ..evaluation.known import evaluation_of
from ..figures.comparison import comparison_figure
from ..figures.style import png
from ..relations.clips import clips_of
from ..report.chapter import chapter
from ..report.context import Context
from ..report.markdown import number, plain, table
from ..report.section import Section
from ..statistics.wide import row_means, wide
from ..timelines.exemplars import exemplars_of
from .choice import ALL, asked_for
from .files import FOLDER, RAW_FOLDER, details_path, picture_path, sample_files

COMPARISON = "comparisons/gate_comparison.png"
#: What is said of how a query was answered, where it is known.
_RESULTS = {"ap": "AP", "iou": "IoU"}
_LISTED = 20
_COMPARED = 5


def _check_asked(context: Context) -> None:
    """See that every sample that was asked for is in the run."""
    asked_for([one for one in context.options.samples or () if one != ALL], context.queries)


def _check_compared(context: Context) -> None:
    asked_for(context.options.compare or (), context.queries)


@chapter("Samples one by one", check=_check_asked)
def samples_chapter(context: Context) -> Section:
    """The chosen samples: what each is, and where its files lie."""
    reasons = _chosen(context)
    context.progress.expect(len(reasons))
    files = file_names(context.videos["sample_id"].to_list())
    names = {sample_id: files[sample_id] for sample_id in reasons}
    keys = context.once(clips_of).keys
    listed = [*reasons][:_LISTED]
    sizes = {
        kind: row_means(wide(context.summary.per_sample, "mean_abs", listed, of_kind))
        for kind in context.summary.kinds
        if (of_kind := [key for key in keys if key.kind == kind])
    }
    rows = [
        [
            plain(sample_id, 60),
            plain(reasons[sample_id], 300),
            f"[statistics]({details_path(names[sample_id])}), [picture]({picture_path(names[sample_id])})",
            *(number(float(sizes[kind][at])) for kind in sizes),
        ]
        for at, sample_id in enumerate(listed)
    ]
    heads = ["sample", "why", "files", *(f"{plain(kind)} mean \\|g\\|" for kind in sizes)]
    shown = table(heads, rows, text_columns=3)
    left_out = len(reasons) - len(listed)
    text = f"{counted(len(reasons), 'sample')} in `{FOLDER}/`"
    text += f", their gates in `{RAW_FOLDER}/`." if context.options.raw else "."
    if not context.options.samples:
        text += " `--sample ID` shows others, `--sample all` every one."
    if left_out:
        text += f" The first {len(listed)}:"
    document: dict[str, Any] = {"individual_samples": {"shown": len(reasons), "of": context.summary.samples}}
    return Section(
        samples_chapter.heading, f"{text}\n\n{shown}", {}, document, {}, sample_files(context, names)
    )


@chapter("Samples compared", check=_check_compared)
def comparison_chapter(context: Context) -> Section | None:
    """A few samples side by side, with how well their queries were answered, where this was asked for."""
    if context.options.compare is None:
        return None
    ids = context.options.compare or tuple(context.videos["sample_id"].head(_COMPARED).to_list())
    compared = asked_for(ids, context.queries)
    keys = context.once(clips_of).keys
    means = wide(context.summary.per_sample, "mean", list(dict.fromkeys(compared.values())), keys)
    mean_of = dict(zip(dict.fromkeys(compared.values()), means, strict=True))
    gates: dict[str, dict[str, list[float]]] = {
        one: {
            f"{'att' if kind == 'attention' else kind}_means": [
                float(mean_of[sample_id][at]) for at, key in enumerate(keys) if key.kind == kind
            ]
            for kind in context.summary.kinds
        }
        for one, sample_id in compared.items()
    }
    results = {one: _result(context, one) for one in compared}
    measured = [name for name in _RESULTS if any(name in of for of in results.values())]
    rows = [
        [
            plain(one, 60),
            *(number(results[one].get(name)) for name in measured),
            *(number(float(mean)) for mean in mean_of[sample_id]),
        ]
        for one, sample_id in compared.items()
    ]
    heads = ["sample", *(_RESULTS[name] for name in measured), *(f"{plain(k.kind)} {k.layer}" for k in keys)]
    text = f"Mean gate of every layer.\n\n{table(heads, rows)}"
    figures = {COMPARISON: png(comparison_figure(gates))}
    document = {one: {**of, **results[one]} for one, of in gates.items()}
    return Section(comparison_chapter.heading, text, figures, {"compared_samples": document})


def _result(context: Context, one: str) -> dict[str, float | None]:
    """How well the query ``one`` was answered, or the only query of the sample ``one``; nothing else is."""
    evaluation = context.once(evaluation_of)
    if evaluation is None:
        return {}
    own = context.queries.filter((pl.col("qid") == one) | (pl.col("sample_id") == one))
    if own.height > 1:
        own = own.filter(pl.col("qid") == one)
    found = evaluation.per_query.filter(pl.col("qid").is_in(own["qid"].to_list()))
    there = [name for name in _RESULTS if name in found.columns]
    return found.select(there).row(0, named=True) if found.height == 1 else {}


def _chosen(context: Context) -> dict[str, str]:
    """The samples to show, and why each."""
    asked = context.options.samples or ()
    if ALL in asked:
        return dict.fromkeys(context.videos["sample_id"].to_list(), "all were asked for")
    if asked:
        return dict.fromkeys(asked_for(asked, context.queries).values(), "asked for")
    reasons: dict[str, list[str]] = {}
    for one in context.once(exemplars_of):
        reasons.setdefault(one.sample_id, []).extend(one.reasons)
    if not reasons:  # too few to single any out
        return dict.fromkeys(context.videos["sample_id"].head(_COMPARED).to_list(), "one of few")
    return {sample_id: "; ".join(dict.fromkeys(own)) for sample_id, own in reasons.items()}
