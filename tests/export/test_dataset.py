"""From a checkpoint and a dataset on disk to a run: the reference's gates and its submission file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gatescope.runtime import open_run
from gatescope.runtime.cli.main import main
from tests.golden.case import FOLDER
from tests.golden.rounding import allowed

pytestmark = pytest.mark.slow

TIE = 2e-4  # scores closer than this may swap places


@pytest.fixture(scope="module")
def run(tmp_path_factory, exported, dataset):
    folder = tmp_path_factory.mktemp("run") / "run"
    _, annotations = dataset
    code = main(
        [
            "run",
            str(exported("dataset_clipwise", suffix=".ts")),
            f"--annotations={annotations}",
            f"--features={annotations.parent}",
            f"--output={folder}",
            "--batch-size=5",
            "--device=cpu",
        ]
    )
    assert code == 0
    return open_run(folder)


def test_gates_of_every_query_are_the_references(run) -> None:
    with np.load(FOLDER / "dataset_clipwise.npz") as expected:
        names = list(expected)
        for name in names:
            qid, kind = name.split("/")
            got = run.tensor(qid, kind)
            assert got.dtype == np.float32
            np.testing.assert_allclose(
                got, expected[name], atol=allowed(f"gate_{kind}"), rtol=0, err_msg=name
            )
    assert len(names) == 24


def test_predictions_are_the_references_submission(run) -> None:
    expected = [
        json.loads(line)
        for line in (FOLDER / "dataset_clipwise.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    got = list(run.predictions())
    assert [line["qid"] for line in got] == [line["qid"] for line in expected]
    moved = 0
    for ours, theirs in zip(got, expected, strict=True):
        assert (ours["query"], ours["vid"]) == (theirs["query"], theirs["vid"])
        mine, wanted = np.array(ours["pred_relevant_windows"]), np.array(theirs["pred_relevant_windows"])
        np.testing.assert_allclose(mine[:, 2], wanted[:, 2], atol=2e-4)
        gaps = np.abs(np.diff(wanted[:, 2], prepend=np.inf, append=-np.inf))
        untied = (gaps[:-1] > TIE) & (gaps[1:] > TIE)
        # One edge lies 2 ms from where rounding to whole clips changes.
        apart = np.abs(mine[untied, :2] - wanted[untied, :2])
        assert apart.max(initial=0.0) <= 2.0
        moved += np.count_nonzero(apart)
        saliency, reference = (np.array(line["pred_saliency_scores"], np.float16) for line in (ours, theirs))
        # One float16 step more: where a score is near zero its steps are finer than float32 sums.
        step = np.spacing(np.abs(reference)).astype(np.float64)
        difference = np.abs(saliency.astype(np.float64) - reference.astype(np.float64))
        assert (difference <= step + allowed("saliency_scores")).all()
    assert moved <= 1


def test_queries_of_one_video_share_its_gates(run) -> None:
    samples = run.samples.collect()
    for _, group in samples.group_by("vid"):
        tensors = [run.tensor(qid, "attention") for qid in group["qid"]]
        for other in tensors[1:]:
            np.testing.assert_allclose(other, tensors[0], atol=allowed("gate_attention"))
