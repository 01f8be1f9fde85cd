"""The chapters of a report, in their order: each takes the context and gives a section, or None."""

from __future__ import annotations

from collections.abc import Callable

from .causes.ablation.embedded import causes_answer, causes_chapter
from .clustering.chapter import clustering_chapter
from .context import Context
from .evaluation.training import training_answer, training_chapter
from .events.chapter import events_chapter
from .figures.kinds import kinds_figure
from .figures.layers import layer_figure
from .figures.overall import overall_figure
from .figures.patterns import pattern_figure
from .figures.style import png
from .overview.answers import answers
from .overview.numbers import gate_numbers
from .overview.provenance import provenance
from .overview.reading import what_gates_cannot_say, what_gates_say
from .plugins.chapter import plugins_chapter
from .queries.chapter import queries_chapter
from .relations.chapter import beside_means_chapter, relations_chapter
from .report.markdown import counted
from .report.section import Section
from .samples.chapter import comparison_chapter, samples_chapter
from .statistics.patterns import sample_patterns
from .statistics.summary import GateSummary
from .subsets.chapter import subsets_chapter
from .timelines.chapter import timelines_section

Chapter = Callable[[Context], Section | None]

OVERALL = "overall_statistics.png"
LAYERS_FIGURE = "layer_distributions.png"
PATTERNS = "activation_patterns.png"
KINDS_FIGURE = "attention_against_ffn.png"


def numbers_chapter(context: Context) -> Section:
    """The layer by gate numbers and their picture."""
    summary = context.summary
    figure = overall_figure(summary.overall, summary.by_layer, summary.distribution, subtitle(summary))
    return gate_numbers(summary, context.spread)._replace(figures={OVERALL: png(figure)})


def answers_chapter(context: Context) -> Section:
    """The first questions, answered in words with numbers."""
    told = {
        "Is it the trained model?": training_answer(context),
        "What do audio and gates cause?": causes_answer(context),
    }
    first = [(question, answer) for question, answer in told.items() if answer is not None]
    return answers(context.summary, context.spread, context.relations.levels, first)


def saying_chapter(context: Context) -> Section:
    """What the values say, in words with numbers."""
    return what_gates_say(context.summary, context.spread)


def limits_chapter(context: Context) -> Section:
    """What they cannot say."""
    return what_gates_cannot_say(context.summary)


def pictures_chapter(context: Context) -> Section:
    """Layers and samples in pictures."""
    summary = context.summary
    patterns = sample_patterns(summary.per_sample)
    figures = {
        LAYERS_FIGURE: png(layer_figure(summary.by_layer, summary.distribution, subtitle(summary))),
        PATTERNS: png(pattern_figure(patterns, summary.ranges, subtitle(summary))),
    }
    if len(summary.kinds) > 1:
        figures[KINDS_FIGURE] = png(kinds_figure(summary.per_sample, subtitle(summary)))
    return Section("Layers and samples in pictures", "", figures)


def timelines_chapter(context: Context) -> Section | None:
    """Single queries over time."""
    return timelines_section(context.timelines, context.summary.ranges)


def provenance_chapter(context: Context) -> Section:
    """What was analysed."""
    return provenance(context.run, context.summary, context.videos["vid"].n_unique())


def subtitle(summary: GateSummary) -> str:
    """What a figure of the whole run shows, in a line."""
    layers, samples = counted(len(summary.layers), "layer"), counted(summary.samples, "sample")
    return f"{summary.gating.capitalize()} gating, {layers}, {samples}."


CHAPTERS: list[Chapter] = [
    answers_chapter,
    training_chapter,
    causes_chapter,
    numbers_chapter,
    saying_chapter,
    limits_chapter,
    beside_means_chapter,
    pictures_chapter,
    queries_chapter,
    subsets_chapter,
    timelines_chapter,
    relations_chapter,
    clustering_chapter,
    samples_chapter,
    comparison_chapter,
    events_chapter,
    plugins_chapter,
    provenance_chapter,
]
