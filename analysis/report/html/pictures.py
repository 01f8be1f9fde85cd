"""Figures as part of the page: whole where there is room, smaller where there is not."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping

from PIL import Image

# Base64 makes four bytes of three.
_GROWTH = 4 / 3
_COLOURS = 128
# Below it a figure's letters can no longer be read.
_SMALLEST = 0.5


def data_uris(figures: Mapping[str, bytes], room: int) -> dict[str, str]:
    """PNG files by name as data URIs that together take at most ``room`` bytes.

    Where they take more, all lose colours and size alike; what then still finds no room, in their order, is
    absent from the result.
    """
    if total := sum(map(len, figures.values())) * _GROWTH:
        scale = math.sqrt(min(1.0, room / total))
        figures = figures if scale == 1 else {name: _smaller(png, scale) for name, png in figures.items()}
    embedded: dict[str, str] = {}
    for name, png in figures.items():
        uri = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        if len(uri) <= room:
            embedded[name] = uri
            room -= len(uri)
    return embedded


def _smaller(png: bytes, scale: float) -> bytes:
    """The figure with fewer colours, most of the saving, and ``scale`` times as wide, down to half."""
    with Image.open(io.BytesIO(png)) as picture:
        scale = max(_SMALLEST, scale)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS).quantize(_COLOURS)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return min(buffer.getvalue(), png, key=len)
