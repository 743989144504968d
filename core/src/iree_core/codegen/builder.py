"""Building blocks of kernels: coordinates, loops, and memory access by lane.

A position is a list of :class:`Index` values, one per dimension of a tensor. At most one of
them varies along the *lane* (the vector dimension); reading a tensor there gives a vector,
reading where none varies gives a scalar, which is broadcast only when it meets a vector. The
same description therefore serves scalar code, SIMD code and, one lane per thread, GPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from iree_core.codegen.index_arithmetic import IndexArithmetic
from iree_core.codegen.index_arithmetic import Scalar as Scalar
from iree_core.ir import arith, func, ir, memref, scf, vector
from iree_core.layout import PackedLayout


class NotScheduled(Exception):
    """No schedule applies to a dispatch; the message says why."""


@dataclass(frozen=True)
class Index:
    """One coordinate: ``base + step * lane``, or an explicit vector of positions.

    Attributes:
        base: where lane 0 is.
        step: distance from lane to lane; 0 where all lanes are at the same place.
        vec: the positions as ``vector<Lxindex>`` where they are not evenly spaced (then ``base``
            and ``step`` mean nothing).
    """

    base: Scalar
    step: Scalar = 0
    vec: ir.Value | None = None

    @property
    def varies(self) -> bool:
        """Whether the coordinate differs from lane to lane."""
        return self.vec is not None or self.step != 0


@dataclass(frozen=True)
class Lane:
    """The vector dimension: how many lanes, and which of them are active (None: all)."""

    width: int
    mask: ir.Value | None = None


@dataclass(frozen=True)
class Buffer:
    """A tensor operand of the kernel in memory.

    Attributes:
        memory: the flat ``memref<?xT>``.
        element: the tensor's element type (the memory's may be wider, see codegen.kernel).
        shape: logical sizes.
        layout: packed layout, or None where dense and row-major.
        offset: elements before the first one.
    """

    memory: ir.Value
    element: ir.Type
    shape: tuple[Scalar, ...]
    layout: PackedLayout | None = None
    offset: Scalar = 0


def storage_type(element: ir.Type) -> ir.Type:
    """Return the type that one element of a tensor of ``element`` takes in memory."""
    if isinstance(element, ir.IntegerType) and element.width < 8:
        return ir.IntegerType.get_signless(8)
    if isinstance(element, ir.FloatType) and element.width <= 8:
        return ir.IntegerType.get_signless(8)
    if isinstance(element, ir.IndexType):
        return ir.IntegerType.get_signless(64)
    return element


def element_bits(element: ir.Type) -> int:
    """Return how many bits one element takes in memory."""
    storage = storage_type(element)
    if isinstance(storage, ir.ComplexType):
        return 2 * storage.element_type.width
    return storage.width


class KernelBuilder(IndexArithmetic):
    """Emits the operations of one kernel at the current insertion point."""

    def __init__(self) -> None:
        super().__init__()
        self.i1 = ir.IntegerType.get_signless(1)

    # Coordinates.

    def lanes(self, index: Index, width: int) -> ir.Value:
        """Return a coordinate as ``vector<width x index>``."""
        if index.vec is not None:
            return index.vec
        kind = ir.VectorType.get([width], self.index_type)
        base = vector.BroadcastOp(kind, self.value(index.base)).result
        if index.step == 0:
            return base
        steps = vector.StepOp(kind).result
        if index.step != 1:
            stride = vector.BroadcastOp(kind, self.value(index.step)).result
            steps = arith.MulIOp(steps, stride).result
        return arith.AddIOp(base, steps).result

    def index_add(self, a: Index, b: Index, width: int) -> Index:
        """Return the sum of two coordinates."""
        if a.vec is None and b.vec is None:
            return Index(self.add(a.base, b.base), self.add(a.step, b.step))
        total = arith.AddIOp(self.lanes(a, width), self.lanes(b, width)).result
        return Index(0, 0, total)

    def index_mul(self, a: Index, factor: Scalar, width: int) -> Index:
        """Return a coordinate times a number that is the same for all lanes."""
        if a.vec is None:
            return Index(self.mul(a.base, factor), self.mul(a.step, factor))
        if factor == 1:
            return a
        scale = self.lanes(Index(factor), width)
        return Index(0, 0, arith.MulIOp(a.vec, scale).result)

    def index_split(self, a: Index, size: Scalar, width: int) -> tuple[Index, Index]:
        """Return quotient and remainder of a coordinate by ``size``."""
        if not a.varies:
            return Index(self.div(a.base, size)), Index(self.mod(a.base, size))
        lanes, divisor = self.lanes(a, width), self.lanes(Index(size), width)
        quotient = arith.DivUIOp(lanes, divisor).result
        return Index(0, 0, quotient), Index(0, 0, arith.RemUIOp(lanes, divisor).result)

    def address(self, buffer: Buffer, position: Sequence[Index], width: int) -> Index:
        """Return the element offset of ``position`` in the buffer's memory."""
        layout = buffer.layout
        result = Index(buffer.offset)
        stride: Scalar = 1
        if layout is not None:
            tile, lane = Index(0), position[layout.tile_dim]
            columns = buffer.shape[layout.tile_dim]
            if not isinstance(columns, int) or columns > layout.tile:
                tile, lane = self._split_tile(lane, layout.tile, width)
            inner = 1 if layout.group is None else layout.group[1]
            lane = self.index_mul(lane, inner, width)
            result, stride = self.index_add(result, lane, width), layout.tile * inner
            dims: Sequence[int] = layout.order
        else:
            dims = range(len(buffer.shape))
        for dim in reversed(dims):
            index, size = position[dim], buffer.shape[dim]
            if layout is not None and layout.grouped(dim) > 1:
                index, inside = self._split_tile(index, layout.grouped(dim), width)
                result = self.index_add(result, inside, width)
                size = self.ceildiv(size, layout.grouped(dim))
            term = self.index_mul(index, stride, width)
            result = self.index_add(result, term, width)
            stride = self.mul(stride, size)
        if layout is not None:
            result = self.index_add(result, self.index_mul(tile, stride, width), width)
        return result

    def _split_tile(self, index: Index, tile: int, width: int) -> tuple[Index, Index]:
        # Lanes that start on a multiple of their number stay inside one tile.
        if (
            index.vec is None
            and index.step == 1
            and tile % width == 0
            and is_multiple(index.base, width)
        ):
            return Index(self.div(index.base, tile)), Index(self.mod(index.base, tile), 1)
        return self.index_split(index, tile, width)

    # Vectors.

    def splat(self, scalar: ir.Value, width: int) -> ir.Value:
        """Return ``scalar`` in every lane; a vector is returned as it is."""
        if isinstance(scalar.type, ir.VectorType):
            return scalar
        kind = ir.VectorType.get([width], scalar.type)
        return vector.BroadcastOp(kind, scalar).result

    def tail_mask(self, width: int, active: Scalar) -> ir.Value:
        """Return a mask of which the first ``active`` lanes are set."""
        kind = ir.VectorType.get([width], self.i1)
        return vector.CreateMaskOp(kind, [self.value(active)]).result

    def constant(self, kind: ir.Type, number: float | int) -> ir.Value:
        """Return a scalar constant of an integer, index or float type."""
        if isinstance(kind, ir.FloatType):
            return arith.ConstantOp(kind, ir.FloatAttr.get(kind, float(number))).result
        return arith.ConstantOp(kind, ir.IntegerAttr.get(kind, int(number))).result

    # Memory.

    def load(self, buffer: Buffer, position: Sequence[Index], lane: Lane | None) -> ir.Value:
        """Read a scalar, or a vector if a coordinate varies along the lane.

        Inactive lanes of an integer vector read 1 (so that a division by them cannot trap),
        those of a float vector 0.
        """
        width = lane.width if lane else 1
        address = self.address(buffer, position, width)
        storage = buffer.memory.type.element_type
        if not address.varies or lane is None:
            raw = memref.LoadOp(buffer.memory, [self.value(address.base)]).result
            return self.from_storage(raw, buffer.element)
        kind = ir.VectorType.get([width], storage)
        if address.vec is None and address.step == 1:
            start = [self.value(address.base)]
            if lane.mask is None:
                raw = vector.LoadOp(kind, buffer.memory, start).result
            else:
                pad = self.passthrough(storage, width)
                raw = vector.MaskedLoadOp(kind, buffer.memory, start, lane.mask, pad).result
        else:
            base, offsets = self._gather_address(address, width)
            mask = lane.mask if lane.mask is not None else self._all_lanes(width)
            pad = self.passthrough(storage, width)
            raw = vector.GatherOp(kind, buffer.memory, [base], offsets, mask, pad).result
        return self.from_storage(raw, buffer.element)

    def store(
        self, buffer: Buffer, position: Sequence[Index], value: ir.Value, lane: Lane | None
    ) -> None:
        """Write a scalar, or a vector along the lane."""
        width = lane.width if lane else 1
        address = self.address(buffer, position, width)
        if not address.varies or lane is None:
            raw = self.to_storage(value, buffer.element)
            memref.StoreOp(raw, buffer.memory, [self.value(address.base)])
            return
        raw = self.to_storage(self.splat(value, width), buffer.element)
        if address.vec is None and address.step == 1:
            start = [self.value(address.base)]
            if lane.mask is None:
                vector.StoreOp(raw, buffer.memory, start)
            else:
                vector.MaskedStoreOp(buffer.memory, start, lane.mask, raw)
            return
        base, offsets = self._gather_address(address, width)
        mask = lane.mask if lane.mask is not None else self._all_lanes(width)
        vector.ScatterOp(None, buffer.memory, [base], offsets, mask, raw)

    def passthrough(self, storage: ir.Type, width: int) -> ir.Value:
        """Return what inactive lanes of a load hold."""
        if isinstance(storage, ir.ComplexType):
            raise NotScheduled("complex numbers have no vector form")
        one = isinstance(storage, ir.IntegerType)
        return self.splat(self.constant(storage, int(one)), width)

    def _all_lanes(self, width: int) -> ir.Value:
        return self.splat(self.constant(self.i1, 1), width)

    def _gather_address(self, address: Index, width: int) -> tuple[ir.Value, ir.Value]:
        if address.vec is not None:
            return self.value(0), address.vec
        return self.value(address.base), self.lanes(Index(0, address.step), width)

    def from_storage(self, raw: ir.Value, element: ir.Type) -> ir.Value:
        """Convert what memory holds to a value of the element type."""
        kind = _like(raw.type, element)
        if raw.type == kind:
            return raw
        if isinstance(element, ir.FloatType):
            if element.width < 8:
                bits = _like(raw.type, ir.IntegerType.get_signless(element.width))
                raw = arith.TruncIOp(bits, raw).result
            return arith.BitcastOp(kind, raw).result
        if isinstance(element, ir.IndexType):
            return arith.IndexCastOp(kind, raw).result
        return arith.TruncIOp(kind, raw).result

    def to_storage(self, value: ir.Value, element: ir.Type) -> ir.Value:
        """Convert a value of the element type to what memory holds.

        An i1 is stored as 0 or 1, a narrow integer as its zero-extended bits.
        """
        kind = _like(value.type, storage_type(element))
        if value.type == kind:
            return value
        if isinstance(element, ir.FloatType):
            if element.width == 8:
                return arith.BitcastOp(kind, value).result
            bits = _like(value.type, ir.IntegerType.get_signless(element.width))
            value = arith.BitcastOp(bits, value).result
        elif isinstance(element, ir.IndexType):
            return arith.IndexCastOp(kind, value).result
        return arith.ExtUIOp(kind, value).result

    # Control flow.

    def loop(
        self,
        start: Scalar,
        stop: Scalar,
        step: Scalar,
        body: Callable[[Scalar, list[ir.Value]], Sequence[ir.Value]],
        carried: Sequence[ir.Value] = (),
    ) -> list[ir.Value]:
        """Emit ``for i in range(start, stop, step)``; ``body`` gets i and the carried values.

        A loop that is known to run once is inlined, one known never to run emits nothing.
        Returns the carried values after the last iteration.
        """
        if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int):
            if start >= stop:
                return list(carried)
            if start + step >= stop:
                return list(body(start, list(carried)))
        op = scf.ForOp(self.value(start), self.value(stop), self.value(step), list(carried))
        with ir.InsertionPoint(op.body):
            results = body(op.induction_variable, list(op.inner_iter_args))
            scf.YieldOp(list(results))
        return list(op.results)

    def select_branch(
        self,
        condition: ir.Value,
        kinds: Sequence[ir.Type],
        then: Callable[[], Sequence[ir.Value]],
        otherwise: Callable[[], Sequence[ir.Value]],
    ) -> list[ir.Value]:
        """Emit ``if condition`` with results of types ``kinds``."""
        op = scf.IfOp(condition, list(kinds), has_else=True)
        with ir.InsertionPoint(op.then_block):
            scf.YieldOp(list(then()))
        with ir.InsertionPoint(op.else_block):
            scf.YieldOp(list(otherwise()))
        return list(op.results)


