"""How many iterations the loops of a kernel take, all loops of one invocation together.

Mesa's lavapipe ends every loop of a shader after 65535 iterations of all of them, and says
nothing; the driver refuses what may be cut off. Bounds are expressions over the scalar operands,
from the intervals of the index arithmetic that leads to the bounds of loops.
"""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.codegen.gpu import GpuKernel
from iree_core.codegen.gpu.prepare import static_index
from iree_core.expr import Expr, const, scalar
from iree_core.ir import ir

# A float's remainder doubles and halves at most as often as it has exponents.
_LONGEST_WHILE = 600
# A number that doubles has reached every other one of as many bits.
_WORD = 32


def iterations_of(function: ir.OpView, kernel: GpuKernel) -> Expr | None:
    """Return an upper bound of the iterations of one invocation; None if it depends on data."""
    block = function.regions[0].blocks[0]
    *operands, group, local = block.arguments
    scalars = [a for a in operands if not isinstance(a.type, ir.MemRefType)]
    known: dict[ir.Value, Expr | None] = {a: scalar(number) for number, a in enumerate(scalars)}
    known[group] = kernel.grid.ceildiv(kernel.workgroup)
    known[local] = const(kernel.workgroup - 1)
    return _Bounds(known).of(block)


class _Bounds:
    """Upper bounds of index values and of the iterations of blocks."""

    def __init__(self, known: dict[ir.Value, Expr | None]) -> None:
        self._known = known

    def of(self, block: ir.Block) -> Expr | None:
        """Return an upper bound of the iterations in a block; None if it depends on data."""
        known, total = 0, const(0)
        for op in block.operations:
            inner = const(0)
            for region in op.regions:
                for nested in region.blocks:
                    found = self.of(nested)
                    if found is None:
                        return None
                    inner = inner + found
            trips = self._trips(op)
            if trips is None:
                return None
            count = inner if trips == const(0) else trips * (inner + 1)
            if count.op == "const":
                known += count.value
            else:
                total = count if total == const(0) else total + count
        return total + known if known else total

    def _trips(self, op: ir.OpView) -> Expr | None:
        name = op.operation.name
        if name == "scf.while":
            if _doubles(op):
                return const(_WORD)
            return None if _reads_memory(op) else const(_LONGEST_WHILE)
        if name != "scf.for":
            return const(0)
        start, stop, step = list(op.operands)[:3]
        distance, stride = self._distance(start, stop), static_index(step)
        # Before its condition fails, a loop is entered once more.
        return None if distance is None else distance.ceildiv(stride or 1) + 1

    def _distance(self, start: ir.Value, stop: ir.Value) -> Expr | None:
        """Return a bound of ``stop - start``; loops start at no negative number."""
        if _name(stop) == "arith.minsi":
            parts = [self._distance(start, part) for part in stop.owner.operands]
            known = [part for part in parts if part is not None]
            return _smallest(known)
        if _name(stop) == "arith.addi" and start in list(stop.owner.operands):
            rest = [part for part in stop.owner.operands if part != start]
            return self._most(rest[0]) if len(rest) == 1 else None
        most, least = self._most(stop), static_index(start)
        if most is not None and most.op == "const" and least is not None:
            return const(max(0, most.value - least))
        return most

    def _most(self, value: ir.Value) -> Expr | None:
        """Return the largest number that an index may be, None if it is not known."""
        if value not in self._known:
            self._known[value] = self._computed(value)
        return self._known[value]

    def _computed(self, value: ir.Value) -> Expr | None:
        number = None if isinstance(value.owner, ir.Block) else static_index(value)
        if number is not None:
            return const(max(0, number))
        if isinstance(value.owner, ir.Block):
            loop = value.owner.owner
            is_counter = loop.operation.name == "scf.for" and value == value.owner.arguments[0]
            return self._most(loop.operands[1]) if is_counter else None
        name, operands = _name(value), list(value.owner.operands)
        if name == "memref.dim":
            dim = static_index(operands[1])
            return None if dim is None else self._size(operands[0], dim)
        if name in ("arith.remui", "arith.remsi"):
            return _smallest([m for o in operands if (m := self._most(o)) is not None])
        if name in ("arith.minsi", "arith.minui"):
            return _smallest([m for o in operands if (m := self._most(o)) is not None])
        if name in ("arith.divui", "arith.divsi"):
            divisor, most = static_index(operands[1]), self._most(operands[0])
            return most.ceildiv(divisor) if most is not None and divisor else most
        if name == "arith.subi":
            return self._most(operands[0])
        if name == "arith.select":
            operands = operands[1:]
        elif name not in ("arith.addi", "arith.muli", "arith.maxsi", "arith.maxui"):
            return None
        a, b = (self._most(o) for o in operands)
        if a is None or b is None:
            return None
        return a * b if name == "arith.muli" else a + b if name == "arith.addi" else a.max(b)

    def _size(self, memory: ir.Value, dim: int) -> Expr | None:
        """Return the size of a memref as it was shaped, None where that is not known."""
        if not memory.type.is_dynamic_dim(dim):
            return const(memory.type.shape[dim])
        name, operands = _name(memory), list(memory.owner.operands) if _name(memory) else []
        if name == "memref.cast":
            return self._size(operands[0], dim)
        if name == "scf.execute_region":
            yielded = memory.owner.regions[0].blocks[0].operations[-1].operands
            return self._size(yielded[ir.OpResult(memory).result_number], dim)
        if name == "scf.for":
            return self._size(operands[3 + ir.OpResult(memory).result_number], dim)
        dynamic = [d for d in range(memory.type.rank) if memory.type.is_dynamic_dim(d)]
        if name == "memref.view":
            return self._most(operands[2 + dynamic.index(dim)])
        if name != "memref.reinterpret_cast":
            return None
        offset, sizes = (memory.owner.attributes[f"static_{n}"] for n in ("offsets", "sizes"))
        unknown = ir.ShapedType.get_dynamic_size()
        if sizes[dim] != unknown:
            return const(sizes[dim])
        before = [*offset, *list(sizes)[:dim]].count(unknown)
        return self._most(operands[1 + before])


def _name(value: ir.Value) -> str:
    return "" if isinstance(value.owner, ir.Block) else str(value.owner.operation.name)


def _smallest(numbers: Sequence[Expr]) -> Expr | None:
    """Return the least of several bounds, None of none."""
    if not numbers:
        return None
    result = numbers[0]
    for number in numbers[1:]:
        result = result.min(number)
    return result


def _doubles(op: ir.OpView) -> bool:
    """Whether a loop goes on while a number that doubles each time is below another."""
    before, after = (region.blocks[0] for region in op.regions)
    start, (condition, *_) = list(op.operands), before.operations[-1].operands
    made = after.operations[-1].operands
    if len(start) != 1 or (static_index(start[0]) or 0) < 1 or _name(condition) != "arith.cmpi":
        return False
    below = str(condition.owner.attributes["predicate"]) in ("2 : i64", "6 : i64")
    if not below or condition.owner.operands[0] != before.arguments[0]:
        return False
    if _name(made[0]) != "arith.muli" or before.operations[-1].operands[1] != before.arguments[0]:
        return False
    first, second = made[0].owner.operands
    return bool(first == after.arguments[0]) and (static_index(second) or 0) >= 2


def _reads_memory(op: ir.OpView) -> bool:
    found = False

    def visit(inner: ir.Operation) -> ir.WalkResult:
        nonlocal found
        found = found or inner.name.startswith(("memref.", "vector.load", "vector.gather", "scf.f"))
        return ir.WalkResult.ADVANCE

    op.operation.walk(visit)
    return found
