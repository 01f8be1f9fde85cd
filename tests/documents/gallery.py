"""``make gallery``: the pictures of docs/gallery/, from the report of a demo.

    python -m tests.documents.gallery [DEMO]

DEMO is a folder that ``gatescope demo --full`` wrote; without it, a demo is made (about three minutes).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent.parent.parent / "docs" / "gallery"
#: Pixels: the width of a column of text on the page, at twice its resolution where the figure has it.
WIDTH = 1100
#: Bytes of one picture.
LARGEST = 150_000
# Figures of one sample each, of which one is shown: by the picture's name, a pattern below the report.
_EXAMPLES = {"timeline.png": "timeline_1.png", "gate_analysis.png": "individual_samples/gate_analysis_*.png"}
# Figures that other folders of the demo hold.
_ELSEWHERE = {
    "ablation.png": "ablation/ablation.png",
    "gate_comparison.png": "full/**/gate_comparison.png",
    "run_comparison.png": "full/**/run_comparison.png",
}


def figures(demo: Path) -> Iterator[tuple[str, Path]]:
    """Every kind of figure once: the picture's name, and the figure of the ``demo`` that it shows.

    Raises ``FileNotFoundError`` where the demo lacks one.
    """
    report = demo / "report"
    for path in sorted(report.glob("*.png")):
        if not path.stem.startswith("timeline_"):
            yield path.name, path
    for name, pattern in _EXAMPLES.items():
        yield name, _first(report, pattern)
    for name, pattern in _ELSEWHERE.items():
        yield name, _first(demo, pattern)


def _first(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(f"{folder} has no {pattern}: make it with 'gatescope demo --full'")
    return found[0]


def picture(figure: Path) -> bytes:
    """The figure as a small PNG: at most :data:`WIDTH` pixels wide, and as many colours as fit."""
    with Image.open(figure) as opened:
        image = opened.convert("RGB")
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    for colours in (256, 128, 64, 32):
        reduced = image.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        stream = BytesIO()
        reduced.save(stream, "PNG", optimize=True)
        if stream.tell() <= LARGEST:
            break
    return stream.getvalue()


def write_gallery(demo: Path, folder: Path) -> None:
    """Write a picture of every kind of figure of the ``demo``; others that lie in ``folder`` are removed."""
    pictures = {name: picture(figure) for name, figure in figures(demo)}
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    for name, content in pictures.items():
        (folder / name).write_bytes(content)
        print(f"{folder / name}  {len(content) / 1000:.0f} kB")


def main() -> int:
    """Write the pictures; see the file's first lines."""
    if sys.argv[1:]:
        write_gallery(Path(sys.argv[1]), FOLDER)
        return 0
    with tempfile.TemporaryDirectory(prefix="gatescope-gallery-") as folder:
        demo = Path(folder) / "demo"
        command = [sys.executable, "-m", "gatescope", "demo", "--full", "--output", str(demo)]
        subprocess.run(command, check=True)
        write_gallery(demo, FOLDER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
