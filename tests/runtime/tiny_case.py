"""A tiny model and dataset side by side, runs of them, and what they must give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gatescope.runtime.gates.manifest import Manifest
from gatescope.runtime.running.pipeline import RunResult, run_model

from .tiny_dataset import TinyDataset, tiny_dataset
from .tiny_model import Gating, expected, tiny_model


class TinyCase:
    """A tiny model and dataset in a folder, and a run of them."""

    def __init__(self, folder: Path, gating: Gating = "clipwise", **manifest: Any) -> None:
        self.folder = folder
        self.model = folder / "m.onnx"
        self.manifest: Manifest = tiny_model(self.model, gating, **manifest)
        self.data: TinyDataset = tiny_dataset(folder / "data", self.manifest)
        self.output = folder / "run"

    def run(self, **options: Any) -> RunResult:
        options = {"device": "cpu", "batch_size": 2, "output": self.output, **options}
        output = options.pop("output")
        return run_model(self.model, self.data.annotations, self.data.root, output, **options)

    def expect(self, qid: str) -> dict[str, np.ndarray]:
        """The model's outputs for one query alone, from features read and prepared here by hand."""
        row = next(row for row in self.data.rows if str(row["qid"]) == qid)
        vid = str(row["vid"])
        count = self.data.clips(vid)

        def unit(array: np.ndarray) -> np.ndarray:
            return array / (np.sqrt((array.astype(np.float64) ** 2).sum(-1, keepdims=True)) + 1e-5)

        tef = np.array([[i / count, (i + 1) / count] for i in range(count)])
        video = [unit(np.load(self.data.video(i, vid))["features"])[:count] for i in range(2)]
        audio = unit(np.load(self.data.audio(vid)))[:count]
        text = unit(np.load(self.data.text(qid))["last_hidden_state"])
        return expected(
            self.manifest,
            {
                "src_vid": np.hstack([*video, tef])[None],
                "src_aud": np.hstack([audio, tef])[None],
                "src_txt": text[None],
                "src_vid_mask": np.ones((1, count)),
                "src_txt_mask": np.ones((1, len(text))),
            },
        )
