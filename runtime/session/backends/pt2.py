"""Runs a pt2 file, a program captured by ``torch.export``.

Reading one, PyTorch unpickles nothing but tensors here: the archive was searched for pickled objects
before (:mod:`gatescope.runtime.session.model_archive`), and its example inputs are read with
``weights_only``. Two other ways lead from such a file to code: its guards, which are compiled as Python
and left out here, and its symbolic sizes, which sympy evaluates. So it deserves the trust that a program
deserves.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
import torch.export
from torch.export.passes import move_to_device_pass
from torch.utils._pytree import tree_unflatten

from ...errors import ModelFileError
from ..device import DeviceOptions
from ..model_file import ModelFile
from .torch_device import TorchBackend


class Pt2Backend(TorchBackend):
    """An exported program, called by the names of its inputs."""

    title = "torch.export"

    def __init__(self, model: ModelFile, wanted: DeviceOptions) -> None:
        super().__init__(model, wanted)
        self._module = _load(model, self.device)

    def call(self, tensors: dict[str, torch.Tensor]) -> object:
        """What the program returns."""
        return self._module(**tensors)


def _load(model: ModelFile, device: str) -> torch.nn.Module:
    try:
        with _quiet():
            program = torch.export.load(io.BytesIO(model.content))
            taken = _input_names(program)
            if device != "cpu":
                program = move_to_device_pass(program, device)
            # The manifest's checks have been made; guards would be Python code out of the file.
            module = program.module(check_guards=False)
    except Exception as error:  # whatever PyTorch meets in a program it cannot rebuild
        raise ModelFileError(
            f"PyTorch refuses the pt2 file {model.path}",
            received=f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}",
            expected=f"a program that torch {torch.__version__} can load",
            fix="pt2 files may not outlive the PyTorch that wrote them: export the model again",
        ) from error
    if taken != model.manifest.input_names:
        raise ModelFileError(
            f"the program in {model.path} does not have the inputs its manifest declares",
            received=", ".join(taken) or "none",
            expected=", ".join(model.manifest.input_names),
            fix="export the model again; the file was changed after its export",
        )
    return module


def _input_names(program: Any) -> tuple[str, ...]:
    """Names of the keyword inputs; a positional one counts as nameless."""
    wanted = program.call_spec.in_spec
    # What a tree's own attributes are called differs between releases of PyTorch; taking it apart does not.
    positional, keywords = tree_unflatten(range(wanted.num_leaves), wanted)
    return ("(positional)",) * len(positional) + tuple(keywords)


@contextmanager
def _quiet() -> Generator[None]:
    """Hold back what PyTorch logs and warns of while it loads; what it raises is told."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
