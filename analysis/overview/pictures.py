"""Layers and samples in pictures: what the numbers of a table do not show."""

from __future__ import annotations

from ..figures.kinds import kinds_figure
from ..figures.layers import layer_figure
from ..figures.patterns import pattern_figure
from ..figures.style import png
from ..report.chapter import chapter
from ..report.context import Context
from ..report.section import Section
from ..statistics.patterns import sample_patterns

LAYERS_FIGURE = "layer_distributions.png"
PATTERNS_FIGURE = "activation_patterns.png"
KINDS_FIGURE = "attention_against_ffn.png"


@chapter("Layers and samples in pictures")
def pictures_chapter(context: Context) -> Section:
    """Every layer's distribution, every sample's means, and the kinds of gates against each other."""
    summary, subtitle = context.summary, context.subtitle
    patterns = sample_patterns(summary.per_sample)
    figures = {
        LAYERS_FIGURE: png(layer_figure(summary.by_layer, summary.distribution, subtitle)),
        PATTERNS_FIGURE: png(pattern_figure(patterns, summary.ranges, subtitle)),
    }
    if len(summary.kinds) > 1:
        figures[KINDS_FIGURE] = png(kinds_figure(summary.per_sample, subtitle))
    return Section(pictures_chapter.heading, "", figures)
