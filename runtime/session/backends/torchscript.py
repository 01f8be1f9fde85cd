"""Runs a TorchScript file.

Loading it runs no Python, and no pickle but PyTorch's own restricted one. It is a program all the same:
when it runs it may call any operator PyTorch has, among them ones that read and write files. So it deserves
the trust that a program deserves.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import torch

from ...errors import ModelFileError
from ..device import DeviceOptions
from ..model_file import ModelFile
from .torch_device import TorchBackend


class TorchScriptBackend(TorchBackend):
    """A traced model, called by position in the order of the manifest's inputs."""

    title = "TorchScript"

    def __init__(self, model: ModelFile, wanted: DeviceOptions) -> None:
        super().__init__(model, wanted)
        self._module = _load(model, self.device)

    def call(self, tensors: dict[str, torch.Tensor]) -> object:
        """What the model returns; its inputs have no names."""
        return self._module(*tensors.values())


def _load(model: ModelFile, device: str) -> Any:
    wanted = len(model.manifest.inputs)
    try:
        with warnings.catch_warnings():
            # PyTorch calls TorchScript deprecated on each use of it; its files are still read.
            warnings.simplefilter("ignore")
            module: Any = torch.jit.load(io.BytesIO(model.content), map_location="cpu").eval()
            taken = len(module.forward.schema.arguments) - 1
            if device != "cpu":
                _move(module, device)
    except (RuntimeError, AttributeError, ValueError) as error:
        raise ModelFileError(
            f"PyTorch refuses the TorchScript file {model.path}",
            received=(str(error).strip() or type(error).__name__).splitlines()[0],
            expected=f"a model that torch {torch.__version__} can load",
            fix="update PyTorch, or export the model again with this version of gatescope",
        ) from error
    if taken != wanted:
        raise ModelFileError(
            f"the model in {model.path} does not have the inputs its manifest declares",
            received=f"{taken} inputs",
            expected=f"{wanted}: {', '.join(model.manifest.input_names)}",
            fix="export the model again; the file was changed after its export",
        )
    return module


def _move(module: Any, device: str) -> None:
    """Put the model on ``device``: its weights, and what tracing wrote into the program as constants.

    A tensor that the model makes while it runs is made on the device it was traced on, and a constant tensor
    stays where it was, unless the program is changed.
    """
    module.to(device)
    for part in module.modules():
        for node in part.graph.findAllNodes("prim::Constant") if hasattr(part, "graph") else ():
            kind = node.output().type().kind()
            if kind == "DeviceObjType":
                node.s_("value", device)
            elif kind == "TensorType" and node.t("value").ndim:  # a single number serves every device
                node.t_("value", node.t("value").to(device))
