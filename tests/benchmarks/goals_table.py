"""``make bench``: every goal of speed, measured in one run beside what users could do instead."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from gatescope.runtime import GateSession
from gatescope.runtime.gates.vocabulary import OutputsKind

from .exports import Export, Exports
from .flops import gates_flops, tracked_flops
from .goals import Goal, Verdict
from .memory import peak_memory
from .peers.clean_eager import clean_eager
from .peers.compiled import compiled, compiler
from .peers.exported import exported
from .peers.users_way import users_way
from .report import Part
from .settings import Settings
from .sgemm import NAMES, rates, sgemm_kinds
from .spread import Spread, paired, spread
from .timing import Kind, Series, measure
from .whole_run import BARE, COMMAND, WHOLE, whole_run
from .workload import as_tensors, make_batch, read_model

Tell = Callable[[str], None]

USERS, EAGER, COMPILED = "the users' own way", "clean eager + hooks", "torch.compile"
SCRIPT, UNCHANGED = "TorchScript", "ONNX without rewrites"
VARIANTS: tuple[OutputsKind, ...] = ("tracked", "plain", "summary", "gates")

# How much more a long run may take than a short one and still count as taking the same.
SAME_MEMORY = 1.05


def measure_goals(settings: Settings, exports: Exports, part: Part, tell: Tell) -> None:
    """Add the tables of goals, timings and matrix products to ``part``."""
    wanted = _wanted(settings)
    exports.make(list(wanted.values()), tell)
    with ExitStack() as stack:
        kinds = _kinds(settings, exports, wanted, stack)
        products = sgemm_kinds(settings.sgemm)
        series = measure([*products, *kinds], settings.pace, tell=tell)
    with tempfile.TemporaryDirectory(prefix="gatescope-bench-") as folder:
        runs = whole_run(exports.path(wanted["tracked"]), Path(folder), settings, tell)
    with tempfile.TemporaryDirectory(prefix="gatescope-bench-") as folder:
        peaks = {samples: peak_memory(Path(folder), samples, tell) for samples in settings.memory_samples}
    part.add_goals(
        [
            *_speedups(settings, series),
            *_shares_of_sgemm(settings, exports, series),
            *_tracking_costs(settings, series),
            *_latencies(series),
            *_runs(runs),
            _memory(peaks),
        ]
    )
    part.add_timings(kinds, series)
    _add_products(part, settings, products, series)
    part.data["seconds of a whole run, by round"] = runs
    part.data["peak memory, bytes, by samples"] = peaks


def _wanted(settings: Settings) -> dict[str, Export]:
    """Every file, by the name of its kind; those of other gatings are named ``gating variant``."""
    first, *others = settings.gatings
    other = ".ts" if settings.quick_formats else ".onnx"
    wanted = {name: Export(first, name, ".onnx" if name == "tracked" else other) for name in VARIANTS}
    wanted[SCRIPT] = Export(first, "tracked", ".ts")
    wanted[UNCHANGED] = Export(first, "tracked", other, optimize="none")
    for gating in others:
        wanted |= {f"{gating} {name}": Export(gating, name) for name in VARIANTS if name != "gates"}
    return wanted


def _kinds(
    settings: Settings, exports: Exports, wanted: Mapping[str, Export], stack: ExitStack
) -> list[Kind]:
    """What is timed, neighbours in the order in which they are compared."""
    model = read_model(exports.checkpoint(settings.gatings[0]))
    batches = {
        size: make_batch(model.config, size, settings.clips, settings.words) for size in (1, settings.batch)
    }
    kinds: list[Kind] = []
    for size, batch in batches.items():
        tensors = as_tensors(batch)
        kinds += [
            Kind(at(USERS, size), users_way(model, tensors), size),
            Kind(at(EAGER, size), clean_eager(model, tensors), size),
        ]
    if compiler() or settings.compile_backend != "inductor":
        # Frozen weights are packed in advance, as ONNX Runtime packs them: the fastest it can do here.
        options = {"freezing": True} if settings.compile_backend == "inductor" else None
        run = compiled(model, as_tensors(batches[1]), backend=settings.compile_backend, options=options)
        kinds.append(Kind(at(COMPILED, 1), run, 1))
    for name, export in wanted.items():
        session = stack.enter_context(GateSession(exports.path(export), device="cpu"))
        sizes = (1, settings.batch) if export.gating == settings.gatings[0] else (settings.batch,)
        kinds += [Kind(at(name, size), exported(session, batches[size]), size) for size in sizes]
    return kinds


def at(name: str, batch: int) -> str:
    """The name of a kind at a batch size."""
    return f"{name}, batch {batch}"


def _faster(series: Series, ours: tuple[str, int], theirs: tuple[str, int]) -> Spread:
    """Samples a second of ours over theirs."""
    return paired(series[at(*theirs)], series[at(*ours)], ours[1] / theirs[1])


def _speedups(settings: Settings, series: Series) -> list[Verdict]:
    batch = settings.batch
    goals = (
        ("tracked", USERS, 1, 3.3),
        ("tracked", USERS, batch, 1.7),
        ("gates", USERS, 1, 6.5),
        ("tracked", EAGER, 1, 2.3),
        ("tracked", EAGER, batch, 1.25),
    )
    return [
        Verdict(
            Goal(f"{ours}, batch {batch}, against {theirs}, batch {size}", "×", at_least=limit),
            _faster(series, (ours, batch), (theirs, size)),
        )
        for ours, theirs, size, limit in goals
    ]


def _shares_of_sgemm(settings: Settings, exports: Exports, series: Series) -> list[Verdict]:
    config = read_model(exports.checkpoint(settings.gatings[0])).config
    batch = settings.batch
    machine = max((rates(series[name], settings.sgemm) for name in NAMES), key=lambda one: spread(one).median)
    verdicts: list[Verdict] = []
    for name, flops, limit in (
        ("tracked", tracked_flops(config, settings.clips, settings.words), 0.88),
        ("gates", gates_flops(config, settings.clips), 1.0),
    ):
        what = f"share of the sgemm rate, {name}, batch {batch} ({flops / 1e9:.2f} GFLOP per sample)"
        done = [flops * batch / seconds for seconds in series[at(name, batch)]]
        verdicts.append(Verdict(Goal(what, "share", at_least=limit), paired(done, machine)))
    return verdicts


def _tracking_costs(settings: Settings, series: Series) -> list[Verdict]:
    batch = settings.batch
    verdicts: list[Verdict] = []
    for gating in settings.gatings:
        prefix = "" if gating == settings.gatings[0] else f"{gating} "
        plain = series[at(f"{prefix}plain", batch)]
        for name, limit in (("tracked", 2.0), ("summary", 12.0 if gating == "elementwise" else 2.0)):
            extra = [a / b * 100 - 100 for a, b in zip(series[at(prefix + name, batch)], plain, strict=True)]
            goal = Goal(f"cost of {name} over plain, {gating}, batch {batch}", "%", at_most=limit)
            verdicts.append(Verdict(goal, spread(extra)))
    return verdicts


def _latencies(series: Series) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for theirs, limit in ((COMPILED, 1.0), (SCRIPT, 1.0), (UNCHANGED, None)):
        goal = Goal(f"tracked, batch 1, against {theirs}, batch 1", "×", at_least=limit)
        if at(theirs, 1) in series:
            verdicts.append(Verdict(goal, _faster(series, ("tracked", 1), (theirs, 1))))
        else:
            verdicts.append(Verdict(goal, None, "no C++ compiler (g++)"))
    return verdicts


def _runs(runs: Series) -> list[Verdict]:
    return [
        Verdict(
            Goal("whole run, disk to disk, of the bare session's speed", "%", at_least=90),
            paired(runs[BARE], runs[WHOLE], 100),
        ),
        Verdict(
            Goal("the same as a command, with the start of Python", "%"),
            paired(runs[BARE], runs[COMMAND], 100),
        ),
    ]


def _memory(peaks: Mapping[int, int]) -> Verdict:
    (few, short), (many, long) = sorted(peaks.items())
    what = f"peak memory of {many:,} samples ({long / 1e6:.0f} MB) over {few:,} ({short / 1e6:.0f} MB)"
    return Verdict(Goal(what, "×", at_most=SAME_MEMORY), spread([long / short]))


def _add_products(part: Part, settings: Settings, products: list[Kind], series: Series) -> None:
    rows: list[list[str]] = []
    for kind in products:
        rate = spread(rates(series[kind.name], settings.sgemm)).scaled(1e-9)
        rows.append(
            [
                kind.name,
                f"{rate.median:.0f}",
                f"{rate.lower:.0f} – {rate.upper:.0f} ({rate.smallest:.0f} – {rate.largest:.0f})",
            ]
        )
        part.data.setdefault("sgemm, operations a second, by round", {})[kind.name] = rates(
            series[kind.name], settings.sgemm
        )
    part.add(
        f"Matrix products, {settings.sgemm} × {settings.sgemm}, float32",
        ["", "GFLOP/s", "quartiles (smallest – largest)"],
        rows,
        "The largest is what this machine's rate is taken to be.",
    )
