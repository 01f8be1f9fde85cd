"""Words for people who call Python: arguments of the functions they call, where messages name flags."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager

from ...runtime.errors import GatescopeError

_ARGUMENTS: tuple[tuple[str, str], ...] = (
    (r"--gating 'global\|clipwise'", "gating_type='global' or 'clipwise'"),
    (r"--gating ([a-z_]+)", r"gating_type='\1'"),
    (r"--gating\b", "gating_type"),
    (r"--fusion-heads (\w+)", r"fusion_heads=\1"),
    (r"--heads (\w+)", r"heads=\1"),
    (r"--attention-activation (tanh|sigmoid)", r"attention_activation='\1'"),
    (r"--attention-activation\b", "attention_activation"),
    (r"--model package\.module:factory", "adapt_legacy_model(model)"),
    (r"--checkpoint\b", "model_path"),
    (r"--verify\b", "'gatescope export --verify'"),
)


def in_python(text: str) -> str:
    """``text`` with the flags of ``gatescope export`` as arguments of the live functions."""
    for flag, argument in _ARGUMENTS:
        text = re.sub(flag, argument, text)
    return text


@contextmanager
def python_words() -> Generator[None]:
    """Within it, errors of reading a checkpoint speak of arguments."""
    try:
        yield
    except GatescopeError as error:
        parts = {name: getattr(error, name) for name in ("received", "expected", "fix")}
        told = {name: None if text is None else in_python(text) for name, text in parts.items()}
        GatescopeError.__init__(error, in_python(error.problem), **told)
        raise
