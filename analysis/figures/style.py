"""How every figure looks: sizes, colours, scales, and how it becomes a PNG."""

from __future__ import annotations

import io
import logging
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure as PlainFigure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.ticker import FuncFormatter

DPI = 150
INK = "#22262b"
QUIET = "#6b7280"
GRID = "#e5e7eb"
MISSING = "#d1d5db"
EVENT = "#f0c419"

# Okabe and Ito's palette, told apart with every common form of colour blindness.
_KIND_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")
#: Shapes that tell series apart without their colours.
MARKERS = "os^DvPX*"
# Fractions of a gate's range at which a colour scale may end.
_SCALE_ENDS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
_FONT = "DejaVu Sans"  # comes with matplotlib
# What else can draw Hangul, kana and Han characters, as it is called on Linux, Windows and macOS. Of a
# collection of fonts matplotlib knows the first alone, which is the Japanese one of Noto's.
_FALLBACKS = (
    *("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo"),
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans KR", "Microsoft YaHei", "Yu Gothic"),
    *("PingFang SC", "Hiragino Sans", "WenQuanYi Micro Hei", "Arial Unicode MS"),
)
_RC: dict[str, Any] = {
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # an id with two dollar signs is not a formula
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
}


def font_families(installed: Collection[str]) -> list[str]:
    """The figures' font and, for what it cannot draw, those of the fallbacks that are ``installed``.

    One that is not there must not be named: matplotlib would complain of it at every text.
    """
    return [_FONT, *(name for name in _FALLBACKS if name in installed)]


@cache
def _families() -> list[str]:
    return font_families(set(fontManager.get_font_names()))


@contextmanager
def style() -> Generator[None]:
    """Within it, figures are made in gatescope's style; the caller's own settings are left as they were."""
    logger = logging.getLogger("matplotlib.font_manager")

    def worth_telling(record: logging.LogRecord) -> bool:
        # Not that a fallback font has no bold face, and its next heavier one is taken.
        return "font weight" not in record.getMessage()

    logger.addFilter(worth_telling)
    try:
        with mpl.rc_context(cast(Any, {**_RC, "font.family": _families()})):
            yield
    finally:
        logger.removeFilter(worth_telling)


class Figure(PlainFigure):
    """A matplotlib figure that shows itself in a notebook.

    Figures of pyplot do so too; pyplot has no part in ours, so that making one leaves nothing behind in a
    process that serves, and the last line of a cell would print ``<Figure size …>`` alone.
    """

    def draw(self, renderer: Any) -> None:
        """Draw it in gatescope's style, also where somebody else asks: a notebook's inline pictures."""
        with style():
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        return png(self)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, ``width`` × ``height`` inches, with no part in pyplot's global state."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def png(figure: PlainFigure) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def heading(figure: Figure, title: str, subtitle: str) -> None:
    """A title above the panels and, below them in small letters, what they show."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    figure.supxlabel(subtitle, x=0.01, ha="left", fontsize=8.5, color=QUIET)


def kind_colour(kinds: Sequence[str], kind: str) -> str:
    """The colour of a kind of gate: the same in every figure of a run."""
    return _KIND_COLOURS[kinds.index(kind) % len(_KIND_COLOURS)]


def series_colour(place: int) -> str:
    """The colour of one of several series that are no kinds of gates; ``place`` counts from 0."""
    return _KIND_COLOURS[place % len(_KIND_COLOURS)]


def shades(colour: str, count: int) -> list[tuple[float, float, float]]:
    """``count`` shades of one colour, from light (first layer) to full (last)."""
    red, green, blue = to_rgb(colour)
    strengths = [1.0] if count == 1 else [0.35 + 0.65 * index / (count - 1) for index in range(count)]
    return [(1 - s * (1 - red), 1 - s * (1 - green), 1 - s * (1 - blue)) for s in strengths]


def kind_name(kind: str) -> str:
    """A kind of gate as a reader calls it."""
    return {"attention": "Attention gate", "ffn": "FFN gate"}.get(kind, f"{kind} gate")


def value_scale(low: float, high: float, largest: float) -> tuple[str, Normalize]:
    """Colour map and norm for gates with range [``low``, ``high``] of which the largest |g| is ``largest``.

    Signed gates get a diverging map centred on 0, one-sided ones a sequential map from 0. Scales end at a few
    fixed fractions of the range, so that pictures of different runs are often on the same one.
    """
    whole = max(abs(low), abs(high)) or 1.0
    ends = [fraction * whole for fraction in _SCALE_ENDS if fraction * whole >= largest]
    end = ends[0] if ends else largest
    if low < 0 < high:
        return "RdBu_r", Normalize(-end, end)
    return ("viridis", Normalize(0, end)) if high > 0 else ("viridis_r", Normalize(-end, 0))


def grid(axes: Axes, axis: str = "both") -> None:
    """A quiet grid behind the data, along ``axis`` (x, y or both)."""
    axes.grid(True, axis=axis)  # type: ignore[arg-type]


def percent_axis(axis: Axis) -> None:
    """Labels an axis of shares in percent, with as many decimals as the ticks need."""
    axis.set_major_formatter(FuncFormatter(_percent))


def _percent(share: float, _: int | None) -> str:
    return f"{100 * share:g}%"


def signed(value: float) -> str:
    """A value with three decimals and a minus sign that is one."""
    text = f"{value:.3f}"
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", "−")


def short(label: str, longest: int = 18) -> str:
    """``label`` cut in its middle to ``longest`` characters; what no font can draw becomes □."""
    if len(label) > longest:
        half = (longest - 1) // 2
        label = f"{label[:half]}…{label[-half:]}"
    glyphs = _glyphs()
    return "".join(letter if letter.isprintable() and ord(letter) in glyphs else "□" for letter in label)


@cache
def _glyphs() -> frozenset[int]:
    """The code points that the figures' fonts can draw."""
    return frozenset(code for name in _families() for code in get_font(findfont(name)).get_charmap())
