"""``first_decoder_layer``: what the first decoder layer does before it sees a clip is computed now.

Rule: content starts at zero and the first reference points are parameters, so the queries' self-attention,
its norm and what the queries ask of the clips are the same for every sample: constants of the graph, with a
batch axis of length 1 that broadcasts. Saves little arithmetic (the queries are few) but some 40 nodes,
which matter to one sample at a time.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from ..families.decoder import Decoder, DecoderLayer
from ..families.qd_detr import GatedQDDETR


class FirstLayer(nn.Module):
    """The first :class:`DecoderLayer`, from the clips on."""

    def __init__(self, layer: DecoderLayer, content: Tensor, asked: Tensor, asked_pos: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.content = nn.Parameter(content, requires_grad=False)
        self.asked = nn.Parameter(asked, requires_grad=False)
        self.asked_pos = nn.Parameter(asked_pos, requires_grad=False)

    def forward(
        self, content: Tensor, query_pos: Tensor, sine: Tensor, memory: Tensor, pos: Tensor, allowed: Tensor
    ) -> Tensor:
        """As :meth:`DecoderLayer.forward`; what it would make of the first three is known."""
        return self.layer.read_clips(self.content, self.asked, self.asked_pos, memory, pos, allowed)


def compute_first_decoder_layer(model: GatedQDDETR) -> bool:
    """Compute the constants, and put them in place of the first layer's first half."""
    decoder: Decoder = model.transformer.decoder
    layer = cast(DecoderLayer, decoder.layers[0])
    points = model.query_embed.weight.sigmoid()[None]
    content = points.new_zeros(1, points.shape[1], model.config.hidden_dim)
    query_pos, sine = decoder.ask(0, content, points)
    content = layer.attend_queries(content, query_pos)
    decoder.layers[0] = FirstLayer(layer, content, *layer.clip_queries(content, query_pos, sine))
    del layer.sa_qcontent_proj, layer.sa_qpos_proj, layer.sa_kcontent_proj, layer.sa_kpos_proj
    del layer.sa_v_proj, layer.self_attn, layer.norm1, layer.ca_qcontent_proj, layer.ca_qpos_sine_proj
    return True
