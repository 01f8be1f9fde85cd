"""Which ONNX Runtime execution provider runs a model, chosen openly and asserted afterwards.

ONNX Runtime lists CUDA wherever its own build has it, even where the libraries it needs are missing, and
then runs on the CPU without a word. So a device is *wanted*, the session is made, and what the session
really got is checked: CUDA asked for and not given is an error, never a slow success.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from threading import Lock
from typing import Any, Protocol, cast

import onnxruntime
from numpy.typing import NDArray

from ...errors import DeviceError, ModelFileError
from ...forks import end_without_parents, never_end, not_after_fork, renew_after_fork
from ..device import Device, DeviceOptions, available_cpus
from ..model_file import ModelFile
from .cuda_buffers import CudaBuffers

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
BUILDS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")

_log = logging.getLogger("gatescope")


@dataclass(frozen=True)
class Provider:
    """One execution provider and the options it is given."""

    name: str
    options: dict[str, str] = field(default_factory=dict[str, str])


class HasProviders(Protocol):
    """What :func:`assert_device` needs of a session."""

    def get_providers(self) -> list[str]:
        """Names of the session's providers, the one that comes first first."""
        ...


CPU_PROVIDER = Provider(CPU)
# This fusion is slower than what it replaces: its kernel adds and normalises value by value, 4 ns each where
# the two operators together take 0.5 ns (onnxruntime 1.32; 2 to 5 % of a batch).
_SLOW_FUSIONS = ["SkipLayerNormFusion"]


def cuda_provider(*, tf32: bool, graphs: bool) -> Provider:
    """CUDA with these options, each stated whatever the installed version's default is.

    TF32 rounds the inputs of matrix products to 10 bits and moves gates by 1e-3: ten times the tolerance a
    model was exported with.
    """
    return Provider(CUDA, {"use_tf32": str(int(tf32)), "enable_cuda_graph": str(int(graphs))})


