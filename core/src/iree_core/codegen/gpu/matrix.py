"""Matrix products and convolutions by matrix units: a tile per workgroup, matrices per subgroup.

A contraction is seen as one matrix product per batch: the loops of the result that only the left
operand depends on are its rows, those that only the right one does its columns, all reduced loops
together its inner dimension (a convolution becomes an implicit matrix product). Along the inner
dimension, the workgroup copies a slice of both operands to workgroup memory, whatever computes
them, with zeros beyond their ends; its subgroups multiply the slices. The sums go through
workgroup memory once more, so that what follows is computed element by element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from iree_core.codegen import conv
from iree_core.codegen.builder import Index, NotScheduled, Scalar
from iree_core.codegen.contraction_analysis import Contraction, match_contraction
from iree_core.codegen.dispatch import Dispatch
from iree_core.codegen.gpu.cooperative import (
    barrier,
    fill_matrix,
    load_matrix,
    matrix_type,
    multiply_add,
    store_matrix,
    workgroup_memory,
)
from iree_core.codegen.gpu.frame import GpuFrame, make_gpu_kernel, product
from iree_core.codegen.gpu.kernel import GpuKernel, GpuModel
from iree_core.expr import const
from iree_core.ir import arith, ir, memref

# The tile of a workgroup: 2 x 2 subgroups.
_ROWS, _COLUMNS, _INNER = 32, 64, 16
_SUBGROUPS = 2
_LEAST = 16


@dataclass(frozen=True)
class Product:
    """A contraction as a matrix product.

    Attributes:
        left, right: the numbers of the operands.
        batch, rows, columns: the loops of the result, in its order.
    """

    left: int
    right: int
    batch: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]


def build_matrix(dispatch: Dispatch, gpu: GpuModel) -> GpuKernel:
    """Schedule a dispatch around one contraction of floats for matrix units.

    Raises:
        NotScheduled: there are no such units, or it is not of that form or too small.
    """
    if not gpu.matrix_side or not gpu.subgroup:
        raise NotScheduled("the device has no matrix units")
    contraction = match_contraction(dispatch)
    if contraction is None:
        raise NotScheduled("no single contraction whose results are stored from its tiles")
    form = match_product(contraction)
    threads = _SUBGROUPS**2 * gpu.subgroup
    c = contraction
    tiles = product(tuple(c.extents[d] for d in form.rows)).ceildiv(_ROWS)
    tiles = tiles * product(tuple(c.extents[d] for d in form.columns)).ceildiv(_COLUMNS)
    tiles = tiles * product(tuple(c.extents[d] for d in form.batch))
    windows = any(len(linear.factors) > 1 for maps in c.inputs for linear in maps)
    return make_gpu_kernel(
        dispatch,
        "conv" if windows else "contraction",
        tiles * threads if tiles.op != "const" else const(tiles.value * threads),
        lambda frame: _Tile(c, form, gpu, frame).emit(),
        workgroup=threads,
    )


def match_product(c: Contraction) -> Product:
    """Return a contraction as a matrix product.

    Raises:
        NotScheduled: it is none, or too small.
    """
    operands = _factors(c)
    if operands is None:
        raise NotScheduled("no sum of products of two floats")
    depends = [
        [any(form.factor(d) for form in c.inputs[n]) for d in range(len(c.extents))]
        for n in operands
    ]
    sides: dict[tuple[bool, bool], list[int]] = {}
    for dim in c.output:
        sides.setdefault((depends[0][dim], depends[1][dim]), []).append(dim)
    if (False, False) in sides:
        raise NotScheduled("a result dimension that no operand has")
    first, second = (tuple(sides.get(key, [])) for key in ((True, False), (False, True)))
    left, right = operands
    # Neighbouring threads store neighbouring columns.
    inner = next((d for d in reversed(c.output) if c.extents[d] != 1), None)
    if inner in first:
        first, second, left, right = second, first, right, left
    for name, dims in (("rows", first), ("columns", second), ("inner", c.reductions)):
        size = 1
        for dim in dims:
            size *= c.extent(dim)
        if size < _LEAST:
            raise NotScheduled(f"only {size} {name} for a matrix unit")
    return Product(left, right, tuple(sides.get((True, True), [])), first, second)


def _factors(c: Contraction) -> tuple[int, int] | None:
    """Return which inputs a contraction multiplies, if it adds products of floats."""
    owner = c.body.term.owner
    if c.body.combiner.op != "arith.addf" or isinstance(owner, ir.Block):
        return None
    if owner.operation.name != "arith.mulf":
        return None
    found = []
    for factor in owner.operands:
        while not isinstance(factor.owner, ir.Block):
            if factor.owner.operation.name != "arith.extf":
                return None
            factor = factor.owner.operands[0]
        if factor not in c.body.inputs or factor.type.width > 32:
            return None
        found.append(c.body.inputs.index(factor))
    kind = c.generic.results[0].type.element_type
    tensors = [list(c.generic.inputs)[n].type for n in found]
    if kind.width > 32 or not all(isinstance(t, ir.RankedTensorType) for t in tensors):
        return None
    return (found[0], found[1]) if found[0] != found[1] else None


class _Tile:
    """Emission of the tile of one workgroup."""

    def __init__(self, c: Contraction, form: Product, gpu: GpuModel, frame: GpuFrame) -> None:
        self.c, self.form, self.gpu, self.frame = c, form, gpu, frame
        self.b, self.evaluator = frame.builder, frame.evaluator
        self.threads = _SUBGROUPS**2 * gpu.subgroup
        self.sizes = self.evaluator.loop_sizes(c.generic)
        self.inner = self.b.product([self.sizes[d] for d in c.reductions])
        self.rows = self.b.product([self.sizes[d] for d in form.rows])
        self.columns = self.b.product([self.sizes[d] for d in form.columns])
        inputs = list(c.generic.inputs)
        kinds = {str(inputs[n].type.element_type) for n in (form.left, form.right)}
        single = ir.F32Type.get()
        self.kind = ir.F16Type.get() if kinds == {"f16"} else single
        self.left = workgroup_memory(self.kind, _ROWS * _INNER)
        self.right = workgroup_memory(self.kind, _INNER * _COLUMNS)
        self.sums = workgroup_memory(single, _ROWS * _COLUMNS)
        self.supplied: ir.Value | None = None
        self.evaluator.bind(c.generic.results[0], lambda *_: self._supply())

    def _supply(self) -> ir.Value:
        if self.supplied is None:
            raise NotScheduled("an accumulator is read outside its tile")
        return self.supplied

    def emit(self) -> None:
        """Emit the tile whose number is that of the workgroup."""
        b, form = self.b, self.form
        counts = [self.sizes[d] for d in form.batch]
        counts += [b.ceildiv(self.rows, _ROWS), b.ceildiv(self.columns, _COLUMNS)]
        *batch, row, column = b.delinearize(self.frame.group, counts)
        self.batch = dict(zip(form.batch, batch, strict=True))
        self.row, self.column = b.mul(row, _ROWS), b.mul(column, _COLUMNS)
        side = self.gpu.matrix_side
        height, width = _ROWS // _SUBGROUPS, _COLUMNS // _SUBGROUPS
        subgroup = b.div(self.frame.local, self.gpu.subgroup)
        top = b.mul(b.div(subgroup, _SUBGROUPS), height)
        start = b.mul(b.mod(subgroup, _SUBGROUPS), width)
        # Where each matrix of the subgroup is in the tile.
        tops = [b.add(top, n) for n in range(0, height, side)]
        starts = [b.add(start, n) for n in range(0, width, side)]
        zero = fill_matrix(
            matrix_type(side, ir.F32Type.get(), "COp"), b.constant(ir.F32Type.get(), 0.0)
        )

        def slice_(k: Scalar, sums: list[ir.Value]) -> list[ir.Value]:
            barrier()
            self._copy_left(k)
            self._copy_right(k)
            barrier()
            return self._multiply(tops, starts, sums)

        sums = b.loop(0, self.inner, _INNER, slice_, [zero] * (len(tops) * len(starts)))
        for number, value in enumerate(sums):
            i, j = tops[number // len(starts)], starts[number % len(starts)]
            store_matrix(value, self.sums, b.value(b.add(b.mul(i, _COLUMNS), j)), _COLUMNS)
        barrier()
        self._each(_ROWS * _COLUMNS, self._store)

    def _multiply(
        self, tops: Sequence[Scalar], starts: Sequence[Scalar], sums: Sequence[ir.Value]
    ) -> list[ir.Value]:
        b, side = self.b, self.gpu.matrix_side
        left, right = (matrix_type(side, self.kind, role) for role in ("AOp", "BOp"))
        result = list(sums)
        for k in range(0, _INNER, side):
            rows = [
                load_matrix(left, self.left, b.value(b.add(b.mul(i, _INNER), k)), _INNER)
                for i in tops
            ]
            columns = [
                load_matrix(right, self.right, b.value(b.add(j, k * _COLUMNS)), _COLUMNS)
                for j in starts
            ]
            for number, (row, column) in enumerate((r, c) for r in rows for c in columns):
                result[number] = multiply_add(row, column, result[number])
        return result

    def _each(self, count: int, body: Callable[[Scalar], None]) -> None:
        """Share numbers below ``count`` among the invocations of the workgroup."""

        def one(number: Scalar, _: Sequence[ir.Value]) -> list[ir.Value]:
            with self.evaluator.scope():
                body(number)
            return []

        self.b.loop(self.frame.local, count, self.threads, one)

    # Slices of the operands.

    def _copy_left(self, k: Scalar) -> None:
        b, form = self.b, self.form
        along = self._runs_along(form.left, self.c.reductions)

        def copy(number: Scalar) -> None:
            i, j = self._split(number, _INNER) if along else self._split(number, _ROWS)[::-1]
            place = number if along else b.add(b.mul(i, _INNER), j)
            where = (b.add(self.row, i), b.add(k, j))
            self._copy(form.left, form.rows, self.rows, where, self.left, place)

        self._each(_ROWS * _INNER, copy)

    def _copy_right(self, k: Scalar) -> None:
        b, form = self.b, self.form
        along = not self._runs_along(form.right, self.c.reductions)

        def copy(number: Scalar) -> None:
            i, j = self._split(number, _COLUMNS) if along else self._split(number, _INNER)[::-1]
            place = number if along else b.add(b.mul(i, _COLUMNS), j)
            where = (b.add(self.column, j), b.add(k, i))
            self._copy(form.right, form.columns, self.columns, where, self.right, place)

        self._each(_INNER * _COLUMNS, copy)

    def _split(self, number: Scalar, width: int) -> tuple[Scalar, Scalar]:
        return self.b.div(number, width), self.b.mod(number, width)

    def _runs_along(self, operand: int, dims: Sequence[int]) -> bool:
        """Whether neighbours in memory differ in one of these loops."""
        maps = self.c.inputs[operand]
        return bool(maps) and any(maps[-1].factor(d) for d in dims)

    def _copy(
        self,
        operand: int,
        dims: tuple[int, ...],
        extent: Scalar,
        where: tuple[Scalar, Scalar],
        memory: ir.Value,
        place: Scalar,
    ) -> None:
        """Copy one element to workgroup memory, zero where there is none."""
        b, (outer, inner) = self.b, where

        def read() -> list[ir.Value]:
            with self.evaluator.scope():
                loops = [Index(0)] * len(self.sizes)
                numbers = b.delinearize(outer, [self.sizes[d] for d in dims])
                numbers += b.delinearize(inner, [self.sizes[d] for d in self.c.reductions])
                for dim, number in zip((*dims, *self.c.reductions), numbers, strict=True):
                    loops[dim] = Index(number)
                for dim, number in self.batch.items():
                    loops[dim] = Index(number)
                generic = self.c.generic
                map_ = list(generic.indexing_maps)[operand].value
                tensor = list(generic.inputs)[operand]
                value = self.evaluator.generic_operand(tensor, map_, loops, None)
                return [conv.convert_float(value, self.kind)]

        value = self._inside(
            [(outer, extent), (inner, self.inner)],
            (_ROWS if memory == self.left else _COLUMNS, _INNER),
            read,
        )
        memref.StoreOp(value, memory, [b.value(place)])

    def _inside(
        self,
        limits: Sequence[tuple[Scalar, Scalar]],
        steps: Sequence[int],
        read: Callable[[], list[ir.Value]],
    ) -> ir.Value:
        """Return what ``read`` emits where all numbers are below their limits, else zero."""
        condition = self._condition(limits, steps)
        if condition is None:
            return read()[0]
        zero = [self.b.constant(self.kind, 0.0)]
        return self.b.select_branch(condition, [self.kind], read, lambda: zero)[0]

    def _condition(
        self, limits: Sequence[tuple[Scalar, Scalar]], steps: Sequence[int]
    ) -> ir.Value | None:
        """Return whether numbers are below limits; None where steps divide these."""
        condition: ir.Value | None = None
        for (number, limit), step in zip(limits, steps, strict=True):
            if isinstance(limit, int) and limit % step == 0:
                continue
            below = self.b.compare("slt", number, limit)
            condition = below if condition is None else arith.AndIOp(condition, below).result
        return condition

    # Results.

    def _store(self, number: Scalar) -> None:
        b, form, c = self.b, self.form, self.c
        i, j = self._split(number, _COLUMNS)
        row, column = b.add(self.row, i), b.add(self.column, j)

        def store() -> list[ir.Value]:
            with self.evaluator.scope():
                numbers = b.delinearize(row, [self.sizes[d] for d in form.rows])
                numbers += b.delinearize(column, [self.sizes[d] for d in form.columns])
                dims = (*form.rows, *form.columns)
                loops = self.batch | dict(zip(dims, numbers, strict=True))
                self._finish([Index(loops[d]) for d in c.output], number)
            return []

        limits = [(row, self.rows), (column, self.columns)]
        condition = self._condition(limits, (_ROWS, _COLUMNS))
        if condition is None:
            store()
        else:
            b.select_branch(condition, [], store, list)

    def _finish(self, position: list[Index], number: Scalar) -> None:
        """Add the initial value to a sum, and compute and store what depends on it."""
        b, c = self.b, self.c
        single = ir.F32Type.get()
        total = memref.LoadOp(self.sums, [b.value(number)]).result
        initial = self.evaluator.value(c.generic.outputs[0], position, None)
        total = arith.AddFOp(total, conv.convert_float(initial, single)).result
        self.supplied = conv.convert_float(total, c.generic.results[0].type.element_type)
        for placement, buffer in zip(c.placements, self.frame.outputs, strict=True):
            at = placement.locate(b, position, 1)
            b.store(buffer, at, self.evaluator.value(placement.tensor, at, None), None)
        self.supplied = None
