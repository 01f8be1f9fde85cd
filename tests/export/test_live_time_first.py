"""Streams with the clips first, layers that take one tuple, lists that grow: right gates, or an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gatescope.export import adapt_legacy_model
from gatescope.runtime.errors import UnsupportedModelError

from .live_models import Block, D, TwoGates, batch_of, detector, mlp

LAYERS = 3


class Carrying(nn.Module):
    """Takes and returns everything in one tuple, with the gates of all layers so far in two lists."""

    def __init__(self, clipwise: bool, scaled: bool) -> None:
        super().__init__()
        self.first_gate, self.second_gate = mlp(2 * D, 1), mlp(2 * D, 1)
        self.attention = nn.MultiheadAttention(D, 2)
        self.feed = mlp(D, D)
        self.clipwise, self.scaled = clipwise, scaled

    def forward(self, carried: tuple[Tensor, Tensor, list[Tensor], list[Tensor]]) -> Any:
        x, a, firsts, seconds = carried
        joint = torch.cat((x, a), -1) if self.clipwise else torch.cat((x.mean(0), a.mean(0)), -1)
        g, h = self.first_gate(joint).tanh(), self.second_gate(joint).tanh()
        if self.scaled:
            g, h = g * 0.5, h * 0.5
        x = x + self.attention(x, a, a)[0] * g
        x = x + self.feed(x) * h
        firsts.append(g if self.clipwise else g.view(-1))
        seconds.append(h if self.clipwise else h.view(-1))
        return x, a, firsts, seconds


class TimeFirst(nn.Module):
    def __init__(self, clipwise: bool, scaled: bool) -> None:
        super().__init__()
        self.video, self.audio = nn.Linear(6, D), nn.Linear(5, D)
        self.blocks = nn.Sequential(*[Carrying(clipwise, scaled) for _ in range(LAYERS)])
        self.kept: list[list[Tensor]] = []

    def forward(self, video: Tensor, audio: Tensor) -> Tensor:
        x, a = self.video(video).transpose(0, 1), self.audio(audio).transpose(0, 1)
        x, _, firsts, seconds = self.blocks((x, a, [], []))
        self.kept = [firsts, seconds]
        return x.transpose(0, 1)


SIZES = [(3, 7), (7, 3), (5, 5), (1, 4), (4, 1), (1, 1), (2, 2)]


@pytest.mark.parametrize("scaled", [False, True], ids=["bounded", "scaled"])
@pytest.mark.parametrize("clipwise", [False, True], ids=["global", "clipwise"])
@pytest.mark.parametrize(("samples", "clips"), SIZES)
def test_gates_are_right_or_refused_at_every_size(
    samples: int, clips: int, clipwise: bool, scaled: bool
) -> None:
    torch.manual_seed(0)
    model = TimeFirst(clipwise, scaled).eval()
    video, audio = torch.randn(samples, clips, 6), torch.randn(samples, clips, 5)
    with torch.no_grad():
        before = model(video, audio)
    fusion = adapt_legacy_model(model).avigate_fusion
    fusion.enable_gate_tracking()
    fusion.set_current_sample_id("a")
    with torch.no_grad():
        try:
            after = model(video, audio)
        except UnsupportedModelError:
            assert scaled  # what is bounded in the layer is known to be its gate
            return
    assert torch.equal(before, after)
    entry = fusion.gate_history["a"]
    for key, kept in zip(("attention_gates", "ffn_gates"), model.kept, strict=True):
        for layer in range(LAYERS):
            want = kept[layer].transpose(0, 1) if clipwise else kept[layer][:, None, None]
            np.testing.assert_array_equal(entry[key][layer], want.numpy(), err_msg=f"{key} {layer}")


def test_as_many_samples_as_clips_are_read_right_in_the_usual_order() -> None:
    """The first batch decides nothing that it does not show."""
    model = adapt_legacy_model(detector(lambda: Block(TwoGates())))
    batch = batch_of((4, 4, 4, 4))
    state = torch.get_rng_state()
    model.avigate_fusion.enable_gate_tracking()
    model.avigate_fusion.set_current_sample_id("square")
    seen: list[Any] = []
    model.mixer.stack[0].mix.register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.no_grad():
        model(**batch)
    assert torch.equal(torch.get_rng_state(), state)
    got = model.avigate_fusion.gate_history["square"]["attention_gates"][0]
    np.testing.assert_array_equal(got, seen[0][0].numpy())


def test_a_batch_that_shows_no_order_is_refused_in_words_until_another_has() -> None:
    """A fusion that is called by itself: nothing says which axis its caller means."""
    model = adapt_legacy_model(detector(lambda: Block(TwoGates())))
    fusion = model.mixer
    fusion.enable_gate_tracking()
    fusion.set_current_sample_id("a")
    with torch.no_grad():
        with pytest.raises(UnsupportedModelError, match="which axis of the gates is the batch"):
            fusion(torch.randn(4, 4, D), torch.randn(4, 4, D))
        for samples in (3, 4):
            fusion.set_current_sample_id(samples)
            fusion(torch.randn(samples, 4, D), torch.randn(samples, 4, D))
    assert list(fusion.gate_history) == [3, 4]
