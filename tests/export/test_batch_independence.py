"""Exact batching: a sample's outputs depend on nothing else in its batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatescope.runtime import GateSession
from gatescope.runtime.data.prepare import collate
from gatescope.runtime.profiling.samples import random_sample
from tests.golden.rounding import allowed

pytestmark = pytest.mark.slow

LENGTHS = st.lists(st.tuples(st.integers(1, 80), st.integers(1, 32)), min_size=1, max_size=5)


@pytest.fixture(scope="module", params=["clipwise_padded", "global_padded", "elementwise"])
def session(request, exported):
    with GateSession(exported(request.param), device="cpu") as opened:
        yield opened


def outputs_of(session: GateSession, samples) -> list[dict[str, np.ndarray]]:
    """Each sample's outputs at its valid clips."""
    raw = session.run(collate(samples)).raw
    rows = []
    for i, sample in enumerate(samples):
        row = {}
        for tensor in session.manifest.outputs:
            values = raw[tensor.name][i]
            axes = tensor.axes[1:]
            row[tensor.name] = (
                values.take(range(sample.clips), axes.index("clip")) if "clip" in axes else values
            )
        rows.append(row)
    return rows


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=LENGTHS, seed=st.integers(0, 2**32 - 1))
def test_sample_is_the_same_alone_and_in_any_batch_in_any_order(session, lengths, seed) -> None:
    rng = np.random.default_rng(seed)
    samples = [random_sample(session.manifest.preprocessing, *pair, rng) for pair in lengths]
    together = outputs_of(session, samples)
    order = rng.permutation(len(samples))
    shuffled = outputs_of(session, [samples[i] for i in order])
    for place, i in enumerate(order):
        alone = outputs_of(session, [samples[i]])[0]
        for name, values in alone.items():
            np.testing.assert_allclose(together[i][name], values, atol=allowed(name), rtol=0, err_msg=name)
            np.testing.assert_allclose(
                shuffled[place][name], values, atol=allowed(name), rtol=0, err_msg=name
            )


def test_what_lies_in_the_padding_is_not_looked_at(session) -> None:
    rng = np.random.default_rng(5)
    recipe = session.manifest.preprocessing
    batch = collate([random_sample(recipe, 9, 3, rng), random_sample(recipe, 20, 11, rng)])
    clean = session.run(batch).raw
    for name in ("src_vid", "src_aud", "src_txt"):
        noise = rng.standard_normal(batch[name].shape).astype(np.float32)
        batch[name] = np.where(batch[f"{name}_mask"][..., None] > 0, batch[name], noise)
    dirty = session.run(batch).raw
    for name in ("pred_logits", "pred_spans"):
        np.testing.assert_allclose(dirty[name], clean[name], atol=allowed(name), rtol=0)
    np.testing.assert_allclose(
        dirty["saliency_scores"][0, :9],
        clean["saliency_scores"][0, :9],
        atol=allowed("saliency_scores"),
        rtol=0,
    )
