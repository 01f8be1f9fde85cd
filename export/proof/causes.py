"""Likely reasons why a rebuilt model is not the one that was trained, each as the flag that would fix it.

They come in the order in which they are worth a try. What cannot be is left out: what the optimizer's state
decides, and head counts that nobody uses.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

from ...runtime.errors import GatescopeError
from ...runtime.gates.preprocessing import Preprocessing
from ..families.choices import Choices
from ..families.config import ModelConfig
from ..families.family import FAMILIES
from ..reading.checkpoint import Checkpoint
from ..reading.facts import Description, describe
from ..reading.family import skips_encoder
from ..reading.open_facts import alike_gatings, never_trained
from ..reading.options import FLAG

# Head counts that training runs have, and others that somebody may have chosen where nothing records any.
_USUAL_HEADS = (8, 4)
_OTHER_HEADS = (16, 2, 1)
# Orders of more video sources than this are too many to try.
_MOST_SOURCES = 4


class Likelihood(IntEnum):
    """How soon a cause is worth a try."""

    CONTRADICTED = 0  # a flag says other than training recorded
    INVISIBLE = 1  # the weights fit both, and training has both
    TEXT = 2
    BATCH = 3
    FEATURES = 4
    HEADS = 5
    UNLIKELY = 6


@dataclass(frozen=True)
class DifferenceCause:
    """One thing that may be wrong: what it is, the words of the flag that sets it right, the choices with it.

    ``batch_size`` is what training evaluated with, where that is the cause.
    """

    name: str
    words: tuple[str, ...]
    choices: Choices
    likelihood: Likelihood
    batch_size: int | None = None

    @property
    def flag(self) -> str:
        """The words as they are typed."""
        return shlex.join(self.words)

    @property
    def options(self) -> set[str]:
        """The names of its options."""
        return {word for word in self.words if word.startswith("--")}


def rebuilding_causes(checkpoint: Checkpoint, choices: Choices) -> list[DifferenceCause]:
    """Every single change to ``choices`` that the weights allow, given what they now describe."""
    now = describe(checkpoint, choices)
    config, family = now.config, FAMILIES[now.config.family]
    found: list[DifferenceCause] = []

    def add(field: str, value: Any, name: str, words: tuple[str, ...], likelihood: Likelihood) -> None:
        if value == getattr(config, field):
            return
        if value == _recorded(checkpoint, choices, field):
            likelihood = Likelihood.CONTRADICTED
        changed = replace(choices, **{field: value})
        found.append(DifferenceCause(f"{name} instead of {_now(config, field)}", words, changed, likelihood))

    for gating in alike_gatings(family, per_channel=config.gate_channels > 1):
        add("gating", gating, f"{gating} gating", ("--gating", gating), Likelihood.INVISIBLE)
    both = Likelihood.INVISIBLE if config.gating in family.two_activations else Likelihood.UNLIKELY
    for one in family.activations:
        words = "--attention-activation", one
        add("attention_activation", one, f"a {one} attention gate", words, both)
    skipped = skips_encoder(checkpoint)
    likely = Likelihood.UNLIKELY if skipped is None else Likelihood.INVISIBLE
    for other in family.look_alikes:
        if skipped in (None, other.skips_encoder):
            words, name = ("--family", other.name), f"the forward pass of {other.name}"
            add(
                "family",
                other.name,
                name,
                words,
                Likelihood.UNLIKELY if skipped is None else Likelihood.INVISIBLE,
            )
    testified = _positions_testified(checkpoint)
    for used in (True, False) if testified is None else (testified,):
        name, flag = ("words with", "--text-positions") if used else ("words without", "--no-text-positions")
        likely = Likelihood.TEXT if testified is None else Likelihood.CONTRADICTED
        add("text_positions", used, f"{name} positions", (flag,), likely)
    for field, noun in (("heads", "heads"), ("fusion_heads", "fusion heads")):
        for count in _heads_to_try(checkpoint, choices, now, field):
            words = f"--{field.replace('_', '-')}", str(count)
            add(field, count, f"{count} {noun}", words, Likelihood.HEADS)
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
            ("--no-tef" if recipe.tef else "--tef",),
            replace(choices, tef=not recipe.tef),
            Likelihood.FEATURES if choices.tef is None else Likelihood.INVISIBLE,
        )
    ]
    sources = tuple(source.path for source in recipe.video)
    likely = Likelihood.FEATURES if choices.video_sources is None else Likelihood.INVISIBLE
    if len(sources) <= _MOST_SOURCES:
        for order in itertools.permutations(sources):
            if order != sources:
                words = tuple(word for path in order for word in ("--video-features", str(folders[path])))
                changed = replace(choices, video_sources=order)
                found.append(DifferenceCause("another order of the video features", words, changed, likely))
    return found


def batch_size_causes(choices: Choices, now: int, sizes: tuple[int, ...]) -> list[DifferenceCause]:
    """Other batch sizes training may have evaluated with: ``sizes``, of which ``now`` is taken."""
    return [
        DifferenceCause(
            f"batches of {size} instead of {now}",
            ("--verify-batch-size", str(size)),
            choices,
            Likelihood.BATCH,
            size,
        )
        for size in sizes
        if size != now
    ]


def _now(config: ModelConfig, field: str) -> str:
    value = getattr(config, field)
    return ("with" if value else "without") if field == "text_positions" else str(value)


def _recorded(checkpoint: Checkpoint, choices: Choices, field: str) -> object:
    """What ``field`` would be without its flag; None where there is no flag or nothing else says it."""
    if getattr(choices, field) is None:
        return None
    try:
        return getattr(describe(checkpoint, replace(choices, **{field: None})).config, field)
    except GatescopeError:
        return None


def _positions_testified(checkpoint: Checkpoint) -> bool | None:
    """Whether training used the words' positions, as the optimizer's state says; None where it does not."""
    table = {name for name in checkpoint.weights if name.startswith("txt_position_embed.")}
    untouched = never_trained(checkpoint)
    return None if untouched is None or not table else not untouched.issuperset(table)


def _heads_to_try(checkpoint: Checkpoint, choices: Choices, now: Description, field: str) -> tuple[int, ...]:
    """Counts in use: the recorded one, the usual ones, others where nothing but a flag says it."""
    recorded = _recorded(checkpoint, choices, field)
    guessed = now.facts[field].source == FLAG and recorded is None
    first = (recorded,) if isinstance(recorded, int) else ()
    return tuple(dict.fromkeys((*first, *_USUAL_HEADS, *(_OTHER_HEADS if guessed else ()))))
