"""How large a benchmark is: the real sizes, and tiny ones that only show that it still runs."""

from __future__ import annotations

from dataclasses import dataclass

from .timing import Pace


@dataclass(frozen=True)
class Settings:
    """Sizes of one benchmark.

    - ``full_size``: the golden checkpoints of real size, else a small one of the same layout.
    - ``clips``, ``words``: of every sample. ``batch``: samples in a large batch.
    - ``gatings``: which are measured; the first is the one everything is compared on.
    - ``quick_formats``: export as TorchScript what need not be ONNX: it takes a tenth of the time.
    - ``compile_backend``: of ``torch.compile``.
    - ``sgemm``: rows of the square matrices whose product gives the machine's rate.
    - ``run_queries``, ``run_rounds``: size of the dataset that a whole run reads, and how often it does.
      ``run_features``: how many samples have features of their own; the others' files are links to them.
    - ``memory_samples``: of the short and of the long run whose peak memory is compared.
    - ``rewrites``: how many rewrites are measured. ``gpu_batch``: samples in a batch on a GPU.
    """

    full_size: bool
    clips: int
    words: int
    batch: int
    gatings: tuple[str, ...]
    quick_formats: bool
    compile_backend: str
    pace: Pace
    sgemm: int
    run_queries: int
    run_features: int
    run_rounds: int
    memory_samples: tuple[int, int]
    rewrites: int | None
    gpu_batch: int


# As many queries as QVHighlights' validation set, in whole batches.
FULL = Settings(
    full_size=True,
    clips=75,
    words=32,
    batch=32,
    gatings=("clipwise", "global", "elementwise"),
    quick_formats=False,
    compile_backend="inductor",
    pace=Pace(rounds=11, block=0.4, pause=0.15),
    sgemm=2048,
    run_queries=1536,
    run_features=128,
    run_rounds=3,
    memory_samples=(200, 20_000),
    rewrites=None,
    gpu_batch=128,
)

SMOKE = Settings(
    full_size=False,
    clips=7,
    words=4,
    batch=3,
    gatings=("clipwise",),
    quick_formats=True,
    compile_backend="eager",
    pace=Pace(rounds=2, block=0, pause=0),
    sgemm=64,
    run_queries=12,
    run_features=4,
    run_rounds=1,
    memory_samples=(20, 40),
    rewrites=1,
    gpu_batch=4,
)
