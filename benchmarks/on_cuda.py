"""Products and models on an NVIDIA GPU beside cuBLAS, ``torch.compile`` and XLA.

    python benchmarks/on_cuda.py [--sizes 4096,8192] [--models bert,resnet50] [--json FILE]

All run in this process, in turn, on the same arrays in the device's memory; a time is the best of
several rounds of calls that are waited for together. Needs a GPU and a torch for CUDA;
``torch.compile`` also needs triton, and XLA a JAX for CUDA: what is not there is said and left out.
Results are compared with torch's, and a difference that rounding does not explain is an error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the models of the tests

import numpy as np
import torch
from onnx import TensorProto, helper
from tests.models import zoo

import iree_core

ROUNDS, CALLS = 8, 10


@dataclass(frozen=True)
class Kind:
    """How to compute: element types, feature of our target, and the difference that is allowed."""

    onnx: int
    torch: torch.dtype
    feature: str
    tolerance: float


KINDS = {
    "f16": Kind(TensorProto.FLOAT16, torch.float16, "", 2e-2),
    "bf16": Kind(TensorProto.BFLOAT16, torch.bfloat16, "", 6e-2),
    "f32": Kind(TensorProto.FLOAT, torch.float32, "", 1e-4),
    "tf32": Kind(TensorProto.FLOAT, torch.float32, "+tf32", 2e-2),
}


@dataclass(frozen=True)
class Machine:
    """Where the sides run.

    Attributes:
        device: ours, a name or an opened one.
        target: what to compile for.
        torch, xla: names of the device for the others.
    """

    device: Any = "cuda"
    target: str = "cuda"
    torch: str = "cuda"
    xla: str = "gpu"

    def compile_for(self, kind: Kind) -> str:
        """Return the target for a kind."""
        separator = "," if ":" in self.target else ":"
        return f"{self.target}{separator}{kind.feature}" if kind.feature else self.target

    def wait(self, _: Any = None) -> None:
        """Wait for torch."""
        if self.torch == "cuda":
            torch.cuda.synchronize()

    def tensor(self, result: Any) -> torch.Tensor:
        """Return one of our results as a tensor, without a copy where it is on torch's device."""
        if self.torch == "cuda":
            return torch.from_dlpack(result)
        return torch.from_numpy(np.array(result))


@dataclass(frozen=True)
class Row:
    """One measurement: seconds of each side by name, and the largest relative difference."""

    name: str
    kind: str
    seconds: dict[str, float]
    difference: float


Side = tuple[Callable[[], Any], Callable[[Any], Any]]


def race(sides: dict[str, Side], rounds: int, calls: int) -> dict[str, float]:
    """Return the seconds of a call of each side in its best round; they run in turn."""
    best = dict.fromkeys(sides, float("inf"))
    for call, wait in sides.values():
        wait(call())
    for _ in range(rounds):
        for name, (call, wait) in sides.items():
            start = time.perf_counter()
            for _ in range(calls):
                result = call()
            wait(result)
            best[name] = min(best[name], (time.perf_counter() - start) / calls)
    return best


def difference(name: str, found: torch.Tensor, expected: torch.Tensor, kind: Kind) -> float:
    """Return the largest difference, as a part of the largest number.

    Raises:
        SystemExit: it is more than rounding explains.
    """
    wide = expected.float()
    error = float((found.float() - wide).abs().max() / wide.abs().max())
    if not error <= kind.tolerance:
        raise SystemExit(f"{name}: results differ from torch's by {error:.1e}.")
    return error


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Let torch and JAX round f32 to tf32 if ``name`` says so, and otherwise not."""
    allowed = name == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        import jax
    except ImportError:
        yield
        return
    with jax.default_matmul_precision("tensorfloat32" if allowed else "highest"):
        yield


def product(name: str, size: int, machine: Machine, rounds: int, calls: int) -> Row:
    """Measure one square product beside cuBLAS."""
    kind = KINDS[name]
    shape = [size, size]
    tensors = [helper.make_tensor_value_info(x, kind.onnx, shape) for x in "xwy"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "product", tensors[:2], tensors[2:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    compiled = iree_core.compile(model, frontend="onnx", target=machine.compile_for(kind))
    ours = iree_core.load(compiled, machine.device)
    x, w = (torch.randn(size, size, device=machine.torch, dtype=kind.torch) for _ in range(2))
    machine.wait()
    with precision(name):
        error = difference(f"{name} {size}", machine.tensor(ours.main(x, w)), x @ w, kind)
        sides: dict[str, Side] = {
            "ours": (lambda: ours.main(x, w), lambda y: y.wait()),
            "cuBLAS": (lambda: x @ w, machine.wait),
        }
        return Row(f"matmul-{size}", name, race(sides, rounds, calls), error)


class _Plain(torch.nn.Module):
    """A model that takes and returns tensors."""

    def __init__(self, model: torch.nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self.call = model, call

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Call the model."""
        found: torch.Tensor = self.call(self.model, *inputs)
        return found


