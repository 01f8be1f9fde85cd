"""Tracking a model while it is trained changes no loss, no gradient and no random number by one bit."""

from __future__ import annotations

import random
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from gatescope.export import adapt_legacy_model
from gatescope.export.live.order import time_first

from .live_models import Block, D, Detector, InlineBlock, Mixer, TwoGates, batch_of, detector, mlp

STEPS = 4
LAYERS = 2
BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "gating module": lambda: Block(TwoGates(D)),
    "pooled": lambda: Block(TwoGates(pooled=True)),
    "inline": lambda: InlineBlock(returned=True, bounded=False),
}


class Checkpointed(Mixer):
    """Computes its layers' activations a second time when gradients are."""

    reentrant = False

    def forward(self, v: Tensor, a: Tensor, valid: Tensor | None = None) -> Tensor:
        for layer in self.stack:
            v = checkpoint(layer, v, a, use_reentrant=self.reentrant)
        return v


class CheckpointedDetector(Detector):
    """Its fusion as a whole is computed a second time."""

    def once(self, text: Tensor, video: Tensor, mask: Tensor, audio: Tensor) -> dict[str, Tensor]:
        v = checkpoint(self.mixer, self.video_in(video), self.audio_in(audio), use_reentrant=False)
        memory = self.encoder(v, src_key_padding_mask=mask == 0)
        return {"scores": self.score(memory)[..., 0], "spans": self.spans(memory).sigmoid()}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """These models are so small that threads would do nothing but wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass
class Trained:
    """Everything a training run computed."""

    losses: list[Tensor]
    gradients: list[Tensor]
    weights: list[Tensor]
    evaluated: list[Tensor]
    randomness: list[Any]

    def equals(self, other: Trained) -> bool:
        mine, theirs = vars(self), vars(other)
        return all(
            len(mine[name]) == len(theirs[name])
            and all(
                torch.equal(a, b) if isinstance(a, Tensor) else a == b
                for a, b in zip(mine[name], theirs[name], strict=True)
            )
            for name in mine
        )


def loss_of(out: dict[str, Tensor]) -> Tensor:
    return out["scores"].float().square().mean() + out["spans"].float().sum() / 10


def train(
    model: nn.Module,
    *,
    autocast: bool = False,
    called: Callable[..., dict[str, Tensor]] | None = None,
    after_step: Callable[[], object] = lambda: None,
    clips: tuple[int, ...] = (7, 4),
    steps: int = STEPS,
) -> Trained:
    """A few steps, with evaluation in between; ``called`` is what is called instead of the model itself."""
    torch.manual_seed(11)
    random.seed(11)
    np.random.seed(11)
    forward = model if called is None else called
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    found = Trained([], [], [], [], [])
    for step in range(steps):
        model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = loss_of(forward(**batch_of(clips, seed=step)))
        optimizer.zero_grad()
        loss.backward()
        found.losses.append(loss.detach().clone())
        found.gradients += [one.grad.clone() for one in model.parameters() if one.grad is not None]
        optimizer.step()
        after_step()
        model.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found.evaluated.append(loss_of(forward(**batch_of(clips, seed=100 + step))))
        after_step()
    found.weights = [one.detach().clone() for one in model.parameters()]
    found.randomness = [torch.get_rng_state(), random.random(), float(np.random.random())]
    return found


def tracked(model: nn.Module) -> Any:
    """The tracker of ``model``, on, keeping no gates."""
    tracker = adapt_legacy_model(model).avigate_fusion
    tracker.enable_gate_tracking(history=False)
    return tracker


@pytest.mark.parametrize("clips", [(7, 4), (4, 4, 3, 2)], ids=["ordinary", "as many samples as clips"])
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "autocast"])
@pytest.mark.parametrize("block", BLOCKS)
def test_training_and_evaluation_are_the_same_bit_for_bit(
    block: str, autocast: bool, clips: tuple[int, ...]
) -> None:
    plain = train(detector(BLOCKS[block]), autocast=autocast, clips=clips)
    model = detector(BLOCKS[block])
    tracker, logged = tracked(model), []
    ours = train(model, autocast=autocast, clips=clips, after_step=lambda: logged.append(tracker.scalars()))
    assert ours.equals(plain)
    assert len(logged) == 2 * STEPS
    assert all(one.keys() == logged[0].keys() and one for one in logged)
    assert logged[0] != logged[2]
    again = train(detector(BLOCKS[block]), autocast=autocast, clips=clips, steps=STEPS - 1)
    assert not again.equals(plain)


@pytest.mark.parametrize("reentrant", [False, True], ids=["", "reentrant"])
def test_activations_that_are_computed_again_count_once(reentrant: bool) -> None:
    def build() -> Detector:
        model = detector(BLOCKS["gating module"])
        model.mixer.__class__ = Checkpointed
        model.mixer.reentrant = reentrant
        return model

    with warnings.catch_warnings():
        # What the reentrant kind says while it evaluates; gates outside of a call would be an error.
        warnings.filterwarnings("ignore", "None of the inputs have requires_grad")
        plain, model = train(build()), build()
        tracker, counts = tracked(model), []
        record = vars(tracker)["scalars"].__self__
        recorded: list[int] = []
        original = record.record
        record.record = lambda ids, batch: (recorded.append(batch.size), original(ids, batch))
        ours = train(model, after_step=lambda: counts.append(tracker.scalars()))
    assert ours.equals(plain)
    assert recorded == [2] * (2 * STEPS)


def test_a_fusion_that_is_computed_again_counts_once() -> None:
    def build() -> Detector:
        model = detector(BLOCKS["gating module"])
        model.__class__ = CheckpointedDetector
        return model

    plain, model = train(build()), build()
    fusion = adapt_legacy_model(model).avigate_fusion
    fusion.enable_gate_tracking()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that batches have no names
        ours = train(model)
    assert ours.equals(plain)
    assert list(fusion.gate_history) == [f"unnamed_{number}" for number in range(2 * STEPS)]


@contextmanager
def process_group(rank: int, world: int, store: Path) -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.FileStore(str(store), world), rank=rank, world_size=world)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("outside", [False, True], ids=["adapted before", "adapted after"])
def test_under_ddp(outside: bool, tmp_path: Path) -> None:
    with process_group(0, 1, tmp_path / "store"):
        plain = train(DistributedDataParallel(detector(BLOCKS["gating module"])))
        model = detector(BLOCKS["gating module"])
        if not outside:
            tracker = tracked(model)
        wrapped = DistributedDataParallel(model)
        if outside:
            tracker = tracked(wrapped)
        logged: list[dict[str, float]] = []
        ours = train(wrapped, after_step=lambda: logged.append(tracker.scalars()))
    assert ours.equals(plain)
    assert all(len(one) == len(logged[0]) > 0 for one in logged)


def one_of_two(rank: int, folder: str) -> None:
    """A process of a distributed training run: its own batches, gradients averaged with the other's."""
    torch.set_num_threads(1)
    with process_group(rank, 2, Path(folder) / "store"):
        # One process has as many samples as clips, the other has not: neither may wait for the other.
        clips = (4, 4, 3, 2) if rank == 0 else (7, 4)
        plain = train(DistributedDataParallel(detector(BLOCKS["gating module"])), clips=clips)
        model = DistributedDataParallel(detector(BLOCKS["gating module"]))
        tracker = tracked(model)
        ours = train(model, clips=clips)
        same = ours.equals(plain)
        torch.save((same, ours.weights, tracker.scalars()), f"{folder}/{rank}.pt")


