"""Turn the gates of a run into statistics, figures and a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.lazy import lazy_names

if TYPE_CHECKING:
    from .analyze import AnalysisResult, analyze_run
    from .analyzer import GateAnalyzer
    from .causes.ablation.ablate import AblationResult, ablate
    from .comparison.compare import ComparisonResult, compare_runs
    from .comparison.diff import RunDifference, diff_runs
    from .plugins.registry import figure, statistic
    from .report.section import Section
    from .statistics.summary import GateSummary, summarise

__all__ = [
    "AblationResult",
    "AnalysisResult",
    "ComparisonResult",
    "GateAnalyzer",
    "GateSummary",
    "RunDifference",
    "Section",
    "ablate",
    "analyze_run",
    "compare_runs",
    "diff_runs",
    "figure",
    "statistic",
    "summarise",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AblationResult": ".causes.ablation.ablate",
        "AnalysisResult": ".analyze",
        "ComparisonResult": ".comparison.compare",
        "GateAnalyzer": ".analyzer",
        "GateSummary": ".statistics.summary",
        "RunDifference": ".comparison.diff",
        "Section": ".report.section",
        "ablate": ".causes.ablation.ablate",
        "analyze_run": ".analyze",
        "compare_runs": ".comparison.compare",
        "diff_runs": ".comparison.diff",
        "figure": ".plugins.registry",
        "statistic": ".plugins.registry",
        "summarise": ".statistics.summary",
    },
)
