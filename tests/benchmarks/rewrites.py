"""``make bench-rewrites``: what each rewrite of the export gains, alone and in company."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from gatescope.export.optimize import REWRITES
from gatescope.runtime import GateSession

from .exports import ALL, Export, Exports
from .goals import interval, number
from .peers.exported import exported
from .report import NOT_JUDGED, Part
from .settings import Settings
from .spread import Spread, paired
from .timing import Kind, Series, measure
from .workload import make_batch, read_model

NONE = "none"


def measure_rewrites(settings: Settings, exports: Exports, part: Part, tell: Callable[[str], None]) -> None:
    """Add a table with a row for each rewrite to ``part``."""
    names = list(REWRITES)[: settings.rewrites]
    choices = {NONE: NONE, ALL: ALL} | {name: name for name in names}
    choices |= {all_but(name): ",".join(one for one in REWRITES if one != name) for name in names}
    suffix = ".ts" if settings.quick_formats else ".onnx"
    wanted = {
        title: Export(settings.gatings[0], "tracked", suffix, optimize=choice)
        for title, choice in choices.items()
    }
    exports.make(list(wanted.values()), tell)
    config = read_model(exports.checkpoint(settings.gatings[0])).config
    kinds: list[Kind] = []
    with ExitStack() as stack:
        for size in (1, settings.batch):
            batch = make_batch(config, size, settings.clips, settings.words)
            for title, export in wanted.items():
                session = stack.enter_context(GateSession(exports.path(export), device="cpu"))
                kinds.append(Kind(f"{title}, batch {size}", exported(session, batch), size))
        series = measure(kinds, settings.pace, tell=tell)
    rows = [
        [name, *(cell for size in (1, settings.batch) for cell in _gains(name, size, series))]
        for name in names
    ]
    together = [cell for size in (1, settings.batch) for cell in (_shown(_gain(series, NONE, ALL, size)), "")]
    columns = [f"{what}, batch {size}" for size in (1, settings.batch) for what in ("alone", "the last")]
    note = (
        "Times faster, with quartiles (smallest – largest). *Alone*: this rewrite against none. *The last*: "
        "all against all but this one."
    )
    part.add("Rewrites", ["", *columns], [*rows, ["all together", *together]], note)
    if not part.judged:
        part.tables.append(NOT_JUDGED)
    part.add_timings(kinds, series)


def all_but(name: str) -> str:
    """What the file with the other rewrites is called."""
    return f"{ALL} but {name}"


def _gains(name: str, size: int, series: Series) -> Sequence[str]:
    return _shown(_gain(series, NONE, name, size)), _shown(_gain(series, all_but(name), ALL, size))


def _gain(series: Series, slower: str, faster: str, size: int) -> Spread:
    return paired(series[f"{slower}, batch {size}"], series[f"{faster}, batch {size}"])


def _shown(gain: Spread) -> str:
    return f"{number(gain.median, '×')}, {interval(gain, '×')}"
