"""``gate_comparison.png``: the mean gates of a few samples side by side, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import colormaps

from .style import QUIET, Figure, grid, heading, kind_name, new_figure, png, short, style

_KINDS = {"att_means": "attention", "ffn_means": "ffn"}
# Beyond it bars are thinner than a line and names cannot be read.
_MOST_SHOWN = 12


def comparison_figure(means: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """One panel a kind of gate, one group of bars a layer, one bar a sample.

    ``means`` is by sample: ``att_means`` and ``ffn_means``, one mean a layer. Of more than a dozen samples
    the first ones are shown, and the figure says so.
    """
    shown = list(means)[:_MOST_SHOWN]
    keys = list(means[shown[0]])
    kinds = [_KINDS.get(key, key.removesuffix("_means")) for key in keys]
    layers = max(len(means[one][key]) for one in shown for key in keys)
    width = 0.8 / len(shown)
    palette = colormaps["cividis"]  # as many shades as there are samples, for every kind of eyes
    with style():
        figure = new_figure(2.6 + len(kinds) * max(3.2, 0.5 * layers + 0.13 * layers * len(shown)), 3.9)
        panels = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
        for axes, key, kind in zip(panels, keys, kinds, strict=True):
            for place, one in enumerate(shown):
                offset = (place - (len(shown) - 1) / 2) * width
                axes.bar(
                    [layer + offset for layer in range(len(means[one][key]))],
                    means[one][key],
                    width=0.92 * width,
                    color=palette(0.05 + 0.9 * place / max(len(shown) - 1, 1)),
                    label=short(one, 24),
                )
            axes.axhline(0, color=QUIET, linewidth=0.8)
            axes.set_xticks(range(layers))
            axes.set_xlabel("layer")
            axes.set_title(kind_name(kind))
            grid(axes, "y")
        panels[0].set_ylabel("mean gate")
        panels[-1].legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, title="sample")
        which = f"The first {len(shown)} of {len(means)} samples." if len(means) > len(shown) else ""
        heading(figure, "Gates of samples compared", f"Mean over the valid clips of each sample. {which}")
    return figure


def comparison_png(means: Mapping[str, Mapping[str, Sequence[float]]]) -> bytes:
    """The figure as a PNG file; found by trackers under the plug-in name ``gate_comparison``."""
    return png(comparison_figure(means))
