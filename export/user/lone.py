"""Gates that come alone, such as one on the audio before it is added: found by what they do in two passes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from ...runtime.errors import UnsupportedModelError
from .places import GatePlace, Places, Seen, place_of, refuse_uneven
from .watch import Product, Sight


def lone_gates(passes: Sequence[Seen], other_audio: Sight, other_video: Sight) -> Places | None:
    """The gates on what comes from the audio, where there is no gated fusion with two gates per layer.

    ``passes`` are two of different lengths; in the other two the audio or the video of the first was changed.
    A gate counts where a module returns it. Its kind is ``audio`` where what it multiplies comes from the
    audio and not from the video, else ``gate``. None where there is none; raises
    :class:`UnsupportedModelError` where there are several that do not belong together.
    """
    first = passes[0].sight
    found: dict[tuple[str, str], list[GatePlace]] = {}
    channels = 0
    for number, product in enumerate(first.products):
        heard, seen = (_differs(product, other.products, number) for other in (other_audio, other_video))
        if not heard:
            continue
        owned = first.owner_of(product.gate)
        place = None if owned is None else place_of(*owned, passes)
        if place is None or place.channels not in (1, product.branch.shape[-1]):
            continue
        group = found.setdefault(("gate" if seen else "audio", re.sub(r"\d+", "#", place.owner)), [])
        if place not in group:
            group.append(place)
            channels = channels or int(product.branch.shape[-1])
    if not found:
        return None
    kinds = {kind: tuple(places) for (kind, _), places in found.items()}
    if len(kinds) < len(found):
        raise UnsupportedModelError(
            "this model has several gates that do not belong together",
            received=", ".join(place.owner for places in found.values() for place in places),
            expected="one gate, or one in each of several equal layers",
            fix="let a module of each fusion layer return (attention gate, ffn gate)",
        )
    refuse_uneven(kinds)
    return Places(kinds, channels)


def _differs(product: Product, others: Sequence[Product], number: int) -> bool:
    """Whether what the gate multiplies is another value in another pass."""
    if number >= len(others) or others[number].branch.shape != product.branch.shape:
        return True
    return not torch.equal(others[number].branch, product.branch)
