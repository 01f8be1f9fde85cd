"""The two encoders: clips attend to words (T2V), then clips and the global token attend to each other."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from .attention import MultiheadAttention, allow_keys
from .config import ModelConfig


class _EncoderParts(nn.Module):
    """The parameters an encoder layer of either kind has, under the checkpoint's names."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.hidden_dim
        self.self_attn = MultiheadAttention(d, config.heads)
        self.linear1 = nn.Linear(d, config.feedforward)
        self.linear2 = nn.Linear(config.feedforward, d)
        self.norm1 = nn.LayerNorm(d)
        self.norm2 = nn.LayerNorm(d)
        self.activation = nn.PReLU()

    def feedforward(self, x: Tensor) -> Tensor:
        """(…, d) → (…, d)."""
        return self.linear2(self.activation(self.linear1(x)))


class T2VEncoderLayer(_EncoderParts):
    """Clips attend to words; no normalisation before the sum, one inside the FFN branch, one after."""

    def forward(
        self, clips: Tensor, clip_pos: Tensor, words: Tensor, word_pos: Tensor | None, allowed: Tensor
    ) -> Tensor:
        """Clips (B, L, d), words (B, T, d), their positions, mask → clips (B, L, d)."""
        keys = words if word_pos is None else words + word_pos
        x = clips + self.self_attn(clips + clip_pos, keys, words, allowed)
        return self.norm2(x + self.feedforward(self.norm1(x)))


class Excerpt(NamedTuple):
    """Samples that are run apart from their batch, and what they meet in it.

    ``video_mask`` (B, L), ``text_mask`` (B, T): of the whole batch. ``places``: where in it they stand.
    """

    video_mask: Tensor
    text_mask: Tensor
    places: tuple[int, ...]


class T2VEncoder(nn.Module):
    """``transformer.t2v_encoder``: the query's words are read into the clips.

    With an ``excerpt`` a few samples, padded as their batch, give the numbers that they give in it: in the
    reference's batching nothing but lengths and masks passes from one sample to another.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(T2VEncoderLayer(config) for _ in range(config.t2v_layers))
        self.heads = config.heads
        self.tiled_mask = config.batching == "reference"
        self.excerpt: Excerpt | None = None

    def forward(
        self,
        clips: Tensor,
        clip_pos: Tensor,
        words: Tensor,
        word_pos: Tensor | None,
        video_mask: Tensor,
        text_mask: Tensor,
    ) -> Tensor:
        """Clips (B, L, d) that have read the words (B, T, d); masks (B, L) and (B, T)."""
        allowed = allow_keys(text_mask)
        if self.tiled_mask:
            allowed = allowed & ~self._met(video_mask, text_mask)
        for layer in self.layers:
            clips = layer(clips, clip_pos, words, word_pos, allowed)
        return clips

    def _met(self, video_mask: Tensor, text_mask: Tensor) -> Tensor:
        """The extra mask of each sample here, in this batch or the one it was taken from."""
        if self.excerpt is None:
            return self._tiled(video_mask, text_mask)
        whole = self._tiled(self.excerpt.video_mask, self.excerpt.text_mask)
        return whole[list(self.excerpt.places)]

    def _tiled(self, video_mask: Tensor, text_mask: Tensor) -> Tensor:
        """The reference's extra mask of padded clips against padded words, (B, heads, L, T).

        It is repeated head-major and read batch-major, so that head h of sample b gets the mask of sample
        (b · heads + h) mod B. Word 0 is valid in every sample, so every clip keeps a word.
        """
        padded = (video_mask[:, :, None] == 0) & (text_mask[:, None, :] == 0)
        return padded.repeat(self.heads, 1, 1).unflatten(0, (-1, self.heads))


class EncoderLayer(_EncoderParts):
    """An ordinary post-norm layer."""

    def forward(self, x: Tensor, pos: Tensor, allowed: Tensor) -> Tensor:
        """(B, N, d), positions (B, N, d), mask → (B, N, d)."""
        keys = x + pos
        x = self.norm1(x + self.self_attn(keys, keys, x, allowed))
        return self.norm2(x + self.feedforward(x))


class Encoder(nn.Module):
    """``transformer.encoder`` over [global token; clips]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))

    def forward(self, x: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        """(B, 1 + L, d), positions, mask (B, 1 + L) → (B, 1 + L, d)."""
        allowed = allow_keys(mask)
        for layer in self.layers:
            x = layer(x, pos, allowed)
        return x
