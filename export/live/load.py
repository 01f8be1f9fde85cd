"""``load_legacy_model_with_gate_tracking``: a checkpoint becomes a live model, without its own code."""

from __future__ import annotations

import re
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...runtime.errors import DeviceError, GatescopeError, InputError, UsageError
from ...runtime.gates.vocabulary import PREDICTIONS, Activation, Family
from ...runtime.runs.info import FileRef
from ...runtime.session.inputs import FEATURES, FULL_SET
from ...runtime.tracking.tracker import GateTrackingWarning
from ..families.choices import Choices
from ..families.config import ModelConfig
from ..families.qd_detr import GatedQDDETR
from ..reading.checkpoint import load_checkpoint
from ..reading.facts import describe
from ..reading.rebuild import rebuild
from .adapt import adapt
from .manifest import Origin

# Messages name flags; people who call Python need the arguments of the functions they call.
_ARGUMENTS: tuple[tuple[str, str], ...] = (
    (r"--gating 'global\|clipwise'", "gating_type='global' or 'clipwise'"),
    (r"--gating ([a-z_]+)", r"gating_type='\1'"),
    (r"--gating\b", "gating_type"),
    (r"--fusion-heads (\w+)", r"fusion_heads=\1"),
    (r"--heads (\w+)", r"heads=\1"),
    (r"--attention-activation (tanh|sigmoid)", r"attention_activation='\1'"),
    (r"--attention-activation\b", "attention_activation"),
    (r"--family ([a-z_0-9]+)", r"family='\1'"),
    (r"--family\b", "family"),
    (r"--model package\.module:factory", "adapt_legacy_model(model)"),
    (r"--checkpoint\b", "model_path"),
    (r"--verify\b", "'gatescope export --verify'"),
)


class LegacyModel(nn.Module):
    """A rebuilt model that is called the way the training code calls its own."""

    def __init__(self, model: GatedQDDETR) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Mapping[str, Any] | None = None, /, **inputs: Any) -> dict[str, Tensor]:
        """Predictions for a batch, under the reference's names.

        The six inputs as keywords or in one dict, whose other keys (``qid``) are ignored: ``src_txt``
        (B, T, Dt), ``src_vid`` (B, L, Dv), ``src_aud`` (B, L, Da), tensors or arrays, and for each a
        ``…_mask`` (B, T | L), 1 = valid. They are moved to the model's device and precision.

        Gives ``pred_logits`` (B, Q, 2), class 0 is foreground; ``pred_spans`` (B, Q, 2), centre and width in
        fractions of the duration; ``saliency_scores`` (B, L). Raises
        :class:`~gatescope.runtime.errors.InputError` for inputs that are missing or not numbers.
        """
        if batch is not None and not isinstance(cast(object, batch), Mapping):
            raise InputError(
                "a batch is a dict of the six inputs",
                received=f"a {type(batch).__name__}",
                expected=", ".join(FULL_SET),
                fix="model(batch) with a dict, or model(src_txt=…, src_txt_mask=…, …)",
            )
        given = {**(batch or {}), **inputs}
        missing = [name for name in FULL_SET if name not in given]
        if missing:
            raise InputError(
                f"the batch lacks {', '.join(missing)}",
                received=", ".join(map(str, given)) or "no inputs",
                expected=", ".join(FULL_SET),
                fix="where nothing is padded, a mask is torch.ones(batch, length)",
            )
        like = next(self.model.parameters())
        tensors = {name: _tensor(name, given[name], like) for name in FULL_SET}
        _check_shapes(tensors, self.model.config)
        outputs = self.model(**tensors)
        return {name: getattr(outputs, name) for name in PREDICTIONS}


