"""Campaigns: what counts as a repeat, numbers against numpy, what is missing, and one query in all runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gatescope.analysis.comparison.campaign.campaign import CampaignResult, compare_campaign
from gatescope.analysis.comparison.campaign.members import open_campaign
from gatescope.analysis.comparison.campaign.settings import groups_of
from gatescope.analysis.evaluation.evaluate import evaluate_run
from gatescope.analysis.statistics.repeats import repeated_difference, repeated_mean
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import RunFolderError
from gatescope.runtime.runs.member import MEMBER_FILE, Member, is_campaign, read_member
from gatescope.runtime.runs.reader import open_run

from ..undrawn import undrawn
from .campaigns import Made, write_annotations, write_campaign

VIDEOS = 8


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CampaignResult]:
    """Two gatings of two seeds, a third seed of one alone, a folder that failed and one that is a copy."""
    folder = tmp_path_factory.mktemp("campaign")
    write_annotations(folder / "val.jsonl", VIDEOS)
    made = [
        Made(f"{gating}-{seed}", seed, gating, level, skill, {"v_feat_dirs": f"['/home/{seed}/clip']"})
        for gating, level, skill in (("clipwise", 0.3, 0.4), ("global", 0.5, 0.8))
        for seed in (1, 2, 3)
        if (gating, seed) != ("global", 2)
    ]
    made.append(Made("another-copy", 1, checkpoint="sha of clipwise-1"))
    place = write_campaign(folder / "campaign", made, folder / "val.jsonl", videos=VIDEOS)
    Member("results/broken", "failed", reason="model_best.ckpt is truncated", place=9).write(place / "broken")
    with undrawn():
        return place, compare_campaign(place)


def rows_of(path: Path) -> list[dict[str, str]]:
    return [*csv.DictReader(path.read_text(encoding="utf-8").splitlines())]


def test_repeats_are_what_differs_in_seed_alone(campaign: tuple[Path, CampaignResult]) -> None:
    group = groups_of(open_campaign(campaign[0]).runs)[0]
    assert [one.name for one in group.settings] == ["clipwise", "global"]
    assert [[repeat.seed for repeat in one.repeats] for one in group.settings] == [[1, 2, 3], [1, 3]]
    assert group.differs == ("gating",) and group.missing == ("global, seed 2",)


def test_levels_are_means_over_seeds_and_videos(campaign: tuple[Path, CampaignResult]) -> None:
    place, result = campaign
    tables = {
        gating: np.array(
            [
                evaluate_run(open_run(place / f"{gating}-{seed}" / "run"), place.parent / "val.jsonl")
                .per_query.group_by("vid", maintain_order=True)
                .agg(pl.col("r1_0.5").cast(pl.Float64).mean())["r1_0.5"]
                .to_numpy()
                * 100
                for seed in seeds
            ]
        )
        for gating, seeds in (("clipwise", (1, 2, 3)), ("global", (1, 3)))
    }
    rows = {row["setting"]: row for row in result.document["levels"] if row["quantity"] == "MR-full-R1@0.5"}
    for gating, table in tables.items():
        own = repeated_mean(table)
        assert rows[gating]["value"] == pytest.approx(own.estimate)
        assert rows[gating]["spread"] == pytest.approx(own.spread)
        assert rows[gating]["low"] == pytest.approx(max(own.low, 0))
        assert rows[gating]["high"] == pytest.approx(min(own.high, 100))
    # Five metrics are told apart together.
    apart = repeated_difference(tables["clipwise"], tables["global"], level=0.95 ** (1 / 5))
    assert rows["global"]["difference_low"] == pytest.approx(apart.low)
    assert rows["global"]["told_apart"] == apart.told_apart
    assert rows["clipwise"]["difference"] is None


def test_gates_are_means_over_videos(campaign: tuple[Path, CampaignResult]) -> None:
    place, result = campaign
    run = open_run(place / "clipwise-1" / "run")
    expected = np.mean(
        [
            np.mean([np.abs(run.tensor(str(2 * video + query), "ffn")[1]).mean() for query in (0, 1)])
            for video in range(VIDEOS)
        ]
    )
    rows = rows_of(place / "gates.csv")
    own = next(row for row in rows if (row["run"], row["gate"], row["layer"]) == ("clipwise-1", "ffn", "1"))
    assert float(own["mean_abs"]) == pytest.approx(expected, rel=1e-5)
    assert {path.name for path in result.files} >= {
        "COMPARISON.md",
        "campaign.html",
        "campaign.json",
        "cells.csv",
    }


def test_what_is_missing_failed_or_there_twice_is_named(campaign: tuple[Path, CampaignResult]) -> None:
    place, result = campaign
    text = (place / "COMPARISON.md").read_text(encoding="utf-8")
    assert "Missing: global, seed 2." in text
    assert "**broken** failed: model\\_best.ckpt is truncated" in text
    assert "another-copy holds the checkpoint of clipwise-1" in text
    assert result.failed == {"broken": "model_best.ckpt is truncated"}
    cells = rows_of(place / "cells.csv")
    assert [row["run"] for row in cells] == ["clipwise-1", "clipwise-2", "clipwise-3", "global-1", "global-3"]
    page = (place / "campaign.html").read_text(encoding="utf-8")
    assert "Missing: global, seed 2." in page and "<script" not in page and "default-src 'none'" in page


def test_analyze_takes_the_folder(
    campaign: tuple[Path, CampaignResult], capsys: pytest.CaptureFixture[str]
) -> None:
    place, _ = campaign
    with undrawn():
        assert main(["analyze", str(place), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["same_checkpoint"] == {"another-copy": "clipwise-1"}
        assert main(["analyze", str(place), "--sample", "3"]) == 0
    rows = rows_of(place / "queries" / "3.csv")
    assert len(rows) == 5 * 2 * 2  # runs, kinds, layers
    own = next(
        row for row in rows if (row["run"], row["gate"], row["layer"]) == ("global-3", "attention", "0")
    )
    value = open_run(place / "global-3" / "run").tensor("3", "attention")[0].mean()
    assert float(own["mean"]) == pytest.approx(float(value), rel=1e-5)
    assert "| global | 3 | global-3 |" in (place / "queries" / "3.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--sample", "nobody"], "no run of"),
        (["--raw"], "--raw with a campaign"),
        (["--output", "elsewhere"], "--output with a campaign"),
    ],
)
def test_what_a_campaign_cannot_do_is_bad_usage(
    campaign: tuple[Path, CampaignResult], capsys: pytest.CaptureFixture[str], more: list[str], problem: str
) -> None:
    assert main(["analyze", str(campaign[0]), *more]) == 2
    assert problem in capsys.readouterr().err


def made_up(folder: Path, made: list[Made], videos: int = 3) -> CampaignResult:
    write_annotations(folder / "val.jsonl", videos)
    place = write_campaign(folder / "campaign", made, folder / "val.jsonl", videos=videos)
    with undrawn():
        return compare_campaign(place)


def level(result: CampaignResult, setting: str, quantity: str) -> dict[str, float]:
    rows = result.document["levels"]
    return next(row for row in rows if (row["setting"], row["quantity"]) == (setting, quantity))


def tvsum(domain: str, seed: int, number: float, gating: str = "clipwise") -> Made:
    return Made(
        f"{gating}-{domain}-{seed}", seed, gating, dataset="tvsum", domain=domain, training={"mAP": number}
    )


def test_domains_are_averaged_seed_by_seed(tmp_path: Path) -> None:
    """The mean over domains of training's number, of the seeds that have all domains."""
    numbers = {("BK", 0): 0.80, ("VT", 0): 0.60, ("BK", 1): 0.90, ("VT", 1): 0.62, ("BK", 2): 0.99}
    made = [tvsum(domain, seed, number) for (domain, seed), number in numbers.items()]
    (tmp_path / "none").mkdir()
    write_annotations(tmp_path / "val.jsonl", 2)
    labels = '{"qid": "a", "query": "q", "vid": "v", "duration": 9, "domain": "BK", "label": [[1]]}\n'
    (tmp_path / "val.jsonl").write_text(labels, encoding="utf-8")
    place = write_campaign(tmp_path / "campaign", made, tmp_path / "val.jsonl", videos=2)
    with undrawn():
        result = compare_campaign(place)
    row = level(result, "clipwise", "HL-top5-mAP")
    assert row["value"] == pytest.approx(100 * np.mean([0.70, 0.76])) and row["seeds"] == 2
    assert row["spread"] == pytest.approx(100 * np.std([0.70, 0.76], ddof=1)) and row["units"] == 2
    text = (place / "COMPARISON.md").read_text(encoding="utf-8")
    assert "Missing: clipwise, seed 2: VT." in text and "| clipwise | 2 | 99.00 | missing | **–** |" in text
    assert "Published numbers are over 10." in text and "2 of 0, 1, 2" in text


