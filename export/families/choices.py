"""What the user may decide about an export; everything left at None comes from the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from ...runtime.gates.vocabulary import Activation, Batching, Family


@dataclass(frozen=True)
class Choices:
    """The flags of ``gatescope export`` that change what the model is.

    - ``family``: whose forward pass it is, where several have the same parameters: ``avigate_custom``,
      ``text_first`` or ``t2v_ffn``.
    - ``gating``: ``global``, ``clipwise`` or ``elementwise``. ``heads``, ``fusion_heads``: attention heads of
      the transformer and of the fusion. ``attention_activation``: ``tanh`` or ``sigmoid``.
    - ``batching``: ``exact`` or ``reference``.
    - ``tef``: whether temporal endpoints are appended to the features. ``video_sources``: folders of video
      features in the order training concatenated them.
    - ``text_positions``: whether the words have positions (``use_txt_pos``).
    - ``frozen``: how names of parameters begin that training left as they were on purpose.
    """

    family: Family | None = None
    gating: str | None = None
    heads: int | None = None
    fusion_heads: int | None = None
    attention_activation: Activation | None = None
    batching: Batching = "exact"
    tef: bool | None = None
    video_sources: tuple[str, ...] | None = None
    text_positions: bool | None = None
    frozen: tuple[str, ...] = ()
