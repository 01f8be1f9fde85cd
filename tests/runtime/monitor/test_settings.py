"""Every number of every settings class of the monitor is checked when it is made."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from gatescope.runtime.errors import UsageError
from gatescope.runtime.monitor.log.maintain import keep_log
from gatescope.runtime.monitor.settings import LogSettings, MonitorSettings, WatchSettings

from .log.logs import logged, videos_of, written_log

CLASSES = (LogSettings, WatchSettings, MonitorSettings)
NUMBERS = [
    (kind, one.name)
    for kind in CLASSES
    for one in fields(kind)
    if isinstance(getattr(kind(), one.name), int | float)
]


@pytest.mark.parametrize(("kind", "name"), NUMBERS, ids=[f"{kind.__name__}.{name}" for kind, name in NUMBERS])
@pytest.mark.parametrize("value", [-1, "soon", float("nan"), float("inf"), None, [1]], ids=repr)
def test_what_makes_no_sense_is_refused_by_name(kind: type[Any], name: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"{name} makes no sense\n  received:"):
        kind(**{name: value})


def test_the_usual_ones_and_zero_days_make_sense() -> None:
    assert all(kind() for kind in CLASSES)
    LogSettings(keep_bytes=0, keep_days=0, sync_seconds=0)


@pytest.mark.parametrize("days", ["nan", "-1"])
def test_maintenance_by_hand_with_such_a_number_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], days: str
) -> None:
    written_log(tmp_path, videos_of(2))
    monkeypatch.setattr("sys.argv", ["maintain", str(tmp_path), "--keep-days", days])
    monkeypatch.setattr("os.nice", lambda _: 0)
    assert keep_log() == 1
    assert "keep_days makes no sense" in capsys.readouterr().err
    assert len(logged(tmp_path)) == 2
