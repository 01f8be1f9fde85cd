"""What exact batching changes about a verified model's numbers, in words."""

from __future__ import annotations

from ..brief import counted
from ..gates.certificate import BatchingEffect

# Differences that another order of summation explains.
_ROUNDING = 1e-4


def matters(effect: BatchingEffect) -> bool:
    """Whether single samples differ from batched ones by more than rounding explains."""
    return effect.largest > _ROUNDING or bool(effect.answers_changed)


def effect_in_words(effect: BatchingEffect) -> str:
    """How far single samples are from the same samples in training's batches: the rest of a sentence."""
    on = "on this sample" if effect.samples == 1 else f"on these {counted(effect.samples, 'sample')}"
    if not matters(effect):
        return f"{on} that makes no difference beyond rounding ({effect.largest:.1g})"
    moved = [
        *([("saliency", effect.outputs["saliency_scores"])] if "saliency_scores" in effect.outputs else []),
        *((f"the {kind} gate", value) for kind, value in effect.gates.items()),
    ]
    apart = [f"by up to {value:.2g}" if value > _ROUNDING else "" for _, value in moved]
    if not any(apart):  # then it is one of the outputs that are left out otherwise
        others = [(name, value) for name, value in effect.outputs.items() if value > _ROUNDING]
        moved, apart = [*others, *moved], [*(f"by up to {value:.2g}" for _, value in others), *apart]
    names = [name for name, _ in moved]
    differing = [f"{name} {by}" for name, by in zip(names, apart, strict=True) if by]
    same = [name for name, by in zip(names, apart, strict=True) if not by]
    alike = " and ".join([", ".join(same[:-1]), same[-1]] if same[1:] else same)
    told = ", ".join(differing).replace(" by", " differs by", 1)
    if alike:
        told += f"{', ' if told else ''}{alike} {'do' if ' and ' in alike else 'does'} not differ"
    if effect.answers_changed is None:
        return f"{on} {told}"
    return f"{on} {told}; the best window is another one for {effect.answers_changed:,} of them"
