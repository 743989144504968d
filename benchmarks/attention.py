"""Attention alone, by length, beside ONNX Runtime: time, ratio, and memory.

``python benchmarks/attention.py [--lengths 128,512] [--threads 1]``. Both run in this process,
in turn, on the same arrays; the times are the best of several rounds: processor time on one
thread, so that a busy machine does not matter, else wall time. Memory is how far our
first call raises the resident size at its peak (Linux): result and intermediate buffers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import iree_core
from iree_core.hal.registry import open_device

HEADS, SIZE = 8, 64
ROUNDS = 12


def attention_model(length: int) -> onnx.ModelProto:
    """Return ``softmax(q k^T / 8) v`` for [1, heads, length, size] operands."""
    shape = (1, HEADS, length, SIZE)
    nodes = [
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "kt"], ["products"]),
        helper.make_node("Mul", ["products", "scale"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "attention",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "qkv"],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.float32(SIZE**-0.5), "scale")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def onnx_runtime(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Return a session of ONNX Runtime with that many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def best(calls: dict[str, Callable[[], object]], threads: int) -> dict[str, float]:
    """Return the shortest time of each call in milliseconds; the calls take turns."""
    clock = time.process_time if threads == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = clock()
            call()
            times[name].append((clock() - start) * 1e3)
    return {name: min(found) for name, found in times.items()}


def resident_peak(reset: bool = False) -> float:
    """Return the highest resident size of this process in MiB, since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measure(length: int, threads: int, folder: Path) -> None:
    """Print one line of the table."""
    path = folder / f"attention-{length}.onnx"
    onnx.save(attention_model(length), path)
    module = iree_core.compile(path, target="llvm-cpu")
    device = open_device("local-sync" if threads == 1 else f"local-task?threads={threads}")
    main = iree_core.load(module, device=device).main
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 1, HEADS, length, SIZE)).astype(np.float32)
    before = resident_peak(reset=True)
    found = np.asarray(main(q, k, v))
    grown = resident_peak() - before
    session = onnx_runtime(path, threads)
    inputs = {"q": q, "k": k, "v": v}
    (expected,) = session.run(None, inputs)
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    calls = {"ours": lambda: main(q, k, v), "ort": lambda: session.run(None, inputs)}
    times = best(calls, threads)
    speed = 4 * HEADS * length * length * SIZE / times["ours"] / 1e6
    print(
        f"{length:6d} {times['ours']:9.3f} {times['ort']:9.3f} {times['ort'] / times['ours']:6.2f}"
        f" {speed:8.1f} {grown:9.1f} {error:9.1e}"
    )


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", default="128,197,256,512,1000,1024,2048,4096")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    print("length   ours ms    ort ms  ratio  GFLOP/s  MiB more     error")
    with TemporaryDirectory() as folder:
        for length in map(int, options.lengths.split(",")):
            measure(length, options.threads, Path(folder))


if __name__ == "__main__":
    main()
