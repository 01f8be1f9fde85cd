"""How training's post-processing rounds and clamps predicted windows, by the data set's name."""

from __future__ import annotations

# From the post-processing of the published training scripts (QD-DETR, lighthouse): the latest end of a window
# in seconds, None where windows are rounded but not clamped. Case and punctuation of names do not matter.
_CLAMPED: dict[str, float | None] = {
    "hl": 150.0,
    "qvhighlight": 150.0,
    "charades": 150.0,
    "clothomoment": 150.0,
    "unav100": 150.0,
    "tut2017": 150.0,
    "castella": 300.0,
    "tacos": None,
    "activitynet": None,
    "anet": None,
    "youtube": None,
}


def window_steps(dset_name: str, clip_length: float) -> tuple[float | None, float | None, bool]:
    """``round_to`` and ``clamp_seconds`` in seconds, and whether the data set is one we know.

    For TVSum no training script writes windows, and its durations count clips: neither is done. An unknown
    data set gets what the scripts do for QVHighlights.
    """
    name = "".join(letter for letter in dset_name.lower() if letter.isalnum())
    if name.startswith("tvsum"):
        return None, None, True
    for known, clamp in _CLAMPED.items():
        # "hl" is a whole name: others may begin with it.
        if name == known or (len(known) > 2 and name.startswith(known)):
            return clip_length, clamp, True
    return clip_length, 150.0, False