def load_legacy_model_with_gate_tracking(
    model_path: str | Path,
    gating_type: str | None = None,
    device: str | torch.device = "auto",
    *,
    heads: int | None = None,
    fusion_heads: int | None = None,
    attention_activation: Activation | None = None,
    family: Family | None = None,
) -> LegacyModel:
    """The model of a checkpoint, in eval mode on ``device``, with the methods of gate tracking.

    ``model.avigate_fusion`` has ``enable_gate_tracking()`` and the rest, as after
    :func:`~gatescope.export.live.adapt.adapt_legacy_model`; see :class:`LegacyModel` for how it is called. It
    computes what the training code computes, batching effects included (a global gate averages over padding).

    - ``gating_type``: ``global``, ``clipwise`` or ``elementwise``; None for what training recorded.
    - ``device``: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``, or any that torch knows.
    - ``heads``, ``fusion_heads``, ``attention_activation``, ``family``: for checkpoints that do not record
      them.

    Raises what reading, describing and rebuilding a checkpoint raise: subclasses of
    :class:`~gatescope.runtime.errors.CheckpointError`,
    :class:`~gatescope.runtime.errors.UnsupportedModelError`; and
    :class:`~gatescope.runtime.errors.DeviceError`.
    """
    place = _device(device)
    choices = Choices(
        family=family,
        gating=gating_type,
        heads=heads,
        fusion_heads=fusion_heads,
        attention_activation=attention_activation,
        batching="reference",
    )
    with _python_words():
        checkpoint = load_checkpoint(model_path)
        found = describe(checkpoint, choices)
        rebuilt = rebuild(found, checkpoint.weights)
    description = replace(found, warnings=tuple(map(_in_python, found.warnings)))
    for text in description.warnings:
        warnings.warn(text, GateTrackingWarning, stacklevel=2)
    model = LegacyModel(rebuilt).to(place).eval()
    origin = Origin(FileRef(str(checkpoint.path.resolve()), checkpoint.sha256), description)
    return adapt(model, description.config.gating, origin=origin)


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"unknown device {device!r}", expected="auto, cpu, cuda, or cuda:0") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "this PyTorch cannot use CUDA",
            received=f"torch {torch.__version__} without a usable NVIDIA GPU",
            fix="pass device='cpu', or install a CUDA build of PyTorch on a machine with an NVIDIA driver",
        )
    return place


def _tensor(name: str, value: Any, like: Tensor) -> Tensor:
    try:
        return torch.as_tensor(value).to(like.device, like.dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{name} is not an array of numbers",
            received=f"a {type(value).__name__}: {str(error).splitlines()[0]}",
            expected="a tensor or a numpy array",
        ) from error


def _check_shapes(tensors: Mapping[str, Tensor], config: ModelConfig) -> None:
    widths = dict(zip(FEATURES, (config.text_width, config.video_width, config.audio_width), strict=True))
    samples = len(tensors["src_txt"])
    for name, width in widths.items():
        features, mask = tensors[name], tensors[f"{name}_mask"]
        wrong = features.ndim != 3 or features.shape[:2] != mask.shape
        if wrong or features.shape[0] != samples or features.shape[2] != width:
            raise InputError(
                f"{name} and {name}_mask do not fit the model"
                if not wrong
                else f"{name} does not fit its mask",
                received=f"shapes {tuple(features.shape)} and {tuple(mask.shape)}",
                expected=f"({samples}, length, {width}) and ({samples}, length)",
                fix="a single sample is a batch of one: tensor[None]" if features.ndim == 2 else None,
            )
    video, audio = tensors["src_vid"], tensors["src_aud"]
    if video.shape[1] != audio.shape[1]:
        raise InputError(
            "video and audio have different lengths",
            received=f"src_vid {tuple(video.shape)}, src_aud {tuple(audio.shape)}",
            expected="the same number of clips",
            fix="cut both to the shorter one, as training does",
        )


def _in_python(text: str) -> str:
    """``text`` with the flags of ``gatescope export`` as arguments of the live functions."""
    for flag, argument in _ARGUMENTS:
        text = re.sub(flag, argument, text)
    return text


@contextmanager
def _python_words() -> Generator[None]:
    """Within it, errors of reading a checkpoint name arguments."""
    try:
        yield
    except GatescopeError as error:
        parts = {name: getattr(error, name) for name in ("received", "expected", "fix")}
        plain = {name: None if text is None else _in_python(text) for name, text in parts.items()}
        GatescopeError.__init__(error, _in_python(error.problem), **plain, again=error.again)
        raise
