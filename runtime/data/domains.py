"""The domain of a query, where a dataset is trained domain by domain, as TVSum is."""

from __future__ import annotations

from pathlib import Path

from ..errors import DatasetError
from .json_lines import BOM, BadLineError, json_object, lines_of


def qids_of_domain(path: Path, domain: str) -> tuple[str, ...] | None:
    """The qids of the annotation file ``path`` whose ``domain`` is this; None where no line names a domain.

    Lines that are damaged are left to who reads the annotations. Raises
    :class:`~gatescope.runtime.errors.DatasetError` where all domains are others.
    """
    found: list[str] = []
    others: dict[str, None] = {}
    for number, line in enumerate(lines_of(path, "annotation file", "--annotations"), start=1):
        try:
            row = json_object(line.removeprefix(BOM) if number == 1 else line) if line.strip() else {}
        except BadLineError:
            continue
        if (own := row.get("domain")) == domain:
            found.append(str(row.get("qid")))
        elif own is not None:
            others[str(own)] = None
    if others and not found:
        raise DatasetError(
            f"{path} has no query of the domain {domain}, which the model was trained for",
            received=f"queries of {', '.join(sorted(others))}",
            fix="give the annotations of that domain",
        )
    return tuple(found) or None
