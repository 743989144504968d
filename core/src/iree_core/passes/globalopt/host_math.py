"""Run the body of an elementwise ``linalg.generic`` with numpy, long after the IR is gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from iree_core.ir import ir
from iree_core.passes.globalopt.generics import dim_positions, maps_of, owner_of

_DTYPES = {
    "f64": np.float64, "f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16,
    "i64": np.int64, "i32": np.int32, "i16": np.int16, "i8": np.int8, "i1": np.bool_,
}  # fmt: skip

_FUNCTIONS: dict[str, Callable[..., NDArray]] = {
    "arith.addf": np.add,
    "arith.subf": np.subtract,
    "arith.mulf": np.multiply,
    "arith.divf": np.divide,
    "arith.negf": np.negative,
    "arith.maximumf": np.maximum,
    "arith.minimumf": np.minimum,
    "arith.addi": np.add,
    "arith.subi": np.subtract,
    "arith.muli": np.multiply,
    "arith.xori": np.bitwise_xor,
    "arith.minsi": np.minimum,
    "arith.maxsi": np.maximum,
    "arith.cmpi eq": np.equal,
    "arith.cmpi ne": np.not_equal,
    "arith.cmpi slt": np.less,
    "arith.cmpi sle": np.less_equal,
    "arith.cmpi sgt": np.greater,
    "arith.cmpi sge": np.greater_equal,
    "arith.select": np.where,
    "math.absf": np.abs,
    "math.sqrt": np.sqrt,
    "math.rsqrt": lambda x: 1 / np.sqrt(x),
    "math.exp": np.exp,
    "math.log": np.log,
    "math.tanh": np.tanh,
}
_CASTS = (
    "arith.extf", "arith.truncf", "arith.sitofp", "arith.uitofp", "arith.extsi", "arith.index_cast",
)  # fmt: skip
_SIGNED_CASTS = ("arith.sitofp", "arith.extsi", "arith.index_cast")
_SIGNED_PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge")
_READS = ("linalg.index", "tensor.extract")

Step = tuple[str, tuple[int, ...], np.dtype]


def dtype_of(kind: ir.Type) -> np.dtype | None:
    """Return the numpy dtype of an element type, None where there is none."""
    found = _DTYPES.get(str(kind))
    return None if found is None else np.dtype(found)


def _extract(table: NDArray, *indices: NDArray) -> NDArray:
    # What lies outside has no defined value; any element will do.
    inside = (np.clip(i, 0, n - 1) for i, n in zip(indices, table.shape, strict=True))
    return np.asarray(table[tuple(inside)])


@dataclass(frozen=True)
class HostBody:
    """A body as a list of numpy calls over numbered values: inputs, constants, steps.

    Attributes:
        constants: the scalars it uses, numbered behind the inputs.
        steps: function, positions of its arguments, and the dtype of its result.
        result: position of what it yields.
    """

    constants: tuple[NDArray, ...]
    steps: tuple[Step, ...]
    result: int

    @property
    def names(self) -> list[str]:
        """The operations, in order."""
        return [name for name, _, _ in self.steps]

    def in_float64(self) -> HostBody:
        """Return the same body with every floating-point step in float64."""
        wide = np.dtype(np.float64)
        steps = tuple((n, a, wide if d.kind == "f" else d) for n, a, d in self.steps)
        constants = tuple(c.astype(wide) if c.dtype.kind == "f" else c for c in self.constants)
        return HostBody(constants, steps, self.result)

    def run(self, inputs: Sequence[NDArray]) -> NDArray:
        """Evaluate the body on arrays that broadcast against each other."""
        values: list[NDArray] = [*inputs, *self.constants]
        for name, arguments, dtype in self.steps:
            given = [values[a] for a in arguments]
            if name == "tensor.extract":
                values.append(_extract(*given))
            elif name in _CASTS:
                source = given[0]
                if name == "arith.uitofp" and source.dtype.kind == "i":
                    source = source.view(f"u{source.dtype.itemsize}")
                if (
                    name in ("arith.sitofp", "arith.extsi", "arith.index_cast")
                    and source.dtype.kind == "u"
                ):
                    source = source.view(f"i{source.dtype.itemsize}")
                values.append(source.astype(dtype))
            else:
                values.append(np.asarray(_FUNCTIONS[name](*given), dtype))
        return values[self.result]


def read_host_body(op: ir.Operation) -> HostBody | None:
    """Return the body of a generic of one result as numpy calls, None where it has other ops.

    The inputs are those of the generic.
    """
    if any(o.operation.name in _READS for o in op.regions[0].blocks[0].operations):
        return None
    return _read_body(op, [], [])


def tables_of(op: ir.Operation) -> list[ir.Value]:
    """Return the tensors that the body of a generic extracts elements from, each once."""
    found: list[ir.Value] = []
    for inner in op.regions[0].blocks[0].operations:
        if inner.operation.name == "tensor.extract" and inner.operands[0] not in found:
            found.append(inner.operands[0])
    return found


def _loops_read(op: ir.Operation) -> list[int]:
    """Return the loops whose index the body of a generic uses, each once."""
    found = [
        int(ir.IntegerAttr(inner.operation.attributes["dim"]).value)
        for inner in op.regions[0].blocks[0].operations
        if inner.operation.name == "linalg.index"
    ]
    return sorted(set(found))


def _read_body(
    op: ir.Operation, tables: Sequence[ir.Value], loops: Sequence[int]
) -> HostBody | None:
    """Return a body whose inputs are the generic's, then ``tables``, then indices of ``loops``."""
    block = op.regions[0].blocks[0]
    operations = [o.operation for o in block.operations]
    given = [*list(block.arguments)[:-1], *tables]
    positions: dict[ir.Value, int] = {value: n for n, value in enumerate(given)}
    for inner in operations[:-1]:
        if inner.name == "linalg.index":
            loop = ir.IntegerAttr(inner.attributes["dim"]).value
            positions[inner.results[0]] = len(given) + loops.index(loop)
        elif inner.name != "arith.constant" and _step_name(inner) is None:
            return None
    first = len(given) + len(loops)
    constants: list[NDArray] = []
    for operand in (o for inner in operations for o in inner.operands):
        if operand in positions or _is_computed(operand, operations):
            continue
        value = _scalar_constant(operand)
        if value is None:
            return None
        positions[operand] = first + len(constants)
        constants.append(value)
    steps: list[Step] = []
    count = first + len(constants)
    for inner in operations[:-1]:
        if inner.name in ("arith.constant", "linalg.index"):
            continue
        dtype, name = _dtype_in_body(inner.results[0].type), _step_name(inner)
        if dtype is None or name is None:
            return None
        steps.append((name, tuple(positions[o] for o in inner.operands), dtype))
        positions[inner.results[0]] = count
        count += 1
    return HostBody(tuple(constants), tuple(steps), positions[operations[-1].operands[0]])


