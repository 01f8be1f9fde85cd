"""A model that is opened while the features are checked, so that neither waits for the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..errors import ModelFileError
from ..gates.manifest import Manifest
from ..runs.info import FileRef, RunInfo
from ..runs.provenance import file_ref, run_versions
from ..session.session import GateSession


class Opening:
    """The model file ``path``, whose ``manifest`` is known at once and whose session by and by.

    Opening takes a fraction of a second on the CPU, seconds where CUDA or PyTorch has to start.
    """

    def __init__(self, path: Path, manifest: Manifest, open_session: Callable[[], GateSession]) -> None:
        self.path = path
        self.manifest = manifest
        self._open = open_session
        self._opened: tuple[GateSession, FileRef] | None = None

    def work(self) -> None:
        """Open the model and hash its file; once, in any thread. Raises what :class:`GateSession` raises."""
        session = self._open()
        if session.manifest != self.manifest:
            raise ModelFileError(
                f"{self.path} was written to while it was opened",
                expected="a file that stays as it is",
                fix="run again once the export is done",
            )
        self._opened = session, file_ref(self.path)

    @property
    def session(self) -> GateSession:
        """The open session; :meth:`work` must have been done."""
        assert self._opened is not None
        return self._opened[0]

    def complete(self, draft: RunInfo) -> RunInfo:
        """``draft`` with what is known once :meth:`work` was done: the file's hash, the device, versions."""
        assert self._opened is not None
        session, model = self._opened
        return replace(
            draft,
            model=model,
            device=session.device,
            tf32=session.tf32,
            versions=run_versions(session.versions),
        )
