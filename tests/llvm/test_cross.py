"""Code for AArch64 and RISC-V, linked by our linker and run under qemu with the C library.

Needs qemu-user and the cross compilers with their C libraries (Debian: qemu-user,
gcc-aarch64-linux-gnu, gcc-riscv64-linux-gnu, libc6-dev-arm64-cross, libc6-dev-riscv64-cross).
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.llvm.llvm_kernels import BACKEND, elementwise, make_kernel

from iree_backend_llvm import loader
from iree_core.codegen.kernel import CompiledDispatch

HERE = Path(__file__).parent
NATIVE = Path(loader.__file__).parent / "native"

TARGETS = {
    "aarch64": ("aarch64", "qemu-aarch64"),
    "aarch64,cpu=neoverse-v1": ("aarch64", "qemu-aarch64 -cpu max"),
    "riscv64": ("riscv64", "qemu-riscv64 -cpu rv64"),
    "riscv64,features=+v": ("riscv64", "qemu-riscv64 -cpu rv64,v=true,vlen=128"),
    "riscv64,features=+v,+zvl256b": ("riscv64", "qemu-riscv64 -cpu rv64,v=true,vlen=512"),
}


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The static program that runs images, for each architecture."""
    programs = {}
    for arch in ("aarch64", "riscv64"):
        program = tmp_path_factory.mktemp(arch) / "harness"
        sources = [HERE / "harness.c", *sorted(NATIVE.glob("*.c"))]
        command = [f"{arch}-linux-gnu-gcc", "-std=gnu11", "-O1", "-static", "-pthread"]
        command += [f"-I{NATIVE}", *map(str, sources), "-o", str(program), "-lm"]
        subprocess.run(command, check=True)
        programs[arch] = program
    return programs


@dataclass
class Machine:
    """One emulated machine."""

    target: str
    harness: Path
    emulator: list[str]
    folder: Path

    def run(
        self, dispatches: list[CompiledDispatch], which: int, arrays: list[NDArray], *scalars: int
    ) -> None:
        """Link ``dispatches``, run one, and put what it wrote into ``arrays``."""
        executable = BACKEND.link(dispatches, BACKEND.resolve(self.target))
        image = self.folder / "image"
        image.write_bytes(executable.data)
        files = [self.folder / f"binding{i}" for i in range(len(arrays))]
        for file, array in zip(files, arrays, strict=True):
            file.write_bytes(array.tobytes())
        kernel = dispatches[which].kernel
        numbers = [
            executable.entries[which][1],
            kernel.grid.evaluate(scalars),
            kernel.scratch.evaluate(scalars),
            len(files),
        ]
        words = [str(self.harness), str(image), *map(str, [*numbers, *files, *scalars])]
        subprocess.run([*self.emulator, *words], check=True, timeout=120)
        for file, array in zip(files, arrays, strict=True):
            array[...] = np.frombuffer(file.read_bytes(), array.dtype).reshape(array.shape)

    def compile(self, text: str) -> CompiledDispatch:
        """Compile the function ``kernel`` in ``text``; it gets 64 work items."""
        from iree_core.expr import const

        return BACKEND.compile_kernel(
            make_kernel(text, grid=const(64)), BACKEND.resolve(self.target)
        )


@pytest.fixture(params=TARGETS, ids=lambda t: t.replace(",features=", ""))
def machine(request: pytest.FixtureRequest, harness: dict[str, Path], tmp_path: Path) -> Machine:
    """Each target with its emulator."""
    arch, emulator = TARGETS[request.param]
    return Machine(request.param, harness[arch], emulator.split(), tmp_path)


ODD = """
  memref.global "private" constant @table : memref<5xi32> = dense<[7, -3, 1000000, 12, 99]>
  func.func @kernel(%a: memref<?xi32>, %o: memref<?xi32>, %begin: index, %end: index) {
    %c1 = arith.constant 1 : index
    %table = memref.get_global @table : memref<5xi32>
    scf.for %i = %begin to %end step %c1 {
      %v = memref.load %a[%i] : memref<?xi32>
      %k = arith.index_cast %v : i32 to index
      %t = memref.load %table[%k] : memref<5xi32>
      %r = scf.index_switch %k -> i32
      case 0 { %x = arith.addi %v, %t : i32
        scf.yield %x : i32 }
      case 1 { %x = arith.muli %v, %t : i32
        scf.yield %x : i32 }
      case 2 { %x = arith.divsi %t, %v : i32
        scf.yield %x : i32 }
      case 3 { %x = arith.shli %t, %v : i32
        scf.yield %x : i32 }
      default { scf.yield %t : i32 }
      memref.store %r, %o[%i] : memref<?xi32>
    }
    return
  }
"""


@pytest.mark.slow
def test_mathematics_and_imports(machine: Machine) -> None:
    functions = {
        "math.exp": np.exp,
        "math.sin": np.sin,
        "math.log1p": np.log1p,
        "math.tanh": np.tanh,
    }
    compiled = [machine.compile(elementwise(name, lanes=16)) for name in functions]
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 50, 64).astype(np.float32)
    x[5] = 1e7  # beyond what is reduced inline: sinf is imported
    for number, function in enumerate(functions.values()):
        result = np.zeros_like(x)
        machine.run(compiled, number, [x, result])
        with np.errstate(over="ignore"):
            expected = function(x.astype(np.float64)).astype(np.float32)
        np.testing.assert_allclose(result, expected, rtol=5e-7)


@pytest.mark.slow
def test_tables_and_branches(machine: Machine) -> None:
    compiled = [machine.compile(elementwise("math.sqrt", lanes=4)), machine.compile(ODD)]
    x = (np.arange(64) % 5).astype(np.int32)
    result = np.zeros_like(x)
    machine.run(compiled, 1, [x, result])
    np.testing.assert_array_equal(result, np.array([7, -3, 500000, 96, 99])[x])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_halves(machine: Machine, kind: str) -> None:
    import ml_dtypes

    dtype = np.dtype(ml_dtypes.bfloat16 if kind == "bf16" else np.float16)
    compiled = [machine.compile(elementwise("arith.mulf", 2, lanes=8, kind=kind))]
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(64).astype(dtype) for _ in range(2))
    result = np.zeros_like(x)
    machine.run(compiled, 0, [x.view(np.uint16), y.view(np.uint16), result.view(np.uint16)])
    np.testing.assert_array_equal(result, x * y)


@pytest.mark.slow
def test_general_schedule(machine: Machine) -> None:
    text = """
      func.func private @mm(%x: tensor<?x24xf32> {flow.dims = array<i64: 2>},
          %w: tensor<24x40xf32>, %n: index)
          -> (tensor<?x40xf32> {flow.dims = array<i64: 2>}) attributes {flow.dispatch} {
        %z = arith.constant 0.5 : f32
        %e = tensor.empty(%n) : tensor<?x40xf32>
        %f = linalg.fill ins(%z : f32) outs(%e : tensor<?x40xf32>) -> tensor<?x40xf32>
        %m = linalg.matmul ins(%x, %w : tensor<?x24xf32>, tensor<24x40xf32>)
          outs(%f : tensor<?x40xf32>) -> tensor<?x40xf32>
        return %m : tensor<?x40xf32>
      }"""
    compiled = BACKEND.compile(text, BACKEND.resolve(machine.target), strategy="general")
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((9, 24), (24, 40)))
    result = np.zeros((9, 40), np.float32)
    machine.run([compiled], 0, [x, w, result], 9)
    np.testing.assert_allclose(result, x @ w + 0.5, rtol=1e-5, atol=1e-5)
