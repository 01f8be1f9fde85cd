"""What goes into ``report.html``: data, text and figures, each within its limits. test_page.py opens it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from gatescope.analysis import Section
from gatescope.analysis.overview.answers import answers_chapter
from gatescope.analysis.relations.relations import relations_of
from gatescope.analysis.report.context import Context
from gatescope.analysis.report.html.markup import inline_html, to_html
from gatescope.analysis.report.html.page import page
from gatescope.analysis.report.html.payload import MOST_LISTED_SAMPLES, payload, shown_number, to_script
from gatescope.analysis.report.html.pictures import data_uris
from gatescope.analysis.report.html.shell import LIMIT
from gatescope.analysis.report.markdown import number, plain

from .runs import Gates, random_gates, write_run


def noise(size: int) -> bytes:
    """A PNG that hardly compresses."""
    pixels = np.random.default_rng(0).integers(0, 255, (size, size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def context_of(folder: Path, gates: Gates) -> Context:
    return Context(write_run(folder, gates))


def test_a_page_of_five_thousand_samples_keeps_to_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_of(tmp_path / "run", random_gates(1, 4, clips=2))
    summary, levels = context.summary, context.once(relations_of).levels
    names = [f"q{place}" for place in range(MOST_LISTED_SAMPLES + 1)]
    many = summary.per_sample.drop("sample_id").join(pl.DataFrame({"sample_id": names}), how="cross")
    queries = pl.DataFrame({"sample_id": names, "qid": names, "vid": names, "clips": 75})
    found = payload(replace(summary, per_sample=many), queries, levels, dict.fromkeys(names, "<" * 400), [])
    assert len(found.data["qid"]) == len(found.data["gates"]["ffn"]["mean"][0]) == MOST_LISTED_SAMPLES
    assert "hold 5,000 of 5,001 queries" in found.left_out[0]
    assert "5,000 queries are cut after 100 characters" in found.left_out[1]
    section = Section("Pictures", "", {"a.png": noise(400)})
    text = page([], [section], found, levels, title="Title", subtitle="", warnings=[])
    assert len(text.encode()) < LIMIT
    assert "data:image/png" in text
    monkeypatch.setattr("gatescope.analysis.report.html.shell.LIMIT", 1_000_000)
    text = page([], [section], found, levels, title="Title", subtitle="", warnings=[])
    assert "1 figure is a file next to this page: a.png." in text


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
    html = to_html(
        "### Head\n\n| a | b |\n| :--- | ---: |\n| <b> | 1 |\n\n![own](own.png) ![far](http://x/y.png)",
        {"own.png": "data:,"},
    )
    assert "<h3>Head</h3>" in html
    assert '<td>&lt;b&gt;</td>\n<td class="number">1</td>' in html
    assert '<img src="data:," alt="own">' in html
    assert "http://x" not in html
    assert "style=" not in html
    assert inline_html("*a* <i>") == "<em>a</em> &lt;i&gt;"
    assert inline_html(plain("[x](javascript:alert) <b> *|`")) == "[x](javascript:alert) &lt;b&gt; *|`"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("closed", 0.001, "audio hardly enters"),
        ("open", -0.5, "so that the branch is subtracted, in layers 0 and 1"),
        ("saturated", 0.99, "of layer 1 is always 0.990"),
        ("broken", float("nan"), "No value of the attention gate is finite"),
    ],
)
def test_short_answers(tmp_path: Path, name: str, value: float, expected: str) -> None:
    own = {kind: np.full((2, 4, 1), value, np.float32) for kind in ("attention", "ffn")}
    assert expected in short_answers(tmp_path / name, dict.fromkeys("abc", own))


def test_short_answers_name_unusual_samples_and_few_videos(tmp_path: Path) -> None:
    own = {kind: np.full((1, 4, 1), 0.2, np.float32) for kind in ("attention", "ffn")}
    odd = {"attention": own["attention"], "ffn": np.full((1, 4, 1), -0.9, np.float32)}
    text = short_answers(tmp_path / "run", dict.fromkeys(map(str, range(18)), own) | {"odd": odd})
    assert "1 sample of 19 lies beyond" in text
    assert "furthest odd (ffn gate of layer 0: −0.900, middle 0.200)" in text
    assert "With 19 videos, intervals are rough" in text
    assert "There is only one video" in short_answers(tmp_path / "one", random_gates(1, 1))


def short_answers(folder: Path, gates: Gates) -> str:
    section = answers_chapter(context_of(folder, gates))
    assert section is not None
    return section.text
