"""Independent slices of a kernel of the general schedule, done by invocations of their own.

A scan along one dimension treats every position of the others alike; so does a sort of rows, a
selection of the largest, a scatter with respect to the dimensions that its indices do not choose.
In the loops of the general schedule that shows in the subscripts: a loop may be shared among
invocations if every buffer that is written has a dimension that is subscripted by such a loop's
counter wherever the buffer is read or written. Invocation t then does turn t of these loops, and
touches nothing that another one writes. What is written inside of a turn only is private memory,
of which every invocation gets its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from iree_core.codegen.builder import NotScheduled, element_bits
from iree_core.codegen.frame import MAY_ALIAS
from iree_core.expr import Expr, Operator, const, scalar
from iree_core.ir import arith, func, ir, run_pipeline, scf

_INLINE = "builtin.module(func.func(scf-forall-to-for),canonicalize,cse)"
# Invocations where each needs memory of its own, fewer where its size is known late; they do
# several slices in turn.
_MOST_PRIVATE, _MOST_UNKNOWN = 4096, 512
# What they have together, if that is enough for one.
_PRIVATE_BYTES = 64 << 20
_ALIGNMENT = 64
_RESHAPES = (
    "memref.subview", "memref.collapse_shape", "memref.expand_shape", "memref.cast",
)  # fmt: skip
_ALLOWED = ("memref.load", "memref.store", "memref.dim", "memref.view", "memref.reinterpret_cast")


@dataclass(frozen=True)
class Sliced:
    """A kernel whose loops are shared among invocations.

    Attributes:
        module: its text; the function's last arguments are workgroup and invocation.
        grid: invocations.
        scratch: bytes of memory for temporaries, of all invocations together.
    """

    module: str
    grid: Expr
    scratch: Expr


def slice_kernel(text: str, scratch: Expr, results: int, workgroup: int) -> Sliced:
    """Share the loops of a general kernel among invocations.

    Must run inside an MLIR context.

    Args:
        text: the kernel's module.
        scratch: bytes that its temporaries take.
        results: how many of its buffers, at the end, are results.
        workgroup: invocations of a workgroup.

    Raises:
        NotScheduled: there is no loop whose turns are independent.
    """
    module = ir.Module.parse(text.replace(" no_inline", ""))
    run_pipeline(module, _INLINE)
    function = next(op for op in module.body.operations if isinstance(op, func.FuncOp))
    kernel = _Kernel(function, results, scratch != const(0))
    chosen = kernel.independent()
    if not chosen:
        raise NotScheduled("no loop whose turns are independent")
    counts = [kernel.extent(dimension) for dimension in chosen]
    items = counts[0]
    for count in counts[1:]:
        items = items * count
    if items.op == "const" and items.value < 2:
        raise NotScheduled("a single slice")
    return _Rewriter(kernel, chosen, counts, items, scratch, workgroup).run(module)


@dataclass(frozen=True)
class _Access:
    """One load or store.

    Attributes:
        op: the operation.
        root: the buffer: an argument, or the view that is one temporary.
        shape: the type and the sizes that the buffer is seen with.
        subscripts: its coordinates.
        stores: whether it writes.
    """

    op: ir.Operation
    root: ir.Value
    shape: tuple[object, ...]
    subscripts: tuple[ir.Value, ...]
    stores: bool


@dataclass
class _Dimension:
    """Loops that are shared, one dimension of every shared buffer being theirs."""

    loops: list[ir.Operation] = field(default_factory=list)
    of: dict[ir.Value, int] = field(default_factory=dict)


class _Kernel:
    """A kernel's buffers and what is done with them."""

    def __init__(self, function: func.FuncOp, results: int, has_scratch: bool) -> None:
        self.function = function
        block = function.regions[0].blocks[0]
        arguments = list(block.arguments)
        self.invocation = arguments[-2:]
        memories = [a for a in arguments if isinstance(a.type, ir.MemRefType)]
        self.scratch = memories.pop() if has_scratch else None
        self.outputs = memories[-results:]
        self.scalars = [a for a in arguments[:-2] if not isinstance(a.type, ir.MemRefType)]
        self.accesses = list(self._read(block))
        # Operands that may lie under the result are written through it.
        may_alias = [memories[n] for n in function.attributes[MAY_ALIAS]]
        self.under = [m for m in may_alias if any(a.root == m for a in self.accesses)]
        stored = [a.root for a in self.accesses if a.stores]
        self.written = [*dict.fromkeys([*self.under, *stored])]
        self._check_uses()

    def _read(self, block: ir.Block) -> Iterator[_Access]:
        for op in _walk(block):
            if op.name == "memref.load":
                memory, *subscripts = op.operands
            elif op.name == "memref.store":
                _, memory, *subscripts = op.operands
            else:
                continue
            root = self._root(memory)
            owner = memory.owner
            sizes = [] if isinstance(owner, ir.Block) or memory == root else owner.operands[1:]
            shape = (memory.type, *sizes)
            yield _Access(op, root, shape, tuple(subscripts), op.name == "memref.store")

    def _root(self, memory: ir.Value) -> ir.Value:
        owner = memory.owner
        if isinstance(owner, ir.Block):
            return memory
        name = owner.operation.name
        if name == "memref.get_global":
            return memory
        if name == "memref.view" and owner.operands[0] == self.scratch:
            return memory
        if name not in ("memref.reinterpret_cast", *_RESHAPES):
            raise NotScheduled(f"a buffer made by {name}")
        return self._root(owner.operands[0])

    def _check_uses(self) -> None:
        """Require that buffers that are written are seen in one way, by loads and stores only."""
        for root in self.written:
            if len({a.shape for a in self.accesses if a.root == root}) > 1:
                raise NotScheduled("a buffer that is written and seen in two shapes")
        shapes = {a.shape for a in self.accesses if a.root in (*self.under, *self.outputs)}
        if self.under and (len(self.outputs) > 1 or len(shapes) > 1):
            raise NotScheduled("a result over an operand of another shape")
        for op in _walk(self.function.regions[0].blocks[0]):
            if op.name in _ALLOWED:
                continue
            for operand in op.operands:
                if isinstance(operand.type, ir.MemRefType) and self._root(operand) in self.written:
                    raise NotScheduled(f"{op.name} of a buffer that is written")

    def independent(self) -> list[_Dimension]:
        """Return the dimensions along which turns are independent."""
        chosen: list[_Dimension] = []
        first = self.outputs[0]
        ranks = [len(a.subscripts) for a in self.accesses if a.root == first]
        for position in range(ranks[0] if ranks else 0):
            found = self._follow(first, position)
            if found is not None and self._is_valid(found, chosen):
                chosen.append(found)
        return chosen

    def _follow(self, first: ir.Value, position: int) -> _Dimension | None:
        """Return the loops of one dimension of a buffer, and of those that it is made from."""
        result = _Dimension(of={first: position})
        pending = [first]
        while pending:
            root = pending.pop()
            for access in self.accesses:
                if access.root == root:
                    loop = _loop_of(access.subscripts[result.of[root]])
                    if loop is None:
                        return None
                    if loop not in result.loops:
                        result.loops.append(loop)
            for other in self.written:
                if other in result.of or any(_is_inside(other.owner, p) for p in result.loops):
                    continue
                place = self._place(other, result.loops)
                if place is not None:
                    result.of[other] = place
                    pending.append(other)
        return result

    def _place(self, root: ir.Value, loops: Sequence[ir.Operation]) -> int | None:
        """Return the dimension of a buffer that these loops count, if they touch it."""
        found: set[int] | None = None
        for access in self.accesses:
            if access.root != root or not any(_is_inside(access.op, loop) for loop in loops):
                continue
            here = {d for d, s in enumerate(access.subscripts) if _counts(loops, s)}
            found = here if found is None else found & here
        return min(found) if found else None

    def _is_valid(self, dimension: _Dimension, chosen: Sequence[_Dimension]) -> bool:
        """Whether invocations that differ in their turns touch nothing in common."""
        loops = dimension.loops
        taken = [loop for other in chosen for loop in other.loops]
        if any(loop in taken for loop in loops):
            return False
        if any(a != b and _is_inside(a, b) for a in loops for b in loops):
            return False
        for root in self.written:
            if any(_is_inside(root.owner, loop) for loop in loops):
                continue
            accesses = [a for a in self.accesses if a.root == root]
            place = dimension.of.get(root)
            if place is not None:
                if all(_counts(loops, a.subscripts[place]) for a in accesses):
                    continue
                return False
            stores = [a for a in accesses if a.stores]
            private = any(_is_inside(root.owner, loop) for loop in taken)
            if not private or any(_is_inside(a.op, p) for a in stores for p in loops):
                return False
        first = dimension.of[self.outputs[0]]
        return all(dimension.of[operand] == first for operand in self.under)

    def extent(self, dimension: _Dimension) -> Expr:
        """Return the largest number of turns."""
        first, *others = (self.expression(loop.operands[1]) for loop in dimension.loops)
        for count in others:
            first = first if first == count else first.max(count)
        return first

    def expression(self, value: ir.Value) -> Expr:
        """Return an index as an expression over the scalar operands.

        Raises:
            NotScheduled: it is none.
        """
        if value in self.scalars:
            return scalar(self.scalars.index(value))
        owner = value.owner
        if isinstance(owner, ir.Block):
            raise NotScheduled("a loop whose number of turns is known only inside")
        if owner.name == "arith.constant":
            return const(ir.IntegerAttr(owner.attributes["value"]).value)
        if owner.name not in _OPERATORS:
            raise NotScheduled(f"a number of turns computed by {owner.name}")
        left, right = (self.expression(operand) for operand in owner.operands)
        return Expr(_OPERATORS[owner.name], 0, (left, right))


