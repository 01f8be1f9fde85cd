"""What to know before believing an ablation."""

from __future__ import annotations

from ....runtime.gates.manifest import Manifest
from ...evaluation.evaluate import Evaluation
from ...report.markdown import counted
from ...statistics.bootstrap import FEW_VIDEOS
from .effects import Effects
from .interventions import ablatable_kinds
from .plan import AblationPlan


def ablation_warnings(plan: AblationPlan, effects: Effects, unchanged: Evaluation) -> list[str]:
    """Sentences in plain text, the gravest first; those of the manifest last."""
    manifest = plan.run.manifest
    found: list[str] = []
    if effects.videos < 2:
        found.append(
            "There is one video only: nothing can be exchanged between videos, and no effect has an interval."
        )
    elif effects.videos < FEW_VIDEOS:
        found.append(
            f"There are only {effects.videos} videos. Intervals of fewer than {FEW_VIDEOS} come out too "
            "narrow, so no effect is called one."
        )
    if plan.run.skipped:
        found.append(f"{counted(len(plan.run.skipped), 'sample')} left out because of unusable features.")
    if untouched := _untouched(manifest):
        found.append(
            f"The export has no overrides of the {' and '.join(untouched)} gates: they stay as they are."
        )
    if manifest.batching == "reference":
        found.append(
            "In reference batching a sample's numbers depend on its batch: the batches are the same for all "
            "interventions, but other batches would give somewhat other effects."
        )
    return [*found, *unchanged.notes, *manifest.doubts, *manifest.warnings]


def _untouched(manifest: Manifest) -> list[str]:
    return [kind for kind in manifest.gate_kinds if kind not in ablatable_kinds(manifest)]
