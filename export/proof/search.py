"""Looking for the cause of a difference: the likeliest first, on a few samples, until one explains all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...runtime.errors import GatescopeError
from ..families.choices import Choices
from .agreement import Agreement, agreement_of
from .causes import DifferenceCause, batch_size_causes
from .evidence import Evidence
from .trial import Trial

# Samples that a cause is first tried on. Whatever explains half of them is tried on all.
FEW = 4
_ALIVE = 0.5
# Causes are tried in pairs only where the best one alone brings the model so much closer.
_CLOSER = 0.8


@dataclass(frozen=True)
class TriedCause:
    """A cause and how near it brings the model to training's predictions."""

    cause: DifferenceCause
    agreement: Agreement


@dataclass(frozen=True)
class Search:
    """What was found.

    - ``tried``: every cause that could be, the closest first. ``explaining``: those that explain every
      sample; several where they do so equally well.
    """

    tried: tuple[TriedCause, ...]
    explaining: tuple[DifferenceCause, ...]


def search_causes(
    trial: Trial,
    choices: Choices,
    evidence: Evidence,
    places: tuple[int, ...],
    given: float,
    tell: Callable[[str], None],
) -> Search:
    """Try what may be wrong with ``choices``, in the order of likelihood, on the samples at ``places``.

    ``given``: how bad the choices as they are do on these samples. Ends with the first degree of likelihood
    of which a cause explains all of ``evidence``. Where no single one does and one brings the model closer,
    each is tried next to that one.
    """
    tell("the predictions differ; trying likely causes")
    causes = [
        *trial.causes(choices),
        *batch_size_causes(choices, evidence.batch_size, trial.batch_sizes()),
    ]
    tried, explaining = _try(trial, causes, evidence, places)
    if not explaining and tried:
        best = min(tried, key=lambda one: one.agreement.typical)
        if best.agreement.typical < _CLOSER * given:
            tell(f"no single cause explains it; trying each with {best.cause.flag}")
            pairs, explaining = _try(trial, _with(trial, best.cause), evidence, places)
            tried = [*tried, *pairs] if explaining else tried
    tried = sorted(tried, key=lambda one: one.agreement.typical)
    first = [one for one in tried if one.cause in explaining]
    return Search((*first, *(one for one in tried if one not in first)), tuple(explaining))


def _with(trial: Trial, best: DifferenceCause) -> list[DifferenceCause]:
    """Every other cause next to ``best``."""
    return [
        replace(
            cause,
            name=f"{best.name}, and {cause.name}",
            words=best.words + cause.words,
            batch_size=best.batch_size,
        )
        for cause in trial.causes(best.choices)
        if not cause.options & best.options
    ]


def _try(
    trial: Trial, causes: Sequence[DifferenceCause], evidence: Evidence, places: tuple[int, ...]
) -> tuple[list[TriedCause], list[DifferenceCause]]:
    """The causes that could be tried, and those that explain everything."""
    tried: list[TriedCause] = []
    by_likelihood = sorted(causes, key=lambda cause: cause.likelihood)
    for _, alike in itertools.groupby(by_likelihood, key=lambda cause: cause.likelihood):
        explaining: list[DifferenceCause] = []
        for cause in alike:
            rows = evidence if cause.batch_size is None else replace(evidence, batch_size=cause.batch_size)
            try:
                found = agreement_of(trial.few(cause.choices, rows, places))
                if found.share >= _ALIVE:
                    found = agreement_of(trial.whole(cause.choices, rows))
            except GatescopeError:  # by the features' widths it cannot be the cause
                continue
            tried.append(TriedCause(cause, found))
            if found.enough and found.samples == evidence.samples:
                explaining.append(cause)
        if explaining:
            return tried, explaining
    return tried, []
