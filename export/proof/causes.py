"""Likely reasons why a rebuilt model is not the one that was trained, each as the flag that would fix it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ...runtime.gates.preprocessing import Preprocessing
from ..families.choices import Choices
from ..families.config import ModelConfig
from ..families.family import FAMILIES
from ..reading.open_facts import alike_gatings

# Head counts in use; all divide 256 channels.
_HEAD_COUNTS = (1, 2, 4, 8, 16)
# Orders of more video sources than this are too many to try.
_MOST_SOURCES = 4


@dataclass(frozen=True)
class DifferenceCause:
    """One thing that may be wrong: what it is, the flag that sets it right, the choices with that flag."""

    name: str
    flag: str
    choices: Choices


def rebuilding_causes(choices: Choices, config: ModelConfig) -> list[DifferenceCause]:
    """Every single change to ``choices`` that the weights allow, given what they now describe."""
    found: list[DifferenceCause] = []
    family = FAMILIES[config.family]
    for other in alike_gatings(family, per_channel=config.gate_channels > 1):
        if other == config.gating:
            continue
        found.append(
            DifferenceCause(
                f"{other} gating instead of {config.gating}",
                f"--gating {other}",
                replace(choices, gating=other),
            )
        )
    for activation in family.activations:
        if activation == config.attention_activation:
            continue
        found.append(
            DifferenceCause(
                f"a {activation} attention gate instead of {config.attention_activation}",
                f"--attention-activation {activation}",
                replace(choices, attention_activation=activation),
            )
        )
    positions = not config.text_positions
    found.append(
        DifferenceCause(
            f"words {'with' if positions else 'without'} positions",
            "--text-positions" if positions else "--no-text-positions",
            replace(choices, text_positions=positions),
        )
    )
    for count in _HEAD_COUNTS:
        if count != config.heads:
            found.append(
                DifferenceCause(
                    f"{count} heads instead of {config.heads}",
                    f"--heads {count}",
                    replace(choices, heads=count),
                )
            )
        if count != config.fusion_heads:
            found.append(
                DifferenceCause(
                    f"{count} fusion heads instead of {config.fusion_heads}",
                    f"--fusion-heads {count}",
                    replace(choices, fusion_heads=count),
                )
            )
    return found


def preprocessing_causes(
    choices: Choices, recipe: Preprocessing, folders: Mapping[str, Path]
) -> list[DifferenceCause]:
    """Every single change to how features are put together.

    ``folders`` says where each video source of the recipe lies, by its path there.
    """
    found = [
        DifferenceCause(
            f"features with{'out' if recipe.tef else ''} TEF",
            "--no-tef" if recipe.tef else "--tef",
            replace(choices, tef=not recipe.tef),
        )
    ]
    sources = tuple(source.path for source in recipe.video)
    if len(sources) <= _MOST_SOURCES:
        for order in itertools.permutations(sources):
            if order != sources:
                flag = " ".join(f"--video-features {folders[path]}" for path in order)
                found.append(
                    DifferenceCause(
                        "another order of the video features", flag, replace(choices, video_sources=order)
                    )
                )
    return found
