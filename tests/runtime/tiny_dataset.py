"""A QVHighlights-style dataset of a few kilobytes that fits the tiny model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gatescope.runtime.gates.manifest import Manifest


@dataclass(frozen=True)
class TinyDataset:
    """``root`` holds one folder per source; ``lengths`` maps a vid to its clips per source, audio last."""

    root: Path
    annotations: Path
    rows: list[dict[str, object]]
    lengths: dict[str, tuple[int, ...]]

    @property
    def qids(self) -> list[str]:
        return [str(row["qid"]) for row in self.rows]

    def video(self, number: int, vid: str) -> Path:
        return self.root / ("slowfast_features", "clip_features")[number] / f"{vid}.npz"

    def audio(self, vid: str) -> Path:
        return self.root / "pann_features" / f"{vid}.npy"

    def text(self, qid: str) -> Path:
        return self.root / "clip_text_features" / f"qid{qid}.npz"

    def clips(self, vid: str) -> int:
        return min(self.lengths[vid])


def tiny_dataset(
    root: Path,
    manifest: Manifest,
    queries: int = 7,
    *,
    videos: int = 4,
    clips: Sequence[int] = (5, 1, 9, 3),
    seed: int = 0,
) -> TinyDataset:
    """Write it under ``root``: ``queries`` queries of ``videos`` videos, lengths differing by source."""
    rng = np.random.default_rng(seed)
    recipe = manifest.preprocessing
    for folder in ("slowfast_features", "clip_features", "pann_features", "clip_text_features"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    lengths = {
        f"v{i}_0.0_{20 + i}.0": (
            clips[i % len(clips)],
            clips[i % len(clips)] + i % 2,
            clips[i % len(clips)] + i % 3,
        )
        for i in range(videos)
    }
    rows: list[dict[str, object]] = [
        {
            "qid": 100 + i,
            "query": f"query number {i} – with an accent é",
            "vid": list(lengths)[i * videos // queries],
            "duration": 20 + i,
            "relevant_windows": [[0, 4]],
        }
        for i in range(queries)
    ]
    dataset = TinyDataset(root, root / "val.jsonl", rows, lengths)
    for vid, (*of_video, of_audio) in lengths.items():
        for number, length in enumerate(of_video):
            width = recipe.video[number].width or 1
            features = rng.standard_normal((length, width)).astype(np.float32)
            np.savez(dataset.video(number, vid), features=features)
        audio = rng.standard_normal((of_audio, recipe.audio.width or 1)).astype(np.float32)
        np.save(dataset.audio(vid), audio)
    for i, qid in enumerate(dataset.qids):
        words = rng.standard_normal((1 + i % 5, recipe.text_width)).astype(np.float32)
        np.savez(dataset.text(qid), last_hidden_state=words, pooler_output=words[0])
    dataset.annotations.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return dataset
