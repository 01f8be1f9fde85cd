"""A file that gatescope exported, of any format, in its session: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from gatescope.runtime import GateSession
from gatescope.runtime.session.session import Outputs


def exported(session: GateSession, batch: Mapping[str, np.ndarray]) -> Callable[[], Outputs]:
    """A call runs ``batch`` once, checks of the input included."""
    return lambda: session.run(batch)
