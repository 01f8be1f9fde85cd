"""The chapters on samples one by one and on samples side by side."""

from __future__ import annotations

from typing import Any

from ...runtime.tracking.ids import file_names
from ..context import Context
from ..figures.comparison import comparison_figure
from ..figures.style import png
from ..report.markdown import counted, number, plain, table
from ..report.section import Section
from ..statistics.wide import row_means, wide
from .choice import ALL, asked_for, exemplars
from .files import FOLDER, RAW_FOLDER, details_path, picture_path, sample_files

COMPARISON = "comparisons/gate_comparison.png"
_LISTED = 20
_COMPARED = 5


def samples_chapter(context: Context) -> Section:
    """The chosen samples: what each is, and where its files lie."""
    reasons = _chosen(context)
    files = file_names(context.videos["sample_id"].to_list())
    names = {sample_id: files[sample_id] for sample_id in reasons}
    keys = context.clips.keys
    listed = [*reasons][:_LISTED]
    sizes = {
        kind: row_means(wide(context.summary.per_sample, "mean_abs", listed, of_kind))
        for kind in context.summary.kinds
        if (of_kind := [key for key in keys if key.kind == kind])
    }
    rows = [
        [
            plain(sample_id, 60),
            plain(reasons[sample_id]),
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
    if context.options.samples is None:
        text += " `--sample ID` shows others, `--sample all` every one."
    if left_out:
        text += f" The first {len(listed)}:"
    document: dict[str, Any] = {"individual_samples": {"shown": len(reasons), "of": context.summary.samples}}
    return Section("Samples one by one", f"{text}\n\n{shown}", {}, document, {}, sample_files(context, names))


def comparison_chapter(context: Context) -> Section | None:
    """A few samples side by side, where this was asked for."""
    if context.options.compare is None:
        return None
    ids = context.options.compare or tuple(context.videos["sample_id"].head(_COMPARED).to_list())
    compared = asked_for(ids, context.queries)
    keys = context.clips.keys
    means = wide(context.summary.per_sample, "mean", compared, keys)
    gates: dict[str, dict[str, list[float]]] = {}
    for row, sample_id in enumerate(compared):
        gates[sample_id] = {
            f"{'att' if kind == 'attention' else kind}_means": [
                float(means[row, at]) for at, key in enumerate(keys) if key.kind == kind
            ]
            for kind in context.summary.kinds
        }
    rows = [
        [plain(sample_id, 60), *(number(float(mean)) for mean in means[row])]
        for row, sample_id in enumerate(compared)
    ]
    heads = ["sample", *(f"{plain(key.kind)} {key.layer}" for key in keys)]
    text = f"Mean gate of every layer.\n\n{table(heads, rows)}"
    figures = {COMPARISON: png(comparison_figure(gates))}
    return Section("Samples compared", text, figures, {"compared_samples": gates})


def _chosen(context: Context) -> dict[str, str]:
    """The samples to show, and why each."""
    asked = context.options.samples
    if asked is None:
        by_video = not context.run.manifest.depends_on_text
        return exemplars(context.summary.per_sample, context.videos, context.clips.keys, by_video=by_video)
    if ALL in asked:
        return dict.fromkeys(context.videos["sample_id"].to_list(), "all were asked for")
    return dict.fromkeys(asked_for(asked, context.queries), "asked for")
