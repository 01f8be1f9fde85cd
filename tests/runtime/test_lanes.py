"""A batch over several cores is the same batch; one that does not fit in memory is halved or refused."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from gatescope.runtime.errors import GatescopeError, OutOfMemoryError
from gatescope.runtime.session.lanes import CHUNK, chunks
from gatescope.runtime.session.session import GateSession

from ..waiting import PATIENCE
from .tiny_model import Gating, tiny_batch, tiny_manifest, tiny_model, tiny_proto


@pytest.mark.parametrize("lanes", [1, 2, 3, 16])
@pytest.mark.parametrize("samples", [1, 2, 3, 7, 8, 31, 32, 33, 200])
def test_chunks_cover_a_batch_once_and_share_it_evenly(samples: int, lanes: int) -> None:
    parts = chunks(samples, lanes)
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(samples))
    sizes = [part.stop - part.start for part in parts]
    assert 1 <= min(sizes) <= max(sizes) <= min(CHUNK, min(sizes) + 1)
    assert len(parts) % lanes == 0 or len(parts) == samples


@pytest.mark.parametrize("gating", ["global", "clipwise", "elementwise"])
def test_lanes_give_what_one_thread_gives(tmp_path: Path, gating: Gating) -> None:
    path = tmp_path / "model.onnx"
    tiny_model(path, gating, 2, overridable=True)
    clips, words = (5, 9, 1, 3) * 5, (1, 3, 2, 6) * 5
    with GateSession(path, device="cpu", threads=1) as whole, GateSession(path, threads=3) as split:
        assert split.threads == 3
        batch = tiny_batch(whole.manifest, clips, words)
        scale = np.linspace(0, 1, 20).reshape(-1, 1, 1, 1)
        for overrides in (None, {"ffn": {"scale": 0.5}}, {"attention": {"scale": scale}}):
            want = whole.run(batch, overrides=overrides).raw
            got = split.run(batch, overrides=overrides).raw
            assert list(got) == list(want)
            for name, array in want.items():
                np.testing.assert_allclose(got[name], array, atol=1e-6, err_msg=name)


def test_reference_batching_is_never_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    as_reference(path)
    with GateSession(path, threads=2) as session:
        backend: Any = session._backend
        monkeypatch.setattr(backend, "run_on_lane", None)
        assert session.run(tiny_batch(session.manifest, (3, 2), (1, 1))).raw


def test_runs_from_several_threads_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    tiny_model(path, "clipwise", 2)
    with GateSession(path, threads=2) as session:
        batches = [tiny_batch(session.manifest, (4,) * 5, (2,) * 5, seed=i) for i in range(6)]
        want = [session.run(batch).gates["attention"] for batch in batches]
        got: dict[int, np.ndarray] = {}

        def work(i: int) -> None:
            got[i] = session.run(batches[i]).gates["attention"]

        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    for i, array in enumerate(want):
        np.testing.assert_array_equal(got[i], array)


def as_reference(path: Path) -> None:
    """The tiny model, saying that its samples depend on their batch."""
    manifest = replace(tiny_manifest("clipwise", 2), batching="reference")
    onnx.save(tiny_proto(manifest), path)


class Narrow:
    """A back end that holds only ``most`` samples at a time."""

    def __init__(self, inner: Any, most: int, *, says: str = "Failed to allocate memory for buffer") -> None:
        self.inner, self.most, self.says = inner, most, says
        self.title, self.threads, self.lanes = inner.title, 1, None
        self.sizes: list[int] = []

    def run(self, names: Any, arrays: dict[str, np.ndarray]) -> Any:
        self.sizes.append(len(arrays["src_vid"]))
        if self.sizes[-1] > self.most:
            raise RuntimeError(self.says)
        return self.inner.run(names, arrays)


def narrow(session: GateSession, most: int, **options: Any) -> Narrow:
    backend = Narrow(session._backend, most, **options)
    session._backend = backend  # type: ignore[assignment]
    return backend


@pytest.fixture
def session(tmp_path: Path) -> GateSession:
    path = tmp_path / "model.onnx"
    tiny_model(path, "clipwise", 2)
    return GateSession(path, threads=1)


@pytest.mark.parametrize("says", ["CUDA out of memory. Tried", "std::bad_alloc", "Available memory of 5"])
def test_a_batch_that_does_not_fit_is_halved_and_the_size_remembered(
    session: GateSession, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    batch = tiny_batch(session.manifest, (4, 2, 3, 1, 4, 2, 1), (1, 2, 3, 1, 1, 2, 1))
    want = session.run(batch).raw
    backend = narrow(session, 2, says=says)
    with caplog.at_level(logging.WARNING, "gatescope"):
        first = session.run(batch).raw
    assert "going on with" in caplog.text
    for name, array in want.items():
        np.testing.assert_allclose(first[name], array, atol=1e-6)
    backend.sizes.clear()
    session.run(batch)
    assert max(backend.sizes) <= 2  # nothing is tried twice


def test_one_sample_that_does_not_fit_is_an_error_with_advice(session: GateSession) -> None:
    narrow(session, 0)
    with pytest.raises(OutOfMemoryError, match="one sample") as caught:
        session.run(tiny_batch(session.manifest, (4, 2), (1, 1)))
    assert "--device cpu" in str(caught.value)


def test_reference_batching_is_not_halved(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    as_reference(path)
    session = GateSession(path, threads=1)
    narrow(session, 1)
    with pytest.raises(OutOfMemoryError, match="2 samples") as caught:
        session.run(tiny_batch(session.manifest, (4, 2), (1, 1)))
    assert "smaller batch" in str(caught.value)


def test_another_failure_is_not_taken_for_lack_of_memory(session: GateSession) -> None:
    backend = narrow(session, 0, says="Non-zero status code")
    with pytest.raises(GatescopeError, match="Non-zero"):
        session.run(tiny_batch(session.manifest, (4, 2), (1, 1)))
    assert backend.sizes == [2]
