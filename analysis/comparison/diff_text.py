"""What ``gatescope diff`` prints."""

from __future__ import annotations

from collections.abc import Sequence

from .diff import RunDifference

_LONGEST = 20


def diff_text(found: RunDifference) -> str:
    """The verdict first, then what differs in settings, gates and predictions."""
    verdict = "the same" if found.within else "not the same"
    lines = [
        f"{found.one} and {found.other}: {verdict} within {found.tolerance:g}, {found.samples:,} samples "
        "compared"
    ]
    lines += [f"  - {fault}" for fault in found.faults]
    lines += [f"  {note}" for note in found.notes]
    if found.settings:
        lines += ["", "what differs about model, data and machine:"]
        lines += _aligned([(name, _cut(one), _cut(other)) for name, one, other in found.settings])
    if found.gates:
        lines += ["", "gates, absolute differences:"]
        rows = [("", "largest", "mean", "where")]
        for gate in found.gates:
            where = f"sample {_cut(gate.sample_id)}, clip {gate.clip}" if gate.largest else ""
            largest = f"{gate.largest:.2e}" if gate.largest else "0"
            mean = f"{gate.mean:.2e}" if gate.mean else "0"
            rows.append((f"layer {gate.layer}, {gate.kind}", largest, mean, where))
        lines += _aligned(rows)
    if found.predictions is not None:
        told = found.predictions
        lines += ["", f"predictions of {told.queries:,} queries, largest differences:"]
        rows = [
            (
                name,
                f"{worst.largest:.3g}{unit}" if worst.largest else "0",
                f"query {_cut(worst.qid)}" if worst.qid else "",
            )
            for name, worst, unit in (
                ("scores", told.scores, ""),
                ("windows", told.windows, " s"),
                ("saliency", told.saliency, ""),
            )
        ]
        lines += _aligned(rows)
        if told.moved:
            lines.append(f"  {told.moved:,} of {told.edges:,} window edges moved by up to a clip")
        if told.reordered:
            lines.append(f"  windows of nearly equal scores changed places in {told.reordered:,} queries")
    return "\n".join(lines) + "\n"


def _cut(text: str) -> str:
    shown = "".join(letter if letter.isprintable() else "�" for letter in text)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
