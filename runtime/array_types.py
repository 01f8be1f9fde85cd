"""The types of arrays of floats, of any number of axes; a function's docstring names the axes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: What goes into a model and comes out of it.
Float32s = NDArray[np.float32]
#: What statistics compute with.
Float64s = NDArray[np.float64]
