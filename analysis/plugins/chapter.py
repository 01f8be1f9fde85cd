"""The chapter "Your own statistics": what users registered, computed and shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from ...runtime.brief import counted
from ..report.chapter import chapter
from ..report.context import Context
from ..report.markdown import estimate, interval, number, plain, table, without_folders
from ..report.section import Section
from ..statistics.bootstrap import VideoBootstrap
from .compute import Failure, Values, compute_statistics, draw_plugin, statistics_frame
from .loading import plugins_of
from .registry import FrameName, Plugin

VALUES = "plugin_statistics.csv"
_FOLDER = "plugins"


@chapter("Your own statistics", check=lambda context: context.once(plugins_of))
def plugins_chapter(context: Context) -> Section | None:
    """Numbers of every statistic, every figure, and what failed; None where nothing is registered."""
    plugins = context.once(plugins_of)
    if not (plugins.statistics or plugins.figures or plugins.broken):
        return None
    found = compute_statistics(context.run, plugins.statistics, context.progress)
    frame = statistics_frame(found, context.videos)
    frames = {"samples": _with_videos(context), "layers": context.summary.by_layer, "statistics": frame}
    failures = [values.failure for values in found if values.failure is not None]
    failures += [
        Failure("package", name, f"entry point of {name}", reason) for name, reason in plugins.broken
    ]
    figures: dict[str, bytes] = {}
    drawn: dict[str, str] = {}
    for plugin in plugins.figures:
        frame_of: FrameName = plugin.frame or "samples"
        image = draw_plugin(plugin, frames[frame_of])
        if isinstance(image, Failure):
            failures.append(image)
            continue
        drawn[plugin.name] = f"{_FOLDER}/{plugin.slug}.png"
        figures[drawn[plugin.name]] = image
    bootstrap = context.bootstrap
    rows = {values.plugin.name: _rows(values, frame, bootstrap) for values in found if values.by_key}
    document = {
        "statistics": rows,
        "figures": drawn,
        "failures": [_failed(failure, frame.height) for failure in failures],
    }
    files = {VALUES: frame.write_csv().encode()} if rows else {}
    text = _text(found, rows, plugins.figures, failures, frame.height, bootstrap)
    return Section(plugins_chapter.heading, text, figures, {"plugins": document}, files)


def value_lines(document: dict[str, Any]) -> list[str]:
    """The ``plugins`` entry of the statistics for the command line: one line per value."""
    return [
        f"{name}{'.' + key if key else ''}: mean {number(row['mean'])}"
        + (f" {around}, 95% by video" if (around := interval(row["low"], row["high"])) else "")
        for name, rows in document.get("statistics", {}).items()
        for key, row in rows.items()
    ]


def _with_videos(context: Context) -> pl.DataFrame:
    videos = context.videos.select("sample_id", "vid")
    joined = context.summary.per_sample.join(videos, on="sample_id", how="left", maintain_order="left")
    return joined.select("sample_id", "vid", pl.exclude("sample_id", "vid"))


def _rows(values: Values, frame: pl.DataFrame, bootstrap: VideoBootstrap) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for key in values.by_key:
        column = frame[values.column(key)]
        interval, known = bootstrap.mean(column.to_numpy()), column.drop_nans()
        rows[key] = {
            "column": values.column(key),
            "mean": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "level": interval.level,
            "videos": interval.videos,
            "std": known.std(ddof=0) if len(known) else math.nan,
            "min": known.min() if len(known) else math.nan,
            "max": known.max() if len(known) else math.nan,
            "samples": len(known),
        }
    return rows


def _text(
    found: Sequence[Values],
    rows: dict[str, dict[str, dict[str, Any]]],
    figures: Sequence[Plugin],
    failures: Sequence[Failure],
    samples: int,
    bootstrap: VideoBootstrap,
) -> str:
    blocks: list[str] = []
    described = [values.plugin for values in found if values.plugin.name in rows] + list(figures)
    lines = [
        f"- **{plain(plugin.name)}** ({plugin.what}): {plain(plugin.description, 400)}"
        for plugin in described
        if plugin.description
    ]
    if lines:
        blocks.append("\n".join(lines))
    if rows:
        heads = ("statistic", "samples", "mean, 95% interval", "std", "min", "max")
        cells = [
            (
                plain(row["column"]),
                f"{row['samples']:,}",
                estimate(row["mean"], row["low"], row["high"]),
                *(number(row[name]) for name in ("std", "min", "max")),
            )
            for own in rows.values()
            for row in own.values()
        ]
        blocks += [
            table(heads, cells),
            f"One value per sample, of {counted(samples, 'sample')}; each is in `{VALUES}`. Intervals are of "
            f"the mean, from {bootstrap.resamples:,} bootstrap resamples of the videos.",
        ]
    if failures:
        blocks.append("\n".join(_failure_line(failure, samples) for failure in failures))
    return "\n\n".join(blocks)


def _failure_line(failure: Failure, samples: int) -> str:
    failed = _failed(failure, samples)
    return f"- ⚠ {plain(failed_line({**failed, 'place': without_folders(failed['place'])}), 600)}"


def failed_line(failed: dict[str, Any]) -> str:
    """An entry of ``failures`` in the statistics, in words."""
    where = f" ({failed['place']})" if failed["what"] != "package" else ""
    of = ""
    if failed["samples"]:
        of = f" for {failed['samples']:,} of {failed['of']:,} samples, first for '{failed['first_sample']}'"
    verb = "could not be loaded" if failed["what"] == "package" else "failed"
    return f"The {failed['what']} '{failed['name']}'{where} {verb}{of}: {failed['error']}"


def _failed(failure: Failure, of: int) -> dict[str, Any]:
    return {
        "what": failure.what,
        "name": failure.name,
        "place": failure.place,
        "error": failure.error,
        "samples": failure.samples,
        "of": of,
        "first_sample": failure.first_sample,
    }
