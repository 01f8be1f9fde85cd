"""Which training code a checkpoint comes from, recognised by the names of its parameters."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ...runtime.errors import CheckpointError
from ...runtime.gates.vocabulary import Family

# A part of a parameter's name that only this family has; the tanh family has none of them.
_MARKS: tuple[tuple[str, Family], ...] = (
    ("fusion.video_proj.", "base_avigate"),
    ("gating_function.ssm_gate.", "ssm"),
    ("gating_function.mha_bias", "sigmoid"),
)


def recognise(names: Collection[str], path: Path) -> Family:
    """The family of the checkpoint at ``path`` whose parameters are called ``names``.

    Raises :class:`CheckpointError` for another kind of model.
    """
    if not any(name.startswith("fusion.") for name in names):
        raise CheckpointError(
            f"{path} has no gated fusion in it",
            received=_describe(names),
            expected="parameters under 'fusion.' (a QD-DETR model trained with an AVIGATE fusion)",
            fix="give the checkpoint of a model trained with --use_avigate_custom, or let your own code "
            "build the model: --model package.module:factory",
        )
    if not any(name.startswith("transformer.t2v_encoder.") for name in names):
        raise CheckpointError(
            f"{path} is not a QD-DETR model",
            received=_describe(names),
            expected="parameters under 'transformer.t2v_encoder.' next to 'fusion.'",
            fix="give the checkpoint of the whole model, not of a part of it, or let your own code build the "
            "model: --model package.module:factory",
        )
    for mark, family in _MARKS:
        if any(mark in name for name in names):
            return family
    return "avigate_custom"


def _describe(names: Collection[str]) -> str:
    tops = list(dict.fromkeys(name.split(".")[0] for name in names))
    more = f" and {len(tops) - 8} more" if len(tops) > 8 else ""
    return f"{len(names)} parameters under {', '.join(tops[:8])}{more}"
