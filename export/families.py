"""Which training code a checkpoint comes from, recognised by the names of its parameters."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..runtime.errors import CheckpointError, UnsupportedModelError

AVIGATE_CUSTOM = "avigate_custom"

# A parameter name that only this family has, and what the family is called.
_OTHER_FAMILIES = (
    ("fusion.video_proj.", "base AVIGATE (opt.use_avigate)"),
    ("gating_function.ssm_gate.", "AVIGATE with a diagonal-strip SSM gate (global_diagstrip_ssm)"),
    ("gating_function.mha_bias", "AVIGATE with a sigmoid or FiLM gate"),
    ("position_embed.row_embed", "QD-DETR with learned clip positions"),
)


def recognise(names: Collection[str], path: Path) -> str:
    """The family of the checkpoint at ``path`` whose parameters are called ``names``.

    Raises :class:`CheckpointError` for another kind of model and :class:`UnsupportedModelError` for a gated
    family that cannot be rebuilt.
    """
    if not any(name.startswith("fusion.") for name in names):
        raise CheckpointError(
            f"{path} has no gated fusion in it",
            received=_describe(names),
            expected="parameters under 'fusion.' (a QD-DETR model trained with an AVIGATE fusion)",
            fix="give the checkpoint of a model trained with --use_avigate_custom",
        )
    for mark, family in _OTHER_FAMILIES:
        if any(mark in name for name in names):
            raise UnsupportedModelError(
                f"{path} is a model this version cannot rebuild: {family}",
                received=f"parameters such as {next(name for name in names if mark in name)}",
                expected="the tanh family (AVIGATEFusionCustom: global, clipwise or elementwise gating)",
            )
    if not any(name.startswith("transformer.t2v_encoder.") for name in names):
        raise CheckpointError(
            f"{path} is not a QD-DETR model",
            received=_describe(names),
            expected="parameters under 'transformer.t2v_encoder.' beside 'fusion.'",
            fix="give the checkpoint of the whole model, not of a part of it",
        )
    return AVIGATE_CUSTOM


def _describe(names: Collection[str]) -> str:
    tops = list(dict.fromkeys(name.split(".")[0] for name in names))
    more = f" and {len(tops) - 8} more" if len(tops) > 8 else ""
    return f"{len(names)} parameters under {', '.join(tops[:8])}{more}"
