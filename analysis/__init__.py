"""Turn the gates of a run into statistics, figures and a report."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analyze import AnalysisResult, analyze_run
    from .analyzer import GateAnalyzer
    from .report.section import Section
    from .statistics.summary import GateSummary, summarise

__all__ = ["AnalysisResult", "GateAnalyzer", "GateSummary", "Section", "analyze_run", "summarise"]

# Where each public name lives; Polars and matplotlib are loaded with the first name that needs them.
_HOME = {
    "AnalysisResult": ".analyze",
    "GateAnalyzer": ".analyzer",
    "GateSummary": ".statistics.summary",
    "Section": ".report.section",
    "analyze_run": ".analyze",
    "summarise": ".statistics.summary",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(_HOME[name], __name__), name)
    except ModuleNotFoundError as error:
        from ..runtime.extras import missing_extra

        if missing := missing_extra(error):
            raise missing from error
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
