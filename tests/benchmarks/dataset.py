"""A dataset on disk for any exported model: random features in the model's own sizes.

Only some samples have features of their own; the others' files are hard links to those. So a long run costs
little disk, and what it reads is in the page cache after the first time: reading from the disk itself is not
measured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gatescope.runtime.gates.preprocessing import InputSource, Preprocessing

TEF = 2


@dataclass(frozen=True)
class Dataset:
    """``root`` holds a folder per source."""

    root: Path
    annotations: Path


def make_dataset(
    root: Path, recipe: Preprocessing, queries: int, *, distinct: int, clips: int, words: int
) -> Dataset:
    """Write ``queries`` queries, each of a video of its own, all of full length and in float32."""
    rng = np.random.default_rng(0)
    extra = TEF if recipe.tef else 0
    widths = _widths(recipe.video, recipe.video_width - extra)
    sources = [
        *((root / Path(one.path).name, width) for one, width in zip(recipe.video, widths, strict=True)),
        (root / Path(recipe.audio.path).name, recipe.audio_width - extra),
        (root / Path(recipe.text.path).name, recipe.text_width),
    ]
    *_, audio, text = (folder for folder, _ in sources)
    for folder, width in sources:
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(queries):
            path = folder / (
                f"v{i}.npy" if folder == audio else f"qid{i}.npz" if folder == text else f"v{i}.npz"
            )
            if i >= distinct:
                os.link(folder / path.name.replace(str(i), str(i % distinct)), path)
                continue
            length = words if folder == text else clips
            rows = rng.standard_normal((length, width), dtype=np.float32)
            if folder == audio:
                np.save(path, rows)
            else:
                np.savez(path, **{"last_hidden_state" if folder == text else "features": rows})
    rows = (
        {"qid": i, "query": f"query number {i}", "vid": f"v{i}", "duration": clips * recipe.clip_length}
        for i in range(queries)
    )
    annotations = root / "val.jsonl"
    annotations.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Dataset(root, annotations)


def _widths(sources: Sequence[InputSource], total: int) -> list[int]:
    """Of each source; those the manifest does not tell share what is left."""
    known = [source.width for source in sources if source.width is not None]
    unknown = len(sources) - len(known)
    left = total - sum(known)
    shares = iter(left // unknown + (i < left % unknown) for i in range(unknown))
    return [next(shares) if source.width is None else source.width for source in sources]
