"""Writes a profile: its document, and its figure where the room that draws is installed."""

from __future__ import annotations

import json
from pathlib import Path

from .. import plugins
from ..errors import MissingExtraError
from ..runs.atomic import write_together
from .results import Profile

FIGURE_PLUGIN = "profile-figure"
DOCUMENT = "profile.json"
PROFILE_FIGURE = "profile.png"


def write_profile(profile: Profile, folder: Path) -> list[str]:
    """Write ``profile.json`` and ``profile.png`` into ``folder``; returns lines that say what was written.

    Without gatescope[analysis] there is no figure, and a line says so; one of an earlier profile is removed,
    for it would not belong to the document beside it.
    """
    document = json.dumps(profile.to_dict(), ensure_ascii=False, indent=1).encode() + b"\n"
    contents, told = {DOCUMENT: document}, [f"wrote {folder / DOCUMENT}"]
    try:
        contents[PROFILE_FIGURE] = plugins.load(plugins.PLUGINS, FIGURE_PLUGIN)(profile)
        told.append(f"wrote {folder / PROFILE_FIGURE}")
    except MissingExtraError as missing:
        told.append(f"no {PROFILE_FIGURE}: {missing.problem} ({missing.fix})")
        (folder / PROFILE_FIGURE).unlink(missing_ok=True)
    write_together(folder, contents)
    return told
