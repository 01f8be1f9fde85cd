"""What is said where a model does not reproduce training's predictions: what was tried, and the way on."""

from __future__ import annotations

from ...runtime.brief import counted
from ...runtime.errors import DatasetError, VerificationError
from .agreement import Agreement
from .evidence import Evidence
from .search import Search
from .subject import WayOn

_SHOWN = 3
# Where so many samples agree, the model is right and something else is not.
_MOST = 0.5
_OTHER_DATA = "Or the predictions, annotations or features are of another run: give those of this one"


def disagreement(
    given: Agreement | DatasetError, search: Search, evidence: Evidence, way_on: WayOn
) -> VerificationError:
    """The error: the cause that was found and its flag, or else what is left to do.

    ``given``: how the model does as it was given.
    """
    explaining, count = search.explaining, counted(len(search.tried), "likely cause")
    options: tuple[str, ...] = ()
    if explaining:
        fix = "export again with " + " or ".join(cause.flag for cause in explaining)
        options = explaining[0].words
        if len(explaining) > 1:
            fix += " (these agree equally; training's own options decide)"
    elif isinstance(given, Agreement) and given.share >= _MOST:
        fix = (
            f"none of {count} explains it, and most samples agree: the model is probably right, and training "
            "evaluated in other batches (--verify-batch-size) or in another order of the annotations, or the "
            "features of some samples have changed since"
        )
    else:
        fix, options = f"none of {count} explains it. {way_on.advice}. {_OTHER_DATA}", way_on.options
    as_given = given if isinstance(given, Agreement) else given.problem
    lines = [f"as given: {as_given}", *_tried(search)]
    return VerificationError(
        f"the model does not reproduce training's predictions on {counted(evidence.samples, 'sample')}",
        received="largest differences, with the causes that were tried\n    " + "\n    ".join(lines),
        expected="scores within 0.001, saliency within 0.005, windows within a clip's rounding",
        fix=fix,
        again=options,
    )


def _tried(search: Search) -> list[str]:
    """The causes that explain it, else the closest, with numbers; of the others the flags alone."""
    shown = len(search.explaining) or _SHOWN
    lines = [f"{one.cause.name} ({one.cause.flag}): {one.agreement}" for one in search.tried[:shown]]
    if rest := search.tried[shown:]:
        lines.append(f"no closer: {', '.join(one.cause.flag for one in rest)}")
    return lines
