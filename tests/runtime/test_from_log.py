"""Gate logs of earlier tools become run folders, or are refused by the line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.runtime import open_run
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import DatasetError, RunFolderError
from gatescope.runtime.inspection.run_folder import inspect_run
from gatescope.runtime.runs import gate_log, writer
from gatescope.runtime.runs.from_log import import_log

RANDOM = np.random.default_rng(5)


def line(qid: object, layers: list[dict[str, Any]], gating: str = "clipwise", **more: Any) -> dict[str, Any]:
    return {"qid": qid, "vid": f"v{qid}", "gating_type": gating, "layer_gates": layers, **more}


def layers_of(*shape: int, layers: int = 2) -> list[dict[str, Any]]:
    def gate() -> Any:
        return np.tanh(RANDOM.normal(size=shape)).tolist()

    return [{"gate_mha": gate(), "gate_ffn": gate()} for _ in range(layers)]


def write(folder: Path, lines: list[dict[str, Any]]) -> Path:
    path = folder / "gate_logs_val_Nall.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return path


SHAPES = {
    "a number": ("global", (), (1, 1)),
    "a number in a batch": ("global", (1, 1, 1), (1, 1)),
    "clips": ("clipwise", (5,), (5, 1)),
    "clips with an axis of one": ("clipwise", (5, 1), (5, 1)),
    "clips in a batch": ("clipwise", (1, 5), (5, 1)),
    "clips in a batch with an axis of one": ("clipwise", (1, 5, 1), (5, 1)),
    "channels": ("elementwise", (5, 3), (5, 3)),
    "channels of one clip": ("elementwise", (1, 3), (1, 3)),
    "channels in a batch": ("elementwise", (1, 5, 3), (5, 3)),
    "means of clips": ("clipwise", (), (1, 1)),
    "means of channels": ("elementwise", (5,), (5, 1)),
}


@pytest.mark.parametrize("case", SHAPES)
def test_gates_come_back_however_they_are_nested(tmp_path: Path, case: str) -> None:
    gating, logged, stored = SHAPES[case]
    lines = [line(qid, layers_of(*logged), gating) for qid in (7, 3)]
    run = import_log(write(tmp_path, lines), tmp_path / "run")
    assert run.finished and run.manifest.gating == gating and run.manifest.layers == 2
    for one in lines:
        for name, kind in (("gate_mha", "attention"), ("gate_ffn", "ffn")):
            expected = np.array([layer[name] for layer in one["layer_gates"]], np.float32)
            np.testing.assert_array_equal(run.tensor(one["qid"], kind), expected.reshape(2, *stored))
    samples = run.samples.collect()
    assert samples["qid"].to_list() == ["7", "3"] and samples["vid"].to_list() == ["v7", "v3"]
    assert samples["clips"].to_list() == [stored[0]] * 2 and samples["duration"].null_count() == 2
    said = " ".join(run.manifest.warnings)
    assert ("means over" in said) == case.startswith("means of")


def test_lengths_may_differ_and_a_kind_may_be_missing(tmp_path: Path) -> None:
    lines = [line(n, [{"gate_mha": [0.25] * n}], "clipwise") for n in (1, 4, 2)]
    run = import_log(write(tmp_path, lines), tmp_path / "run")
    assert run.manifest.tracked_kinds == ("attention",)
    assert run.samples.collect()["clips"].to_list() == [1, 4, 2]
    assert [run.tensor(str(n), "attention").shape for n in (1, 4, 2)] == [(1, 1, 1), (1, 4, 1), (1, 2, 1)]


def test_nan_and_infinity_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    gates = '[{"gate_mha": [NaN, -Infinity, 0.5], "gate_ffn": [null, 0.1, 0.2]}]'
    path.write_text(
        f'\ufeff{{"qid": "q", "vid": 1, "gating_type": "clipwise", "layer_gates": {gates}}}\n\n',
        encoding="utf-8",
    )
    run = import_log(path, tmp_path / "run")
    np.testing.assert_array_equal(run.tensor("q", "attention").ravel(), np.float32([np.nan, -np.inf, 0.5]))
    np.testing.assert_array_equal(run.tensor("q", "ffn").ravel(), np.float32([np.nan, 0.1, 0.2]))
    assert run.manifest.gate_range("attention") == (-1, 1)


@pytest.mark.parametrize(
    ("value", "found", "said"),
    [
        (-0.5, (-1, 1), "−1 to 1 is assumed."),
        (0.5, (-1, 1), "sigmoid"),
        (3.0, (-3, 3), "the largest that was"),
    ],
)
def test_the_range_is_assumed_and_said(tmp_path: Path, value: float, found: Any, said: str) -> None:
    log = write(tmp_path, [line(1, [{"gate_mha": value}], "global")])
    manifest = import_log(log, tmp_path / "run").manifest
    assert manifest.gate_range("attention") == found
    assert said in " ".join(manifest.warnings)
    assert manifest.format == "live" and "unknown" in manifest.family


def test_an_imported_run_can_be_inspected_and_its_log_is_named(tmp_path: Path) -> None:
    log = write(tmp_path, [line(1, layers_of(5))])
    import_log(log, tmp_path / "run")
    found = inspect_run(tmp_path / "run")
    assert not found.problems and found.details["annotation_file"] == "unchanged"
    assert f"analyze {tmp_path / 'run'}" in found.commands[0]


BAD = {
    "not JSON": ("{", "not JSON"),
    "no object": ("[1]", "a list, not a JSON object"),
    "a key missing": (json.dumps({"qid": 1, "vid": 2}), "lacks gating_type, layer_gates"),
    "an empty id": (json.dumps(line("", layers_of(5))), "qid is empty"),
    "half a surrogate pair": ('{"qid": 3, "vid": "\\ud800", "gating_type": "clipwise", "layer_gates": '
                              '[{"gate_mha": 1}]}', "surrogate"),
    "no layers": (json.dumps(line(2, [])), "layer_gates is empty"),
    "a layer that is none": (json.dumps(line(2, [3])), "layer 0 is a number"),
    "no gates": (json.dumps(line(2, [{}, {}])), "neither gate_mha nor gate_ffn"),
    "a gate in some layers": (json.dumps(line(2, [{"gate_mha": 1, "gate_ffn": 1}, {"gate_mha": 1}])),
                              "1 of 2 layers lack gate_ffn"),
    "text": (json.dumps(line(2, [{"gate_mha": ["0.5"]}] * 2)), "other than numbers"),
    "a word among numbers": (json.dumps(line(2, [{"gate_mha": [None, "a"]}] * 2)), "text among numbers"),
    "ragged": (json.dumps(line(2, [{"gate_mha": [[1], [1, 2]]}] * 2)), "rows of different lengths"),
    "empty": (json.dumps(line(2, [{"gate_mha": []}] * 2)), "gate_mha of layer 0 is empty"),
    "a real batch": (json.dumps(line(2, layers_of(2, 5, 1))), "has the shape (2, 5, 1)"),
    "different layers": (json.dumps(line(2, [{"gate_mha": [1, 2]}, {"gate_mha": [1, 2, 3]}])),
                         "different shapes in its layers"),
    "different lengths": (json.dumps(line(2, [{"gate_mha": [1, 2], "gate_ffn": [1, 2, 3]}] * 2)),
                          "2 clips in gate_mha and 3 clips in gate_ffn"),
    "another gating": (json.dumps(line(2, layers_of(), "global")), "has gating_type 'global', the first"),
    "more layers": (json.dumps(line(2, layers_of(5, layers=3))), "has 3 layers, the first line 2"),
    "channels": (json.dumps(line(2, layers_of(5, 3))), "3 channels and ffn gates of 3 channels, the first"),
    "the same query": (json.dumps(line("1", layers_of(5))), "repeats the qid 1 of line 1"),
    "a long global gate": (json.dumps(line(2, layers_of(5), "global")), "a global gate is one number"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD.keys())
def test_bad_lines_are_named_by_number(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, [line(1, layers_of(5))])
    with path.open("a") as stream:
        stream.write(f"\n{text}\n")
    with pytest.raises(DatasetError) as caught:
        import_log(path, tmp_path / "run")
    assert "line 3: " in str(caught.value) and said in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("there", ["nothing", "a folder", "an empty file"])
def test_a_log_that_is_none(tmp_path: Path, there: str) -> None:
    path = tmp_path / "log"
    if there == "a folder":
        path.mkdir()
    elif there == "an empty file":
        path.write_text("\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"no gate log|is a folder|is empty"):
        import_log(path, tmp_path / "run")


def test_a_log_that_changes_meanwhile_gives_no_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, [line(n, layers_of(5)) for n in range(3)])
    begin = writer.RunWriter.begin

    def changing(*args: Any) -> Any:
        write(tmp_path, [line(n, layers_of(5)) for n in range(3)])
        return begin(*args)

    monkeypatch.setattr(writer.RunWriter, "begin", changing)
    with pytest.raises(DatasetError, match="changed while it was read"):
        import_log(path, tmp_path / "run")
    assert not open_run(tmp_path / "run").finished


def test_an_interrupted_import_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(writer, "MOST_SAMPLES_PER_PART", 2)
    lines = [line(n, layers_of(5)) for n in range(5)]
    command = ["run", "--from-log", str(write(tmp_path, lines)), "--output", str(tmp_path / "run")]
    write_part, written = writer.RunWriter.write_part, 0

    def stopping(*args: Any, **options: Any) -> None:
        nonlocal written
        if written == 1:
            raise KeyboardInterrupt
        written += 1
        write_part(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(writer.RunWriter, "write_part", stopping)
        assert main(command) == 130
    assert f"{' '.join(command)} --resume" in capsys.readouterr().err
    assert main(command) == 2 and "unfinished run" in capsys.readouterr().err
    assert main([*command, "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 5
    run = open_run(tmp_path / "run")
    for one in lines:
        expected = np.array([layer["gate_ffn"] for layer in one["layer_gates"]], np.float32)
        np.testing.assert_array_equal(run.tensor(one["qid"], "ffn")[..., 0], expected)
    assert main([*command, "--resume"]) == 0
    assert "is finished: nothing to do" in capsys.readouterr().out


def test_a_folder_that_holds_a_run_is_left_alone(tmp_path: Path) -> None:
    log = write(tmp_path, [line(1, layers_of(5))])
    import_log(log, tmp_path / "run")
    with pytest.raises(RunFolderError, match="finished run"):
        import_log(log, tmp_path / "run")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["m.onnx"], "a model"),
        (["--annotations", "a.jsonl", "--device", "auto"], "--annotations, --device"),
        (["--batch-size", "32"], "--batch-size"),
        (["--sample", "1", "--max-samples", "2", "--skip-bad"], "--max-samples, --sample, --skip-bad"),
        (["--features", "f", "--tf32", "--cuda-graphs"], "--features, --tf32, --cuda-graphs"),
    ],
)
def test_flags_of_a_model_are_refused(tmp_path: Path, more: list[str], said: str, capsys: Any) -> None:
    log = write(tmp_path, [line(1, layers_of(5))])
    assert main(["run", "--from-log", str(log), "--output", str(tmp_path / "run"), *more]) == 2
    assert f"received: {said}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_without_a_log_there_must_be_a_model(tmp_path: Path, capsys: Any) -> None:
    assert main(["run", "--output", str(tmp_path / "run")]) == 2
    assert "MODEL and --annotations must be given" in capsys.readouterr().err


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: Any) -> None:
    log = write(tmp_path, [line(n, layers_of(5)) for n in range(3)])
    assert main(["run", "--from-log", str(log), "--output", str(tmp_path / "run")]) == 0
    assert f"wrote {tmp_path / 'run'}: gates of 3 samples" in capsys.readouterr().out


def test_a_line_costs_memory_only_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MOST_SAMPLES_PER_PART", 2)
    alive = most = 0

    class Counted(gate_log.LoggedGates):
        def __init__(self, *args: Any, **fields: Any) -> None:
            nonlocal alive, most
            super().__init__(*args, **fields)
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    monkeypatch.setattr(gate_log, "LoggedGates", Counted)
    import_log(write(tmp_path, [line(n, layers_of(5)) for n in range(9)]), tmp_path / "run")
    assert most <= 3