@pytest.mark.slow
def test_two_processes_train_the_same_and_each_counts_its_own_share(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    (same, weights, scalars), (others_same, others, counted) = (
        torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)
    )
    assert same and others_same
    assert all(map(torch.equal, weights, others))
    assert scalars.keys() == counted.keys()
    assert scalars != counted


@pytest.mark.slow
def test_compiled_training_is_the_same() -> None:
    def compiled(model: nn.Module, **options: Any) -> Trained:
        torch._dynamo.reset()
        return train(model, called=torch.compile(model, backend="aot_eager"), **options)

    # torch.compile hides this warning of its own, which pytest makes an error before.
    warnings.filterwarnings("ignore", "The .grad attribute of a Tensor")
    plain = compiled(detector(BLOCKS["gating module"]), steps=2)
    model = detector(BLOCKS["gating module"])
    tracker, logged = tracked(model), []
    ours = compiled(model, steps=2, after_step=lambda: logged.append(tracker.scalars()))
    torch._dynamo.reset()
    assert ours.equals(plain)
    assert all(logged)


def test_nothing_of_a_step_is_kept_after_it() -> None:
    """200 epochs hold no more than one."""
    model = detector(BLOCKS["gating module"])
    tracker = tracked(model)
    alive: list[weakref.ref[Any]] = []
    handle = model.mixer.stack[0].mix.register_forward_hook(
        lambda module, inputs, output: alive.extend(map(weakref.ref, (*inputs, *output)))
    )
    owner = vars(tracker)["scalars"].__self__
    original = owner.record

    def record(ids: Any, batch: Any) -> None:
        alive.append(weakref.ref(batch))
        alive.extend(weakref.ref(array) for layers in batch.gates.values() for array in layers)
        original(ids, batch)

    owner.record = record
    train(model, steps=50, after_step=tracker.scalars)
    handle.remove()
    assert len(alive) > 50 * 2 * LAYERS
    assert [one for one in alive if one() is not None] == []
    assert len(tracker.gate_history) == 0


def test_looking_for_the_order_of_axes_leaves_no_trace() -> None:
    """It runs the model up to its fusion: random numbers of all three kinds and autocast's weights stay."""

    class Random(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.layer = mlp(D, D), nn.Linear(D, D)

        def forward(self, x: Tensor) -> Tensor:
            shift = random.random() + float(np.random.random())
            return self.layer(torch.dropout(self.first(x), 0.5, True) + shift)

    def step(look: bool) -> list[Tensor]:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        model, x = Random(), torch.ones(3, 3, D)
        with torch.autocast("cpu", torch.bfloat16):
            if look:
                assert time_first(model, model.layer, (x,), {}, 3) is False
            model(x).float().sum().backward()
        assert all(one.grad is not None for one in model.parameters())
        return [one.grad for one in model.parameters() if one.grad is not None]

    assert all(map(torch.equal, step(True), step(False)))
