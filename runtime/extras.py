"""Which extra brings which optional module, so that a missing one is a clear message."""

from __future__ import annotations

from .errors import MissingExtraError

EXTRA_OF_MODULE = {
    "torch": "export",
    "onnxscript": "export",
    "onnx_ir": "export",
    "matplotlib": "analysis",
    "sklearn": "analysis",
    "threadpoolctl": "analysis",
    "markdown_it": "analysis",
    "PIL": "analysis",
    "prometheus_client": "monitor",
    "onnxruntime": "cpu",
}


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """The message for a module of one of our extras that is not installed; None for any other module."""
    module = (error.name or "").split(".")[0]
    extra = EXTRA_OF_MODULE.get(module)
    if extra is None:
        return None
    missing = MissingExtraError(module, extra)
    if module == "onnxruntime":
        missing.args = (
            "this needs ONNX Runtime, which is installed in one of two builds\n"
            "  received: an installation with neither\n"
            "  to do: pip install 'gatescope[cpu]', or 'gatescope[gpu]' on a machine with an NVIDIA GPU; "
            "never both",
        )
    return missing