_OPERATORS: dict[str, Operator] = {
    "arith.addi": "add",
    "arith.muli": "mul",
    "arith.ceildivsi": "ceildiv",
    "arith.ceildivui": "ceildiv",
    "arith.minsi": "min",
    "arith.maxsi": "max",
}


class _Rewriter:
    """Restricts the loops of a kernel to the turns of an invocation."""

    def __init__(
        self,
        kernel: _Kernel,
        chosen: Sequence[_Dimension],
        counts: Sequence[Expr],
        items: Expr,
        scratch: Expr,
        workgroup: int,
    ) -> None:
        self.kernel, self.chosen, self.counts = kernel, chosen, counts
        self.items, self.scratch, self.workgroup = items, scratch, workgroup
        self.index = ir.IndexType.get()
        loops = [loop for dimension in chosen for loop in dimension.loops]
        self.private = [
            op
            for op in _walk(kernel.function.regions[0].blocks[0])
            if op.name == "memref.view" and any(_is_inside(op, loop) for loop in loops)
        ]

    def run(self, module: ir.Module) -> Sliced:
        """Rewrite the function of ``module``."""
        block = self.kernel.function.regions[0].blocks[0]
        own, places = const(0), []
        for view in self.private:
            places.append(own)
            own = own + self._bytes(view)
        workers = _MOST_UNKNOWN
        if own.op == "const":
            workers = min(_MOST_PRIVATE, -(-_PRIVATE_BYTES // max(1, own.value)))
        grid = self.items.min(workers) if self.private else self.items
        body = list(block.operations)[:-1]
        with ir.Location.unknown(), ir.InsertionPoint(block.operations[-1]):
            group, local = self.kernel.invocation
            base = arith.MulIOp(group, self._constant(self.workgroup)).result
            item = number = arith.AddIOp(base, local).result
            inside = self._if_below(number, self._emit(grid))
        if self.private:
            with ir.Location.unknown(), ir.InsertionPoint.at_block_begin(inside):
                item, inside = self._several(number, workers)
        end = inside.operations[-1]
        for op in body:
            op.operation.move_before(end.operation)
        with ir.Location.unknown(), ir.InsertionPoint(inside.operations[0]):
            turns = self._turns(item)
            for view, place in zip(self.private, places, strict=True):
                worker = arith.MulIOp(number, self._emit(own)).result
                shift = arith.AddIOp(worker, self._emit(self.scratch + place)).result
                view.operands[1] = shift
        with ir.Location.unknown():
            for dimension, turn in zip(self.chosen, turns, strict=True):
                for loop in dimension.loops:
                    self._take_turn(loop, turn)
        scratch = self.scratch if not self.private else self.scratch + own * grid
        if not module.operation.verify():
            raise NotScheduled("slices made invalid code")
        return Sliced(str(module), grid, scratch)

    def _if_below(self, a: ir.Value, b: ir.Value) -> ir.Block:
        """Emit an empty block for where ``a`` is below ``b``."""
        branch = scf.IfOp(self._below(a, b))
        with ir.InsertionPoint(branch.then_block):
            scf.YieldOp([])
        return branch.then_block

    def _below(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return arith.CmpIOp(arith.CmpIPredicate.slt, a, b).result

    def _several(self, number: ir.Value, workers: int) -> tuple[ir.Value, ir.Block]:
        """Emit a loop over the slices of an invocation; return the slice and the block for it."""
        items, stride = self._emit(self.items), self._constant(workers)
        last = arith.AddIOp(items, self._constant(workers - 1)).result
        rounds = arith.DivUIOp(last, stride).result
        loop = scf.ForOp(self._constant(0), rounds, self._constant(1), [])
        with ir.InsertionPoint(loop.body):
            done = arith.MulIOp(loop.induction_variable, stride).result
            item = arith.AddIOp(number, done).result
            inside = self._if_below(item, items)
            scf.YieldOp([])
        return item, inside

    def _turns(self, item: ir.Value) -> list[ir.Value]:
        """Emit the turn in each dimension that belongs to a slice."""
        turns = []
        for count in reversed(self.counts):
            extent = self._emit(count)
            turns.append(arith.RemUIOp(item, extent).result)
            item = arith.DivUIOp(item, extent).result
        return turns[::-1]

    def _take_turn(self, loop: ir.Operation, turn: ir.Value) -> None:
        """Replace a loop by one of its turns, if it has that."""
        first, last, _ = list(loop.operands)[:3]
        with ir.InsertionPoint(loop):
            started = arith.CmpIOp(arith.CmpIPredicate.sge, turn, first).result
            here = arith.AndIOp(started, self._below(turn, last)).result
            branch = scf.IfOp(here)
            with ir.InsertionPoint(branch.then_block):
                end = scf.YieldOp([])
        body = loop.regions[0].blocks[0]
        for op in list(body.operations)[:-1]:
            op.operation.move_before(end.operation)
        body.arguments[0].replace_all_uses_with(turn)
        loop.erase()

    def _bytes(self, view: ir.Operation) -> Expr:
        kind = ir.MemRefType(view.results[0].type)
        sizes = iter(list(view.operands)[2:])
        total = const(-(-element_bits(kind.element_type) // 8))
        for d in range(kind.rank):
            dynamic = kind.is_dynamic_dim(d)
            size = self.kernel.expression(next(sizes)) if dynamic else const(kind.shape[d])
            total = total * size
        return total.ceildiv(_ALIGNMENT) * _ALIGNMENT

    def _constant(self, number: int) -> ir.Value:
        return arith.ConstantOp(self.index, number).result

    def _emit(self, expression: Expr) -> ir.Value:
        if expression.op == "const":
            return self._constant(expression.value)
        if expression.op == "scalar":
            return self.kernel.scalars[expression.value]
        name = {"ceildiv": "arith.ceildivui"}.get(expression.op)
        name = name or next(op for op, kind in _OPERATORS.items() if kind == expression.op)
        operands = [self._emit(argument) for argument in expression.args]
        return ir.Operation.create(name, [self.index], operands).result


def _walk(block: ir.Block) -> list[ir.Operation]:
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        found.append(op)
        return ir.WalkResult.ADVANCE

    for op in block.operations:
        op.operation.walk(visit)
    return found


def _loop_of(subscript: ir.Value) -> ir.Operation | None:
    """Return the loop by ones, carrying nothing, that counts ``subscript``."""
    block = subscript.owner
    if not isinstance(block, ir.Block):
        return None
    loop = block.owner.operation
    if loop.name != "scf.for" or subscript != block.arguments[0] or len(loop.results):
        return None
    step = loop.operands[2].owner
    if isinstance(step, ir.Block) or step.name != "arith.constant":
        return None
    return loop if ir.IntegerAttr(step.attributes["value"]).value == 1 else None


def _counts(loops: Sequence[ir.Operation], subscript: ir.Value) -> bool:
    """Whether one of these loops counts ``subscript``."""
    loop = _loop_of(subscript)
    return loop is not None and loop in loops


def _is_inside(op: ir.Operation | ir.Block, loop: ir.Operation) -> bool:
    """Whether an operation lies in the body of a loop; function arguments do in none."""
    if isinstance(op, ir.Block):
        return False
    parent = op.operation.parent
    while parent is not None and parent.name != "func.func":
        if parent == loop:
            return True
        parent = parent.parent
    return False
