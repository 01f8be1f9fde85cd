"""Turn the gates of a run into statistics, figures and a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.lazy import lazy_names

if TYPE_CHECKING:
    from .analyze import AnalysisResult, analyze_run
    from .analyzer import GateAnalyzer
    from .plugins.registry import figure, statistic
    from .report.section import Section
    from .statistics.summary import GateSummary, summarise

__all__ = [
    "AnalysisResult",
    "GateAnalyzer",
    "GateSummary",
    "Section",
    "analyze_run",
    "figure",
    "statistic",
    "summarise",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AnalysisResult": ".analyze",
        "GateAnalyzer": ".analyzer",
        "GateSummary": ".statistics.summary",
        "Section": ".report.section",
        "analyze_run": ".analyze",
        "figure": ".plugins.registry",
        "statistic": ".plugins.registry",
        "summarise": ".statistics.summary",
    },
)
