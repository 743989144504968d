"""Measures this project on a Vulkan device beside IREE on the same one, and our own CPU backend.

    python benchmarks/vulkan.py [--models matmul-512,bert] [--rounds 5] [--out DIR]
    python benchmarks/vulkan.py --dispatches bert

All run in one run, in turn, each in a process of its own (as in ``compare.py``). Where the device
is a CPU, as Mesa's lavapipe is, the time of all its processors together is comparable too, and
changes less with what else the machine does: it is printed beside the wall time as ``(cpu)``.
With ``--dispatches`` the time of every dispatch of a model instead, as in ``roofline.py``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from compare import Row, difference, measure
from machine import peak_flops, read_bandwidth
from roofline import compiled, observe, table
from workloads import model_path

from iree_core.hal.registry import open_device

MODELS = "matmul-512,mobilenetv2,resnet50,bert"
RUNTIMES = ("vulkan", "iree-vulkan", "ours")
THREADS = 2


def summary(rows: list[Row], out: Path) -> str:
    """Return a model's times, ratios and differences from the CPU's results as one line."""
    ours, iree, _ = rows
    times = "".join(f"{r.milliseconds:9.2f}{r.processor_milliseconds:9.2f}" for r in rows)
    wall = iree.milliseconds / ours.milliseconds
    spent = iree.processor_milliseconds / ours.processor_milliseconds
    files = [out / f"{row.model}.{row.runtime}.{THREADS}.npz" for row in rows if row.rounds]
    errors = "".join(f"{difference(file, files[-1]):9.1e}" for file in files[:-1])
    return f"{ours.model:14}{times}{wall:9.2f}{spent:9.2f}{errors}"


def dispatches(name: str, out: Path, rounds: int) -> str:
    """Return the time of every dispatch of a model on the first Vulkan device."""
    model = Path(name) if name.endswith(".onnx") else model_path(name, out / "models")
    module, lines = compiled(model, out, "vulkan")
    whole = observe(module, model, open_device("vulkan"), rounds, lines)
    limits = peak_flops(THREADS), read_bandwidth(THREADS)
    text = table(list(lines.values()), *limits)
    return f"{text}\n\none call {whole * 1e3:.2f} ms; parts are those of {THREADS} CPU threads"


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--dispatches", metavar="MODEL")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"))
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if options.dispatches:
        print(dispatches(options.dispatches, out, options.rounds))
        return
    names = ("ours", "(cpu)", "IREE", "(cpu)", "our CPU", "(cpu)", "ratio", "(cpu)", "errors")
    print(f"{'milliseconds':14}" + "".join(f"{name:>9}" for name in names))
    for name in options.models.split(","):
        print(f"{name} ...", file=sys.stderr, flush=True)
        print(summary(measure(name, list(RUNTIMES), THREADS, out, options.rounds), out), flush=True)


if __name__ == "__main__":
    main()
