"""How queries name a series, whatever text is in its labels."""

from __future__ import annotations

import json


def selector(name: str, **labels: str) -> str:
    """``gatescope_name{label="value", ...}`` in PromQL; a label ``not_x`` asks that ``x`` is unequal."""
    matchers: list[str] = []
    for label, value in labels.items():
        own = label.removeprefix("not_")
        # PromQL's strings escape as JSON's do.
        matchers.append(f"{own}{'=' if own == label else '!='}{json.dumps(value, ensure_ascii=False)}")
    return f"gatescope_{name}{{{', '.join(matchers)}}}"
