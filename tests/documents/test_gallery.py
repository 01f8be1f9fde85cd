"""Every kind of figure that a report can hold has a small picture in the gallery."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from PIL import Image

from .gallery import FOLDER, LARGEST, WIDTH, picture

ANALYSIS = Path(__file__).parent.parent.parent / "analysis"
#: Of ``gatescope profile``, ``gatescope epochs`` and a campaign, not of a report.
ELSEWHERE = {"profile.png", "epochs.png", "campaign.png"}


def figure_names() -> set[str]:
    """Names of PNG files that the analysis writes; of one per sample, what all have in common."""
    found: set[str] = set()
    for path in ANALYSIS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                text = ast.unparse(node)
                found |= {f"{stem}.png" for stem in re.findall(r"([a-z][a-z_]*[a-z])_\{\w+\}\.png", text)}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"(?<![\w{}])[a-z][a-z_]*[a-z]\.png", node.value))
    return found - ELSEWHERE


def test_every_kind_of_figure_has_a_picture() -> None:
    assert figure_names() == {path.name for path in FOLDER.glob("*.png")}


def test_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert {name: size for name, size in sizes.items() if size > LARGEST} == {}
    assert sum(sizes.values()) < 1_500_000


def test_a_large_figure_becomes_small(tmp_path: Path) -> None:
    figure = tmp_path / "f.png"
    Image.effect_noise((2200, 1000), 90).convert("RGB").save(figure)
    content = picture(figure)
    (tmp_path / "small.png").write_bytes(content)
    with Image.open(tmp_path / "small.png") as small:
        assert small.size == (WIDTH, 500)
    assert len(content) < figure.stat().st_size / 4


@pytest.mark.parametrize("page", ["gallery.md", "ko/gallery.md"])
def test_the_page_shows_every_picture(page: str) -> None:
    text = (FOLDER.parent / page).read_text(encoding="utf-8")
    shown = set(re.findall(r"gallery/([a-z_]+\.png)\)", text))
    assert shown == {path.name for path in FOLDER.glob("*.png")}
