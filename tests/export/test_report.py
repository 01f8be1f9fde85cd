"""``gatescope report``: export, run and analysis in one folder, gone on with and never mixed or removed.

A small model on the golden dataset; its numbers are looked at elsewhere.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from gatescope.export import Choices, VerifyRequest
from gatescope.export import report as report_module
from gatescope.export.report import _training_predictions, report_checkpoint
from gatescope.runtime.cli.main import main
from gatescope.runtime.data.dataset import Dataset, FeatureSources
from gatescope.runtime.errors import (
    BadSamplesError,
    DatasetError,
    MissingExtraError,
    ModelFileError,
    RunFolderError,
    UsageError,
)
from gatescope.runtime.gates.certificate import Certificate, Verification
from gatescope.runtime.running.settings import split_options
from gatescope.runtime.runs.reader import open_run
from gatescope.runtime.session.model_file import file_sha256, read_manifest
from tests.export import small
from tests.golden.case import Case
from tests.runtime.tiny_model import tiny_manifest
from tests.undrawn import undrawn


@pytest.fixture(scope="module", autouse=True)
def without_pictures() -> Iterator[None]:
    with undrawn():
        yield


@pytest.fixture(scope="module")
def checkpoint(shared_folder: Path, dataset: tuple[Case, Path]) -> Path:
    """A small model for the golden dataset's features."""
    options = dataset[0].options
    names = ("v_feat_dim", "a_feat_dim", "t_feat_dim", "v_feat_dirs", "a_feat_dir", "t_feat_dir")
    widths = dict(zip(("video_width", "audio_width", "text_width"), map(options.get, names), strict=False))
    path = shared_folder / "report.ckpt"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            small.save(path, small.weights(**widths), **{name: options[name] for name in names})
    return path


@dataclass(frozen=True)
class Told:
    """A report that the command made, and what it printed for machines."""

    folder: Path
    document: dict[str, Any]


@pytest.fixture(scope="module")
def made(shared_folder: Path, checkpoint: Path, dataset: tuple[Case, Path]) -> Told:
    """The report that all tests begin with, since an export takes seconds."""
    folder, output = shared_folder / "report", shared_folder / "report.json"
    with FileLock(f"{output}.lock"):
        if not output.exists():
            with output.open("w") as stdout, contextlib.redirect_stdout(stdout):
                assert main([*command(checkpoint, dataset, folder), "--json"]) == 0
    return Told(folder, json.loads(output.read_text(encoding="utf-8")))


def command(checkpoint: Path, dataset: tuple[Case, Path], output: Path) -> list[str]:
    _, annotations = dataset
    words = ["report", "--checkpoint", checkpoint, "--annotations", annotations]
    words += ["--features", annotations.parent, "--output", output, "--device", "cpu"]
    return list(map(str, words))


@pytest.fixture
def begun(tmp_path: Path, made: Told) -> Path:
    """A report's folder as an earlier try left it after its export."""
    folder = tmp_path / "out"
    folder.mkdir()
    shutil.copy(made.folder / "model.onnx", folder)
    return folder


@pytest.fixture
def make(checkpoint: Path, dataset: tuple[Case, Path]) -> Callable[..., Any]:
    def report(output: Path, choices: Choices | None = None, **options: Any) -> Any:
        _, annotations = dataset
        others = ("factory", "verification", "subsets", "ablate", "tell")
        own = {name: options.pop(name) for name in others if name in options}
        data, settings = split_options(
            options.pop("annotations", annotations), options.pop("features", annotations.parent), options
        )
        return report_checkpoint(checkpoint, data, output, choices, settings, **own)

    return report


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_an_exported_model_is_used_again_and_the_rest_is_made(begun: Path, make: Callable[..., Any]) -> None:
    model = (begun / "model.onnx").read_bytes()
    result = make(begun)
    assert result.exported_before
    assert (begun / "model.onnx").read_bytes() == model
    assert open_run(begun / "run").finished
    assert result.files[0] == begun / "report" / "ANALYSIS_REPORT.md"
    assert all(path.is_file() for path in result.files)
    on_disk = json.loads((begun / "report" / "overall_statistics.json").read_text(encoding="utf-8"))
    assert on_disk["total_samples"] == result.statistics["total_samples"] == result.run.samples


def test_a_finished_report_is_only_analysed_again(begun: Path, make: Callable[..., Any]) -> None:
    make(begun)
    (begun / "report" / "notes.txt").write_text("mine", encoding="utf-8")
    before = snapshot(begun)
    result = make(begun)
    assert result.run.was_finished
    after = snapshot(begun)
    assert set(after) == set(before)
    kept = [name for name in before if not name.startswith("report/") or name.endswith("notes.txt")]
    assert all(after[name] == before[name] for name in kept)


