"""When a reading beyond its threshold becomes an alarm, and when silence does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import NoReturn

from ...errors import UsageError


@dataclass(frozen=True)
class WatchSettings:
    """How the watcher judges.

    - ``at_once``: from this excess on (1 is the threshold) a window alone is enough. Below it the window must
      stay beyond its threshold for ``confirm`` windows more, of which the last shares no video with it.
    - ``evaluations``: how often a window is looked at while it moves on by its own size.
    - ``stale_seconds``: after how long without any video traffic is stale.
    - ``examples``: ids in an alarm.

    Raises :class:`~gatescope.runtime.errors.UsageError` for numbers that make no sense.
    """

    at_once: float = 2.0
    confirm: int = 1
    evaluations: int = 5
    stale_seconds: float = 300.0
    examples: int = 5

    def __post_init__(self) -> None:
        check_number("at_once", self.at_once, 0)
        check_whole("confirm", self.confirm, 0)
        check_whole("evaluations", self.evaluations, 1)
        check_number("stale_seconds", self.stale_seconds, 0)
        check_whole("examples", self.examples, 0)


def check_number(name: str, value: object, least: float, most: float = math.inf) -> None:
    """See that the setting ``name`` is a finite number from ``least`` to ``most``.

    Raises :class:`~gatescope.runtime.errors.UsageError` for anything else.
    """
    if not isinstance(value, Real) or not least <= float(value) <= most or value == math.inf:
        _refuse("number", name, value, least, most)


def check_whole(name: str, value: object, least: int) -> None:
    """See that the setting ``name`` is a whole number of at least ``least``.

    Raises :class:`~gatescope.runtime.errors.UsageError` for anything else.
    """
    if not isinstance(value, Integral) or value < least:
        _refuse("whole number", name, value, least)


def check_switch(name: str, value: object) -> None:
    """See that the setting ``name`` is True or False.

    Raises :class:`~gatescope.runtime.errors.UsageError` for anything else.
    """
    if not isinstance(value, bool):
        raise UsageError(f"{name} makes no sense", received=repr(value), expected="True or False")


def _refuse(kind: str, name: str, value: object, least: float, most: float = math.inf) -> NoReturn:
    bound = f"from {least:g} to {most:g}" if most < math.inf else f"of at least {least:g}"
    raise UsageError(f"{name} makes no sense", received=f"{value!r}", expected=f"a {kind} {bound}")
