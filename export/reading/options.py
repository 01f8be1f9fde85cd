"""Training's options, read with their types checked, and a record of where each fact came from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ...runtime.errors import CheckpointError
from ...runtime.gates.manifest import Fact, Scalar

# Where a fact can come from, other than from the options.
WEIGHTS, FLAG, DEFAULT, FAMILY = "weights", "flag", "default", "family"
OPTIMIZER, CODE = "optimizer", "code"


def whole(value: object) -> int | None:
    """``value`` as a whole number, as 75 and 75.0 are; None where it is not one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, int):
        return value
    return int(value) if value.is_integer() else None


def _finite(value: float) -> bool:
    """Whether it is a number a float can hold: Python's whole numbers have no bounds."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


class TrainingOptions:
    """The options of one checkpoint; where one is absent the training script's default is recorded."""

    def __init__(self, path: Path, values: Mapping[str, Any], source: str | None) -> None:
        self.path = path
        self.values = values
        self.source = source or "opt"
        self.recorded = source is not None
        self.facts: dict[str, Fact] = {}
        self.warnings: list[str] = []
        # Those of the warnings that no longer hold once training's predictions were reproduced.
        self.open_questions: list[str] = []

    def ask(self, warning: str) -> None:
        """Warn of something that a comparison with training's predictions settles."""
        self.warnings.append(warning)
        self.open_questions.append(warning)

    def copy(self) -> TrainingOptions:
        """The same options without what was recorded so far."""
        return TrainingOptions(self.path, self.values, self.source if self.recorded else None)

    def get(self, key: str) -> Any:
        """The option as it was saved, None where it is absent."""
        return self.values.get(key)

    def record(self, name: str, value: Scalar, source: str) -> None:
        """Remember that the fact ``name`` is ``value`` because ``source`` says so."""
        self.facts[name] = Fact(value, source)

    def text(self, name: str, key: str, default: str) -> str:
        """A word or path."""
        return cast(str, self._typed(name, key, default, (str,), "text"))

    def switch(self, name: str, key: str, default: bool) -> bool:
        """True or false; training scripts also save 0 and 1."""
        return bool(self._typed(name, key, default, (bool, int), "true or false"))

    def count(self, name: str, key: str, default: int) -> int:
        """A whole number from 1."""
        given = self.get(key)
        value = default if given is None else whole(given)
        if value is None or value < 1:
            raise self._nonsense(key, given, "a whole number from 1")
        self.record(name, value, DEFAULT if given is None else self.source)
        return value

    def seconds(self, name: str, key: str, default: float) -> float:
        """A duration above 0."""
        value = self._typed(name, key, default, (int, float), "a number of seconds above 0")
        if isinstance(value, bool) or not _finite(value) or value <= 0:
            raise self._nonsense(key, value, "a number of seconds above 0")
        return float(value)

    def number(self, name: str, key: str, default: float) -> float:
        """Any finite number."""
        value = self._typed(name, key, default, (int, float), "a number")
        if isinstance(value, bool) or not _finite(value):
            raise self._nonsense(key, value, "a finite number")
        return float(value)

    def counts(self, name: str, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Several whole numbers from 1."""
        value = self.get(key)
        found = default if value is None else value
        if not isinstance(found, (list, tuple)):
            raise self._nonsense(key, value, "whole numbers from 1")
        numbers = tuple(whole(one) or 0 for one in cast(list[object], found))
        if not all(one >= 1 for one in numbers):
            raise self._nonsense(key, value, "whole numbers from 1")
        self.record(name, ", ".join(map(str, numbers)), DEFAULT if value is None else self.source)
        return numbers

    def texts(self, name: str, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """One or several words or paths."""
        value = self.get(key)
        if isinstance(value, str):
            value = [value]
        if value is not None and not (
            isinstance(value, (list, tuple))
            and value
            and all(isinstance(part, str) for part in cast(list[object], value))
        ):
            raise self._nonsense(key, value, "one or several folders")
        found = default if value is None else tuple(cast(list[str], value))
        self.record(name, ", ".join(found), DEFAULT if value is None else self.source)
        return found

    def _typed(self, name: str, key: str, default: Any, kinds: tuple[type, ...], expected: str) -> Any:
        value = self.get(key)
        if value is not None and not isinstance(value, kinds):
            raise self._nonsense(key, value, expected)
        found = default if value is None else value
        self.record(name, found, DEFAULT if value is None else self.source)
        return found

    def _nonsense(self, key: str, value: Any, expected: str) -> CheckpointError:
        return CheckpointError(
            f"the options of {self.path} make no sense",
            received=f"{key} = {value!r} ({self.source})",
            expected=expected,
            fix="fix the option, or give the checkpoint without options and flags instead",
        )