@pytest.mark.slow
def test_the_command_in_the_report_works_on_its_model_and_a_finished_report_only_gains_the_ablation(
    begun: Path,
    make: Callable[..., Any],
    dataset: tuple[Case, Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    root = os.path.commonpath([begun, dataset[1]])
    monkeypatch.chdir(root)  # the report names no way to what is below it
    text = make(begun).files[0].read_text(encoding="utf-8")
    assert root not in text
    (command,) = [line for line in text.splitlines() if line.startswith("    gatescope ablate")]
    before = snapshot(begun)
    words = [*shlex.split(command)[1:-1], str(begun / "ablation")]
    assert main([*words, "--device", "cpu"]) == 0
    subset = tmp_path / "some.txt"
    subset.write_text("1000\n", encoding="utf-8")
    result = make(begun, ablate=True, subsets=[f"some={subset}"], device="cpu")
    after = snapshot(begun)
    kept = [name for name in before if name.startswith(("model", "run/"))]
    assert kept and all(after[name] == before[name] for name in kept)
    assert result.ablation[0] == begun / "ablation" / "ABLATION.md"
    told = json.loads((begun / "ablation" / "ablation.json").read_text(encoding="utf-8"))["verdicts"]
    assert list(told["subsets"]) == ["some"]
    text, page = (path.read_text(encoding="utf-8") for path in result.files[:2])
    assert "## Subsets" in text
    for verdict in (told["audio"], told["gates"]):
        assert text.count(verdict) == 2 and html.escape(verdict, quote=False) in page
    again = make(begun)  # without being asked again, what was measured stays in the report
    assert again.ablation == () and told["audio"] in again.files[0].read_text(encoding="utf-8")


def test_contributions_and_overrides_are_in_the_model(made: Told) -> None:
    manifest = read_manifest(made.folder / "model.onnx")
    assert set(manifest.contributions) == set(manifest.overrides) == {"attention", "ffn"}
    assert "contribution" in open_run(made.folder / "run").gates.collect_schema()


def test_an_ablation_of_the_user_s_own_code_is_refused_before_any_work(
    tmp_path: Path, make: Callable[..., Any]
) -> None:
    with pytest.raises(UsageError, match="--ablate with --model"):
        make(tmp_path / "out", factory="package.module:factory", ablate=True)
    assert not (tmp_path / "out").exists()


VERIFIED = Certificate("x", (), {}, 1e-4, Verification("p.jsonl", "0" * 64, 12, 7, {}))


@pytest.mark.parametrize(
    ("fields", "size", "warned"),
    [
        pytest.param({"batching": "exact", "eval_batch_size": 100}, 32, False, id="exact"),
        pytest.param({"batching": "reference", "eval_batch_size": 100}, 100, False, id="recorded"),
        pytest.param({"batching": "reference", "certificate": VERIFIED}, 7, False, id="verified"),
        pytest.param({"batching": "reference"}, 32, True, id="unknown"),
    ],
)
def test_in_training_s_batching_the_batches_are_training_s(
    fields: dict[str, Any], size: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = replace(tiny_manifest(), **({"eval_batch_size": None} | fields))
    assert report_module.default_batch_size(manifest) == size
    assert ("is not recorded" in caplog.text) == warned


def test_an_interrupted_run_is_gone_on_with(
    begun: Path, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(report_module, "run_dataset", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make(begun, tell=said.append)
    assert "the same command goes on from there" in said[-1]
    assert make(begun).run.samples > 0


def refusals() -> list[Any]:
    return [
        pytest.param({"choices": Choices(batching="reference")}, "batching", id="another batching"),
        pytest.param({"choices": Choices(fusion_heads=8)}, "fusion_heads", id="other heads"),
    ]


@pytest.mark.parametrize(("options", "named"), refusals())
def test_a_model_that_would_come_out_differently_is_refused_and_kept(
    begun: Path, make: Callable[..., Any], options: dict[str, Any], named: str
) -> None:
    before = snapshot(begun)
    with pytest.raises(UsageError, match=rf"not what this command would export[\s\S]*{named}"):
        make(begun, **options)
    assert snapshot(begun) == before


def test_a_model_that_was_not_verified_with_these_predictions_is_refused(
    begun: Path, make: Callable[..., Any], dataset: tuple[Case, Path], tmp_path: Path
) -> None:
    _, annotations = dataset
    predictions = tmp_path / "predictions.jsonl"
    predictions.write_text("{}\n", encoding="utf-8")
    request = VerifyRequest(predictions, annotations, sources=FeatureSources(annotations.parent))
    with pytest.raises(UsageError, match="differs in verification"):
        make(begun, verification=request)


def test_another_checkpoints_model_is_refused(
    begun: Path, tmp_path: Path, dataset: tuple[Case, Path]
) -> None:
    _, annotations = dataset
    other = small.save(tmp_path / "other.ckpt", small.weights(seed=1))
    with pytest.raises(UsageError, match="differs in checkpoint"):
        report_checkpoint(other, Dataset.of(annotations, annotations.parent), begun)


def test_a_run_of_other_samples_is_refused_and_kept(begun: Path, make: Callable[..., Any]) -> None:
    make(begun, max_samples=2)
    before = snapshot(begun)
    with pytest.raises(RunFolderError, match="different run"):
        make(begun)
    assert snapshot(begun) == before


def test_a_folder_with_other_things_is_refused(tmp_path: Path, make: Callable[..., Any]) -> None:
    (tmp_path / "thesis.tex").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_models_place_is_refused(tmp_path: Path, make: Callable[..., Any]) -> None:
    (tmp_path / "model.onnx").write_text("not a model", encoding="utf-8")
    with pytest.raises(ModelFileError):
        make(tmp_path)
    assert (tmp_path / "model.onnx").read_text(encoding="utf-8") == "not a model"


def test_without_the_analysis_room_nothing_is_begun(
    tmp_path: Path, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(group: str, name: str) -> object:
        raise MissingExtraError("matplotlib", "analysis")

    monkeypatch.setattr(report_module.plugins, "load", missing)
    with pytest.raises(MissingExtraError, match=r"gatescope\[analysis\]"):
        make(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_annotations_are_told_before_the_export(tmp_path: Path, make: Callable[..., Any]) -> None:
    with pytest.raises(DatasetError, match="no annotation file"):
        make(tmp_path / "out", annotations=tmp_path / "none.jsonl")
    assert not (tmp_path / "out").exists()


def test_bad_samples_leave_no_run_and_keep_the_model(
    begun: Path, make: Callable[..., Any], dataset: tuple[Case, Path], tmp_path: Path
) -> None:
    _, annotations = dataset
    features = tmp_path / "features"
    shutil.copytree(annotations.parent, features)
    broken = min((features / "pann_features").iterdir())
    broken.write_bytes(b"")
    with pytest.raises(BadSamplesError, match=broken.stem):
        make(begun, features=features)
    assert [path.name for path in begun.iterdir()] == ["model.onnx"]
    result = make(begun, features=features, skip_bad=True)
    assert result.run.skipped and all(broken.stem in s.reason for s in result.run.skipped)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(["--features", "f"], "--annotations", id="no annotations"),
        pytest.param(
            ["--annotations", "a", "--features", "f", "--verify-batch-size", "3"],
            "--verify",
            id="half a verify",
        ),
    ],
)
def test_bad_usage_is_named(
    arguments: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["report", "--checkpoint", "m.ckpt", "--output", str(tmp_path / "out"), *arguments])
    assert code == 2
    assert named in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_does_all_three(
    made: Told, checkpoint: Path, dataset: tuple[Case, Path], tmp_path: Path, capsys: Any
) -> None:
    told = made.document
    assert not told["exported_before"]
    assert told["run"]["samples"] == len(dataset[1].read_text(encoding="utf-8").splitlines())
    assert Path(told["files"][0]) == made.folder / "report" / "ANALYSIS_REPORT.md"
    folder = shutil.copytree(made.folder, tmp_path / "out")
    assert main(command(checkpoint, dataset, folder)) == 0
    out = capsys.readouterr().out
    assert "exported before" in out and "run before" in out and "ANALYSIS_REPORT.md" in out


def test_training_s_numbers_stay_in_a_report_that_is_made_again(tmp_path: Path) -> None:
    """Without --verify, as long as the file the model was verified with is there and the same."""
    file = tmp_path / "preds.jsonl"
    file.write_text("{}\n", encoding="utf-8")
    verified = Verification(str(file), file_sha256(file), 1, 2, {})
    certificate = Certificate("the model", (), {}, 1e-4, verified)
    manifest = replace(tiny_manifest(), certificate=certificate)
    assert _training_predictions(None, manifest) == file
    assert _training_predictions(None, tiny_manifest()) is None
    file.write_text("{ }\n", encoding="utf-8")
    assert _training_predictions(None, manifest) is None
    file.unlink()
    assert _training_predictions(None, manifest) is None


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        pytest.param({"subsets": ["some=nowhere.txt"]}, "no subset file", id="no file of a subset"),
        pytest.param({"features": "nowhere"}, "feature root", id="no features"),
        pytest.param({"features": "empty"}, "none of the first", id="folders without files"),
    ],
)
def test_what_is_wrong_with_the_data_is_said_before_the_export(
    make: Callable[..., Any],
    wrong: dict[str, Any],
    named: str,
    dataset: tuple[Case, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in dataset[1].parent.iterdir():
        if folder.is_dir():
            (tmp_path / "empty" / folder.name).mkdir(parents=True)
    with pytest.raises(DatasetError, match=named):
        make(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()
