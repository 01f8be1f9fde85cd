"""The same mistake has the same exit code in every command: 2 where what was typed cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatescope.runtime.cli.main import main
from tests.runtime.tiny_case import TinyCase

CHECKPOINT = ["--checkpoint", "absent.ckpt"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TinyCase:
    case = TinyCase(tmp_path_factory.mktemp("made"), overridable=True)
    case.run()
    case.run(output=case.folder / "other")
    return case


def data(case: TinyCase) -> list[str]:
    return ["--annotations", str(case.data.annotations), "--features", str(case.data.root)]


def exit_code(words: list[str]) -> int:
    """Of the command, whether it is argparse or the command itself that refuses."""
    try:
        return main(words)
    except SystemExit as stopped:
        return int(stopped.code or 0)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert exit_code(words) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return told


@pytest.mark.parametrize("name", ["run", "analyze", "compare"])
def test_an_unknown_sample(made: TinyCase, name: str, tmp_path: Path, capsys) -> None:
    output = ["--output", str(tmp_path / "new")]
    words = {
        "run": ["run", str(made.model), *data(made), *output, "--sample", "no-such"],
        "analyze": ["analyze", str(made.output), *output, "--sample", "no-such"],
        "compare": ["analyze", str(made.output), *output, "--compare", "no-such"],
    }[name]
    assert "no-such" in refused(words, capsys)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["run", "analyze", "compare", "ablate", "report", "demo"])
def test_an_output_folder_that_is_a_file(made: TinyCase, name: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    output = ["--output", str(tmp_path / "taken")]
    words = {
        "run": ["run", str(made.model), *data(made), *output],
        "analyze": ["analyze", str(made.output), *output],
        "compare": ["analyze", str(made.output), str(made.folder / "other"), *output],
        "ablate": ["ablate", str(made.model), *data(made), *output],
        "report": ["report", *CHECKPOINT, *data(made), *output],
        "demo": ["demo", *output],
    }[name]
    assert "taken is a file" in refused(words, capsys)
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["run", "ablate", "demo", "recover"])
def test_an_output_folder_with_other_things_in_it(made: TinyCase, name: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    output = ["--output", str(tmp_path)]
    words = {
        "run": ["run", str(made.model), *data(made), *output],
        "ablate": ["ablate", str(made.model), *data(made), *output],
        "demo": ["demo", *output],
        "recover": ["monitor", "recover", str(made.folder), *output],
    }[name]
    assert "not empty" in refused(words, capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["export", "report"])
def test_a_gating_that_does_not_exist(made: TinyCase, name: str, tmp_path: Path, capsys) -> None:
    """Refused before the checkpoint is looked at."""
    output = ["--output", str(tmp_path / "m.onnx")]
    words = [name, *CHECKPOINT, *output, *(data(made) if name == "report" else []), "--gating", "clip"]
    told = refused(words, capsys)
    assert "did you mean clipwise?" in told and "absent.ckpt" not in told
