"""Weights that make saliency follow the query: from the fused clips and the words to saliency.

1. ``input_txt_proj``: two matched filters separate words that ask for the sound from words that ask for
   the sight, and channel ASKED of the words holds the difference, about 2 or −2.
2. The first T2V layer's attention is nearly even over the words, and one channel of one head copies ASKED
   from the words to every clip. SOUND and SIGHT stay what they were: the sum is residual.
3. The first encoder layer's attention is nearly even over the clips, and copies ASKED to the global token.
4. Saliency is a product of a clip with the global token: SOUND meets 2 + ASKED, SIGHT meets 2 − ASKED. So
   the sound counts where it is asked for and the sight where that is.
5. The last encoder layer's FFN computes for each clip what the decoder needs, whether it has what was asked
   for: relu(SOUND + 2 · ASKED) − relu(2 · ASKED) is SOUND where the sound is asked for and 0 where the sight
   is; the same with SIGHT and −ASKED; RELEVANT is the sum.

Every LayerNorm on the way divides by the length of 256 channels, of which only a few change: it is nearly a
constant.
"""

from __future__ import annotations

from .features import asking_direction
from .plan import Topic
from .random_weights import ASKED, CONFIG, RELEVANT, SIGHT, SOUND, Weights


def set_saliency(weights: Weights, seed: int) -> None:
    """Set the text projection, the encoders' planted rows and the saliency heads, in place."""
    _understand(weights, seed)
    _copy(weights, "transformer.t2v_encoder.layers.0.self_attn.", gain=1.0)
    _copy(weights, "transformer.encoder.layers.0.self_attn.", gain=1.0)
    _judge(weights)
    _score(weights)


def _understand(weights: Weights, seed: int) -> None:
    first, second = weights["input_txt_proj.0.net.1.weight"], weights["input_txt_proj.1.net.1.weight"]
    subjects: tuple[tuple[Topic, float], ...] = (("sound", 1.0), ("sight", -1.0))
    for unit, (subject, sign) in enumerate(subjects):
        direction = asking_direction(seed, subject)
        first[unit] = 0.5 * (direction - direction.mean())
        second[ASKED, unit] = 0.35 * sign


def _copy(weights: Weights, prefix: str, gain: float) -> None:
    """Let one channel of the attention's values take ASKED along."""
    value = 2 * CONFIG.hidden_dim  # queries, keys and values are stacked
    weights[prefix + "in_proj_weight"][value] = 0
    weights[prefix + "in_proj_weight"][value, ASKED] = 1
    weights[prefix + "in_proj_bias"][value] = 0
    weights[prefix + "out_proj.weight"][:, 0] = 0
    weights[prefix + "out_proj.weight"][ASKED, 0] = gain


def _judge(weights: Weights) -> None:
    prefix = "transformer.encoder.layers.1."
    units, bias = weights[prefix + "linear1.weight"], weights[prefix + "linear1.bias"]
    out = weights[prefix + "linear2.weight"]
    rows = ((SOUND, 1.0, 1.0), (None, 1.0, -1.0), (SIGHT, -1.0, 1.0), (None, -1.0, -1.0))
    for unit, (cue, sign, share) in enumerate(rows):
        units[unit] = 0
        units[unit, ASKED] = 2 * sign
        if cue is not None:
            units[unit, cue] = 1
        bias[unit] = 0
        out[:, unit] = 0
        out[RELEVANT, unit] = share
    # This layer's PReLU would let through a quarter of what a unit has below 0.
    weights[prefix + "activation.weight"][:] = 0


def _score(weights: Weights) -> None:
    clip, token = weights["saliency_proj1.weight"], weights["saliency_proj2.weight"]
    for row, cue, sign in ((0, SOUND, 1.0), (1, SIGHT, -1.0)):
        clip[row] = 0
        clip[row, cue] = 1.5
        token[row] = 0
        token[row, ASKED] = sign
        weights["saliency_proj2.bias"][row] = 2
        weights["saliency_proj1.bias"][row] = 0
