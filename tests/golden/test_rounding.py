"""Where the tests' tolerances come from: the reference's float32 numbers against our model in float64."""

from __future__ import annotations

import numpy as np
import pytest

from gatescope.export import Choices, load_checkpoint
from gatescope.export.graph.variant import Variant, VariantGraph
from gatescope.export.reading.facts import describe
from gatescope.export.reading.rebuild import rebuild
from tests.golden.case import load_case, stored, valid
from tests.golden.rounding import FLOAT32, MARGIN, assert_rounded, in_float64


# The cases in which float32 is farthest from float64: in spans and saliency, in logits, in gates.
@pytest.mark.parametrize("name", ["sigmoid_film_elementwise", "ssm", "clipwise_padded"])
def test_the_references_numbers_are_as_far_from_float64_as_float32_explains(name, checkpoint) -> None:
    case = load_case(name)
    read = load_checkpoint(checkpoint(name))
    graph = VariantGraph(rebuild(describe(read, Choices(batching="reference")), read.weights), Variant())
    exact, expected = in_float64(graph, case.inputs()), case.expected
    for output, most in FLOAT32.items():
        for i, clips in enumerate(case.clips):
            want = valid(output, expected[output][i], clips)
            error = np.abs(want - stored(output, valid(output, exact[output][i], clips))).max()
            assert error <= most, f"{output}: {error:.1e}"


def test_what_rounding_does_not_explain_is_found() -> None:
    exact = np.linspace(-1, 1, 101)
    rounded = exact.astype(np.float32)
    assert_rounded(rounded, rounded, exact)
    for wrong in (exact + 2e-6, exact * (1 + 3e-6), exact[::-1]):
        with pytest.raises(AssertionError, match="from float64"):
            assert_rounded(wrong, rounded, exact)
    with pytest.raises(AssertionError, match="two models"):
        assert_rounded(rounded, exact + 1e-3, exact)
    assert MARGIN * FLOAT32["saliency_scores"] < 2e-4
