"""``make bench-precision``: whether int8 or bfloat16 would be worth their error on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from gatescope.runtime import GateSession
from gatescope.runtime.gates.vocabulary import GATE_KINDS, RAIL

from .exports import Export, Exports
from .peers.clean_eager import clean_eager
from .peers.exported import exported
from .peers.gate_hooks import History
from .report import NOT_JUDGED, Part
from .settings import Settings
from .spread import paired
from .timing import Kind, Series, measure
from .workload import as_tensors, make_batch, read_model

FLOAT32, INT8 = "ONNX Runtime, float32", "ONNX Runtime, dynamic int8"
EAGER, BFLOAT16 = "PyTorch eager, float32", "PyTorch eager, bfloat16 autocast"

# A precision that moves gates further than this changes which of them count as being on a rail.
LARGEST_ERROR = RAIL


def measure_precision(settings: Settings, exports: Exports, part: Part, tell: Callable[[str], None]) -> None:
    """Add a table of speed and gate error with a yes or no to ``part``."""
    export = Export(settings.gatings[0])
    exports.make([export], tell)
    model = read_model(exports.checkpoint(export.gating))
    batch = make_batch(model.config, settings.batch, settings.clips, settings.words)
    exact_session = GateSession(exports.path(export), device="cpu")
    quantized_session = _quantized(exports.path(export))
    eager = clean_eager(model, as_tensors(batch))

    def bfloat16() -> History:
        with torch.autocast("cpu", torch.bfloat16):
            return eager()

    with exact_session, quantized_session:
        exact, quantized = exported(exact_session, batch), exported(quantized_session, batch)
        runs = {FLOAT32: exact, INT8: quantized, EAGER: eager, BFLOAT16: bfloat16}
        kinds = [Kind(name, run, settings.batch) for name, run in runs.items()]
        series = measure(kinds, settings.pace, tell=tell)
        gates = exact().gates
        errors = {
            INT8: gate_error(gates, quantized().gates),
            BFLOAT16: gate_error(gates, _stacked(bfloat16())),
        }
    rows = [_row(name, errors[name], series) for name in (INT8, BFLOAT16)]
    columns = [
        "",
        "speed of ONNX Runtime in float32",
        "speed of its own float32",
        "largest gate error",
        "mean gate error",
        "worth it",
    ]
    note = f"Worth it: faster than ONNX Runtime in float32, and no gate moved by more than {LARGEST_ERROR:g}."
    part.add(f"Precision, batch {settings.batch}", columns, rows, note if part.judged else NOT_JUDGED)
    part.data["gate errors (largest, mean)"] = errors
    part.add_timings(kinds, series)


def gate_error(exact: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Largest and mean difference of any gate."""
    moved = np.concatenate([np.abs(exact[kind] - other[kind]).ravel() for kind in GATE_KINDS])
    return float(moved.max()), float(moved.mean())


def worth_it(speed: float, error: float) -> bool:
    """Whether something ``speed`` times as fast as float32 with this largest gate error is of use."""
    return speed > 1 and error <= LARGEST_ERROR


def _row(name: str, error: tuple[float, float], series: Series) -> list[str]:
    own = {INT8: FLOAT32, BFLOAT16: EAGER}[name]
    speed, against_own = (paired(series[one], series[name]).median for one in (FLOAT32, own))
    largest, mean = error
    verdict = "yes" if worth_it(speed, largest) else "no"
    return [name, f"{speed:.2f}×", f"{against_own:.2f}×", f"{largest:.1e}", f"{mean:.1e}", verdict]


def _quantized(model: Path) -> GateSession:
    """The model with its weights in int8 and what they multiply quantised as it comes."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory(prefix="gatescope-bench-") as folder:
        target = Path(folder) / "int8.onnx"
        quantize_dynamic(model, target, weight_type=QuantType.QInt8)
        return GateSession(target, device="cpu")


def _stacked(history: History) -> dict[str, np.ndarray]:
    """Gates of the layers as hooks copied them, as the graph stacks them."""
    return {kind: np.stack([gates[i] for gates in history], 1) for i, kind in enumerate(GATE_KINDS)}