def test_datasets_stand_apart(tmp_path: Path) -> None:
    result = made_up(tmp_path, [Made("a"), Made("b", dataset="charades")])
    assert [one["name"] for one in result.document["datasets"]] == ["hl", "charades"]
    assert any("none are averaged" in one for one in result.warnings)
    assert {row["dataset"] for row in result.document["levels"]} == {"hl", "charades"}


def test_one_seed_is_said_to_leave_seed_variance_unknown(tmp_path: Path) -> None:
    made = [Made("a", 1, skill=0.0), Made("b", 1, "global", skill=1.0)]
    result = made_up(tmp_path, made)
    row = level(result, "global", "MR-full-mAP")
    assert row["difference"] > 0 and row["spread"] is None and not row["told_apart"]
    text = (tmp_path / "campaign" / "COMPARISON.md").read_text(encoding="utf-8")
    assert "1 (1), seed variance unknown" in text
    assert "with one seed it cannot be told from clipwise" in text


def test_the_same_seed_twice_counts_as_one(tmp_path: Path) -> None:
    result = made_up(tmp_path, [Made("a", 1), Made("b", 1), Made("c", 2)])
    assert level(result, "clipwise", "MR-full-mAP")["seeds"] == 2
    assert any("seed 1 was trained more than once" in one for one in result.warnings)
    assert [row["seed"] for row in result.document["repeats"] if row["quantity"] == "MR-full-mAP"] == [
        "1",
        "2",
    ]


