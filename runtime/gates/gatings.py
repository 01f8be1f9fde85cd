"""The gatings by name: over which axes a gate of each has values of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .vocabulary import Gating


@dataclass(frozen=True)
class GatingForm:
    """What the gates of one gating look like, (B, layer, L | 1, 1 | d).

    ``per_clip``: a value per clip, else one for the whole video, from the mean over its clips.
    ``per_channel``: a value per channel of the stream that the gate multiplies, else one for all of them.
    """

    per_clip: bool
    per_channel: bool = False

    @property
    def in_words(self) -> str:
        """How many values a gate has."""
        if self.per_clip:
            return "one value per clip and channel" if self.per_channel else "one value per clip"
        return "one value per channel" if self.per_channel else "one value for the whole video"


# Of two with one form, the first is what gates are called that say nothing of where they are from.
GATINGS: dict[Gating, GatingForm] = {
    "global": GatingForm(per_clip=False),
    "clipwise": GatingForm(per_clip=True),
    "elementwise": GatingForm(per_clip=True, per_channel=True),
    "global_diagstrip_ssm": GatingForm(per_clip=False),
}


#: One gating per form: what gates can be told to be by their axes alone.
PLAIN_GATINGS: tuple[Gating, ...] = tuple(
    name
    for name, form in GATINGS.items()
    if name == next(one for one, other in GATINGS.items() if other == form)
)


def gating_of_form(*, per_clip: bool, per_channel: bool) -> Gating:
    """What gates of this form are called; where none has it, what those with one value per channel are."""
    form = GatingForm(per_clip, per_channel)
    known: dict[GatingForm, Gating] = {GATINGS[name]: name for name in PLAIN_GATINGS}
    return known.get(form) or known[GatingForm(per_clip)]


def one_of(names: Iterable[str]) -> str:
    """The names for people: ``a, b or c``."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def has_channels(gating: str) -> bool:
    """Whether gates called so have a value per channel; False for a name that is not one of ours."""
    return any(form.per_channel for name, form in GATINGS.items() if name == gating)


def is_plain_global(gating: str) -> bool:
    """Whether gates called so are one value for the whole video, and nothing says how it is computed."""
    return gating == gating_of_form(per_clip=False, per_channel=False)
