"""``report.html`` in a real browser: it works, loads nothing, and shows hostile text as text."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, sync_playwright

from gatescope.analysis import Section, analyze_run

from ..undrawn import undrawn
from .runs import random_gates, write_run

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = [
    "</script><script>window.hacked=1</script>",
    '"><img src=x onerror="window.hacked=1">',
    "<!--<script>window.hacked=1",
    "\u202eright to left שלום",
    "😀 👩‍👩‍👧 é",
    "a" * 10_000,
    "line\nbreak\x00 & &amp; {{DATA}}",
]
SAMPLES = 60
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run whose first ids and queries are hostile."""
    folder = tmp_path_factory.mktemp("page")
    names = [*HOSTILE, *(f"q{number}" for number in range(len(HOSTILE), SAMPLES))]
    gates = dict(zip(names, random_gates(SAMPLES, 2, clips=20).values(), strict=True))
    gates[HOSTILE[0]]["attention"][:] = 0.99
    window = {
        "pred_relevant_windows": [[4.0, 12.0, 0.9], [0.0, 2.0, 0.1]],
        "pred_saliency_scores": [0.5] * 20,
    }
    predictions = {name: {"qid": name, "query": f"about {name}", "vid": name, **window} for name in names}
    run = write_run(folder / "run", gates, per_part=20, predictions=predictions)
    lines = [
        {
            "qid": name,
            "query": f"about {name}",
            "vid": f"v-{name}",
            "duration": 40,
            "relevant_windows": [[6, 14]],
        }
        | {"relevant_clip_ids": [3, 4], "saliency_scores": [[1, 2, 3], [4, 4, 4]]}
        for name in names
    ]
    annotations = folder / "a.jsonl"
    annotations.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    mine = Section("<i>Mine</i>", "> quoted <b>bold</b>\n\n1. one\n\n![far](http://example.org/x.png) `code`")
    with undrawn():
        analyze_run(run, folder / "report", annotations=annotations, sections=[mine])
    return folder / "report" / "report.html"


@pytest.fixture(scope="module")
def browser(report: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, list[str]]]:
    """The report in a browser, and everything it complained of or asked the network for."""
    faults: list[str] = []

    def refuse(route: Route) -> None:
        faults.append(f"asked for {route.request.url}")
        route.abort()

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=CHROMIUM,
            args=FLAGS,
            color_scheme="light",
            viewport={"width": 1280, "height": 900},
        )
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.route(lambda url: not url.startswith(("file:", "data:")), refuse)
        page.goto(report.as_uri())
        yield page, faults
        context.close()


@pytest.fixture
def page(browser: tuple[Page, list[str]]) -> Iterator[Page]:
    """The page, which must still be without a fault after the test."""
    yield browser[0]
    assert browser[1] == []
    assert browser[0].evaluate("window.hacked") is None


# Its heading, with an arrow once the table is sorted by it; not that of the mean |g|.
MEAN_COLUMN = re.compile("^attention mean( [↑↓])?$")


def texts(page: Page, selector: str) -> list[str]:
    return page.locator(selector).all_text_contents()


def test_the_first_screen_has_numbers_and_answers(page: Page) -> None:
    assert len(texts(page, ".numbers tbody tr")) == 2 * (2 + 1)
    assert texts(page, ".answers li > strong")[0] == "Is audio used?"
    assert page.locator(".answers").bounding_box()["y"] < 900  # type: ignore[index]
    page.locator("#levels g.kind-1").first.hover()
    assert "mean |g|" in page.locator("#tip").inner_text()


def test_search_and_sort(page: Page) -> None:
    def means() -> list[float]:
        return [float(text.replace("−", "-")) for text in texts(page, "#rows tbody td:nth-child(5)")]

    shown = page.locator("#found")
    assert shown.inner_text() == f"1–50 of {SAMPLES}"
    page.locator("#next").click()
    assert shown.inner_text() == f"51–{SAMPLES} of {SAMPLES}"
    page.get_by_role("button", name=MEAN_COLUMN).click()
    assert means() == sorted(means(), reverse=True)
    assert page.locator('th[aria-sort="descending"]').inner_text() == "attention mean ↓"
    page.get_by_role("button", name=MEAN_COLUMN).click()
    assert means() == sorted(means())
    page.locator("#search").fill("<IMG")
    assert shown.inner_text() == f"1–1 of 1 found among {SAMPLES}"
    page.locator("#search").fill("nowhere")
    assert shown.inner_text() == "nothing found"
    page.locator("#search").fill("")


