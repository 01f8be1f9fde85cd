"""The public branches of the training code that are known by their fingerprints, and what each computes.

Of their code only hashes are kept (``known_branches.json``). A branch is added with what
:func:`~gatescope.export.reading.code.record_of` returns of its ``code.zip``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files

from ...runtime.gates.vocabulary import Activation, Family, Gating


@dataclass(frozen=True)
class KnownBranch:
    """One training code, or several that compute alike.

    - ``names``: its branches. ``parts``: the hashes of everything that decides the model's numbers.
    - ``computes``: by the family that its weights look like, the family of ours with the same forward pass.
    - ``attention``: by gating, what bounds its attention gate, where the weights fit more than one.
    - ``follows``: what a reader of its gates must know, a sentence. ``other``: why no family of ours is its
      forward pass, a clause; empty where one is.
    """

    names: tuple[str, ...]
    parts: frozenset[str] = frozenset()
    computes: Mapping[Family, Family] = field(default_factory=dict[Family, Family])
    attention: Mapping[Gating, Activation] = field(default_factory=dict[Gating, Activation])
    follows: str = ""
    other: str = ""

    @property
    def name(self) -> str:
        """All its names, as people are told."""
        return " = ".join(self.names)


_TANH: dict[Gating, Activation] = {"global": "tanh", "clipwise": "tanh", "elementwise": "tanh"}
_VIDEO_ALONE = "gates depend on the video and its audio, not on the query"
_QUERY = "gates depend on the query as well: the fusion stands after the text attention"

_KNOWN: Mapping[str, KnownBranch] = {
    "avigate": KnownBranch(
        ("avigate",),
        computes={"base_avigate": "base_avigate"},
        attention={"global": "tanh"},
        follows=_VIDEO_ALONE,
    ),
    "avigate_custom": KnownBranch(
        ("avigate_custom", "feat/gate_analysis_junhan"),
        computes={"avigate_custom": "avigate_custom"},
        attention=_TANH,
        follows=_VIDEO_ALONE,
    ),
    "gate_analysis": KnownBranch(
        ("gate_analysis",),
        computes={"avigate_custom": "avigate_custom"},
        attention=_TANH,
        follows=_VIDEO_ALONE,
    ),
    "v2": KnownBranch(
        ("feat/gate_analysis_junhan_v2-0812",), computes={"sigmoid": "sigmoid"}, follows=_VIDEO_ALONE
    ),
    "diagstrip_ssm": KnownBranch(
        ("diagstrip-ssm",),
        computes={"ssm": "ssm", "avigate_custom": "avigate_custom"},
        attention={**_TANH, "global": "sigmoid"},
        follows=_VIDEO_ALONE,
    ),
    "t2v_ffn": KnownBranch(
        ("feat/t2v-ffn",),
        computes={"avigate_custom": "t2v_ffn"},
        attention=_TANH,
        follows=_VIDEO_ALONE,
    ),
    "text_first": KnownBranch(
        ("feat/t2v+avigate_custom_with_saliency_token",),
        computes={"avigate_custom": "text_first"},
        attention=_TANH,
        follows=_QUERY,
    ),
    "temporal_gate": KnownBranch(
        ("temporal_gate",),
        computes={"base_avigate": "base_avigate"},
        attention={"global": "tanh"},
        other="its temporal gate compares the audio with the query",
    ),
    "txt_audio": KnownBranch(
        ("txt_audio",),
        computes={"base_avigate": "base_avigate"},
        attention={"global": "tanh"},
        other="its gate scales audio that has attended to the query",
    ),
}


@cache
def known_branches() -> Sequence[KnownBranch]:
    """All of them, with their fingerprints."""
    text = (files(__package__ or "") / "known_branches.json").read_text(encoding="utf-8")
    recorded: dict[str, list[str]] = json.loads(text)
    return tuple(replace(one, parts=frozenset(recorded[key])) for key, one in _KNOWN.items())
