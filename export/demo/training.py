"""What a training run would have left behind: the checkpoint, its options and its predictions.

training/
  model_best.ckpt           model, optimizer, lr_scheduler, epoch, opt
  opt.json                  the options as they were when training began
  hl_val_submission.jsonl   the model's predictions for the dataset, in batches as training made them
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...runtime.data.prepare import Sample, collate
from ...runtime.runs.predictions import Prediction, format_prediction, write_predictions
from ..families.choices import Choices
from ..reading.checkpoint import load_checkpoint
from ..reading.facts import describe
from ..reading.rebuild import rebuild
from .dataset import CLIP_FOLDER, PANN_FOLDER, SLOWFAST_FOLDER, TEXT_FOLDER
from .features import audio_features, make_features, text_features
from .gate_weights import set_gates
from .plan import CLAMP_SECONDS, DEMO_CLIP_SECONDS, MAX_CLIPS, DemoPlan, DemoQuery
from .random_weights import CONFIG, TEF, Weights, random_weights
from .saliency_weights import set_saliency
from .window_weights import set_windows

CHECKPOINT, OPTIONS, SUBMISSION = "model_best.ckpt", "opt.json", "hl_val_submission.jsonl"
_EPOCH = 149
_EVAL_BATCH = 32


def planted_weights(seed: int) -> Weights:
    """The whole model's parameters: random weights, and planted in them gates, saliency and windows."""
    weights = random_weights(seed)
    set_gates(weights, seed)
    set_saliency(weights, seed)
    set_windows(weights)
    return weights


def write_training(plan: DemoPlan, folder: Path) -> None:
    """Write all three files into ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OPTIONS).write_text(json.dumps(_options(), indent=4) + "\n", encoding="utf-8")
    rate = 1e-4
    torch.save(
        {
            "model": {name: torch.from_numpy(array) for name, array in planted_weights(plan.seed).items()},
            "optimizer": {"state": {}, "param_groups": [{"lr": rate, "weight_decay": 1e-4, "params": []}]},
            "lr_scheduler": {"last_epoch": _EPOCH, "base_lrs": [rate], "step_size": 400},
            "epoch": _EPOCH,
            # Training adds the two TEF channels to the video's width after it has written opt.json.
            "opt": argparse.Namespace(
                **_options() | {"v_feat_dim": CONFIG.video_width, "device": torch.device("cuda")}
            ),
        },
        folder / CHECKPOINT,
    )
    write_predictions(folder / SUBMISSION, predictions(plan, folder / CHECKPOINT))


def predictions(plan: DemoPlan, checkpoint: Path) -> Iterator[Prediction]:
    """The checkpoint's predictions for every query, by PyTorch, batched as the reference batches."""
    read = load_checkpoint(checkpoint)
    model = rebuild(describe(read, Choices(batching="reference")), read.weights)
    for start in range(0, len(plan.queries), _EVAL_BATCH):
        queries = plan.queries[start : start + _EVAL_BATCH]
        batch = {name: torch.from_numpy(array) for name, array in model_inputs(queries, plan.seed).items()}
        with torch.inference_mode():
            outputs = model(**batch)
        for i, query in enumerate(queries):
            yield format_prediction(
                qid=query.qid,
                query=query.text,
                vid=query.video.vid,
                duration=query.video.duration,
                logits=outputs.pred_logits[i].numpy(),
                spans=outputs.pred_spans[i].numpy(),
                saliency=outputs.saliency_scores[i].numpy(),
                clips=query.video.clips,
                round_to=DEMO_CLIP_SECONDS,
                clamp_seconds=CLAMP_SECONDS,
            )


def model_inputs(queries: Sequence[DemoQuery], seed: int) -> dict[str, NDArray[np.float32]]:
    """One padded batch, prepared here as a training script's data loader does it.

    ``gatescope run`` has its own preparation; ``--verify`` shows that both lead to the same predictions.
    """
    samples: list[Sample] = []
    for query in queries:
        video = query.video
        start = np.arange(video.clips, dtype=np.float32) / np.float32(video.clips)
        endpoints = np.stack([start, start + np.float32(1 / video.clips)], 1)
        sources = [_unit_rows(source) for source in make_features(video, seed)]
        audio = _unit_rows(audio_features(video, seed))
        samples.append(
            Sample(
                np.concatenate([*sources, endpoints], 1),
                np.concatenate([audio, endpoints], 1),
                _unit_rows(text_features(query, seed)),
            )
        )
    return collate(samples)


def _unit_rows(features: NDArray[Any]) -> NDArray[np.float32]:
    rows = features.astype(np.float32)
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + np.float32(1e-5))


def _options() -> dict[str, Any]:
    """The options a training run records, under its names."""
    return {
        "dset_name": "hl",
        "eval_split_name": "val",
        "results_root": "results",
        "exp_id": "gatescope_demo",
        "seed": 2018,
        "lr": 1e-4,
        "lr_drop": 400,
        "wd": 1e-4,
        "n_epoch": 200,
        "bsz": 32,
        "eval_bsz": _EVAL_BATCH,
        "max_q_l": CONFIG.max_words,
        "max_v_l": MAX_CLIPS,
        "clip_length": DEMO_CLIP_SECONDS,
        "no_norm_vfeat": False,
        "no_norm_tfeat": False,
        "v_feat_dirs": [f"../features/{SLOWFAST_FOLDER}", f"../features/{CLIP_FOLDER}"],
        "t_feat_dir": f"../features/{TEXT_FOLDER}/",
        "a_feat_dir": f"../features/{PANN_FOLDER}/",
        "v_feat_dim": CONFIG.video_width - TEF,
        "t_feat_dim": CONFIG.text_width,
        "a_feat_dim": CONFIG.audio_width,
        "ctx_mode": "video_tef",
        "position_embedding": "sine",
        "enc_layers": CONFIG.encoder_layers,
        "dec_layers": CONFIG.decoder_layers,
        "dim_feedforward": CONFIG.feedforward,
        "hidden_dim": CONFIG.hidden_dim,
        "input_dropout": 0.5,
        "dropout": 0.1,
        "txt_drop_ratio": 0,
        "use_txt_pos": False,
        "nheads": CONFIG.heads,
        "num_queries": CONFIG.queries,
        "pre_norm": False,
        "n_input_proj": CONFIG.input_projections,
        "use_avigate_custom": True,
        "gating_type": CONFIG.gating,
        "fusion_layers": CONFIG.fusion_layers,
        "fusion_n_heads": CONFIG.fusion_heads,
        "aux_loss": True,
        "span_loss_type": "l1",
        "contrastive_align_loss": False,
    }