def network(
    name: str, kind_name: str, entry: zoo.Entry, machine: Machine, rounds: int, calls: int
) -> Row:
    """Measure a model beside torch, ``torch.compile`` and XLA."""
    kind = KINDS[kind_name]
    torch.manual_seed(0)
    plain = _Plain(*entry.build()).eval().to(kind.torch)
    inputs = [torch.from_numpy(array) for array in entry.example().values()]
    inputs = [x.to(kind.torch) if x.is_floating_point() else x for x in inputs]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        _export(plain, inputs, list(entry.inputs), path)
        ours = iree_core.load(
            iree_core.compile(path, target=machine.compile_for(kind)), machine.device
        )
    plain = plain.to(machine.torch)
    inputs = [x.to(machine.torch) for x in inputs]
    machine.wait()
    sides: dict[str, Side] = {"ours": (lambda: ours.main(*inputs), lambda y: y.wait())}
    with precision(kind_name), torch.inference_mode():
        expected = plain(*inputs)
        found = machine.tensor(ours.main(*inputs))
        error = difference(f"{name} {kind_name}", found, expected, kind)
        sides["torch"] = (lambda: plain(*inputs), machine.wait)
        for label, make in (("torch.compile", _inductor), ("XLA", _xla)):
            try:
                call, wait = make(name, plain, inputs, machine)
                difference(f"{label} {name}", torch.as_tensor(call()), expected, kind)
            except Exception as reason:  # a peer is optional, whatever keeps it from working
                print(f"  without {label}: {str(reason).strip().partition(chr(10))[0]}")
                continue
            sides[label] = call, wait
        return Row(name, kind_name, race(sides, rounds, calls), error)


def _export(model: _Plain, inputs: Sequence[torch.Tensor], names: list[str], path: Path) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, tuple(inputs), dynamo=True, input_names=names, external_data=False,
            verbose=False,
        ).save(path)  # fmt: skip


def _inductor(name: str, model: _Plain, inputs: Sequence[torch.Tensor], machine: Machine) -> Side:
    compiled = torch.compile(model)
    return lambda: compiled(*inputs), machine.wait


def _xla(name: str, model: _Plain, inputs: Sequence[torch.Tensor], machine: Machine) -> Side:
    # Both would take the whole memory of the device otherwise.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    from benchmarks import xla

    weights = {key: _array(value) for key, value in model.model.state_dict().items()}
    call = xla.compile_model(name, weights, [_array(x) for x in inputs], machine.xla)
    return call, lambda y: y.block_until_ready()


def _array(tensor: torch.Tensor) -> Any:
    if tensor.dtype != torch.bfloat16:
        return tensor.cpu().numpy()
    import ml_dtypes

    return tensor.cpu().view(torch.int16).numpy().view(ml_dtypes.bfloat16)


def describe(row: Row) -> str:
    """Return a measurement as a line."""
    ours = row.seconds["ours"]
    sides = ", ".join(
        f"{name} {seconds * 1e3:.3f} ms ({seconds / ours:.2f})"
        for name, seconds in row.seconds.items()
    )
    speed = ""
    if row.name.startswith("matmul-"):
        work = 2e-12 * int(row.name.removeprefix("matmul-")) ** 3
        peer = row.seconds["cuBLAS"]
        speed = f"{work / ours:.1f} TFLOP/s, {peer / ours:.1%} of cuBLAS's {work / peer:.1f}; "
    return f"{row.name:12} {row.kind:5} {speed}{sides}; difference {row.difference:.1e}"


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="4096,8192")
    parser.add_argument("--kinds", default=",".join(KINDS), help="of the products")
    parser.add_argument("--models", default="bert,resnet50")
    parser.add_argument("--model-kinds", default="f32,tf32,f16")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--calls", type=int, default=CALLS, help="in a round")
    parser.add_argument("--json", type=Path, help="write the measurements there too")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("This needs a GPU, and a torch for CUDA.")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    machine, rows = Machine(), []
    effort = options.rounds, options.calls
    for size in filter(None, options.sizes.split(",")):
        for kind in filter(None, options.kinds.split(",")):
            rows.append(product(kind, int(size), machine, *effort))
            print(describe(rows[-1]), flush=True)
    for name in filter(None, options.models.split(",")):
        for kind in filter(None, options.model_kinds.split(",")):
            rows.append(network(name, kind, zoo.ZOO[name], machine, *effort))
            print(describe(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
