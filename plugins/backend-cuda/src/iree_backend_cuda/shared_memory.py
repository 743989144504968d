"""Contractions of f32 without tensor cores: every thread multiplies a register tile.

The tiles of both operands lie in shared memory with the reduction outermost, so that a thread
reads four of its rows and four of its columns at a time. (The classic blocking of matrix
products on GPUs: Volkov and Demmel, "Benchmarking GPUs to tune dense linear algebra", 2008.)
"""

from __future__ import annotations

from collections.abc import Iterator

from iree_backend_cuda.cooperation import operation
from iree_backend_cuda.kernel import CudaKernel, extend
from iree_backend_cuda.staging import GROUP_BYTES, StagedTile
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
from iree_core.ir import ir, math, vector

# A block is 16 by 16 threads; each has runs of 4 rows and columns, 64 apart.
_SIDE, _RUN = 16, 4
_APART = _SIDE * _RUN
_LARGE = Tiling(128, 128, 16, _SIDE * _SIDE)
_SMALL = Tiling(64, 64, 16, _SIDE * _SIDE)


def build_shared_contraction(
    dispatch: Dispatch, gpu: GpuModel, *, target: CudaTarget
) -> CudaKernel:
    """Schedule a product of two f32 operands.

    Raises:
        NotScheduled: it is no such product, or too small.
    """
    contraction = match_contraction(dispatch)
    if contraction is None:
        raise NotScheduled("no single contraction whose results are stored from its tiles")
    sides = find_sides(contraction)
    element = factor_type(contraction, sides)
    if element != "f32":
        raise NotScheduled(f"products of {element}")
    tiling = choose_tiling(contraction, gpu, _LARGE, _SMALL)

    made: list[StagedTile] = []

    def fill(frame: GpuFrame) -> None:
        made.append(_RegisterTile(contraction, sides, tiling, frame, target))
        made[0].emit()

    grid = tile_grid(contraction, sides, tiling)
    kernel = make_gpu_kernel(dispatch, "shared-contraction", grid, fill, workgroup=tiling.threads)
    return extend(kernel, shared=made[0].dynamic)


class _RegisterTile(StagedTile):
    """Sums are kept as vectors of four columns."""

    def __init__(
        self,
        c: Contraction,
        sides: tuple[Side, Side],
        tiling: Tiling,
        frame: GpuFrame,
        target: CudaTarget,
    ) -> None:
        super().__init__(c, sides, ir.F32Type.get(), tiling, frame, target)
        b, local = self.b, frame.local
        self.place = (b.mul(b.div(local, _SIDE), _RUN), b.mul(b.mod(local, _SIDE), _RUN))
        self.four = ir.VectorType.get([_RUN], self.f32)
        self.runs = tiling.rows // _APART, tiling.columns // _APART

    def turned(self, number: int) -> bool:
        """Return True: the reduction is outermost."""
        return True

    def zeros(self) -> list[ir.Value]:
        """Return zeros, by row and run of columns."""
        zero = self.b.splat(self.b.constant(self.f32, 0.0), _RUN)
        return [zero] * (self.runs[0] * _RUN * self.runs[1])

    def products(self, start: Scalar, sums: list[ir.Value]) -> list[ir.Value]:
        """Add the outer products of a slice, step by step."""
        for k in range(self.tiling.depth):
            rows = [self._load(0, start, k, run) for run in range(self.runs[0])]
            columns = [self._load(1, start, k, run) for run in range(self.runs[1])]
            factors = [
                vector.BroadcastOp(self.four, vector.ExtractOp(run, [], [n]).result).result
                for run in rows
                for n in range(_RUN)
            ]
            pairs = [(row, column) for row in factors for column in columns]
            sums = [
                math.FmaOp(row, column, total).result
                for (row, column), total in zip(pairs, sums, strict=True)
            ]
        return sums

    def _load(self, number: int, start: Scalar, k: int, run: int) -> ir.Value:
        place = self.b.add(self.place[number], run * _APART)
        address = self.address(start, k, place, number)
        alignment = ir.IntegerAttr.get(self.i64, GROUP_BYTES)
        ordering = ir.IntegerAttr.get(self.i64, 0)
        return operation("llvm.load", self.four, [address], alignment=alignment, ordering=ordering)

    def places(self, sums: list[ir.Value]) -> Iterator[tuple[Scalar, Scalar, list[ir.Value]]]:
        """Yield runs of four columns, row by row."""
        b, rest = self.b, iter(sums)
        for row in range(self.runs[0] * _RUN):
            below = row // _RUN * _APART + row % _RUN
            at = b.add(b.add(self.origin[0], self.place[0]), below)
            for run in range(self.runs[1]):
                column = b.add(b.add(self.origin[1], self.place[1]), run * _APART)
                total = next(rest)
                yield at, column, [vector.ExtractOp(total, [], [n]).result for n in range(_RUN)]
