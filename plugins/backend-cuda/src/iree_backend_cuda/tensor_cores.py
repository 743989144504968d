"""Contractions on tensor cores: the warps of a block multiply its tile by ``mma.sync``.

An operand is kept in shared memory in the direction in which it is read, and ``ldmatrix`` turns it
where the instruction wants the other one (f32 is loaded one by one then). Source: PTX ISA 8.x,
"Matrix Fragments for mma.m16n8k16" (f16, bf16) and "mma.m16n8k8" (tf32).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from iree_backend_cuda.cooperation import intrinsic, operation
from iree_backend_cuda.kernel import CudaKernel, extend
from iree_backend_cuda.staging import StagedTile
from iree_backend_cuda.target import CudaTarget
from iree_backend_cuda.tiles import (
    Side,
    Tiling,
    choose_tiling,
    factor_type,
    find_sides,
    tile_grid,
)
from iree_core.codegen.builder import NotScheduled, Scalar
from iree_core.codegen.contraction_analysis import Contraction, match_contraction
from iree_core.codegen.dispatch import Dispatch
from iree_core.codegen.gpu import GpuModel
from iree_core.codegen.gpu.frame import GpuFrame, make_gpu_kernel
from iree_core.ir import ir

_SLICE_BYTES = 64


@dataclass(frozen=True)
class Precision:
    """A kind of multiplication.

    Attributes:
        element: type of the operands in memory, as MLIR writes it.
        bits: of an operand.
        depth: products that one instruction adds up.
        intrinsic: LLVM's name of the instruction.
        pairs: fragments are passed as pairs of f16.
    """

    element: str
    bits: int
    depth: int
    intrinsic: str
    pairs: bool = False


PRECISIONS = {
    "f16": Precision("f16", 16, 16, "llvm.nvvm.mma.m16n8k16.row.col.f32.f32", pairs=True),
    "bf16": Precision("bf16", 16, 16, "llvm.nvvm.mma.m16n8k16.row.col.bf16"),
    "tf32": Precision("f32", 32, 8, "llvm.nvvm.mma.m16n8k8.row.col.tf32"),
}


def build_tensor_contraction(
    dispatch: Dispatch, gpu: GpuModel, *, target: CudaTarget
) -> CudaKernel:
    """Schedule a product of two f16 or bf16 operands, or two of f32 rounded to tf32.

    Args:
        dispatch: what to compute.
        gpu: the device class.
        target: its capability, and whether f32 may be rounded to 10 bits of mantissa.

    Raises:
        NotScheduled: it is no such product, or too small.
    """
    contraction = match_contraction(dispatch)
    if contraction is None:
        raise NotScheduled("no single contraction whose results are stored from its tiles")
    sides = find_sides(contraction)
    element = factor_type(contraction, sides)
    precision = PRECISIONS.get("tf32" if element == "f32" and target.tf32 else element)
    if precision is None:
        raise NotScheduled(f"products of {element}")
    depth = _SLICE_BYTES * 8 // precision.bits
    large, small = Tiling(128, 128, depth, 256), Tiling(64, 64, depth, 128)
    tiling = choose_tiling(contraction, gpu, large, small)

    made: list[StagedTile] = []

    def fill(frame: GpuFrame) -> None:
        made.append(_TensorTile(contraction, sides, precision, tiling, frame, target))
        made[0].emit()

    grid = tile_grid(contraction, sides, tiling)
    kernel = make_gpu_kernel(dispatch, "tensor-contraction", grid, fill, workgroup=tiling.threads)
    return extend(kernel, shared=made[0].dynamic)


class _TensorTile(StagedTile):
    """The warps of a block lie in two rows, and each has a part of the tile."""

    def __init__(
        self,
        c: Contraction,
        sides: tuple[Side, Side],
        precision: Precision,
        tiling: Tiling,
        frame: GpuFrame,
        target: CudaTarget,
    ) -> None:
        super().__init__(c, sides, ir.Type.parse(precision.element), tiling, frame, target)
        self.precision = precision
        across = tiling.threads // 64
        self.warp = (tiling.rows // 2, tiling.columns // across)
        b, local = self.b, frame.local
        self.lane, warp = b.mod(local, 32), b.div(local, 32)
        self.place = (
            b.mul(b.div(warp, across), self.warp[0]),
            b.mul(b.mod(warp, across), self.warp[1]),
        )

    def turned(self, number: int) -> bool:
        """Whether memory runs across the reduction."""
        return not self.sides[number].along

    def pitch(self, number: int) -> int:
        """Return the elements from one line to the next; four lines of f32 are read at a time."""
        both = self.turned(number) and self.bits == 32
        return super().pitch(number) + (self.group if both else 0)

    def zeros(self) -> list[ir.Value]:
        """Return zeros: four for every 16 by 8 elements of the warp."""
        count = (self.warp[0] // 16) * (self.warp[1] // 8) * 4
        return [self.b.constant(self.f32, 0.0)] * count

    def products(self, start: Scalar, sums: list[ir.Value]) -> list[ir.Value]:
        """Multiply a slice."""
        columns = self.warp[1] // 8
        for k in range(0, self.tiling.depth, self.precision.depth):
            rows = [self._fragment(0, start, m, k) for m in range(0, self.warp[0], 16)]
            pairs = [self._fragment(1, start, n, k) for n in range(0, self.warp[1], 16)]
            halves = [half for pair in pairs for half in (pair[:2], pair[2:])]
            for m, left in enumerate(rows):
                for n, right in enumerate(halves):
                    first = (m * columns + n) * 4
                    sums[first : first + 4] = self._mma(left, right, sums[first : first + 4])
        return sums

    def _fragment(self, number: int, start: Scalar, at: int, k: int) -> list[ir.Value]:
        """Load a 16 by 16 (tf32: 16 by 8) part of a tile: four registers of each thread.

        They are four matrices of 8 lines of 16 bytes. Of the rows' tile the second one is below
        the first and the third beside it; of the columns' tile the other way round, which makes
        two fragments of 8 columns.
        """
        if self.turned(number) and self.bits == 32:
            return self._gather(number, start, at, k)
        b, unit = self.b, self.group
        matrix, line = b.div(self.lane, 8), b.mod(self.lane, 8)
        low, high = b.mod(matrix, 2), b.div(matrix, 2)
        below, beside = (low, high) if number == 0 else (high, low)
        across = b.add(self.place[number], at)
        if self.turned(number):
            lines = b.add(b.add(b.mul(beside, 8), line), k)
            address = self.address(start, lines, b.add(across, b.mul(below, 8)), number)
        else:
            lines = b.add(b.add(b.mul(below, 8), line), across)
            address = self.address(start, lines, b.add(b.mul(beside, unit), k), number)
        turn = ".trans" if self.turned(number) else ""
        name = f"llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4{turn}.b16.p3"
        registers = intrinsic(name, [self.i32] * 4, [address])
        return registers if self.bits == 16 else [self._rounded(r) for r in registers]

    def _gather(self, number: int, start: Scalar, at: int, k: int) -> list[ir.Value]:
        """Load what :meth:`_fragment` does one by one: ``ldmatrix`` does not turn 32 bits."""
        b, attribute = self.b, ir.IntegerAttr.get
        found = []
        line = b.add(b.add(self.place[number], at), b.div(self.lane, 4))
        step = b.add(b.mod(self.lane, 4), k)
        for matrix in range(4):
            low, high = matrix % 2, matrix // 2
            below, beside = (low, high) if number == 0 else (high, low)
            address = self.address(
                start, b.add(step, beside * self.group), b.add(line, 8 * below), number
            )
            loaded = operation(
                "llvm.load", self.i32, [address],
                alignment=attribute(self.i64, 4), ordering=attribute(self.i64, 0),
            )  # fmt: skip
            found.append(self._rounded(loaded))
        return found

    def _rounded(self, register: ir.Value) -> ir.Value:
        """Round f32 as tensor cores take it: they ignore the bits that tf32 lacks."""
        number = operation("llvm.bitcast", self.f32, [register])
        return intrinsic("llvm.nvvm.f2tf32.rna", [self.i32], [number])[0]

    def _mma(
        self, left: list[ir.Value], right: list[ir.Value], sums: list[ir.Value]
    ) -> list[ir.Value]:
        registers = [*left, *right]
        if self.precision.pairs:
            pair = ir.VectorType.get([2], ir.F16Type.get())
            registers = [operation("llvm.bitcast", pair, [r]) for r in registers]
        return intrinsic(self.precision.intrinsic, [self.f32] * 4, [*registers, *sums])

    def places(self, sums: list[ir.Value]) -> Iterator[tuple[Scalar, Scalar, list[ir.Value]]]:
        """Yield of each fragment two neighbours of a row, and two 8 rows below."""
        b = self.b
        line, pair = b.div(self.lane, 4), b.mul(b.mod(self.lane, 4), 2)
        first_row = b.add(b.add(self.origin[0], self.place[0]), line)
        first_column = b.add(b.add(self.origin[1], self.place[1]), pair)
        rest = iter(sums)
        for m in range(0, self.warp[0], 16):
            for n in range(0, self.warp[1], 8):
                for below in (m, m + 8):
                    values = [next(rest), next(rest)]
                    yield b.add(first_row, below), b.add(first_column, n), values