def test_hostile_text_is_text(page: Page) -> None:
    for name in (one for one in HOSTILE if len(one) < 100):
        page.locator("#search").fill(name.split("\n")[0])
        cell = page.locator("#rows tbody tr").first.locator("td")
        assert cell.nth(0).inner_text().split() == name.split()
        assert cell.nth(2).text_content() == f"about {name}"
    page.locator("#search").fill("a" * 100)
    assert len(page.locator("#rows tbody td").first.inner_text()) == 200
    page.locator("#search").fill("")
    assert "1 ids are cut after 200 characters" in page.locator("main").inner_text()
    chapter = page.locator(".chapter", has_text="Mine")
    assert chapter.locator("h2").inner_text() == "<i>Mine</i>"
    assert chapter.locator("blockquote").inner_text().strip() == "quoted <b>bold</b>"
    assert chapter.locator("img").count() == 0


def test_points_tell_their_id_and_choose_a_timeline(page: Page) -> None:
    chart = page.locator("#samples svg")
    chart.focus()
    chart.press("ArrowRight")
    assert "Attention gate, all layers: mean" in page.locator("#tip").inner_text()
    # The first id has the most open gate: of all points its own lies furthest to the right.
    chart.press("End")
    assert page.locator("#tip b").inner_text() == HOSTILE[0]
    chart.press("Enter")
    assert HOSTILE[0] in page.locator("#chosen").inner_text()
    assert "Its timeline is below" in page.locator("#chosen").inner_text()
    page.locator("#chart-layer").select_option("1")
    page.locator("#samples svg circle.ringed").first.hover()
    assert "layer 0: mean" in page.locator("#tip").inner_text()


def test_a_timeline_has_gates_windows_and_saliency(page: Page) -> None:
    page.locator("#exemplars button").nth(1).click()
    assert page.locator('#exemplars button[aria-pressed="true"]').count() == 1
    stage = page.locator("#timeline > svg")
    assert stage.locator("path.curve").count() == 2 * 2
    assert stage.locator("rect.truth:not(.shade)").count() == 1
    assert (stage.locator("rect.window").count(), stage.locator("rect.saliency").count()) == (2, 20)
    assert stage.locator("circle.rated").count() == 2
    stage.focus()
    for _ in range(4):
        stage.press("ArrowRight")
    told = page.locator("#tip").inner_text()
    for part in ("6–8 s", "layer 1: attention", "rated 2.00 of 4", "4–12 s, score 0.900", "in a true window"):
        assert part in told
    stage.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_colours_follow_the_system_and_the_button(page: Page) -> None:
    def background() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = background()
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector('#theme[aria-pressed="true"]')
    assert background() != light
    page.locator("#theme").press("Enter")
    page.wait_for_selector('#theme[aria-pressed="false"]')
    assert background() == light
    page.emulate_media(color_scheme="light")


def test_paper_shows_every_timeline_and_no_controls(page: Page) -> None:
    page.emulate_media(media="print")
    exemplars: list[Any] = page.evaluate("JSON.parse(document.getElementById('data').textContent).timelines")
    page.wait_for_selector("#all-timelines svg")
    assert page.locator("#all-timelines svg[role] path.curve").count() == 4 * len(exemplars) > 0
    assert page.locator("#all-timelines").is_visible()
    assert page.locator(".numbers table").is_visible()
    assert not page.locator(".bar").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.emulate_media(media="screen")
    page.wait_for_selector("#all-timelines svg", state="detached")


@pytest.mark.parametrize("width", [360, 1600])
def test_nothing_is_wider_than_the_screen(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function("document.querySelector('#levels svg').clientWidth <= innerWidth")
    assert page.evaluate("document.documentElement.scrollWidth") == width
