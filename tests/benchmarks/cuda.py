"""``make bench-cuda``: the file on a GPU, its numbers beside the CPU's, its speed beside what is possible."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import numpy as np
import onnxruntime
import torch

from gatescope.runtime import GateSession
from gatescope.runtime.errors import DeviceError

from .exports import Export, Exports
from .floors import Floor, arithmetic_floors, bus_floor, largest_differences
from .flops import tracked_flops
from .goals import Goal, Verdict
from .peers.clean_eager import clean_eager
from .peers.compiled import compiled
from .peers.exported import exported
from .peers.pinned import PinnedPipeline
from .peers.users_way import users_way
from .report import Part
from .settings import Settings
from .spread import paired, spread
from .timing import Kind, Series, measure
from .workload import Batch, as_tensors, make_batch, read_model

USERS, EAGER, COMPILED = "the users' own way", "clean eager + hooks", "torch.compile"
OURS, GRAPHS, TF32, HALF = "tracked", "tracked, CUDA graphs", "tracked, TF32", "tracked, fp16"
PREFETCH = "tracked, prefetch"

DEVICE = "cuda"
# Export compares with PyTorch within this; another device is held to the same.
PARITY = 1e-4
# Batches that go through the pipeline at a call: the first has nothing to overlap with.
PIPELINED = 8
_PRODUCT = 8192
_TRANSFER = 256 * 2**20
_REPEATS = 10


def gpu_name() -> str:
    """The GPU that PyTorch and ONNX Runtime can both use; empty where there is none."""
    if not torch.cuda.is_available() or "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return ""
    onnxruntime.preload_dlls()
    return f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}"


def measure_cuda(settings: Settings, exports: Exports, part: Part, tell: Callable[[str], None]) -> None:
    """Add tables of parity, throughput and floors to ``part``."""
    gating, size = settings.gatings[0], settings.gpu_batch
    full = Export(gating)
    half = Export(gating, precision="float16")
    exports.make([full, half], tell)
    model = read_model(exports.checkpoint(gating))
    batch = make_batch(model.config, size, settings.clips, settings.words)
    ragged, clips = _ragged(batch)
    with ExitStack() as stack:
        on_cpu = stack.enter_context(GateSession(exports.path(full), device="cpu"))
        sessions = {
            OURS: GateSession(exports.path(full), device="cuda"),
            TF32: GateSession(exports.path(full), device="cuda", tf32=True),
            HALF: GateSession(exports.path(half), device="cuda"),
        }
        try:
            sessions[GRAPHS] = GateSession(exports.path(full), device="cuda", cuda_graphs=True)
        except DeviceError as error:
            part.tables.append(f"CUDA graphs were not measured: {error}")
        for session in sessions.values():
            stack.enter_context(session)
        tf32 = {name: one.provider_options.get("use_tf32", "unknown") for name, one in sessions.items()}
        expected = on_cpu.run(ragged).raw
        pipeline = PinnedPipeline(
            exports.path(full).read_bytes(), batch, {name: array.shape for name, array in expected.items()}
        )
        differences = {
            f"{name} (use_tf32={tf32[name]})": largest_differences(expected, session.run(ragged).raw, clips)
            for name, session in sessions.items()
        }
        last = _last(pipeline.run([batch, batch, ragged]))
        differences[PREFETCH] = largest_differences(expected, last, clips)
        peer = model.to(DEVICE)
        tensors = as_tensors(batch)
        kinds = [
            Kind(USERS, users_way(peer, tensors), size),
            Kind(EAGER, clean_eager(peer, tensors), size),
            Kind(COMPILED, compiled(peer, tensors), size),
            *(Kind(name, exported(session, batch), size) for name, session in sessions.items()),
            Kind(PREFETCH, lambda: _drain(pipeline, batch), size * PIPELINED),
        ]
        series = measure(kinds, settings.pace, tell=tell)
        needed = {name: batch[name] for name in on_cpu.input_names}
    tell("measuring the bus and matrix products")
    floors = [
        bus_floor(needed, bus_bandwidth()),
        *arithmetic_floors(
            tracked_flops(model.config, settings.clips, settings.words), size, product_rates()
        ),
    ]
    part.add_goals([*_parity(differences), *_speedups(series, size)])
    _add_differences(part, differences)
    _add_floors(part, floors, series, size)
    part.add_timings(kinds, series)
    part.data["floors, seconds a batch"] = {floor.what: floor.seconds for floor in floors}


def bus_bandwidth() -> float:
    """Bytes a second from page-locked memory to the GPU."""
    host = torch.empty(_TRANSFER, dtype=torch.uint8, pin_memory=True)
    device = torch.empty(_TRANSFER, dtype=torch.uint8, device="cuda")
    return _TRANSFER / _seconds(lambda: device.copy_(host, non_blocking=True))


def product_rates() -> dict[str, float]:
    """Operations a second of large matrix products, by precision."""
    rates: dict[str, float] = {}
    before = torch.get_float32_matmul_precision()
    for name, dtype, precision in (
        ("fp32", torch.float32, "highest"),
        ("TF32", torch.float32, "high"),
        ("fp16", torch.float16, "highest"),
    ):
        torch.set_float32_matmul_precision(precision)
        a, b = (torch.randn(_PRODUCT, _PRODUCT, device="cuda").to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        rates[name] = 2 * _PRODUCT**3 / _seconds(lambda a=a, b=b, out=out: torch.mm(a, b, out=out))
    torch.set_float32_matmul_precision(before)
    return rates


def _seconds(work: Callable[[], object]) -> float:
    """Median time of ``work`` on the GPU."""
    times: list[float] = []
    for _ in range(_REPEATS + 2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def _ragged(batch: Batch) -> tuple[Batch, np.ndarray]:
    """The batch with samples of every length up to its own, and how many clips each has."""
    samples, longest = batch["src_vid_mask"].shape
    clips = longest - np.arange(samples) % longest
    ragged = {name: array.copy() for name, array in batch.items()}
    for stream in ("src_vid", "src_aud"):
        mask = (np.arange(longest) < clips[:, None]).astype(np.float32)
        ragged[f"{stream}_mask"] = mask
        ragged[stream] *= mask[..., None]
    return ragged, clips


def _last(outputs: Iterator[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Of several batches the one that differs: what is left of earlier ones in the buffers would show."""
    *_, last = outputs
    return last


