"""Layouts of datasets: what files are called, what a duration counts, what training did to windows and text.

A new layout is one entry of :data:`LAYOUTS`; a recipe names it (``Preprocessing.dataset``).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Layout:
    """How one dataset, or several that look alike, is stored and was trained on.

    - ``name``: as recipes call it. ``words``: a training's dataset name that contains one of them has it.
    - ``video_streams``: endings of the ``.npy`` files whose channels side by side are one video source, such
      as ``v_rgb.npy`` and ``v_opt.npy``; none where a source is one ``.npz`` file per video.
    - ``text_file``: a query's file, ``{qid}`` its id; ``text_key``: the array in it.
    - ``durations_in_clips``: durations in annotations count clips, not seconds.
    - ``normalize_text``: whether training divides the words' features by their length.
    - ``window_ends``: by beginnings of dataset names, letters and digits only: the latest end of a window in
      seconds to which the published training scripts (QD-DETR, lighthouse) clamp; None: they do not clamp.
    - ``writes_windows``: whether any training script writes windows at all.
    """

    name: str
    words: tuple[str, ...] = ()
    video_streams: tuple[str, ...] = ()
    text_file: str = "qid{qid}"
    text_key: str = "last_hidden_state"
    durations_in_clips: bool = False
    normalize_text: bool = True
    window_ends: dict[str, float | None] = field(default_factory=dict[str, float | None])
    writes_windows: bool = True

    def clip_unit(self, clip_length: float) -> float:
        """How much of a duration one clip of ``clip_length`` seconds is."""
        return 1.0 if self.durations_in_clips else clip_length


#: What a dataset that we do not know is taken for.
QVHIGHLIGHTS = Layout(
    "hl",
    window_ends={
        "hl": 150.0,
        "qvhighlight": 150.0,
        "clothomoment": 150.0,
        "unav100": 150.0,
        "tut2017": 150.0,
        "castella": 300.0,
        "tacos": None,
        "activitynet": None,
        "anet": None,
        "youtube": None,
    },
)
# Where windows end for a dataset that we do not know.
_UNKNOWN_END = 150.0

LAYOUTS = {
    layout.name: layout
    for layout in (
        QVHIGHLIGHTS,
        Layout("charades", words=("charades",), window_ends={"charades": 150.0}),
        # The two streams of I3D are stored apart, and normalised as one row.
        Layout(
            "tvsum",
            words=("tvsum",),
            video_streams=("rgb", "opt"),
            text_file="{qid}",
            text_key="token",
            durations_in_clips=True,
            normalize_text=False,
            window_ends={"tvsum": None},
            writes_windows=False,
        ),
    )
}


def layout_named(name: str) -> Layout:
    """The layout that a recipe calls ``name``; an unknown one is taken for QVHighlights'."""
    return LAYOUTS.get(name, QVHIGHLIGHTS)


def layout_trained_on(dset_name: str) -> Layout:
    """The layout of the dataset that training calls ``dset_name``; case does not matter."""
    lowered = dset_name.lower()
    found = (one for one in reversed(LAYOUTS.values()) if any(word in lowered for word in one.words))
    return next(found, QVHIGHLIGHTS)


def window_steps(dset_name: str, clip_length: float) -> tuple[float | None, float | None, bool]:
    """What training did to windows: ``round_to`` and ``clamp_seconds``, and whether it is a dataset we know.

    All in seconds; None: not done. Case and punctuation of names do not matter. An unknown dataset gets what
    the scripts do for QVHighlights.
    """
    name = "".join(letter for letter in dset_name.lower() if letter.isalnum())
    for layout in LAYOUTS.values():
        for known, end in layout.window_ends.items():
            # "hl" is a whole name: others may begin with it.
            if name == known or (len(known) > 2 and name.startswith(known)):
                return (clip_length if layout.writes_windows else None), end, True
    return clip_length, _UNKNOWN_END, False
