"""Figures of every shape of run are drawn without a warning, and draw what the frames say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import polars as pl
import pytest
from matplotlib.image import imread

from gatescope.analysis import GateSummary, analyze_run, summarise
from gatescope.analysis.clustering.clusters import find_clusters
from gatescope.analysis.events.recovery import recover_events
from gatescope.analysis.figures.clustering import clustering_figure
from gatescope.analysis.figures.events import event_figure
from gatescope.analysis.figures.evolution import evolution_figure
from gatescope.analysis.figures.kinds import kinds_figure
from gatescope.analysis.figures.layers import layer_figure
from gatescope.analysis.figures.overall import overall_figure
from gatescope.analysis.figures.patterns import pattern_figure
from gatescope.analysis.figures.style import png, short, value_scale
from gatescope.analysis.overview.pictures import sample_patterns
from gatescope.analysis.relations.clips import clips_of
from gatescope.analysis.relations.relations import relations_of

from .runs import manifest_of, random_gates, write_run
from .test_relations import context_of


def draw_all(summary: GateSummary) -> dict[str, bytes]:
    patterns = sample_patterns(summary.per_sample)
    return {
        "overall": png(overall_figure(summary.overall, summary.by_layer, summary.distribution, "said below")),
        "layers": png(layer_figure(summary.by_layer, summary.distribution, "said below")),
        "patterns": png(pattern_figure(patterns, summary.ranges, "said below")),
        "kinds": png(kinds_figure(summary.per_sample, "said below")),
    }


@pytest.mark.parametrize(
    ("name", "samples", "layers", "shape"),
    [
        ("one sample, layer and clip", 1, 1, {"clips": 1}),
        ("five", 5, 4, {}),
        ("labels end", 41, 2, {"clips": 2}),
        ("neighbours joined", 650, 2, {"clips": 1}),
        ("many layers", 3, 9, {"clips": 2}),
    ],
)
def test_runs_of_every_size(
    tmp_path: Path, name: str, samples: int, layers: int, shape: dict[str, int]
) -> None:
    gates = random_gates(samples, layers, **shape)
    for image in draw_all(summarise(write_run(tmp_path / "run", gates, per_part=200))).values():
        assert image.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "samples", "layers", "shape"),
    [
        ("one sample, layer and clip", 1, 1, {"clips": 1}),
        ("two", 2, 2, {"clips": 3}),
        ("named", 12, 9, {}),
        ("many", 310, 2, {"clips": 2}),
    ],
)
@pytest.mark.parametrize("value", [None, 0.25, np.nan])
def test_relations_and_groups_of_every_size(
    tmp_path: Path, name: str, samples: int, layers: int, shape: dict[str, int], value: float | None
) -> None:
    gates = random_gates(samples, layers, **shape)
    for own in gates.values():
        if value is not None:
            own["attention"][:] = value
    context = context_of(write_run(tmp_path / "run", gates, per_part=200))
    found = context.once(relations_of)
    assert png(
        evolution_figure(found.levels, found.course, found.by_strength, "None is known.", "said below")
    )
    clusters = find_clusters(
        context.summary.per_sample, context.videos, context.once(clips_of).keys, by_video=True
    )
    assert png(clustering_figure(clusters.points, clusters.explained, clusters.profiles, clusters.reason))


@pytest.mark.parametrize("value", [0.0, 0.25, np.nan])
@pytest.mark.parametrize("range_", [(-1.0, 1.0), (0.0, 1.0), (0.0, 0.0)])
def test_gates_that_do_not_vary(tmp_path: Path, value: float, range_: tuple[float, float]) -> None:
    own = {kind: np.full((2, 4, 1), value, np.float32) for kind in ("attention", "ffn")}
    run = write_run(tmp_path / "run", {"1": own, "2": own}, manifest=manifest_of("clipwise", 2, range_))
    draw_all(summarise(run))


def test_an_analysis_writes_pictures(tmp_path: Path) -> None:
    result = analyze_run(write_run(tmp_path / "run", random_gates(2, 1)), tmp_path / "report")
    pictures = [path for path in result.files if path.suffix == ".png"]
    assert len(pictures) > 3
    assert all(imread(path).shape[2] == 4 for path in pictures)


def test_the_same_summary_gives_the_same_bytes(tmp_path: Path) -> None:
    summary = summarise(write_run(tmp_path / "run", random_gates(3)))
    assert draw_all(summary) == draw_all(summary)


def test_ids_that_no_font_and_no_formula_can_draw(tmp_path: Path) -> None:
    names = ["$a_b$", "한국어", "😀😀", "a\nb\x00", "x" * 300, "\u202eright to left"]
    gates = dict(zip(names, random_gates(6, 1, clips=2).values(), strict=True))
    summary = summarise(write_run(tmp_path / "run", gates))
    figure = pattern_figure(sample_patterns(summary.per_sample), summary.ranges, "")
    labels = [tick.get_text() for tick in figure.axes[1].get_xticklabels()]
    assert sorted(labels) == sorted(short(name) for name in names)
    assert max(map(len, labels)) <= 18
    png(figure)


def test_the_heat_map_shows_the_means(tmp_path: Path) -> None:
    summary = summarise(write_run(tmp_path / "run", random_gates(4, 3)))
    patterns = sample_patterns(summary.per_sample)
    figure = pattern_figure(patterns, summary.ranges, "")
    for axes, kind in zip(figure.axes[:2], summary.kinds, strict=True):
        shown = np.ma.getdata(axes.images[0].get_array())
        for row in patterns.filter(gate=kind).iter_rows(named=True):
            assert shown[row["layer"], row["column"]] == row["mean"]


@pytest.mark.parametrize("samples", [5, 401])
def test_kinds_are_set_against_each_other_on_one_scale(tmp_path: Path, samples: int) -> None:
    summary = summarise(write_run(tmp_path / "run", random_gates(samples, 2, clips=2), per_part=200))
    figure = kinds_figure(summary.per_sample, "")
    panels = [axes for axes in figure.axes if axes.get_title("left").startswith("layer")]
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in panels}) == 1
    shown = [axes.collections[0] for axes in panels]
    if samples > 400:  # hexagons count
        assert [one.get_array().sum() for one in shown] == [samples, samples]  # type: ignore[union-attr]
        assert len({one.norm.vmax for one in shown}) == 1
    else:
        means = summary.per_sample.filter(layer=1, gate="ffn")["mean"].to_list()
        assert sorted(shown[1].get_offsets()[:, 1]) == pytest.approx(sorted(means))  # type: ignore[index]


@pytest.mark.parametrize(
    ("range_", "largest", "expected"),
    [
        ((-1, 1), 0.3, ("RdBu_r", -0.4, 0.4)),
        ((-1, 1), 0.0, ("RdBu_r", -0.02, 0.02)),
        ((-2, 2), 3.0, ("RdBu_r", -3.0, 3.0)),
        ((0, 1), 0.9, ("viridis", 0, 1.0)),
        ((-0.5, 0), 0.2, ("viridis_r", -0.2, 0)),
    ],
)
def test_colour_scales(
    range_: tuple[float, float], largest: float, expected: tuple[str, float, float]
) -> None:
    colours, scale = value_scale(*range_, largest)
    assert (colours, scale.vmin, scale.vmax) == expected


def test_event_figure(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", random_gates(3, 2, clips=30))
    found = recover_events(run, {"1000": frozenset([3, 4, 9]), "1001": frozenset(), "1002": frozenset([0])})
    assert found.example["event"].sum() == 3 * 4
    figure = event_figure(found.gates, found.curves, found.example, found.example_id, "")
    assert "layer 1: AUC" in figure.axes[0].get_legend().get_texts()[1].get_text()  # type: ignore[union-attr]
    png(figure)
    nothing = recover_events(run, {"1000": frozenset()})
    png(event_figure(nothing.gates, nothing.curves, nothing.example, nothing.example_id, ""))
    assert isinstance(nothing.curves, pl.DataFrame)


def test_the_callers_settings_and_pyplot_are_left_alone(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    draw_all(summarise(write_run(tmp_path / "run", random_gates(2, 1))))
    assert dict(mpl.rcParams) == before
    code = "import sys; import gatescope.analysis.analyze; print('matplotlib.pyplot' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
