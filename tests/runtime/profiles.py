"""Profiles made up by hand, for tests of what reads them."""

from __future__ import annotations

from typing import Any

from gatescope.runtime.profiling.results import (
    Comparison,
    Inputs,
    Machine,
    PartTiming,
    Placement,
    Profile,
    ProfiledModel,
    ProfileRow,
    Ratio,
    Recommendation,
    Start,
    Trace,
)

MB = 1_000_000


def made_up(**changes: Any) -> Profile:
    """A profile of a full-size model in round numbers; ``changes`` replaces fields."""
    fields: dict[str, Any] = {
        "subject": ProfiledModel(
            path="m.onnx",
            sha256="1" * 64,
            bytes=58 * MB,
            format="onnx",
            family="avigate_custom",
            gating="clipwise",
            outputs="tracked",
            precision="float32",
            batching="exact",
            checkpoint_sha256="0" * 64,
        ),
        "machine": Machine(
            device="cpu",
            providers=("CPUExecutionProvider",),
            provider_options={},
            threads=2,
            cpu="Some processor",
            cpus=2,
            gpu=None,
            system="Linux",
            load=0.1,
            versions={"gatescope": "0.1.0"},
        ),
        "inputs": Inputs(("75 clips and 32 words in every sample",), None, 1),
        "start": Start(0.2, 0.4, 0.05, 1, 67 * MB, 180 * MB, "a made-up method"),
        "rows": (row(1, 40.0), row(8, 80.0), ProfileRow(75, 32, 64, failure="out of memory")),
        "recommended": (Recommendation(75, 32, 8, 80.0, 12_000.0),),
        "trace": Trace(
            clips=75,
            words=32,
            batch_size=4,
            threads=1,
            runs=5,
            parts=(
                PartTiming("fusion.0", 60.0, 0.6, 40),
                PartTiming("decoder", 30.0, 0.3, 90),
                PartTiming("other", 10.0, 0.1, 7),
            ),
            placement=(Placement("CPUExecutionProvider", 137, 100.0, 1.0),),
            on_cpu={},
            arena_bytes=204 * MB,
        ),
        "tracking": (
            Comparison(1, Ratio(1.001, 0.99, 1.02, 20, False)),
            Comparison(8, Ratio(1.05, 1.04, 1.06, 9, True)),
        ),
        "eager": None,
    }
    return Profile(**fields | changes)


def row(batch_size: int, rate: float, clips: int = 75, calls: int = 40) -> ProfileRow:
    """A row that was measured: ``rate`` samples a second."""
    p50 = 1e3 * batch_size / rate
    return ProfileRow(
        clips=clips,
        words=32,
        batch_size=batch_size,
        calls=calls,
        samples_per_second=rate,
        p50_ms=p50,
        p95_ms=1.2 * p50,
        p99_ms=1.5 * p50,
        video_hours_per_hour=rate * clips * 2,
        peak_bytes=200 * MB,
    )