def _drain(pipeline: PinnedPipeline, batch: Batch) -> int:
    return sum(len(outputs) for outputs in pipeline.run([batch] * PIPELINED))


def _parity(differences: Mapping[str, Mapping[str, float]]) -> list[Verdict]:
    """Of everything that computes in float32 without TF32."""
    verdicts: list[Verdict] = []
    for name, found in differences.items():
        if not name.startswith((TF32, HALF)):
            goal = Goal(f"{name}: largest difference from the CPU, of {PARITY:g}", "%", at_most=100)
            verdicts.append(Verdict(goal, spread([max(found.values()) / PARITY * 100])))
    return verdicts


def _speedups(series: Series, size: int) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for ours, samples in ((OURS, size), (PREFETCH, size * PIPELINED)):
        for theirs in (USERS, EAGER, COMPILED):
            goal = Goal(f"{ours}, against {theirs}, batch {size}", "×")
            verdicts.append(Verdict(goal, paired(series[theirs], series[ours], samples / size)))
    return verdicts


def _add_differences(part: Part, differences: Mapping[str, Mapping[str, float]]) -> None:
    outputs = next(iter(differences.values()))
    rows = [[name, *(f"{found[name]:.1e}" for found in differences.values())] for name in outputs]
    part.add("Largest difference from the CPU, valid clips", ["", *differences], rows)
    part.data["largest differences from the CPU"] = differences


def _add_floors(part: Part, floors: list[Floor], series: Series, size: int) -> None:
    ours = {name: 1 for name in (OURS, GRAPHS, TF32, HALF) if name in series} | {PREFETCH: PIPELINED}
    taken = {name: spread(series[name]).median / batches for name, batches in ours.items()}
    rows = [
        [
            floor.what,
            f"{floor.seconds * 1e3:.2f}",
            f"{size / floor.seconds:.0f}",
            *(f"{floor.reached(seconds):.0%}" for seconds in taken.values()),
        ]
        for floor in floors
    ]
    note = (
        "The share of each floor's speed that was reached. The floors' arithmetic is that of the unoptimised "
        "model; rewrites do less."
    )
    part.add(f"Floors, batch {size}", ["", "ms a batch", "samples/s", *taken], rows, note)
