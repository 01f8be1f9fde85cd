"""The demo's model and as many of its videos as are asked for: realistic, and to be had anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gatescope.export.demo.features import audio_features, make_features, text_features
from gatescope.export.demo.plan import DEMO_SEED, DemoPlan, make_plan
from gatescope.export.demo.training import CHECKPOINT, write_training
from gatescope.runtime.cli.main import main
from gatescope.runtime.data.features import RawFeatures


def demo_model(folder: Path) -> Path:
    """The demo's model, exported into ``folder``; it ends at its gates."""
    model = folder / "model.onnx"
    write_training(make_plan(16, DEMO_SEED), folder / "training")
    arguments = ["--checkpoint", str(folder / "training" / CHECKPOINT), "--outputs", "gates"]
    if main(["export", *arguments, "--output", str(model)]) != 0:
        raise RuntimeError("the demo's model cannot be exported")
    return model


def demo_videos(plan: DemoPlan, numbers: Sequence[int]) -> list[RawFeatures]:
    """Raw features of the videos ``numbers`` of ``plan``, with one query each."""
    by_video = {query.video.vid: query for query in plan.queries}
    return [
        RawFeatures(
            tuple(source.astype(np.float32) for source in make_features(video, plan.seed)),
            audio_features(video, plan.seed).astype(np.float32),
            text_features(by_video[video.vid], plan.seed).astype(np.float32),
        )
        for video in (plan.videos[number] for number in numbers)
    ]
