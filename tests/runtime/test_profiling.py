"""The measurements of ``gatescope profile``, each against the answer found another way."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from gatescope.runtime import GateSession
from gatescope.runtime.errors import GatescopeError, OutOfMemoryError
from gatescope.runtime.profiling import fresh, pairs
from gatescope.runtime.profiling.lengths import Lengths, alike, draw_batches, lengths_of_annotations
from gatescope.runtime.profiling.parts import in_order, parts_of_nodes
from gatescope.runtime.profiling.plain import cut_outputs, why_no_plain, write_plain
from gatescope.runtime.profiling.results import ProfileRow
from gatescope.runtime.profiling.samples import random_batch, random_sample
from gatescope.runtime.profiling.start import KILLED, StartRequest, measure_start
from gatescope.runtime.profiling.sweep import recommend
from gatescope.runtime.profiling.timing import (
    Budget,
    TimedCall,
    block_rates,
    latencies_ms,
    time_calls,
    warm_up,
)
from gatescope.runtime.profiling.trace import (
    Node,
    TraceRequest,
    left_to_the_cpu,
    measure_trace,
    nodes_of_runs,
    times_of_parts,
    times_of_providers,
    trace,
)
from gatescope.runtime.session.device import DeviceOptions
from gatescope.runtime.session.model_file import read_model_file

from ..waiting import PATIENCE
from .profiles import row
from .tiny_model import tiny_batch, tiny_manifest, tiny_model

ONE_CPU = DeviceOptions("cpu", 1)

# --- samples and their lengths ---


def test_random_samples_have_unit_rows_endpoints_and_masks() -> None:
    recipe = tiny_manifest(video_widths=(30, 20), audio_width=9).preprocessing
    sample = random_sample(replace(recipe, tef=False), 6, 4, np.random.default_rng(0))
    for rows in (sample.video, sample.audio, sample.text):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    batch = random_batch(recipe, [(4, 1), (2, 3)], np.random.default_rng(0))
    np.testing.assert_allclose(batch["src_vid"][0, :, -2], [0, 0.25, 0.5, 0.75])
    np.testing.assert_allclose(batch["src_aud"][1, :2, -1], [0.5, 1])
    assert batch["src_vid_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch["src_txt_mask"].sum(1).tolist() == [1, 3]


@pytest.mark.parametrize(("dataset", "clips"), [("hl", [1, 3, 75]), ("tvsum", [2, 5, 75])])
def test_lengths_of_annotations(tmp_path: Path, dataset: str, clips: list[int]) -> None:
    lines = [(500, "a b c"), (2, "one"), (4.1, " ".join("w" * 99))]
    rows = [
        {"qid": i, "query": query, "vid": f"v{i}", "duration": duration}
        for i, (duration, query) in enumerate(lines)
    ]
    path = tmp_path / "val.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = lengths_of_annotations(path, tiny_manifest(dataset=dataset).preprocessing)
    assert found.pairs == ((clips[0], 3), (clips[1], 32), (clips[2], 5))
    assert "3 queries of val.jsonl" in found.told and f"{clips[1]} (" in found.told
    assert found.rule is not None and "special tokens" in found.rule
    assert (found.clips, found.words, found.longest) == (clips[1], 5, (75, 32))
    assert found.mean_clips == pytest.approx(np.mean(clips))


def test_a_draw_holds_the_distribution_and_is_one_batch_where_all_are_alike() -> None:
    manifest = tiny_manifest()
    (only,) = draw_batches(manifest, alike(5, 3), 4)
    assert only["src_vid"].shape[:2] == (4, 5) and only["src_txt"].shape[:2] == (4, 3)
    lengths = Lengths(((1, 2), (4, 2), (4, 7), (9, 3)), "")
    batches = draw_batches(manifest, lengths, 8)
    drawn = Counter(
        (int(clips), int(words))
        for batch in batches
        for clips, words in zip(batch["src_vid_mask"].sum(1), batch["src_txt_mask"].sum(1), strict=True)
    )
    assert set(drawn) == set(lengths.pairs) and len(set(drawn.values())) == 1
    assert len({batch["src_vid"].tobytes() for batch in batches}) == len(batches) > 1


# --- time ---


def test_percentiles_are_numpys() -> None:
    took = np.random.default_rng(0).exponential(0.02, 321)
    ends = np.cumsum(took)
    calls = [TimedCall(end - one, end) for end, one in zip(ends, took, strict=True)]
    np.testing.assert_allclose(latencies_ms(calls), np.percentile(took * 1e3, [50, 95, 99]))


def test_rates_of_blocks() -> None:
    # Two callers; every round of two calls takes one second, but the last takes four.
    calls = [TimedCall(t, t + 1.0) for t in (0.0, 1.0, 2.0) for _ in range(2)] + [
        TimedCall(3.0, 7.0),
        TimedCall(3.0, 7.0),
    ]
    assert block_rates(calls, 2) == [2.0, 2.0, 2.0, 0.5]
    assert block_rates(calls[:5], 2) == [2.0, 2.0]
    assert block_rates(calls[:2], 99) == [2.0]


@pytest.mark.parametrize(
    ("budget", "calls"),
    [
        (Budget(repeats=7), [3, 2, 2]),
        (Budget(repeats=2), [1, 1]),
        (Budget(seconds=0.0, fewest=3), [1, 1, 1]),
        (Budget(seconds=0.0, fewest=4), [2, 2, 2]),
    ],
)
def test_a_budget_in_pieces(budget: Budget, calls: list[int]) -> None:
    pieces = budget.split(3)
    assert [len(time_calls(lambda _: None, piece)) for piece in pieces] == calls
    assert sum(piece.seconds for piece in Budget(seconds=3).split(3)) == 3


def test_callers_call_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=PATIENCE)  # breaks unless three are inside at once
    numbers: list[int] = []

    def call(number: int) -> None:
        numbers.append(number)
        together.wait()

    calls = time_calls(call, Budget(repeats=4), concurrency=3)
    assert len(calls) == 12 and sorted(numbers) == list(range(12))


def test_a_failing_call_ends_the_measurement() -> None:
    def call(number: int) -> None:
        if number == 3:
            raise GatescopeError("no more")

    with pytest.raises(GatescopeError, match="no more"):
        time_calls(call, Budget(seconds=60), concurrency=2)


def test_a_slow_call_warms_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    warm_up(calls.append)
    assert calls == [0, 1, 2]
    monkeypatch.setattr("gatescope.runtime.profiling.timing.WARM_UP_SECONDS", 0.0)
    warm_up(calls.append)
    assert calls == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("ratios", "certain"),
    [
        ([1.1, 1.2, 1.3, 1.05, 1.01, 1.4, 1.2], True),  # chance: 2 / 2^7
        ([1.1, 1.2, 1.3, 1.05, 1.01, 1.4, 0.9], False),  # 2 · (1 + 7) / 2^7
        ([0.9] * 8 + [1.1], True),  # 2 · (1 + 9) / 2^9
        ([1.5], False),
    ],
)
def test_paired_ratios(ratios: list[float], certain: bool) -> None:
    found = pairs.ratio_of_pairs(ratios)
    np.testing.assert_allclose((found.low, found.median, found.high), np.percentile(ratios, [25, 50, 75]))
    assert (found.pairs, found.certain) == (len(ratios), certain)


def test_both_kinds_take_turns_and_get_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "BLOCK_SECONDS", 0.0)
    monkeypatch.setattr(pairs, "PAUSE_SECONDS", 0.0)
    order: list[tuple[str, int]] = []
    found = pairs.ratio(
        lambda number: order.append(("a", number)),
        lambda number: order.append(("b", number)),
        Budget(repeats=3),
    )
    assert order[4:] == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert found.pairs == 3
    assert pairs.ratio(lambda _: None, lambda _: None, Budget(seconds=1e-9)).pairs == 7


def test_the_smallest_batch_that_is_nearly_the_best_is_recommended() -> None:
    failed = ProfileRow(75, 32, 64, failure="out of memory")
    rows = [row(1, 50.0), row(4, 97.5), row(16, 100.0), row(32, 90.0), failed, row(1, 300.0, clips=5)]
    found = recommend(rows)
    assert [(one.clips, one.batch_size, one.samples_per_second) for one in found] == [
        (75, 4, 97.5),
        (5, 1, 300.0),
    ]
    assert found[0].video_hours_per_hour == rows[1].video_hours_per_hour
    assert recommend([failed]) == ()


# --- parts of the graph ---


def named(path: Path) -> Path:
    """The tiny model at ``path``, its nodes named by parts, those of its text left without one."""
    tiny_model(path, "clipwise")
    model = onnx.load(path)
    for number, node in enumerate(model.graph.node):
        mine = {"Tanh": "gates", "ReduceMean": "projection.video", "Unsqueeze": "fusion.1"}
        part = mine.get(node.op_type)
        node.name = f"{part}/n{number}" if part else f"n{number}"
    onnx.save(model, path)
    return path


def test_the_profiler_tells_the_time_of_each_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    path = named(tmp_path / "m.onnx")
    found = trace(
        TraceRequest(str(path), ONE_CPU, 1, clips=6, words=4, batch_size=3, budget=Budget(repeats=4))
    )
    assert [part.name for part in found.parts] == ["projection.video", "fusion.1", "gates", "other"]
    assert found.runs == 4 and (found.clips, found.words, found.batch_size, found.threads) == (6, 4, 3, 1)
    assert sum(part.share for part in found.parts) == pytest.approx(1)
    assert all(part.ms > 0 for part in found.parts)
    (cpu,) = found.placement
    assert cpu.provider == "CPUExecutionProvider" and cpu.share == 1
    assert cpu.nodes == sum(part.nodes for part in found.parts)
    assert next(part.nodes for part in found.parts if part.name == "gates") == 2
    assert found.on_cpu == {}
    assert list((tmp_path / "temporary").iterdir()) == []


def test_fused_nodes_belong_to_the_part_whose_value_they_compute() -> None:
    def graph(*nodes: onnx.NodeProto) -> onnx.GraphProto:
        return helper.make_graph(list(nodes), "g", [], [])

    exported = graph(
        helper.make_node("MatMul", ["x", "w"], ["product"], name="encoder/matmul"),
        helper.make_node("Add", ["product", "b"], ["sum"], name="t2v/add"),
        helper.make_node("Relu", ["sum"], ["y"], name="relu"),
        helper.make_node("Split", ["y"], ["half", "rest"], name="mixer.0/split"),
    )
    optimised = graph(
        helper.make_node("Gemm", ["x", "w", "b"], ["sum"], name="made/by/fusion"),
        helper.make_node("Copy", ["sum"], ["sum_copy"], name="copy"),
        helper.make_node("Relu", ["sum_copy"], ["y"], name="relu"),
        helper.make_node("Split", ["y"], ["half", "rest"], name="mixer.0/split"),
    )
    parts = parts_of_nodes(exported, optimised)
    assert parts == {"made/by/fusion": "t2v", "relu": "other", "mixer.0/split": "mixer.0"}

    def run(*durations: int) -> list[Node]:
        return [
            Node(node.name, node.op_type, "CPU", took)
            for node, took in zip(optimised.node, durations, strict=True)
        ]

    found = times_of_parts([run(1000, 100, 7, 1), run(3000, 300, 5, 1), run(2000, 200, 6, 1)], parts)
    assert [(part.name, part.nodes, part.ms) for part in found] == [
        ("t2v", 2, 2.2),  # the copy counts to what ran before it
        ("mixer.0", 1, 0.001),
        ("other", 1, 0.006),
    ]
    assert found[0].share == pytest.approx(2200 / 2207)


def test_parts_are_in_the_order_a_sample_passes_them() -> None:
    passed = ["projection.text", "projection.audio", "fusion.2", "fusion.10", "gates", "t2v", "heads"]
    assert sorted([*passed[::-1], "other", "blocks.1", "blocks.0"], key=in_order) == [
        *passed,
        "blocks.1",
        "blocks.0",
        "other",
    ]


def test_events_are_told_apart_by_run() -> None:
    def event(name: str, ts: int, dur: int, **args: str) -> dict[str, Any]:
        return {"cat": "Node" if args else "Session", "name": name, "ts": ts, "dur": dur, "args": args}

    cpu, cuda = {"op_name": "Add", "provider": "CPU"}, {"op_name": "MatMul", "provider": "CUDA"}
    events = [
        event("model_run", 100, 50),
        event("b_kernel_time", 120, 5, **cuda),
        event("a_kernel_time", 110, 4, **cpu),
        event("a_fence_before", 109, 1, **cpu),
        event("model_run", 10, 50),
        event("a_kernel_time", 20, 9, **cpu),
        event("early_kernel_time", 5, 9, **cpu),
    ]
    assert list(nodes_of_runs(events)) == [
        [Node("a", "Add", "CPU", 9)],
        [Node("a", "Add", "CPU", 4), Node("b", "MatMul", "CUDA", 5)],
    ]


def test_operators_left_to_the_cpu_are_counted_and_providers_add_up() -> None:
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    run = [
        Node("a", "Shape", cpu, 10),
        Node("b", "MatMul", cuda, 80),
        Node("c", "Gather", cpu, 5),
        Node("d", "Shape", cpu, 5),
    ]
    assert list(left_to_the_cpu(run).items()) == [("Shape", 2), ("Gather", 1)]
    busiest, other = times_of_providers([run, run])
    assert (busiest.provider, busiest.nodes, busiest.ms, busiest.share) == (cuda, 1, 0.08, 0.8)
    assert (other.provider, other.nodes) == (cpu, 3) and other.share == pytest.approx(0.2)


def test_the_profiled_process_waits_for_every_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def killed(command: list[str], **options: Any) -> Any:
        seen.update(options["env"])
        return subprocess.CompletedProcess(command, -9, b"", b"")

    monkeypatch.setattr(fresh.subprocess, "run", killed)
    with pytest.raises(OutOfMemoryError):
        measure_trace(TraceRequest(str(tmp_path), DeviceOptions("cuda"), 1, 5, 3, 2, Budget()))
    assert seen["CUDA_LAUNCH_BLOCKING"] == "1"


# --- the plain sibling ---


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gating": "elementwise", "contribution": True},
        {"overridable": True},
        {"outputs_kind": "summary", "contribution": True},
    ],
    ids=str,
)
def test_the_plain_sibling_computes_the_same_predictions(tmp_path: Path, options: dict[str, Any]) -> None:
    manifest = tiny_model(tmp_path / "m.onnx", **options)
    assert why_no_plain(manifest) is None
    write_plain(read_model_file(tmp_path / "m.onnx"), tmp_path / "plain.onnx")
    batch = tiny_batch(manifest)
    with (
        GateSession(tmp_path / "m.onnx", device="cpu") as whole,
        GateSession(tmp_path / "plain.onnx", device="cpu") as plain,
    ):
        want, got = whole.run(batch), plain.run(batch)
    assert plain.manifest.outputs_kind == "plain" and plain.manifest.gates == manifest.gates
    assert set(got.raw) == set(want.predictions) == {"pred_logits", "pred_spans", "saliency_scores"}
    for name, values in got.raw.items():
        np.testing.assert_array_equal(values, want.raw[name])
    cut = onnx.load(tmp_path / "plain.onnx").graph
    assert {node.op_type for node in cut.node}.isdisjoint({"Tanh", "Abs"})
    read = {name for node in cut.node for name in node.input}
    assert {tensor.name for tensor in cut.initializer} <= read
    assert plain.input_names == tuple(
        name for name in manifest.input_names if "scale" not in name and "offset" not in name
    )


def test_inputs_that_only_gates_read_are_cut(tmp_path: Path) -> None:
    manifest = tiny_model(tmp_path / "m.onnx", "global")
    model = onnx.load(tmp_path / "m.onnx")
    cut_outputs(model, {"pred_logits"})
    assert [value.name for value in model.graph.input] == ["src_txt", "src_txt_mask"]
    onnx.checker.check_model(model, full_check=True)
    assert len(manifest.inputs) == 5


def test_what_a_graph_inside_a_node_reads_is_kept() -> None:
    def value(name: str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, [1])

    inner = helper.make_graph([helper.make_node("Neg", ["outer"], ["inner"])], "then", [], [value("inner")])
    other = helper.make_graph([helper.make_node("Abs", ["outer"], ["inner2"])], "else", [], [value("inner2")])
    graph = helper.make_graph(
        [
            helper.make_node("Exp", ["x"], ["outer"]),
            helper.make_node("Log", ["x"], ["unused"]),
            helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=other),
        ],
        "g",
        [value("x"), value("c", TensorProto.BOOL)],
        [value("y"), value("unused")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    cut_outputs(model, {"y"})
    assert [node.op_type for node in model.graph.node] == ["Exp", "If"]
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (tiny_manifest(outputs_kind="plain"), "tracks no gates"),
        (tiny_manifest(outputs_kind="gates"), "ends at its gates"),
        (replace(tiny_manifest(), format="torchscript"), "only for ONNX files"),
    ],
)
def test_files_without_a_plain_sibling(manifest: Any, reason: str) -> None:
    assert reason in str(why_no_plain(manifest))


# --- fresh processes and memory ---


def start_request(path: Path, sizes: tuple[int, ...]) -> StartRequest:
    return StartRequest(str(path), "onnx", ONE_CPU, clips=5, words=3, batch_sizes=sizes, concurrency=2)


def test_loading_and_memory_are_measured_in_a_fresh_process(tmp_path: Path) -> None:
    tiny_model(tmp_path / "m.onnx")
    # The last batch is larger than any address space: numpy refuses it, and the process goes on.
    start, tried = measure_start(start_request(tmp_path / "m.onnx", (1, 20_000, 10**13)))
    assert start.import_seconds > 0 and start.load_seconds > 0 and start.first_run_batch == 1
    assert start.first_run_seconds == tried[1].seconds and tried[1].failure is None
    assert tried[10**13].failure == "out of memory"
    if start.libraries_bytes is not None:
        small, large = tried[1].peak_bytes, tried[20_000].peak_bytes
        assert start.libraries_bytes > 1e6 and small is not None and large is not None
        inputs = 4 * 20_000 * (5 * (7 + 5 + 2) + 3 * (4 + 1))
        assert large - small > inputs


def test_sizes_at_which_the_system_ends_the_process_are_out_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def documents(*told: dict[str, Any]) -> Callable[..., Any]:
        lines = b"".join(msgspec.json.encode(one) + b"\n" for one in told)
        return lambda command, **_: subprocess.CompletedProcess(command, -9, lines, b"")

    opened = {"import_seconds": 1, "load_seconds": 2, "libraries_bytes": 3, "loaded_bytes": 4, "method": "m"}
    first = {"batch_size": 1, "seconds": 0.5, "peak_bytes": 9, "failure": None}
    monkeypatch.setattr(fresh.subprocess, "run", documents(opened, first))
    start, tried = measure_start(start_request(tmp_path, (1, 8, 64)))
    assert (start.load_seconds, start.first_run_seconds, tried[1].peak_bytes) == (2, 0.5, 9)
    assert [tried[size].failure for size in (8, 64)] == [KILLED, KILLED]
    monkeypatch.setattr(fresh.subprocess, "run", documents())
    with pytest.raises(GatescopeError, match="not enough memory to load"):
        measure_start(start_request(tmp_path, (1,)))


def test_a_fresh_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(GatescopeError, match=r"absent\.onnx"):
        measure_start(start_request(tmp_path / "absent.onnx", (1,)))