# Of multiples of a number these make a multiple.
_KEEPING_MULTIPLES = ("arith.addi", "arith.subi", "arith.remui", "arith.minsi", "arith.maxsi")


def is_multiple(number: Scalar, factor: int) -> bool:
    """Whether ``number`` is known to be a multiple of ``factor``."""
    if isinstance(number, int):
        return number % factor == 0
    owner = number.owner
    if isinstance(owner, ir.Block):
        return _steps_by(number, owner, factor)
    name = owner.operation.name
    if name == "arith.constant":
        return ir.IntegerAttr(owner.attributes["value"]).value % factor == 0
    if name == "arith.subi" and _is_remainder(number, factor):
        return True
    if name in _KEEPING_MULTIPLES:
        return all(is_multiple(o, factor) for o in owner.operands)
    if name == "arith.muli":
        return any(is_multiple(o, factor) for o in owner.operands)
    return False


def _is_remainder(difference: ir.Value, factor: int) -> bool:
    """Whether ``difference`` is ``x - x % n`` with n a multiple of ``factor``."""
    number, rest = difference.owner.operands
    if isinstance(rest.owner, ir.Block) or rest.owner.operation.name != "arith.remui":
        return False
    dividend, divisor = rest.owner.operands
    return bool(dividend == number) and is_multiple(divisor, factor)


def _steps_by(number: ir.Value, block: ir.Block, factor: int) -> bool:
    loop = block.owner
    if loop.operation.name != "scf.for" or number != block.arguments[0]:
        return False
    start, _, step = list(loop.operands)[:3]
    return is_multiple(start, factor) and is_multiple(step, factor)


def _like(kind: ir.Type, element: ir.Type) -> ir.Type:
    if isinstance(kind, ir.VectorType):
        return ir.VectorType.get(kind.shape, element)
    return element


def insertion(block: ir.Block) -> AbstractContextManager[ir.InsertionPoint]:
    """Return a context in which operations go to the end of ``block``."""
    return ir.InsertionPoint(block)


def function_of(module: ir.Module) -> func.FuncOp:
    """Return the only function of a dispatch's module.

    Raises:
        ValueError: the module holds none or several.
    """
    functions = [op for op in module.body.operations if op.operation.name == "func.func"]
    if len(functions) != 1:
        raise ValueError(f"a dispatch is one function, not {len(functions)}")
    return functions[0]