def test_unknown_seeds_count_each_and_are_said(tmp_path: Path) -> None:
    result = made_up(tmp_path, [Made("a", None), Made("b", None)])
    assert level(result, "clipwise", "MR-full-mAP")["seeds"] == 2
    assert any("the seed of a, b is not recorded" in one for one in result.warnings)


def test_options_make_settings_and_paths_count_by_their_last_part(tmp_path: Path) -> None:
    options = [
        ("a", {"dropout": "0.1", "v_feat_dirs": "['/x/slowfast', '../clip']", "run_id": "1"}),
        ("b", {"dropout": "0.1", "v_feat_dirs": "['slowfast', 'D:\\\\f\\\\clip']", "run_id": "2"}),
        ("c", {"dropout": "0.5", "v_feat_dirs": "['slowfast']", "run_id": "3"}),
    ]
    made = [Made(name, seed, options=opt) for seed, (name, opt) in enumerate(options)]
    made_up(tmp_path, made)
    runs = open_campaign(tmp_path / "campaign").runs
    assert [one.name for one in groups_of(runs, ["run_id"])[0].settings] == ["dropout 0.1", "dropout 0.5"]
    assert groups_of(runs, ["run_id"])[0].settings[1].options == {"dropout": "0.5", "v_feat_dirs": "slowfast"}
    assert len(groups_of(runs)[0].settings) == 3


def test_a_damaged_run_fails_alone_and_no_run_at_all_is_an_error(tmp_path: Path) -> None:
    write_annotations(tmp_path / "val.jsonl", 2)
    place = write_campaign(tmp_path / "c", [Made("a"), Made("b", 1)], tmp_path / "val.jsonl", videos=2)
    (place / "a" / "run" / "run.json").write_text("{", encoding="utf-8")
    with undrawn():
        result = compare_campaign(place)
    assert list(result.failed) == ["a"] and "1 of 2 results folders failed" in result.warnings[0]
    (place / "b" / MEMBER_FILE).write_text('{"format_version": 2}', encoding="utf-8")
    with pytest.raises(RunFolderError, match="no run of"):
        compare_campaign(place)
    with pytest.raises(RunFolderError, match="holds no campaign"):
        open_campaign(tmp_path)


def test_what_a_campaign_is(tmp_path: Path) -> None:
    write_annotations(tmp_path / "val.jsonl", 2)
    place = write_campaign(tmp_path / "c", [Made("a")], tmp_path / "val.jsonl", videos=2)
    assert is_campaign(place) and not is_campaign(place / "a") and not is_campaign(place / "a" / "run")
    member = read_member(place / "a")
    assert member is not None and member.state == "done" and read_member(place) is None


def test_without_ground_truth_training_metrics_stand(tmp_path: Path) -> None:
    write_annotations(tmp_path / "val.jsonl", 2)
    made = [Made(f"s{seed}", seed, training={"MR-full-mAP": value}) for seed, value in ((0, 40.0), (1, 42.0))]
    place = write_campaign(tmp_path / "c", made, tmp_path / "gone.jsonl", videos=2)
    with undrawn():
        result = compare_campaign(place)
    row = level(result, "clipwise", "MR-full-mAP")
    assert (row["value"], row["units"], row["seeds"]) == (41.0, 1, 2)
    assert "training's own" in (place / "COMPARISON.md").read_text(encoding="utf-8")


def test_runs_of_several_versions_are_said(tmp_path: Path) -> None:
    write_annotations(tmp_path / "val.jsonl", 2)
    place = write_campaign(tmp_path / "c", [Made("a"), Made("b", 1)], tmp_path / "val.jsonl", videos=2)
    record = place / "b" / "run" / "run.json"
    document = json.loads(record.read_text(encoding="utf-8"))
    document["versions"]["gatescope"] = "0.2.0"
    record.write_text(json.dumps(document), encoding="utf-8")
    with undrawn():
        result = compare_campaign(place)
    assert any("several versions of gatescope: 0.1.0, 0.2.0" in one for one in result.warnings)
