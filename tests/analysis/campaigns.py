"""Campaigns of made-up runs: settings and seeds with known effects, in folders as `report` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gatescope.runtime.gates.manifest import Training
from gatescope.runtime.runs.member import Member

from .runs import manifest_of, write_run

CLIPS = 15


@dataclass(frozen=True)
class Made:
    """One results folder's run. ``level``: of its gates; ``skill``: share of windows that are right."""

    name: str
    seed: int | None = 0
    gating: str = "clipwise"
    level: float = 0.3
    skill: float = 0.5
    options: Mapping[str, str] = field(default_factory=dict)
    dataset: str = "hl"
    domain: str | None = None
    training: Mapping[str, float] = field(default_factory=dict)
    checkpoint: str | None = None


def write_annotations(path: Path, videos: int, *, per_video: int = 2) -> None:
    """Queries ``0`` …, windows 6 to 14 s of 30 s videos, saliency in the middle."""
    lines = []
    for qid in range(videos * per_video):
        clips = [4, 5, 6]
        lines.append(
            {
                "qid": qid,
                "query": f"query {qid}",
                "vid": f"v{qid // per_video}",
                "duration": 2 * CLIPS,
                "relevant_windows": [[6, 14]],
                "relevant_clip_ids": clips,
                "saliency_scores": [[4, 4, 4] for _ in clips],
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def write_campaign(
    folder: Path, made: Sequence[Made], annotations: Path, *, videos: int = 8, per_video: int = 2
) -> Path:
    """Every run with its record; gates vary by video, in which all runs agree, and by seed."""
    of_videos = np.random.default_rng(99).normal(0, 0.3, videos)
    for place, one in enumerate(made):
        own = folder / one.name
        random = np.random.default_rng([place, one.seed or 0])
        drift = random.normal(0, 0.05)
        clips = 1 if one.gating == "global" else CLIPS
        gates = {
            str(qid): {
                kind: np.tanh(
                    one.level + drift + of_videos[qid // per_video] + random.normal(0, 0.1, (2, clips, 1))
                ).astype(np.float32)
                for kind in ("attention", "ffn")
            }
            for qid in range(videos * per_video)
        }
        right = random.random(len(gates)) < one.skill
        predictions: dict[str, dict[str, Any]] = {
            qid: {
                "qid": int(qid),
                "query": f"query {qid}",
                "vid": f"v{int(qid) // per_video}",
                "pred_relevant_windows": [[6, 14, 0.9] if good else [20, 30, 0.9], [0, 30, 0.1]],
                "pred_saliency_scores": random.random(CLIPS).round(4).tolist(),
            }
            for qid, good in zip(gates, right, strict=True)
        }
        opt = {"seed": str(one.seed), "gating_type": one.gating, "exp_id": one.name, **one.options}
        manifest = replace(
            manifest_of(one.gating, 2),  # type: ignore[arg-type]
            checkpoint_sha256=one.checkpoint or f"sha of {one.name}",
            training=Training(one.seed, 4, one.name, one.dataset, one.domain, opt),
        )
        write_run(
            own / "run",
            gates,
            manifest=manifest,
            videos={qid: f"v{int(qid) // per_video}" for qid in gates},
            predictions=predictions,
            per_part=64,
        )
        Member(
            source=f"results/{one.name}",
            state="done",
            checkpoint="model_best.ckpt",
            annotations=str(annotations),
            training=dict(one.training),
            place=place,
        ).write(own)
    return folder
