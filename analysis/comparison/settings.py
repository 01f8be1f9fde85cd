"""What a run was made with, in words, for setting runs beside each other."""

from __future__ import annotations

from collections.abc import Sequence

from ...runtime.runs.reader import Run


def run_settings(run: Run) -> dict[str, str]:
    """Everything about model, data and machine that could make its numbers differ from another run's."""
    record, manifest = run.record, run.manifest
    ranges = [
        f"{kind} {low:g} to {high:g}"
        for kind in manifest.gate_kinds
        for low, high in [manifest.gate_range(kind)]
    ]
    return {
        "model (SHA-256)": record.model.sha256,
        "checkpoint (SHA-256)": manifest.checkpoint_sha256,
        "annotations (SHA-256)": record.annotations.sha256,
        "family": manifest.family,
        "gating": manifest.gating,
        "layers": str(manifest.layers),
        "range of gates": ", ".join(ranges) or "no gates",
        "what multiplies a branch": ", ".join(
            f"{kind} {manifest.acts_as(kind)}{' (assumed)' if kind in manifest.doubtful_kinds else ''}"
            for kind in manifest.gate_kinds
        )
        or "no gates",
        "format": manifest.format,
        "precision": manifest.precision,
        "batching": manifest.batching,
        "rewrites": ", ".join(manifest.rewrites) or "none",
        "batch size": str(record.batch_size),
        "device": record.device,
        **{f"version of {name}": number for name, number in record.versions.items()},
    }


def differing_settings(runs: Sequence[Run]) -> list[tuple[str, tuple[str, ...]]]:
    """What is not the same in all runs, with each run's own; a dash where it has none."""
    told = [run_settings(run) for run in runs]
    names = dict.fromkeys(name for one in told for name in one)
    rows = [(name, tuple(one.get(name, "–") for one in told)) for name in names]
    return [row for row in rows if len(set(row[1])) > 1]