def _is_computed(value: ir.Value, operations: Sequence[ir.Operation]) -> bool:
    owner = owner_of(value)
    return owner is not None and owner in operations and owner.name != "arith.constant"


def _step_name(op: ir.Operation) -> str | None:
    """Return the name of the numpy call for an operation of a body, None where there is none."""
    if op.name == "arith.cmpi":
        predicate = int(ir.IntegerAttr(op.attributes["predicate"]).value)
        signed = predicate < len(_SIGNED_PREDICATES)
        return f"arith.cmpi {_SIGNED_PREDICATES[predicate]}" if signed else None
    return op.name if op.name in (*_FUNCTIONS, *_CASTS, "tensor.extract") else None


def _dtype_in_body(kind: ir.Type) -> np.dtype | None:
    return np.dtype(np.int64) if isinstance(kind, ir.IndexType) else dtype_of(kind)


def _scalar_constant(value: ir.Value) -> NDArray | None:
    if isinstance(value.owner, ir.Block) or value.owner.operation.name != "arith.constant":
        return None
    attribute = value.owner.operation.attributes["value"]
    dtype = _dtype_in_body(value.type)
    if dtype is None or not isinstance(attribute, (ir.FloatAttr, ir.IntegerAttr)):
        return None
    return np.asarray(attribute.value, dtype)


@dataclass(frozen=True)
class HostGeneric:
    """An elementwise generic over arrays of known shape.

    Attributes:
        body: its body, whose inputs are those of the generic, tables that it extracts elements
            from, and the indices of loops.
        loops: the loops whose indices it uses.
        reads: per input, the loop of each of its dimensions (None: size 1, not a loop).
        writes: the loop of each dimension of the result.
        extents: sizes of the loops.
    """

    body: HostBody
    loops: tuple[int, ...]
    reads: tuple[tuple[int | None, ...], ...]
    writes: tuple[int, ...]
    extents: tuple[int, ...]

    def run(self, inputs: Sequence[NDArray]) -> NDArray:
        """Return the result for ``inputs``, behind which are the tables (:func:`tables_of`)."""
        aligned = [self._align(a, r) for a, r in zip(inputs, self.reads, strict=False)]
        tables = list(inputs)[len(self.reads) :]
        values = [*aligned, *tables, *(self._index(loop) for loop in self.loops)]
        result = np.broadcast_to(self.body.run(values), self.extents)
        moved = np.transpose(result, self.writes)
        return np.ascontiguousarray(moved).reshape(moved.shape)  # which rank 0 does not keep

    def _index(self, loop: int) -> NDArray:
        """Return the index of a loop, with one dimension per loop."""
        shape = [1] * len(self.extents)
        shape[loop] = self.extents[loop]
        return np.arange(self.extents[loop]).reshape(shape)

    def _align(self, array: NDArray, read: tuple[int | None, ...]) -> NDArray:
        """Return ``array`` with one dimension per loop, in loop order."""
        kept = [d for d, loop in enumerate(read) if loop is not None]
        array = array.reshape([array.shape[d] for d in kept])
        loops = [read[d] for d in kept]
        order = sorted(range(len(loops)), key=lambda d: loops[d] or 0)
        shape = [1] * len(self.extents)
        for d in order:
            shape[loops[d] or 0] = array.shape[d]
        return np.transpose(array, order).reshape(shape)


def read_host_generic(op: ir.Operation) -> HostGeneric | None:
    """Return an elementwise generic of static shape and one result, None where it is no such."""
    indices = _loops_read(op)
    body = _read_body(op, tables_of(op), indices)
    maps = maps_of(op)
    writes = dim_positions(maps[-1])
    if body is None or None in writes or len(set(writes)) != maps[0].n_dims:
        return None
    reads = []
    for each in maps[:-1]:
        positions = dim_positions(each)
        for position, expression in zip(positions, each.results, strict=True):
            if position is None and not isinstance(expression, ir.AffineConstantExpr):
                return None
        loops = [p for p in positions if p is not None]
        if len(set(loops)) != len(loops):
            return None
        reads.append(tuple(positions))
    extents = [0] * maps[0].n_dims
    for loop, size in zip(writes, op.results[0].type.shape, strict=True):
        extents[loop or 0] = size
    return HostGeneric(
        body, tuple(indices), tuple(reads), tuple(w or 0 for w in writes), tuple(extents)
    )
