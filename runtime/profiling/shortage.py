"""Tells a lack of memory from every other failure."""

from __future__ import annotations

# The words of numpy, ONNX Runtime (CPU and CUDA) and PyTorch; the libraries share no type for it.
_WORDS = ("failed to allocate", "unable to allocate", "out of memory", "bad_alloc", "not enough memory")


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error``, or what caused it, says that memory ran out."""
    told: BaseException | None = error
    while told is not None:
        if isinstance(told, MemoryError) or any(words in str(told).lower() for words in _WORDS):
            return True
        told = told.__cause__
    return False
