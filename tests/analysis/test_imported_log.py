"""A gate log of an earlier tool goes through the whole analysis, with what it does not tell left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from gatescope.analysis import analyze_run
from gatescope.analysis.evaluation.ground_truth import read_ground_truth
from gatescope.analysis.report.context import AnalysisOptions
from gatescope.analysis.timelines.exemplars import Exemplar
from gatescope.analysis.timelines.timeline import timelines
from gatescope.runtime.runs.from_log import import_log

SHAPES = {"global": (), "clipwise": (1, 6, 1), "elementwise": (6, 3)}


@pytest.mark.parametrize("gating", SHAPES)
def test_every_gating_is_analysed_with_ground_truth(
    tmp_path: Path, gating: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"\x89PNG undrawn"))
    random = np.random.default_rng(1)
    values: list[float] = []
    log, annotations = tmp_path / "gate_logs_val_N4.jsonl", tmp_path / "val.jsonl"
    with log.open("w") as stream, annotations.open("w") as truth:
        for qid in range(4):
            own = [np.tanh(random.normal(size=SHAPES[gating])) for _ in range(4)]
            if qid == 2:
                own[3] = own[3] * np.nan
            values += [value for gate in own[::2] for value in np.ravel(gate).tolist()]
            layers = [{"gate_mha": own[at].tolist(), "gate_ffn": own[at + 1].tolist()} for at in (0, 2)]
            line = {"qid": qid, "vid": f"v{qid // 2}", "gating_type": gating, "layer_gates": layers}
            stream.write(json.dumps(line) + "\n")
            known = {
                "relevant_windows": [[2, 6]],
                "relevant_clip_ids": [1, 2],
                "saliency_scores": [[4, 3, 2]] * 2,
            }
            truth.write(
                json.dumps({"qid": qid, "vid": f"v{qid // 2}", "query": "a", "duration": 12, **known}) + "\n"
            )
    run = import_log(log, tmp_path / "run")
    result = analyze_run(run, tmp_path / "report", options=AnalysisOptions(annotations=annotations))
    found = json.loads((tmp_path / "report" / "overall_statistics.json").read_text(encoding="utf-8"))
    assert found["attention_gates"]["mean"] == pytest.approx(np.mean(values), rel=1e-5)
    assert found["ffn_gates"]["nan_count"] == max(int(np.prod(SHAPES[gating])), 1)
    assert any("imported from a log" in warning for warning in result.warnings)
    # When a clip is, nobody knows: its gate is not compared with windows in seconds.
    assert "agreement" not in found
    (one,) = timelines(
        run, run.samples.collect(), [Exemplar("1", "1", ("asked for",))], {}, read_ground_truth(annotations)
    )
    assert one.unit == "clips" and one.truth.is_empty() and one.rated.is_empty()
    assert one.seconds == one.gates["end"].max() == (1 if gating == "global" else 6)
