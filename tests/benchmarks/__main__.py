"""``python -m tests.benchmarks``: what `make bench` and its relatives run."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from .sgemm import use_own_kernels

TITLES = {
    "goals": "Speed",
    "rewrites": "What each rewrite of the export gains",
    "precision": "Lower precision on the CPU",
    "cuda": "On a GPU",
}
NO_GPU = (
    "bench-cuda needs an NVIDIA GPU that PyTorch and ONNX Runtime can both use, and there is none here:\n"
    "  torch.cuda.is_available() is false, or onnxruntime has no CUDAExecutionProvider\n"
    "  to do: run it on a machine with a GPU, where `make setup` installs gatescope[all,gpu]"
)


def main() -> int:
    """Measure, print Markdown, write JSON where asked to; 1 where this machine has no GPU to measure."""
    args = _parser().parse_args()
    if args.output is not None and not args.output.absolute().parent.is_dir():
        print(f"{args.output.absolute().parent} is not a folder", file=sys.stderr)
        return 2
    use_own_kernels()  # before anything imports numpy
    if args.smoke:
        # Where tests share the machine, threads that wait for each other take longer than the work itself.
        os.environ["OMP_NUM_THREADS"] = "1"
    gpu = ""
    if "cuda" in args.what:
        from .cuda import gpu_name

        gpu = gpu_name()
        if not gpu:
            print(NO_GPU, file=sys.stderr)
            return 1
    measure_parts(args, gpu)
    if gpu:
        end_at_once()
    return 0


def end_at_once() -> None:
    """End this process with success, now that all is printed, and leave the GPU's memory to the driver.

    Of the page-locked memory and the CUDA graphs that PyTorch and ONNX Runtime still hold, one is freed while
    the other is there: ``cudaFreeHost`` then ends the process with "operation not permitted".
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def measure_parts(args: argparse.Namespace, gpu: str) -> None:
    """Measure what ``args`` ask for, print it, and write it where they say."""
    from .exports import Exports
    from .machine import this_machine
    from .report import Part, Report
    from .settings import FULL, SMOKE

    settings = SMOKE if args.smoke else FULL
    if args.rounds is not None:
        settings = replace(settings, pace=replace(settings.pace, rounds=args.rounds))
    report = Report(this_machine(gpu))
    began = time.monotonic()

    def tell(line: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {line}", file=sys.stderr, flush=True)

    with ExitStack() as stack:
        cache = args.cache or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="gatescope-bench-exports-"))
        )
        exports = Exports(cache, full_size=settings.full_size)
        for what in args.what:
            part = report.parts[what] = Part(TITLES[what], judged=not args.smoke)
            match what:
                case "goals":
                    from .goals_table import measure_goals as measure
                case "rewrites":
                    from .rewrites import measure_rewrites as measure
                case "precision":
                    from .precision import measure_precision as measure
                case _:
                    from .cuda import measure_cuda as measure
            measure(settings, exports, part, tell)
    print(report.markdown())
    if args.output is not None:
        report.write(args.output, asdict(settings))
        tell(f"wrote {args.output}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("what", nargs="+", choices=TITLES, help="what to measure")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write every measurement as JSON")
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="keep exported files here (default: a temporary folder)"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of measuring")
    parser.add_argument(
        "--smoke", action="store_true", help="tiny sizes: shows that it runs, measures nothing"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
