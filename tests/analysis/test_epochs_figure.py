"""The figure of gates by epoch shows what the table holds."""

from __future__ import annotations

from typing import Any

import polars as pl

from gatescope.analysis.figures.epochs import epochs_figure
from gatescope.runtime import plugins

STATES = {4: "shut", 9: "open", 14: None, 19: "shut"}


def frame() -> pl.DataFrame:
    """Two layers and kinds at four epochs, of which one has weights that are not finite."""
    rows: list[dict[str, Any]] = []
    for epoch, state in STATES.items():
        for gate in ("attention", "ffn"):
            for layer in (0, 1):
                known = None if state is None else epoch / 20
                row = dict.fromkeys(("mean_abs", "mean", "share_near_zero", "share_saturated"), known)
                note = "3 weights NaN or infinite" if state is None else None
                rows.append(
                    {"epoch": epoch, "layer": layer, "gate": gate, "state": state, "note": note} | row
                )
    return pl.DataFrame(rows)


def test_a_line_per_layer_below_what_was_logged() -> None:
    figure = epochs_figure(frame(), "MR-full-mAP", {4: 5.0, 9: 8.0}, {0: 3.0, 1: 2.0}, "12 videos.")
    log, *panels = figure.axes
    losses = panels.pop(0)
    assert log.lines[0].get_xydata().tolist() == [[4, 5], [9, 8]]
    assert losses.lines[0].get_xydata().tolist() == [[0, 3], [1, 2]]
    assert log.get_ylabel() == "MR-full-mAP, as logged"
    assert len(panels) == 2 * 4
    names = [axes.get_title(loc="left") for axes in panels[:4]]
    assert names == ["mean |g|", "mean", "near zero, |g| < 0.05", "saturated"]
    layers = [line for line in panels[0].lines if line.get_label().startswith("layer")]
    assert [line.get_xydata().tolist() for line in layers] == [[[4, 0.2], [9, 0.45], [19, 0.95]]] * 2
    marks = [
        (line.get_marker(), line.get_xdata()[0]) for line in panels[0].lines if line.get_markersize() == 9
    ]
    assert marks == [("^", 9), ("v", 19)] * 2
    assert "12 videos." in figure.get_supxlabel()
    assert "NaN or infinite (epoch 14)" in figure.get_supxlabel()


def test_without_logs_it_says_so_and_is_found_by_its_name() -> None:
    log = epochs_figure(frame().filter(pl.col("epoch") == 4), None, {}, {}, "").axes[0]
    assert [text.get_text() for text in log.texts] == ["nothing that could be read"]
    draw = plugins.load(plugins.PLUGINS, "epochs-figure")
    assert draw(frame(), "mAP", {4: 5.0}, {}, "").startswith(b"\x89PNG")


def test_losses_alone_have_the_axis_for_themselves() -> None:
    log = epochs_figure(frame(), None, {}, {3: 1.0}, "").axes[0]
    assert log.get_ylabel() == "training loss (grey)"
