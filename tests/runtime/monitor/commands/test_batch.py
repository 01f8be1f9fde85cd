"""``check``, ``replay``, ``recover`` and ``alerts``: commands that begin, say what they found, and end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gatescope.runtime.cli.main import main

from .world import (
    BEGAN,
    Commands,
    broken,
    files_in,
    gates,
    traffic,
    well,
    write_baseline,
    write_gates,
    write_log,
    writer_of,
)


def test_check_passes_a_run_like_the_baseline(tmp_path: Path, monitor: Commands, baseline: Path) -> None:
    run = write_gates(tmp_path / "run", gates(120, 4))
    said = monitor("check", run, "--baseline", baseline)
    assert said.code == 0
    assert "within every threshold" in said.out and "120 videos" in said.out


def test_check_fails_a_broken_run_and_writes_the_same_report(
    tmp_path: Path, monitor: Commands, baseline: Path
) -> None:
    run, report = write_gates(tmp_path / "run", gates(120, 4, level=-0.5)), tmp_path / "new" / "report.txt"
    said = monitor("check", run, "--baseline", baseline, "--output", report)
    assert said.code == 1
    assert "NOT as the baseline" in said.out and "drift" in said.out and "attention.0" in said.out
    assert report.read_text(encoding="utf-8") == said.out


def test_check_gives_json_and_nothing_else(tmp_path: Path, monitor: Commands, baseline: Path) -> None:
    run = write_gates(tmp_path / "run", gates(120, 4, level=-0.5))
    said = monitor("check", run, "--baseline", baseline, "--json")
    told = json.loads(said.out)
    assert (said.code, told["within"], told["videos"], told["baseline_videos"]) == (1, False, 120, 300)
    assert "level" in told["kinds"] and told["diagnosis"]["label"]
    assert {one["kind"] for one in told["readings"]} >= {"drift", "level", "saturation", "nan", "frozen"}


def test_check_at_a_rate_of_its_own(tmp_path: Path, monitor: Commands, baseline: Path) -> None:
    run = write_gates(tmp_path / "run", gates(120, 4))

    def threshold(*more: str) -> float:
        told = json.loads(monitor("check", run, "--baseline", baseline, "--json", *more).out)
        return float(next(one["threshold"] for one in told["readings"] if one["kind"] == "drift"))

    assert threshold("--false-alarms", "0.2") < threshold() < threshold("--false-alarms", "0.0005")


def test_check_needs_some_videos(tmp_path: Path, monitor: Commands, baseline: Path) -> None:
    said = monitor("check", write_gates(tmp_path / "run", gates(9, 4)), "--baseline", baseline)
    assert said.code == 1
    assert "9 different videos" in said.err and "at least 10" in said.err


def test_replay_of_a_quiet_log_tells_nothing(tmp_path: Path, monitor: Commands, baseline: Path) -> None:
    said = monitor("replay", write_log(tmp_path / "log", well(300)), "--baseline", baseline)
    assert said.code == 0
    assert "300 videos, 2023-11-14T22:13:20+00:00 to 2023-11-14T22:13:49+00:00" in said.out
    assert "0 alarms" in said.out


def test_replay_says_when_it_would_have_alarmed(tmp_path: Path, monitor: Commands, baseline: Path) -> None:
    log = write_log(tmp_path / "log", well(200), broken(100, first=200, start=BEGAN + 20))
    said = monitor("replay", log, "--baseline", baseline, "--json")
    told = json.loads(said.out)
    first = told["alarms"][0]
    assert (said.code, told["videos"], told["windows"]) == (0, 300, [25, 50, 200])
    assert BEGAN + 20 < first["last"] <= BEGAN + 25
    assert first["state"] == "firing" and "level" in first["kinds"]
    # The videos to look at are those that broke, in the segment that holds them.
    assert {int(one["sample_id"][1:]) >= 200 for one in first["examples"]} == {True}
    [segment] = (log / "segments").glob("*.gatelog")
    assert {one["segment"] for one in first["examples"]} == {segment.stem}
    text = monitor("replay", log, "--baseline", baseline).out
    assert "alarm 1 in all traffic" in text and "2023-11-14T22:13:4" in text


def test_replay_with_other_windows_and_rates(tmp_path: Path, monitor: Commands, baseline: Path) -> None:
    log = write_log(tmp_path / "log", well(200), broken(100, first=200, start=BEGAN + 20))

    def told(*more: object) -> dict[str, object]:
        return json.loads(monitor("replay", log, "--baseline", baseline, "--json", *more).out)

    large = told("--window", 150, "--window", 60, "--false-alarms", 0.001)
    assert (large["windows"], large["false_alarms"]) == ([60, 150], 0.001)
    assert large["alarms"]
    # Nothing is a thousand times its threshold, and nothing stays beyond it for nine windows of 200.
    assert told("--window", 200, "--at-once", 1000, "--confirm", 9)["alarms"] == []


def test_replay_tells_gaps_by_the_logs_own_time(tmp_path: Path, monitor: Commands, baseline: Path) -> None:
    log = write_log(tmp_path / "log", well(60), well(60, first=60, start=BEGAN + 4000))
    text = monitor("replay", log, "--baseline", baseline).out
    assert "no traffic" in text and "no video for 300 s" in text and "resolved" in text
    assert "0 alarms" in monitor("replay", log, "--baseline", baseline, "--stale-seconds", 5000).out


def test_replay_when_clocks_jump(tmp_path: Path, monitor: Commands, baseline: Path) -> None:
    parts = [well(50, first=50 * n, start=start) for n, start in enumerate((BEGAN, 0, 2**33, BEGAN, 1))]
    said = monitor("replay", write_log(tmp_path / "log", *parts), "--baseline", baseline, "--json")
    told = json.loads(said.out)
    assert (said.code, told["videos"]) == (0, 250)
    assert {tuple(alarm["kinds"]) for alarm in told["alarms"]} <= {("stale",)}


def test_recover_of_a_whole_log_is_complete(tmp_path: Path, monitor: Commands) -> None:
    log, saved = write_log(tmp_path / "log", well(40)), tmp_path / "saved"
    before = files_in(log)
    said = monitor("recover", log, "--output", saved)
    assert said.code == 0
    assert "complete; 40 videos in 1 segments" in said.out
    assert f"wrote {saved / 'videos.parquet'}" in said.out and (saved / "videos.parquet").is_file()
    assert files_in(log) == before


def test_recover_of_a_damaged_log_is_partial_and_says_what_is_lost(tmp_path: Path, monitor: Commands) -> None:
    log = write_log(tmp_path / "log", well(40))
    [segment] = (log / "segments").glob("*.gatelog")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 255
    segment.write_bytes(data)
    said = monitor("recover", log, "--json")
    told = json.loads(said.out)
    assert (said.code, told["complete"], told["videos"]) == (3, False, 39)
    assert "LOST" in monitor("recover", log).out


def test_recover_of_nothing(tmp_path: Path, monitor: Commands) -> None:
    log = write_log(tmp_path / "log", well(3))
    for segment in (log / "segments").glob("*.gatelog"):
        segment.write_bytes(b"\0" * 1000)
    assert monitor("recover", log).code == 1


def test_recover_writes_over_nothing(tmp_path: Path, monitor: Commands) -> None:
    log = write_log(tmp_path / "log", well(3))
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "thesis.tex").write_text("mine", encoding="utf-8")
    said = monitor("recover", log, "--output", tmp_path / "saved")
    assert said.code == 2 and "is not empty" in said.err
    assert files_in(tmp_path / "saved") == {"thesis.tex": b"mine"}


def test_ids_of_ten_thousand_characters_and_of_any_kind(
    tmp_path: Path, monitor: Commands, baseline: Path
) -> None:
    pool = gates(40, 2)
    log = tmp_path / "log"
    with writer_of(log) as writer:
        for number, one in enumerate(traffic(pool)):
            name = f"{number}" + ("x" * 10_000, "\0\n", "../../etc", "가나다", '"}{')[number % 5]
            writer.append([type(one)(one.time, name, "", one.clips, one.integers, one.sums)])
    assert json.loads(monitor("replay", log, "--baseline", baseline, "--json").out)["videos"] == 40
    saved = tmp_path / "saved"
    assert monitor("recover", log, "--output", saved).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "saved"]


@pytest.mark.parametrize("what", ["text", "json"])
def test_alerts_are_written_and_named(tmp_path: Path, monitor: Commands, baseline: Path, what: str) -> None:
    folder = tmp_path / "alerting"
    words = ["alerts", "--baseline", baseline, "--output", folder, "--stale-seconds", "60"]
    said = monitor(*words, *(["--json"] if what == "json" else []))
    assert said.code == 0
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 3
    listed = json.loads(said.out)["files"] if what == "json" else said.out.replace("wrote ", "").splitlines()
    assert sorted(Path(path).name for path in listed) == names
    assert "> 60" in (folder / "gatescope-alerts.yml").read_text(encoding="utf-8")


def test_the_wrong_kind_of_folder_names_the_command_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = str(write_baseline(tmp_path / "baseline.json"))
    for command, file, right in (("check", "log.json", "replay"), ("replay", "run.json", "check")):
        folder = tmp_path / command
        folder.mkdir()
        (folder / file).write_text("{}", encoding="utf-8")
        assert main(["monitor", command, str(folder), "--baseline", baseline]) == 1
        assert f"gatescope monitor {right}" in capsys.readouterr().err
