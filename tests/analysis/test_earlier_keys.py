"""Scripts that read the earlier analyser's files find its keys, and global gates weighted as it did."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure

from gatescope.analysis import analyze_run
from gatescope.analysis.report.earlier import earlier_weighting
from gatescope.analysis.statistics.summary import summarise

from .runs import random_gates, write_run


def test_detailed_gate_analysis_has_the_four_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"\x89PNG undrawn"))
    gates = random_gates(13, 2, clips=4)
    analyze_run(write_run(tmp_path / "run", gates), tmp_path / "report")
    found = json.loads((tmp_path / "report" / "detailed_gate_analysis.json").read_text(encoding="utf-8"))
    assert found["sample_count"] == 13
    for layer in range(2):
        for kind, name in (("attention", "mha"), ("ffn", "ffn")):
            values = np.stack([own[kind][layer] for own in gates.values()]).astype(np.float64)
            told = found["layer_gate_statistics"][str(layer)][f"{name}_statistics"]
            assert told == pytest.approx(
                {"mean": values.mean(), "std": values.std(), "min": values.min(), "max": values.max()}
                | {"count": values.size}
            )
            for qid, own in gates.items():
                (entry,) = found["detailed_gate_values"][qid][str(layer)][f"{name}_gates"]
                assert entry == {"qid": qid, "gate_value": pytest.approx(own[kind][layer].mean(), abs=1e-6)}
    means = {
        "mha_gates": {qid: own["attention"].mean() for qid, own in gates.items()},
        "ffn_gates": {qid: own["ffn"].mean() for qid, own in gates.items()},
    }
    means["combined_gates"] = {qid: (means["mha_gates"][qid] + means["ffn_gates"][qid]) / 2 for qid in gates}
    for name, own in means.items():
        order = sorted(own, key=lambda qid: -own[qid])
        ends = found["query_rankings"][name]
        assert [qid for qid, _ in ends["top_10"]] == order[:10]
        assert [qid for qid, _ in ends["bottom_10"]] == order[-10:]
        assert ends["top_10"][0][1] == pytest.approx(own[order[0]], abs=1e-6)


def test_global_gates_are_also_weighted_by_clips(tmp_path: Path) -> None:
    gates = {
        name: {kind: own[:, :1] for kind, own in kinds.items()} for name, kinds in random_gates(5).items()
    }
    run = write_run(tmp_path / "run", gates)
    lengths = dict(zip(gates, (1, 2, 3, 40, 5), strict=True))
    samples = pl.DataFrame({"sample_id": list(lengths), "clips": list(lengths.values())})
    # A sample with two queries counts once.
    found = earlier_weighting(summarise(run), pl.concat([samples, samples[:2]]))
    assert found is not None and "as often as it has clips" in found["weighting"]
    for kind in ("attention", "ffn"):
        repeated = np.concatenate(
            [
                np.repeat(gates[name][kind].astype(np.float64), count, axis=1)
                for name, count in lengths.items()
            ],
            axis=1,
        )
        for name in ("mean", "std", "min", "max", "median"):
            assert found[f"{kind}_gates"][name] == pytest.approx(getattr(np, name)(repeated))
        for layer in range(2):
            told = found["layer_statistics"][str(layer)]
            assert told[f"{kind}_mean"] == pytest.approx(repeated[layer].mean())
            assert told[f"{kind}_std"] == pytest.approx(repeated[layer].std())
    clipwise = write_run(tmp_path / "clipwise", random_gates(3))
    assert earlier_weighting(summarise(clipwise), samples) is None
