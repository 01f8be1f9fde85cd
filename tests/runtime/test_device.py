"""Devices, with a stand-in for ONNX Runtime that can have, lack or lose CUDA."""

from __future__ import annotations

import logging
import os
from types import SimpleNamespace
from typing import Any

import pytest

from gatescope.runtime.errors import DeviceError, ModelFileError, UsageError
from gatescope.runtime.session.backends import onnx_runtime as subject
from gatescope.runtime.session.device import DeviceOptions, available_cpus

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class FakeRuntime:
    """As much of the ``onnxruntime`` module as devices touch.

    - ``lists``: providers the build says it has.
    - ``gives``: providers a session ends up with of those it asked for.
    - ``fails``: the message with which a session that asks for a provider fails.
    """

    def __init__(
        self,
        lists: tuple[str, ...] = (CPU,),
        gives: tuple[str, ...] | None = None,
        fails: dict[str, str] | None = None,
    ) -> None:
        self.lists, self.gives, self.fails = lists, gives or lists, fails or {}
        self.preloaded = 0
        self.sessions: list[dict[str, Any]] = []
        self.GraphOptimizationLevel = SimpleNamespace(ORT_ENABLE_ALL=99)
        self.SessionOptions = self._options
        self.InferenceSession = self._session

    def get_available_providers(self) -> list[str]:
        return list(self.lists)

    def preload_dlls(self) -> None:
        self.preloaded += 1

    def _options(self) -> Any:
        entries: dict[str, str] = {}
        return SimpleNamespace(entries=entries, add_session_config_entry=entries.__setitem__)

    def _session(self, content: bytes, options: Any, **settings: Any) -> Any:
        assert set(settings) == {"providers", "enable_fallback", "disabled_optimizers"}
        self.sessions.append({"content": content, "options": options, **settings})
        asked = [name for name, _ in settings["providers"]]
        for name in asked:
            if name in self.fails:
                raise RuntimeError(self.fails[name])
        return SimpleNamespace(get_providers=lambda: [name for name in asked if name in self.gives])


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch):
    def put(**settings: Any) -> FakeRuntime:
        fake = FakeRuntime(**settings)
        monkeypatch.setattr(subject, "onnxruntime", fake)
        return fake

    return put


def create(device: str) -> str:
    return subject.create_session(b"model", DeviceOptions(device), 3, origin="m.onnx")[1]


@pytest.mark.parametrize("word", ["gpu", "CUDA", "", "cuda:0"])
def test_another_word_is_bad_usage(word: str) -> None:
    with pytest.raises(UsageError, match="auto, cpu or cuda"):
        DeviceOptions(word)


@pytest.mark.parametrize("wanted", ["cuda", "auto"])
def test_cuda_that_works_is_used_without_tf32_and_with_cpu_behind_it(install: Any, wanted: str) -> None:
    fake = install(lists=("TensorrtExecutionProvider", CUDA, CPU))
    assert create(wanted) == "cuda"
    assert fake.sessions[0]["providers"] == [(CUDA, {"use_tf32": "0", "enable_cuda_graph": "0"}), (CPU, {})]
    assert fake.preloaded == 1


def test_auto_without_cuda_is_the_cpu_and_says_nothing(
    install: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fake = install()
    assert create("auto") == "cpu"
    assert fake.sessions[0]["providers"] == [(CPU, {})]
    assert fake.preloaded == 0
    assert not caplog.records


def test_cpu_is_the_cpu_even_where_cuda_is(install: Any, caplog: pytest.LogCaptureFixture) -> None:
    fake = install(lists=(CUDA, CPU))
    assert create("cpu") == "cpu"
    assert fake.sessions[0]["providers"] == [(CPU, {})]
    assert not caplog.records


def test_cuda_without_the_provider_is_an_error_that_says_what_to_install(install: Any) -> None:
    fake = install(lists=("AzureExecutionProvider", CPU))
    with pytest.raises(DeviceError) as caught:
        create("cuda")
    message = str(caught.value)
    assert "AzureExecutionProvider, CPUExecutionProvider" in message
    assert subject.installed_builds() in message
    assert "pip install 'gatescope[gpu]'" in message
    assert not fake.sessions


def test_cuda_that_is_listed_but_not_given_is_an_error(install: Any) -> None:
    """What ONNX Runtime does where the CUDA libraries are missing."""
    install(lists=(CUDA, CPU), gives=(CPU,))
    with pytest.raises(DeviceError, match="could not be loaded"):
        create("cuda")


def test_auto_with_cuda_listed_but_not_given_warns(install: Any, caplog: pytest.LogCaptureFixture) -> None:
    install(lists=(CUDA, CPU), gives=(CPU,))
    assert create("auto") == "cpu"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "running on the CPU" in caplog.text


def test_cuda_that_fails_to_start_is_an_error_with_its_reason(install: Any) -> None:
    install(lists=(CUDA, CPU), fails={CUDA: "CUDA failure 35: driver too old\n at somewhere.cc"})
    with pytest.raises(DeviceError, match="driver too old") as caught:
        create("cuda")
    assert "somewhere.cc" not in str(caught.value)


def test_auto_goes_to_the_cpu_where_cuda_fails_to_start(
    install: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fake = install(lists=(CUDA, CPU), fails={CUDA: "CUDA failure 35"})
    assert create("auto") == "cpu"
    assert [[name for name, _ in made["providers"]] for made in fake.sessions] == [[CUDA, CPU], [CPU]]
    assert "running on the CPU" in caplog.text


@pytest.mark.parametrize("lists", [(CPU,), (CUDA, CPU)])
def test_a_model_that_no_provider_takes_is_the_models_fault(install: Any, lists: tuple[str, ...]) -> None:
    install(lists=lists, fails={CPU: "Fatal error: Frobnicate is not a registered op"})
    with pytest.raises(ModelFileError, match=r"(?s)refuses m\.onnx.*Frobnicate"):
        create("auto")


def test_a_damaged_installation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removing one of two builds leaves an empty module behind."""
    monkeypatch.setattr(subject, "onnxruntime", SimpleNamespace())
    with pytest.raises(DeviceError, match="installation of ONNX Runtime is incomplete"):
        subject.choose_providers(DeviceOptions("auto"))


def test_the_session_is_made_from_the_checked_bytes_and_may_not_change_device(install: Any) -> None:
    fake = install()
    create("cpu")
    made = fake.sessions[0]
    assert made["content"] == b"model"
    assert made["enable_fallback"] == 0
    assert made["options"].intra_op_num_threads == 3
    assert made["options"].graph_optimization_level == 99
    assert made["options"].log_severity_level == 3
    assert made["options"].entries == {
        "session.force_spinning_stop": "1",
        "session.load_model_format": "ONNX",
    }


def test_an_older_runtime_without_preload_still_gets_cuda(
    install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(lists=(CUDA, CPU))
    monkeypatch.delattr(FakeRuntime, "preload_dlls")
    assert create("cuda") == "cuda"


def test_cpus_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    assert available_cpus() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_cpus() == 6


def test_the_installed_builds_are_named_with_versions() -> None:
    import onnxruntime

    assert onnxruntime.__version__ in subject.installed_builds()