class OnnxBackend:
    """An ONNX file in a session of ONNX Runtime; on several CPUs, in a second one that keeps to one core.

    In a forked child the lanes begin anew, and share the parent's weights. The threads of the first session
    are gone there: it runs on the calling thread alone. Where another thread was in the middle of a run when
    the process forked, both sessions are opened again. On CUDA a child cannot go on.
    """

    title = "ONNX Runtime"

    def __init__(self, model: ModelFile, wanted: DeviceOptions) -> None:
        self.threads = wanted.threads or available_cpus()
        self.device: Device
        self._model = model
        self._session: Any
        self._session, self.device = create_session(
            model.content, wanted, self.threads, origin=str(model.path)
        )
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        self.versions = {"onnxruntime": str(onnxruntime.__version__)}
        self._options: dict[str, str] = self._session.get_provider_options()[self.providers[0]]
        self._cuda = (
            CudaBuffers(self._session, model.manifest, graphs=wanted.cuda_graphs)
            if self.device == "cuda"
            else None
        )
        on_lanes = self.device == "cpu" and self.threads > 1
        self.lanes: Executor | None = _lanes(self.threads) if on_lanes else None
        self._lane_session: Any = None
        self._opening = Lock()
        self._process = os.getpid()
        self._in_flight: set[object] = set()
        renew_after_fork(self)

    def run(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """The outputs ``names`` for ``arrays``."""
        if self._cuda is not None:
            if self._process != os.getpid():
                raise not_after_fork(str(self._model.path))
            return self._cuda.run(names, arrays)
        with self._opening:
            if self._session is None:
                on_cpu = DeviceOptions("cpu", threads=self.threads)
                self._session, _ = create_session(
                    self._model.content, on_cpu, self.threads, origin=str(self._model.path)
                )
            session = self._session
        return self._run(session, names, arrays)

    def run_on_lane(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """The same on the calling thread alone."""
        with self._opening:
            if self._lane_session is None:  # only once a batch needs it: it holds the weights again
                on_cpu = DeviceOptions("cpu", threads=1)
                self._lane_session, _ = create_session(
                    self._model.content, on_cpu, 1, origin=str(self._model.path)
                )
            session = self._lane_session
        return self._run(session, names, arrays)

    def after_fork(self) -> None:
        """In a forked child: new lanes, and new sessions where the parent's were at work."""
        self._opening = Lock()
        end_without_parents()
        never_end(self._session)
        never_end(self._lane_session)
        if self.lanes is not None:
            self.lanes = _lanes(self.threads)
        if self._in_flight and self._cuda is None:
            self._session = self._lane_session = None
        self._in_flight = set()

    def close(self) -> None:
        """End the lanes' threads; the sessions go with this object."""
        if self.lanes is not None:
            self.lanes.shutdown(wait=False)

    def provider_options(self) -> dict[str, str]:
        """What the first provider reports (``use_tf32`` on CUDA)."""
        return dict(self._options)

    def _run(
        self, session: Any, names: Sequence[str], arrays: Mapping[str, NDArray[Any]]
    ) -> Sequence[NDArray[Any]]:
        """Known while it lasts: a fork in the meantime leaves the session's locks held in the child."""
        this = object()
        self._in_flight.add(this)
        try:
            return session.run(list(names), dict(arrays))
        finally:
            self._in_flight.discard(this)


def _lanes(threads: int) -> Executor:
    return ThreadPoolExecutor(threads, "gatescope-lane")


def choose_providers(wanted: DeviceOptions) -> tuple[Provider, ...]:
    """The providers to ask for, best first.

    CUDA always comes with CPU behind it, which takes the few operators on shapes that CUDA leaves.
    Raises :class:`~gatescope.runtime.errors.UsageError` for another word, :class:`DeviceError` where CUDA
    is wanted and this build of ONNX Runtime has none.
    """
    device = wanted.device
    if not hasattr(onnxruntime, "InferenceSession"):
        raise DeviceError(
            "the installation of ONNX Runtime is incomplete",
            received=f"{installed_builds()}, whose files are gone",
            expected="exactly one build: installing or removing a second one damages the first",
            fix="pip uninstall onnxruntime onnxruntime-gpu, then pip install 'gatescope[cpu]' or '[gpu]'",
        )
    if device == "cpu" or (device == "auto" and CUDA not in available_providers()):
        return (CPU_PROVIDER,)
    if CUDA not in available_providers():
        raise _no_cuda("this build of ONNX Runtime has no CUDA provider")
    preload = getattr(onnxruntime, "preload_dlls", None)  # since 1.21
    if preload is not None:
        preload()
    return (cuda_provider(tf32=wanted.tf32, graphs=wanted.cuda_graphs), CPU_PROVIDER)


def assert_device(session: HasProviders, wanted: str) -> Device:
    """The device ``session`` runs on.

    Raises :class:`DeviceError` where ``wanted`` is ``cuda`` and the session got another device. Where
    ``wanted`` is ``auto`` and CUDA was there to be had but did not get the model, a warning says so.
    """
    got = session.get_providers()[0]
    if got == CUDA:
        return "cuda"
    if wanted == "cuda":
        raise _no_cuda("the CUDA provider could not be loaded; its libraries or the driver are missing")
    if wanted == "auto" and CUDA in available_providers():
        _log.warning(
            "running on the CPU: ONNX Runtime has a CUDA provider, but it could not be loaded "
            "(%s); pass device 'cpu' to silence this, 'cuda' to make it an error",
            installed_builds(),
        )
    return "cpu"


def create_session(
    content: bytes,
    wanted: DeviceOptions,
    threads: int,
    *,
    origin: str,
    adjust: Callable[[Any], None] = lambda options: None,
) -> tuple[Any, Device]:
    """An ``onnxruntime.InferenceSession`` for the model in ``content``, and the device it runs on.

    ``threads`` is the number of threads one operator may use; ``origin`` names the file in errors;
    ``adjust`` is given the ``SessionOptions`` before the session is made (a profiler's, say).
    Raises :class:`UsageError` and :class:`DeviceError` as above, :class:`ModelFileError` where ONNX
    Runtime refuses the model.
    """
    providers = choose_providers(wanted)
    try:
        session = _create(content, providers, threads, adjust)
    except Exception as error:
        # ONNX Runtime raises the same few types for a bad model and for a provider that fails to start.
        if providers[0].name != CUDA:
            raise _refused(origin, error) from error
        if wanted.cuda_graphs:
            raise DeviceError(
                f"ONNX Runtime cannot run {origin} with CUDA graphs",
                received=_first_line(error),
                expected="a model of which every operator runs on CUDA",
                fix="leave out --cuda-graphs",
            ) from error
        if wanted.device == "cuda":
            raise _no_cuda(_first_line(error)) from error
        try:
            session = _create(content, (CPU_PROVIDER,), threads, adjust)
        except Exception as cpu_error:
            raise _refused(origin, cpu_error) from cpu_error
    return session, assert_device(session, wanted.device)


def installed_builds() -> str:
    """The installed builds of ONNX Runtime with their versions, for messages."""
    found: list[str] = []
    for name in BUILDS:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found) or "ONNX Runtime of unknown origin"


def _create(
    content: bytes, providers: tuple[Provider, ...], threads: int, adjust: Callable[[Any], None]
) -> Any:
    options: Any = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    # Threads that spin between operators make a batch of one 20 % faster (75 clips, 2 CPUs); threads that
    # go on spinning after the call only burn the CPU the caller needs to prepare the next batch.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Or bytes that read as ONNX for the manifest's checks, and as ONNX Runtime's own format here, would run.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 3  # errors only: its warnings are about its own optimiser
    adjust(options)
    # The fallback would move a session to the CPU in the middle of a run after one failure on CUDA.
    return onnxruntime.InferenceSession(
        content,
        options,
        providers=[(provider.name, provider.options) for provider in providers],
        enable_fallback=0,
        disabled_optimizers=_SLOW_FUSIONS if providers[0] is CPU_PROVIDER else None,
    )


def available_providers() -> list[str]:
    """What the installed build was made with; CUDA is listed where its libraries are missing too."""
    return cast("list[str]", onnxruntime.get_available_providers())


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _refused(origin: str, error: Exception) -> ModelFileError:
    return ModelFileError(
        f"ONNX Runtime refuses {origin}",
        received=_first_line(error),
        expected=f"a graph that {installed_builds()} can run",
        fix="update ONNX Runtime, or export the model again with this version of gatescope",
    )


def _no_cuda(reason: str) -> DeviceError:
    return DeviceError(
        f"CUDA was asked for and cannot be used: {reason}",
        received=f"{installed_builds()}, with {', '.join(available_providers())}",
        expected="onnxruntime-gpu with its CUDA and cuDNN libraries, and an NVIDIA driver",
        fix="pip uninstall onnxruntime, then pip install 'gatescope[gpu]'; or pass device 'cpu'",
    )
