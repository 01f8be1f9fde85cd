"""Texts of any script in figures: drawn where a font is there, boxes where none is, never a complaint."""

from __future__ import annotations

import logging

import pytest

from gatescope.analysis.figures import style
from gatescope.analysis.figures.style import font_families, heading, new_figure, png, short


@pytest.mark.parametrize(
    ("installed", "families"),
    [
        (set(), ["DejaVu Sans"]),
        ({"Arial", "Comic Sans MS"}, ["DejaVu Sans"]),
        ({"DejaVu Sans", "NanumGothic", "Arial"}, ["DejaVu Sans", "NanumGothic"]),
        ({"Malgun Gothic", "Yu Gothic", "Gulim"}, ["DejaVu Sans", "Malgun Gothic", "Yu Gothic"]),
        ({"Noto Sans CJK JP", "NanumGothic"}, ["DejaVu Sans", "NanumGothic", "Noto Sans CJK JP"]),
    ],
)
def test_only_fonts_that_are_installed_are_named(installed: set[str], families: list[str]) -> None:
    assert font_families(installed) == families


@pytest.mark.parametrize("text", ["영상_질의3001", "動画", "视频", "Видео", "\U0001f3b5"])
def test_any_id_is_drawn_without_a_complaint(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """On whatever fonts this machine has: what none can draw is a box. Warnings are errors in tests."""
    with caplog.at_level(logging.WARNING, "matplotlib"):
        with style.style():
            figure = new_figure(3, 2)
            heading(figure, short(text), "")
        assert png(figure) == png(figure)
    assert not caplog.records


def test_without_other_fonts_there_are_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "font_families", lambda installed: ["DejaVu Sans"])
    forget_fonts()
    try:
        assert short("영상_1") == "□□_1"
    finally:
        forget_fonts()


def forget_fonts() -> None:
    """Fonts are looked up once in a process."""
    style._families.cache_clear()
    style._glyphs.cache_clear()
