"""The demo's dataset on disk, laid out as QVHighlights and its features are.

data/
  val.jsonl               one query per line; gatescope_events: the clips in which the event was planted
  audio_queries.txt       the qids of the queries that ask for the sound, one per line
  features/
    slowfast_features/{vid}.npz   clip_features/{vid}.npz   pann_features/{vid}.npy
    clip_text_features/qid{qid}.npz
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from .features import audio_features, make_features, text_features
from .plan import DEMO_CLIP_SECONDS, DemoPlan, DemoQuery
from .random_streams import stream

ANNOTATIONS, AUDIO_QUERIES, FEATURES = "val.jsonl", "audio_queries.txt", "features"
SLOWFAST_FOLDER, CLIP_FOLDER, PANN_FOLDER, TEXT_FOLDER = (
    "slowfast_features",
    "clip_features",
    "pann_features",
    "clip_text_features",
)
_ANNOTATORS = 3


def write_dataset(plan: DemoPlan, folder: Path) -> None:
    """Write the dataset of ``plan`` into ``folder``, which is made."""
    folders = [folder / FEATURES / name for name in (SLOWFAST_FOLDER, CLIP_FOLDER, PANN_FOLDER, TEXT_FOLDER)]
    for each in folders:
        each.mkdir(parents=True, exist_ok=True)
    slowfast, clip, pann, text = folders
    for video in plan.videos:
        motion, picture = make_features(video, plan.seed)
        np.savez(slowfast / f"{video.vid}.npz", features=motion)
        np.savez(clip / f"{video.vid}.npz", features=picture)
        np.save(pann / f"{video.vid}.npy", audio_features(video, plan.seed))
    for query in plan.queries:
        words = text_features(query, plan.seed)
        np.savez(text / f"qid{query.qid}.npz", last_hidden_state=words, pooler_output=words[-1])
    lines = (json.dumps(annotation(query, plan.seed)) + "\n" for query in plan.queries)
    (folder / ANNOTATIONS).write_text("".join(lines), encoding="utf-8")
    heard = (f"{query.qid}\n" for query in plan.queries if query.asks == "sound")
    (folder / AUDIO_QUERIES).write_text("".join(heard), encoding="utf-8")


def annotation(query: DemoQuery, seed: int) -> dict[str, Any]:
    """One line of the annotation file, with QVHighlights' keys and ``gatescope_events``.

    Saliency is the strength of what is asked for, as three annotators might see it: 0 to 4 each.
    """
    clips = np.flatnonzero(query.target)
    opinions = stream(seed, f"annotators of {query.qid}").standard_normal((len(clips), _ANNOTATORS))
    scores = np.rint(3 * query.target[clips, None] + 0.7 * opinions).clip(0, 4).astype(int)
    return {
        "qid": query.qid,
        "query": query.text,
        "duration": query.video.duration,
        "vid": query.video.vid,
        "relevant_windows": windows(clips.tolist()),
        "relevant_clip_ids": clips.tolist(),
        "saliency_scores": scores.tolist(),
        "gatescope_events": query.video.event_clips,
    }


def windows(clips: list[int]) -> list[list[int]]:
    """Runs of neighbouring clips as [start, end] in seconds; ``clips`` ascend."""
    found: list[list[int]] = []
    for clip in clips:
        start, end = clip * DEMO_CLIP_SECONDS, (clip + 1) * DEMO_CLIP_SECONDS
        if found and found[-1][1] == start:
            found[-1][1] = end
        else:
            found.append([start, end])
    return found
