"""The two seams of a tracker: the model it asks for gates, and the analysis that asks it for a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..errors import UsageError
from ..gates.manifest import Manifest
from ..statistics.limits import GateLimits

if TYPE_CHECKING:
    from ..runs.info import FileRef
    from ..runs.reader import Run


@dataclass(frozen=True)
class ModelIdentity:
    """What a run folder says about the model whose gates were tracked."""

    model: FileRef
    manifest: Manifest
    device: str
    versions: dict[str, str]


class GateSource(Protocol):
    """A model whose gates can be tracked."""

    def start(self) -> None:
        """Begin to give gates; raises where the model has none to give."""
        ...

    def stop(self) -> None:
        """End it."""
        ...

    def limits(self, kind: str, layer: int) -> GateLimits | None:
        """When a gate counts as saturated, after the model has run; None where nothing bounds it."""
        ...

    def identity(self) -> ModelIdentity:
        """What the model is, after it has run at least once."""
        ...


@runtime_checkable
class RunSource(Protocol):
    """Anything that can show its gates as a run folder: a tracker, a fusion module that is tracked."""

    @property
    def gate_history(self) -> Mapping[Any, dict[str, Any]]:
        """By sample id ``attention_gates``, ``ffn_gates`` and ``layer_info``."""
        ...

    def as_run(self) -> Run:
        """The gates so far, as a finished run."""
        ...


def run_of(source: Run | RunSource | str | Path) -> Run:
    """The run behind ``source``: a run folder by its path or opened, a tracker, or a tracked fusion module.

    Raises :class:`~gatescope.runtime.errors.UsageError` for anything else, and what opening or writing a
    run raises.
    """
    from ..runs.reader import Run, open_run

    if isinstance(source, Run):
        return source
    if isinstance(source, (str, Path)):
        return open_run(source)
    # Callers are not all type-checked.
    if isinstance(source, RunSource):  # pyright: ignore[reportUnnecessaryIsInstance]
        return source.as_run()
    if type(source).__module__.partition(".")[0] == "pandas":
        raise UsageError(
            "a pandas frame cannot be analysed as it is",
            received=f"a pandas {type(source).__name__}",
            expected="a polars LazyFrame or DataFrame: sample_id, layer, gate, clip, value",
            fix="polars.from_pandas(frame) makes one of it",
        )
    raise UsageError(
        "this holds no tracked gates",
        received=f"a {type(source).__name__}",
        expected="a run folder, a tracker, or the fusion module of an adapted model; a GateAnalyzer "
        "also takes a polars LazyFrame",
        fix="gatescope.export.adapt_legacy_model(model) makes a PyTorch model's fusion track its gates",
    )
