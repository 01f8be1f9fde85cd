"""The chapters of a report, in their order."""

from __future__ import annotations

from .causes.ablation.embedded import causes_chapter
from .clustering.chapter import clustering_chapter
from .events.chapter import events_chapter
from .overview.answers import answers_chapter
from .overview.numbers import numbers_chapter
from .overview.pictures import pictures_chapter
from .overview.provenance import provenance_chapter
from .overview.reading import limits_chapter, saying_chapter
from .plugins.chapter import plugins_chapter
from .queries.chapter import queries_chapter
from .relations.chapter import beyond_means_chapter, relations_chapter
from .report.chapter import Chapter
from .samples.chapter import comparison_chapter, samples_chapter
from .subsets.chapter import subsets_chapter
from .timelines.chapter import timelines_chapter
from .training.chapter import training_chapter

#: Sections of the caller's own stand before the last one.
CHAPTERS: list[Chapter] = [
    answers_chapter,
    training_chapter,
    causes_chapter,
    numbers_chapter,
    saying_chapter,
    limits_chapter,
    beyond_means_chapter,
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
