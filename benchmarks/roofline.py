"""Time of every dispatch of a model beside what the machine could do.

    python benchmarks/roofline.py MODEL [--threads 1] [--out DIR]

``MODEL`` is a workload's name or an ONNX file with static shapes. Per dispatch, sorted by time:
calls, milliseconds of all of them, their part of the whole, GFLOP/s and the part of the
multiply-add peak, GB/s and the part of the memory's bandwidth, and the part of the roofline: the
least time that arithmetic and memory allow, over the time taken. Peak (of float32) and bandwidth
are measured here, before and after. Bytes are those of operands and results, each once; what the
caches still hold is read faster than from memory, so parts above 100 % are no error. A loop on
tensors (``scf``) is not counted as arithmetic.
"""

from __future__ import annotations

import argparse
import math
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from machine import peak_flops, read_bandwidth
from runtimes import tool
from workloads import example_inputs, model_path

import iree_core
from iree_core.hal import Device
from iree_core.hal.observe import DispatchEvent, observing
from iree_core.hal.registry import open_device
from iree_core.ir import ir, make_context

_ARITHMETIC = ("arith.add", "arith.sub", "arith.mul", "arith.div", "arith.max", "arith.min")


@dataclass
class Line:
    """A dispatch: what it has to do per call, and the seconds of each of its calls."""

    name: str
    flops: float = 0.0
    nbytes: float = 0.0
    seconds: list[float] = field(default_factory=list)


def work(text: str) -> tuple[float, float]:
    """Return floating-point or integer operations and bytes of one call of a dispatch function."""
    flops = 0.0
    with make_context(), ir.Location.unknown():
        module = ir.Module.parse(text)
        function = module.body.operations[0]
        block = function.regions[0].blocks[0]
        operations = list(block.operations)
        for op in operations:
            if op.operation.name == "linalg.generic":
                flops += math.prod(_sizes(op)) * _operations(op)
        nbytes = sum(_bytes(a.type) for a in block.arguments if not _looked_up(a))
        nbytes += sum(_bytes(v.type) for v in operations[-1].operands)
    return flops, nbytes


def _sizes(op: ir.OpView) -> list[int]:
    """Return the sizes of the loops of a linalg.generic, read off its operands."""
    maps = [a.value for a in op.attributes["indexing_maps"]]
    sizes = [1] * maps[0].n_dims
    for operand, map_ in zip(op.operands, maps, strict=True):
        for place, expression in enumerate(map_.results):
            if isinstance(expression, ir.AffineDimExpr):
                sizes[expression.position] = operand.type.shape[place]
    if any(size < 0 for size in sizes):
        raise ValueError("The model has dynamic sizes; a roofline needs static ones.")
    return sizes


def _operations(op: ir.OpView) -> int:
    """Return the operations of a linalg.generic per iteration: 2 where it sums products."""
    names = [inner.operation.name for inner in op.regions[0].blocks[0].operations]
    counted = [name for name in names if name.startswith((*_ARITHMETIC, "math."))]
    multiplies = any(name.startswith("arith.mul") for name in counted)
    reduces = "reduction" in str(op.attributes["iterator_types"])
    return 2 if multiplies and reduces else len(counted)


def _looked_up(argument: ir.Value) -> bool:
    """Whether single elements are picked from an operand, most of which is then not read."""
    users = [use.owner.operation.name for use in argument.uses]
    return bool(users) and all(name == "tensor.extract" for name in users)


def _bytes(kind: ir.Type) -> float:
    if not isinstance(kind, ir.RankedTensorType):
        return 0.0
    width = getattr(kind.element_type, "width", 64)
    return math.prod(kind.shape) * max(8, width) / 8


def compiled(model: Path, out: Path, target: str = "llvm-cpu") -> tuple[Path, dict[str, Line]]:
    """Compile a model; return the module and its dispatches by name."""
    module, dumps = out / f"{model.stem}.profile.vmfb", out / f"{model.stem}.passes"
    shutil.rmtree(dumps, ignore_errors=True)
    command = [tool("iree"), "compile", str(model), "-o", str(module), f"--dump-dir={dumps}"]
    command.append(f"--target={target}")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    texts = {p.stem: p.read_text() for p in (dumps / "dispatches").glob("*.mlir")}
    return module, {
        name: Line(name, *work(text)) for name, text in texts.items() if "." not in name
    }


def observe(
    module: Path, model: Path, device: Device, rounds: int, lines: dict[str, Line]
) -> float:
    """Fill in the times of every dispatch, the shortest of all rounds; return the whole call's.

    The whole call runs as usual, the dispatches one by one.
    """
    arrays = list(example_inputs(model).values())
    whole = iree_core.load(module, device=device).main
    events: list[DispatchEvent] = []
    single = iree_core.load(module, device=observing(device, events.append)).main
    calls: list[list[DispatchEvent]] = []
    best = math.inf
    for _ in range(rounds):
        start = time.perf_counter()
        whole(*arrays)
        best = min(best, time.perf_counter() - start)
        events.clear()
        single(*arrays)
        calls.append(list(events))
    for same in zip(*calls, strict=True):
        lines[same[0].name].seconds.append(min(event.seconds for event in same))
    return best


def table(lines: Sequence[Line], peak: float, bandwidth: float) -> str:
    """Return the dispatches as text, the one that takes longest first."""
    total = sum(sum(line.seconds) for line in lines)
    rows = [
        f"{'dispatch':28}{'calls':>6}{'ms':>9}{'part':>7}{'GFLOP/s':>9}{'of peak':>8}{'GB/s':>8}"
        f"{'of memory':>10}{'of roof':>8}"
    ]
    for line in sorted(lines, key=lambda x: -sum(x.seconds)):
        if not line.seconds:
            continue
        seconds, calls = sum(line.seconds), len(line.seconds)
        speed, rate = line.flops * calls / seconds, line.nbytes * calls / seconds
        rows.append(
            f"{line.name[-28:]:28}{calls:6}{seconds * 1e3:9.3f}{seconds / total:7.1%}"
            f"{speed / 1e9:9.1f}{speed / peak:8.1%}{rate / 1e9:8.2f}{rate / bandwidth:10.1%}"
            f"{max(speed / peak, rate / bandwidth):8.1%}"
        )
    return "\n".join(rows)


def main() -> None:
    """Compile, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a workload's name or an ONNX file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"))
    options = parser.parse_args()
    out = options.out.resolve()
    given = Path(options.model)
    model = given if given.suffix == ".onnx" else model_path(options.model, out / "models")
    module, lines = compiled(model, out)
    limits = [(peak_flops(options.threads), read_bandwidth(options.threads))]
    threads = options.threads
    device = open_device("local-sync" if threads == 1 else f"local-task?threads={threads}")
    whole = observe(module, model, device, options.rounds, lines)
    limits.append((peak_flops(options.threads), read_bandwidth(options.threads)))
    peak, bandwidth = (max(found) for found in zip(*limits, strict=True))
    print(table(list(lines.values()), peak, bandwidth))
    flops = sum(line.flops * len(line.seconds) for line in lines.values())
    single = sum(sum(line.seconds) for line in lines.values())
    print(
        f"\n{options.threads} threads: peak {peak / 1e9:.0f} GFLOP/s, memory"
        f" {bandwidth / 1e9:.1f} GB/s; one call {whole * 1e3:.3f} ms ({single * 1e3:.3f} ms one by"
        f" one), {flops / 1e9:.2f} GFLOP, {flops / whole / peak:.1%} of the peak"
    )


if __name__ == "__main__":
    main()
