"""The figure of a profile shows what the profile holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from gatescope.analysis.figures.profile import profile_figure, profile_png
from gatescope.analysis.figures.style import png
from gatescope.runtime import plugins
from gatescope.runtime.profiling.results import (
    Comparison,
    PartTiming,
    ProfileRow,
    Ratio,
    Recommendation,
    Unavailable,
)
from tests.runtime.profiles import made_up, row


def subtitle_of(figure: Figure) -> str:
    return figure.get_supxlabel().replace("\n", " ")


def test_it_shows_speed_and_the_time_of_parts() -> None:
    profile = made_up()
    throughput, latency, parts = profile_figure(profile).axes
    assert throughput.lines[0].get_xydata().tolist() == [[1, 40], [8, 80]]  # 64 had no memory
    medians, slow = latency.lines
    assert [y for _, y in medians.get_xydata()] == [one.p50_ms for one in profile.rows[:2]]
    assert [y for _, y in slow.get_xydata()] == [one.p99_ms for one in profile.rows[:2]]
    assert "take 8: 80/s" in [text.get_text() for text in throughput.texts]
    assert [bar.get_width() for bar in parts.patches] == [0.1, 0.3, 0.6]
    assert [tick.get_text() for tick in parts.get_yticklabels()] == ["other", "decoder", "fusion.0"]
    assert len({bar.get_facecolor() for bar in parts.patches}) == 3
    assert "60.0%   60.0 ms" in [text.get_text() for text in parts.texts]
    subtitle = subtitle_of(profile_figure(profile))
    assert "m.onnx" in subtitle and "Some processor, 2 threads" in subtitle
    assert "+5.0% time at batch 8" in subtitle


def test_several_lengths_have_a_line_each() -> None:
    rows = (row(1, 40.0), row(8, 80.0), row(1, 90.0, clips=30), row(8, 9.0, clips=30))
    best = (Recommendation(75, 32, 8, 80.0, 1.0), Recommendation(30, 32, 1, 90.0, 1.0))
    throughput, latency, _ = profile_figure(made_up(rows=rows, recommended=best)).axes
    labels = [text.get_text() for text in throughput.get_legend().get_texts()]
    assert labels == ["75 clips", "30 clips"]
    assert throughput.lines[0].get_color() != throughput.lines[1].get_color()
    assert len(latency.get_legend().get_texts()) == 4


def test_files_without_parts_have_two_panels() -> None:
    none = Unavailable("only for ONNX files")
    slow = (Comparison(8, Ratio(2.0, 1.9, 2.1, 9, True)),)
    figure = profile_figure(made_up(trace=none, tracking=none, eager=slow))
    assert len(figure.axes) == 2
    subtitle = subtitle_of(figure)
    assert "2.0 times as long at batch 8" in subtitle and "Tracking" not in subtitle


@pytest.mark.parametrize("name", ["한국어 $x_1$.onnx", "n" * 255 + ".onnx"])
def test_extreme_profiles_are_drawn_without_a_warning(name: str) -> None:
    whole = made_up()
    assert not isinstance(whole.trace, Unavailable)
    parts = tuple(PartTiming(f"blocks.{i}", 1e-4 * i, i / 780, 1) for i in range(40))
    image = profile_png(
        made_up(
            subject=replace(whole.subject, path=name),
            machine=replace(whole.machine, device="cuda", gpu=None, cpu=None),
            inputs=replace(whole.inputs, concurrency=3, lengths=(name,) * 2),
            rows=tuple(row(size, 0.001 * size) for size in range(1, 41)),
            recommended=(Recommendation(75, 32, 40, 0.04, 1.0),),
            trace=replace(whole.trace, parts=parts),
        )
    )
    assert image.startswith(b"\x89PNG")


def test_one_batch_and_the_same_bytes_by_the_plug_ins_name(tmp_path: Path) -> None:
    profile = made_up(rows=(row(1, 12_345.0), ProfileRow(75, 32, 2, failure="out of memory")))
    image = plugins.load(plugins.PLUGINS, "profile-figure")(profile)
    assert image == png(profile_figure(profile))
