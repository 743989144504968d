"""Products and models on an NVIDIA GPU beside torch: cuBLAS, and ``torch.compile``.

``python benchmarks/cuda.py [--sizes 4096,8192] [--models bert,resnet50]``. Both run in this
process, in turn, on the same arrays in the device's memory, exchanged by DLPack; the times are the
best of several rounds of calls that are waited for together. Needs a GPU and a torch for CUDA.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from onnx import TensorProto, helper

import iree_core

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.models import zoo

ROUNDS, CALLS = 8, 10
KINDS = {
    "f16": (TensorProto.FLOAT16, torch.float16, "cuda"),
    "bf16": (TensorProto.BFLOAT16, torch.bfloat16, "cuda"),
    "f32": (TensorProto.FLOAT, torch.float32, "cuda"),
    "tf32": (TensorProto.FLOAT, torch.float32, "cuda:+tf32"),
}


def best(call: Callable[[], Any], wait: Callable[[Any], None]) -> float:
    """Return the seconds of a call in the best round."""
    wait(call())
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(CALLS):
            result = call()
        wait(result)
        times.append((time.perf_counter() - start) / CALLS)
    return min(times)


def synchronize(_: Any) -> None:
    """Wait for torch."""
    torch.cuda.synchronize()


def product(kind: str, size: int) -> None:
    """Print the speed of one square product as a part of cuBLAS's."""
    element, dtype, target = KINDS[kind]
    shape = [size, size]
    tensors = [helper.make_tensor_value_info(name, element, shape) for name in "xwy"]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "product", tensors[:2], tensors[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    ours = iree_core.load(iree_core.compile(model, frontend="onnx", target=target), "cuda")
    torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
    x, w = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
    found, expected = torch.from_dlpack(ours.main(x, w)), x @ w
    error = (found.float() - expected.float()).abs().max() / expected.float().abs().max()
    mine = best(lambda: ours.main(x, w), lambda y: y.wait())
    theirs = best(lambda: x @ w, synchronize)
    work = 2e-12 * size**3
    print(
        f"{kind:5} {size:6} {work / mine:8.1f} TFLOP/s, {theirs / mine:5.1%} of cuBLAS's "
        f"{work / theirs:.1f}, largest difference {error:.1e}"
    )


def model(name: str) -> None:
    """Print the time of a model and that of ``torch.compile``."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        zoo.export(name, path, dynamic=False)
        ours = iree_core.load(iree_core.compile(path, target="cuda"), "cuda")
    inputs = [torch.from_numpy(a).cuda() for a in zoo.ZOO[name].example().values()]
    module, call = zoo.ZOO[name].build()
    compiled = torch.compile(module.eval().cuda())
    with torch.no_grad():
        theirs = best(lambda: call(compiled, *inputs), synchronize)
    mine = best(lambda: ours.main(*inputs), lambda y: y.wait())
    print(f"{name}: {mine * 1e3:.2f} ms, torch.compile {theirs * 1e3:.2f} ms")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="4096,8192")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--models", default="bert,resnet50")
    options = parser.parse_args()
    for size in filter(None, options.sizes.split(",")):
        for kind in options.kinds.split(","):
            product(kind, int(size))
    for name in filter(None, options.models.split(",")):
        model(name)


if __name__ == "__main__":
    main()
