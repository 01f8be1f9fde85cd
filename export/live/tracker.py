"""The tracker of a live model: gates read by hooks, remembered under ids, methods on the fusion module."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...runtime.errors import UnsupportedModelError, UsageError
from ...runtime.gates.gatings import GATINGS, PLAIN_GATINGS, gating_of_form, one_of
from ...runtime.gates.vocabulary import GATE_KINDS, Gating
from ...runtime.runs.info import FileRef
from ...runtime.statistics.limits import GateLimits
from ...runtime.tracking.batch import TrackedBatch
from ...runtime.tracking.ids import BatchIds
from ...runtime.tracking.source import ModelIdentity
from ...runtime.tracking.tracker import GateTracker, GateTrackingWarning
from .clips import valid_clips
from .find import GatedFusion
from .hooks import FusionGates, FusionHooks
from .manifest import LiveFacts, Origin, fingerprint, live_manifest

TRACKER_METHODS = (
    "enable_gate_tracking",
    "disable_gate_tracking",
    "set_current_sample_id",
    "scalars",
    "get_gate_statistics",
    "print_gate_summary",
    "save_gate_analysis",
    "compare_samples_gates",
    "to_run",
    "as_run",
)
ATTRIBUTES = ("track_gates", "current_sample_id", "gate_history")


class LiveGates:
    """A :class:`~gatescope.runtime.tracking.source.GateSource` over a PyTorch model's gated fusion.

    ``gating`` is what the user says it is, None to go by the shapes of the gates.
    """

    def __init__(
        self, model: nn.Module, fusion: GatedFusion, gating: str | None, origin: Origin | None = None
    ) -> None:
        self.model = model
        self.fusion = fusion
        self.gating = gating
        self.tracker: LiveTracker | None = None
        self._origin = origin
        self._hooks = FusionHooks(model, fusion, self)
        self._facts: LiveFacts | None = None

    def start(self) -> None:
        """Put the hooks on the model."""
        self._facts = None
        self._hooks.attach()

    def stop(self) -> None:
        """Take them off."""
        self._hooks.detach()

    def begin_pass(self, samples: int) -> BatchIds | None:
        """The ids of the batch that runs; raises for a list of another length."""
        assert self.tracker is not None
        return self.tracker.claim(samples) if self.tracker.track_gates else None

    def end_pass(self, token: BatchIds | None, found: FusionGates) -> None:
        """Remember the gates of the batch that ran."""
        if self.tracker is None or token is None:
            return
        gating = self._gating(found)
        gates = {kind: tuple(_array(gate) for gate in layers) for kind, layers in found.gates.items()}
        self._learn(gates, found, gating)
        clips = valid_clips(found.calls, found.stream)
        batch = TrackedBatch(gates, clips, found.stream.clips, gating, found.stream.channels)
        self.tracker.record(token, batch)

    @property
    def known_gating(self) -> str | None:
        """What the user, the checkpoint or gates of more than one clip said; None before any of them."""
        seen = self._facts.gating if self._facts is not None and self._facts.longest > 1 else None
        return self.gating or seen

    def limits(self, kind: str, layer: int) -> GateLimits | None:
        """From the range its activation gives it, where one was seen; the same in every layer."""
        if self._facts is None or kind not in self._facts.seen:
            return None
        found, bound = self._facts.range_of(kind)
        return GateLimits.of(*found) if bound else None

    def identity(self) -> ModelIdentity:
        """The model as it is now: its class, the hash of its weights, what its gates looked like."""
        facts = self._facts
        if facts is None:
            raise UsageError("the model has not run since tracking was enabled")
        weights = fingerprint(self.model)
        manifest = live_manifest(self.model, self.fusion, facts, weights, self._origin)
        device = next((one.device.type for one in self.model.parameters()), "cpu")
        origin = self._origin
        model = FileRef(type(self.model).__name__, weights) if origin is None else origin.file
        return ModelIdentity(model, manifest, device, {"torch": str(torch.__version__)})

    def _gating(self, found: FusionGates) -> str:
        gate = found.gates[GATE_KINDS[0]][0]
        if found.stream.clips == 1 and gate.shape[2] == 1:
            # Global and clipwise gates of a single clip look alike.
            return self.gating or (
                self._facts.gating if self._facts else gating_of_form(per_clip=False, per_channel=False)
            )
        per_clip = not gate.shape[1] == 1 < found.stream.clips
        seen = gating_of_form(per_clip=per_clip, per_channel=gate.shape[2] > 1)
        if self.gating is not None and GATINGS[cast(Gating, self.gating)] != GATINGS[seen]:
            raise UsageError(
                f"gating_type '{self.gating}' contradicts the gates of this model",
                received=f"gates {tuple(gate.shape)} for a batch of {found.stream.samples} with "
                f"{found.stream.clips} clips: {seen} gating",
                fix=f"adapt_legacy_model(model, gating_type='{seen}'), or leave gating_type out",
            )
        return self.gating or seen

    def _learn(
        self, gates: dict[str, tuple[NDArray[np.float32], ...]], found: FusionGates, gating: str
    ) -> None:
        """Keep what a manifest needs: axes, ranges, the largest values."""
        if self._facts is None:
            self._facts = LiveFacts(found.stream.channels, dict(found.ranges))
            if found.bounded is False:
                warnings.warn(
                    f"nothing in {self.fusion.layers[0].owners[-1]} bounds the gates it returns: if the "
                    "layer applies a tanh or a sigmoid afterwards, what is tracked is not the gates but what "
                    "goes into it",
                    GateTrackingWarning,
                    stacklevel=3,
                )
        self._facts.see(gates, gating, found.stream.clips)


class LiveTracker(GateTracker):
    """A tracker whose promised methods and attributes are also on the modules ``holders``.

    They are plain attributes of these objects and no part of their classes, state dicts or registered
    modules. ``track_gates``, ``current_sample_id`` and ``gate_history`` are kept equal to the tracker's.
    """

    def __init__(self, source: LiveGates, holders: tuple[nn.Module, ...]) -> None:
        super().__init__(source)
        self.source = source
        source.tracker = self
        self._holders = holders
        for holder in holders:
            vars(holder).update({name: getattr(self, name) for name in TRACKER_METHODS})
        self._mirror()

    def release(self) -> None:
        """Take hooks, methods and attributes off the model again; what was tracked stays readable here."""
        self.disable_gate_tracking()
        for holder in self._holders:
            for name in (*TRACKER_METHODS, *ATTRIBUTES):
                vars(holder).pop(name, None)
        self._holders = ()

    def enable_gate_tracking(self, *, history: bool = True) -> None:
        """Forget what was tracked, and remember gates from now on; see :class:`GateTracker`."""
        super().enable_gate_tracking(history=history)
        self._mirror()

    def disable_gate_tracking(self) -> None:
        """Stop remembering; what was tracked is kept."""
        super().disable_gate_tracking()
        self._mirror()

    def set_current_sample_id(self, sample_id: Hashable | list[Hashable]) -> None:
        """Name the batches that run from now on; see :class:`GateTracker`."""
        super().set_current_sample_id(sample_id)
        self._mirror()

    def claim(self, samples: int) -> BatchIds:
        """The ids for a batch that is about to run; an id assigned to the module directly counts too."""
        for holder in self._holders:
            assigned = vars(holder).get("current_sample_id")
            if assigned is not None and assigned != self.current_sample_id:
                self.set_current_sample_id(assigned)
        return super().claim(samples)

    def _mirror(self) -> None:
        state: dict[str, Any] = {name: getattr(self, name) for name in ATTRIBUTES}
        for holder in self._holders:
            # A fusion that was written with tracking of its own would begin to fill gate_history itself.
            own = {"track_gates"} if hasattr(type(holder), "enable_gate_tracking") else set[str]()
            vars(holder).update({name: value for name, value in state.items() if name not in own})


def tracker_of(model: nn.Module) -> LiveTracker | None:
    """The tracker of an adapted model, None where it has none."""
    for module in model.modules():
        method = vars(module).get("as_run")
        tracker = getattr(method, "__self__", None)
        if isinstance(tracker, LiveTracker) and tracker.source.model is model:
            return tracker
    return None


def check_gating(gating: str | None, fusion: GatedFusion) -> None:
    """See that ``gating`` is a known word and fits the channels of the gates."""
    if gating is None:
        return
    form = GATINGS.get(cast(Gating, gating))
    if form is None:
        raise UsageError(
            f"unknown gating_type {gating!r}",
            expected=f"{one_of(GATINGS)}; None goes by the gates' shapes",
        )
    channels = set(fusion.channels)
    wide = min(channels) > 1
    if form.per_channel != wide and len(channels) == 1:
        fitting = [f"'{one}'" for one in PLAIN_GATINGS if GATINGS[one].per_channel == wide]
        raise UnsupportedModelError(
            f"gating_type '{gating}' contradicts the model's parameters",
            received=f"gates of {channels.pop()} channel{'s' if wide else ''} in {fusion}",
            expected=f"gating_type {one_of(fitting)}",
            fix="leave gating_type out: the gates' shapes show it",
        )


def _array(gate: Tensor) -> NDArray[np.float32]:
    # numpy has no bfloat16, and a history of one precision is what every statistic expects.
    return gate.to("cpu", torch.float32).numpy()
