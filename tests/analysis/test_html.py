"""What goes into ``report.html``: data, text and figures, each within its limits. A browser opens it in test_page.py."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from gatescope.analysis import GateSummary, Section, summarise
from gatescope.analysis.report.answers import answers
from gatescope.analysis.report.html.markup import inline_html, to_html
from gatescope.analysis.report.html.page import LIMIT, page
from gatescope.analysis.report.html.payload import MOST_SAMPLES, payload, shown_number, to_script
from gatescope.analysis.report.html.pictures import data_uris
from gatescope.analysis.report.markdown import number, plain
from gatescope.analysis.statistics.levels import gate_levels
from gatescope.analysis.statistics.videos import spread_over_videos

from .runs import Gates, random_gates, write_run


def noise(size: int) -> bytes:
    """A PNG that hardly compresses."""
    pixels = np.random.default_rng(0).integers(0, 255, (size, size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def summary_of(folder: Path, gates: Gates) -> tuple[GateSummary, pl.DataFrame]:
    run = write_run(folder, gates)
    return summarise(run), run.samples.collect()


def test_a_page_of_five_thousand_samples_keeps_to_its_size(tmp_path: Path) -> None:
    summary, _ = summary_of(tmp_path / "run", random_gates(1, 4, clips=2))
    names = [f"q{place}" for place in range(MOST_SAMPLES + 1)]
    many = summary.per_sample.drop("sample_id").join(pl.DataFrame({"sample_id": names}), how="cross")
    queries = pl.DataFrame({"sample_id": names, "qid": names, "vid": names, "clips": 75})
    levels = gate_levels(many, queries)
    found = payload(replace(summary, per_sample=many), queries, levels, dict.fromkeys(names, "<" * 400), [])
    assert len(found.data["qid"]) == len(found.data["gates"]["ffn"]["mean"][0]) == MOST_SAMPLES
    assert "hold 5,000 of 5,001 queries" in found.left_out[0]
    assert "5,000 long ids or queries are cut" in found.left_out[1]
    sections = [Section("Pictures", "", {f"{place}.png": noise(1100) for place in range(3)})]
    text = page(sections, found, levels, title="Title", subtitle="", warnings=[])
    assert len(text.encode()) < LIMIT
    assert "are files beside this page" in text


def test_figures_shrink_before_they_are_left_out() -> None:
    picture = noise(200)
    figures = {"a.png": picture, "b.png": picture}
    whole = data_uris(figures, 1_000_000)
    assert {len(uri) for uri in whole.values()} == {22 + 4 * ((len(picture) + 2) // 3)}
    small = data_uris(figures, 100_000)
    assert list(small) == ["a.png", "b.png"]
    assert sum(map(len, small.values())) <= 100_000
    assert list(data_uris(figures, 15_000)) == ["a.png"]
    assert data_uris({}, 10) == {}


@pytest.mark.parametrize("value", [0.0004999, 0.1234999, -0.0625, 0.0625, 1.0, -0.00049, 0.4445])
def test_numbers_read_as_in_the_markdown_report(value: float) -> None:
    given = shown_number(value)
    assert given is not None
    assert number(given) == number(value)
    assert abs(given - value) < 5.1e-4
    # A browser rounds halves away from zero; none is left to round.
    assert abs(abs(given) * 1000 % 1 - 0.5) > 1e-3


def test_data_cannot_end_their_element() -> None:
    text = to_script({"qid": ["</script><!--", "\u2028\x00&"], "none": None})
    assert not {"<", ">", "&", "\x00"} & set(text)
    assert json.loads(text)["qid"] == ["</script><!--", "\u2028\x00&"]
    assert shown_number(float("nan")) is None


def test_markdown_of_a_section() -> None:
    html = to_html("### Head\n\n| a | b |\n| :--- | ---: |\n| <b> | 1 |\n\n![own](own.png) ![far](http://x/y.png)", {"own.png": "data:,"})
    assert "<h3>Head</h3>" in html
    assert '<td>&lt;b&gt;</td>\n<td class="number">1</td>' in html
    assert '<img src="data:," alt="own">' in html
    assert "http://x" not in html
    assert "style=" not in html
    assert inline_html("*a* <i>") == "<em>a</em> &lt;i&gt;"
    assert inline_html(plain("[x](javascript:alert) <b> *|`")) == "[x](javascript:alert) &lt;b&gt; *|`"


def test_levels_have_intervals_by_video(tmp_path: Path) -> None:
    gates = random_gates(6, 2, clips=4)
    summary, samples = summary_of(tmp_path / "run", gates)
    levels = gate_levels(summary.per_sample, samples.select("sample_id", "vid"))
    assert levels.select("gate", "layer").rows()[:3] == [("attention", 0), ("attention", 1), ("attention", None)]
    for row in levels.iter_rows(named=True):
        where = slice(None) if row["layer"] is None else row["layer"]
        values = np.stack([own[row["gate"]][where] for own in gates.values()])
        assert row["mean"] == pytest.approx(values.mean(), rel=1e-5)
        assert row["mean_abs"] == pytest.approx(np.abs(values).mean(), rel=1e-5)
        assert row["mean_low"] < row["mean"] < row["mean_high"]
    one_video = gate_levels(summary.per_sample, samples.select("sample_id", vid=pl.lit("v")))
    assert one_video["mean_low"].is_nan().all()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("closed", 0.001, "audio hardly enters"),
        ("open", -0.5, "so that it subtracts, in layers 0 and 1"),
        ("saturated", 0.99, "of layer 1 is always 0.990"),
        ("broken", float("nan"), "No value of the attention gate is finite"),
    ],
)
def test_short_answers(tmp_path: Path, name: str, value: float, expected: str) -> None:
    own = {kind: np.full((2, 4, 1), value, np.float32) for kind in ("attention", "ffn")}
    assert expected in short_answers(tmp_path / name, dict.fromkeys("abc", own))


def test_short_answers_name_unusual_samples_and_few_videos(tmp_path: Path) -> None:
    gates = random_gates(20, 1, clips=50, seed=3)
    gates["1007"]["ffn"][:] = -0.97
    text = short_answers(tmp_path / "run", gates)
    assert "furthest 1007 (ffn gate of layer 0: −0.970, middle" in text
    assert "With 20 videos, intervals are rough" in text
    assert "There is only one video" in short_answers(tmp_path / "one", random_gates(1, 1))


def short_answers(folder: Path, gates: Gates) -> str:
    summary, samples = summary_of(folder, gates)
    videos = samples.select("sample_id", "vid")
    levels = gate_levels(summary.per_sample, videos)
    return answers(summary, spread_over_videos(summary.per_sample, videos), levels).text
