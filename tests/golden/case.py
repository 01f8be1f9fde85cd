"""A golden case rebuilt: weights and inputs drawn from streams that NumPy keeps frozen."""

from __future__ import annotations

import argparse
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parent
CHANNEL_STEP = 16  # elementwise gates are stored for every 16th channel


def stream(seed: int, name: str) -> np.random.RandomState:
    """The stream that belongs to the tensor ``name`` of a case."""
    return np.random.RandomState((seed * 1_000_003 + zlib.crc32(name.encode())) % 2**32)


@dataclass(frozen=True)
class Case:
    name: str
    spec: dict[str, Any]

    @property
    def seed(self) -> int:
        return self.spec["seed"]

    @property
    def options(self) -> dict[str, Any]:
        return self.spec["opt"]

    @property
    def family(self) -> str | None:
        """The family that has to be named, where several have these parameters."""
        return self.spec.get("family")

    @property
    def clips(self) -> list[int]:
        return self.spec["clips"]

    @property
    def expected(self) -> dict[str, np.ndarray]:
        with np.load(FOLDER / f"{self.name}.npz") as stored:
            return dict(stored)

    def shapes(self) -> dict[str, list[int]]:
        """Name and shape of every parameter, as the training code has them."""
        everything = json.loads((FOLDER / "parameters.json").read_text(encoding="utf-8"))
        layers = self.spec.get("layers", self.options["fusion_layers"])
        absent = self.spec.get("absent", ())
        prefix = "fusion.fusion_layers."
        kept = {
            name: shape
            for name, shape in everything.items()
            if name not in absent and (not name.startswith(prefix) or int(name.split(".")[2]) < layers)
        }
        return kept | self.spec["reshaped"]

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(draw(self.seed, name, shape)) for name, shape in self.shapes().items()}

    def inputs(self) -> dict[str, np.ndarray]:
        """One padded batch: rows of unit length, zeros and mask 0 at the padding."""
        batch: dict[str, np.ndarray] = {}
        for key, option, lengths in (
            ("src_txt", "t_feat_dim", self.spec["words"]),
            ("src_vid", "v_feat_dim", self.spec["clips"]),
            ("src_aud", "a_feat_dim", self.spec["clips"]),
        ):
            width = self.options[option]
            features = np.zeros((len(lengths), max(lengths), width), np.float32)
            mask = np.zeros((len(lengths), max(lengths)), np.float32)
            for i, n in enumerate(lengths):
                rows = stream(self.seed, f"{key}[{i}]").standard_normal((n, width)).astype(np.float32)
                features[i, :n] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
                mask[i, :n] = 1
            batch[key], batch[f"{key}_mask"] = features, mask
        return batch

    def save_checkpoint(self, path: Path) -> Path:
        """Write the case as a training run would."""
        options = argparse.Namespace(**self.options)
        options.device = torch.device("cpu")
        torch.save(
            {
                "model": self.weights(),
                "optimizer": {"state": {}, "param_groups": []},
                "lr_scheduler": {"last_epoch": 3, "base_lrs": [1e-4]},
                "epoch": 3,
                "opt": options,
            },
            path,
        )
        return path

    def save_dataset(self, root: Path) -> Path:
        """Write the case's annotations and raw features under ``root``; returns the annotation file."""
        folders = [root / name for name in ("slowfast_features", "clip_features", "pann_features")]
        words = root / "clip_text_features"
        for folder in (*folders, words):
            folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for row in self.spec["queries"]:
            lines.append(json.dumps({key: value for key, value in row.items() if key != "lengths"}))
            vid, qid, lengths = row["vid"], row["qid"], row["lengths"]
            slowfast = self._rows("slowfast", lengths["slowfast"], 2304, vid)
            np.savez(folders[0] / f"{vid}.npz", features=slowfast)
            np.savez(folders[1] / f"{vid}.npz", features=self._rows("clip", lengths["clip"], 512, vid))
            np.save(folders[2] / f"{vid}.npy", self._rows("pann", lengths["pann"], 2048, vid))
            np.savez(
                words / f"qid{qid}.npz", last_hidden_state=self._rows("text", lengths["text"], 512, str(qid))
            )
        path = root / "val.jsonl"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def _rows(self, kind: str, length: int, width: int, key: str) -> np.ndarray:
        return stream(self.seed, f"{kind}/{key}").standard_normal((length, width)).astype(np.float32)


def load_case(name: str) -> Case:
    return Case(name, json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def stored(name: str, values: np.ndarray) -> np.ndarray:
    """The part of an output the case keeps."""
    return values[..., ::CHANNEL_STEP] if name.startswith("gate") and values.shape[-1] > 1 else values


def valid(name: str, values: np.ndarray, clips: int) -> np.ndarray:
    """One sample's entries at its valid clips."""
    if name == "saliency_scores":
        return values[:clips]
    return values[:, :clips] if name.startswith("gate") and values.shape[1] > 1 else values


def draw(seed: int, name: str, shape: list[int]) -> np.ndarray:
    """One parameter, float32: matrices N(0, 2 / fan-in), norms near 1, biases near 0, gates off the rails."""
    noise = stream(seed, name).standard_normal(shape or [1]).astype(np.float32)
    leaf = name.rsplit(".", 1)[-1]
    if "activation" in name:
        drawn = 0.25 + 0.05 * noise
    elif leaf in ("mha_bias", "mha_scale", "ffn_alpha", "ffn_beta"):
        drawn = 0.7 + 0.1 * noise
    elif "norm" in name.lower() and leaf == "weight":
        drawn = 1.0 + 0.1 * noise
    elif len(shape) == 1:
        drawn = 0.1 * noise
    else:
        fan_in = shape[1] if len(shape) == 2 else int(np.prod(shape[1:]))
        drawn = noise * np.float32(np.sqrt(2.0 / fan_in))
        if "gating_function" in name and ".2." in name:
            drawn = 0.15 * drawn
    return drawn.reshape(shape).astype(np.float32)
