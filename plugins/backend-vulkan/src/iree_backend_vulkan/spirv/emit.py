"""From the MLIR of a GPU kernel (scf, arith, math, memref, vector, complex) to SPIR-V.

Structured control flow becomes structured control flow with phis; a memref is a
:class:`~iree_backend_vulkan.spirv.memory.View` and costs nothing by itself. Operations are
emitted by the tables of :mod:`iree_backend_vulkan.spirv.operations`; what is in no table is an
error that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iree_backend_vulkan.spirv import operations
from iree_backend_vulkan.spirv.assembler import Assembler
from iree_backend_vulkan.spirv.memory import Memory, View
from iree_backend_vulkan.spirv.types import Types, is_boolean, lanes_of
from iree_core.codegen.frame import MAY_ALIAS
from iree_core.errors import CompileError
from iree_core.ir import ir

# Values of the BuiltIn decoration.
_NUM_WORKGROUPS, _WORKGROUP_ID, _LOCAL_INVOCATION_ID = 24, 26, 27


class Emitter:
    """Emits the body of one kernel function.

    Attributes:
        asm: receives the instructions.
        types: representations of MLIR types.
        memory: the variables.
    """

    def __init__(self, function: ir.OpView) -> None:
        self.asm = Assembler()
        self.types = Types(self.asm)
        aliased = list(function.attributes[MAY_ALIAS]) if MAY_ALIAS in function.attributes else []
        self.memory = Memory(self.asm, self.types, aliased)
        self._values: dict[ir.Value, int] = {}
        self._views: dict[ir.Value, View] = {}
        self._function = function
        self.label = 0
        self.word = self.asm.integer(32)

    def run(self, name: str, workgroup: int) -> bytes:
        """Emit everything and return the binary.

        Raises:
            CompileError: an operation or a type has no form in SPIR-V.
        """
        block = self._function.regions[0].blocks[0]
        arguments = list(block.arguments)
        buffers = [a for a in arguments[:-2] if isinstance(a.type, ir.MemRefType)]
        scalars = [a for a in arguments[:-2] if a not in buffers]
        for number, argument in enumerate(buffers):
            self._views[argument] = View(argument.type.element_type, binding=number)
        numbers = self.memory.scalars(len(scalars))
        self._values.update(zip(scalars, numbers, strict=True))
        group, local = self._invocation()
        self._values[arguments[-2]], self._values[arguments[-1]] = group, local
        self.begin(self.asm.fresh(), jump=True)
        self.block(block)
        self.memory.finish()
        return self.asm.finish(name, (workgroup, 1, 1), self.memory.interface)

    def _invocation(self) -> tuple[int, int]:
        """Return the number of the workgroup (they may lie in two dimensions) and the local one."""
        asm, memory = self.asm, self.memory
        x, y, _ = memory.input(_WORKGROUP_ID)
        row = memory.input(_NUM_WORKGROUPS)[0]
        group = asm.emit("IAdd", self.word, asm.emit("IMul", self.word, y, row), x)
        return group, memory.input(_LOCAL_INVOCATION_ID)[0]

    # Values.

    def get(self, value: ir.Value) -> int:
        """Return the id of a value."""
        try:
            return self._values[value]
        except KeyError:
            raise CompileError(f"A value of type {value.type} has no form in SPIR-V.") from None

    def set(self, value: ir.Value, made: int) -> None:
        """Say which id a value has."""
        self._values[value] = made

    def result(self, op: ir.OpView, made: int) -> None:
        """Say which id the first result of an operation has."""
        self.set(op.results[0], made)

    def view(self, value: ir.Value) -> View:
        """Return the view of a memref."""
        try:
            return self._views[value]
        except KeyError:
            raise CompileError("A buffer chosen at run time has no form in SPIR-V.") from None

    def set_view(self, value: ir.Value, view: View) -> None:
        """Say what a memref is."""
        self._views[value] = view

    def index(self, number: int) -> int:
        """Return a constant of type index."""
        return self.asm.constant(self.word, [number & 0xFFFFFFFF])

    # Code.

    def block(self, block: ir.Block) -> list[ir.Value]:
        """Emit a block and return the operands of its terminator."""
        *body, terminator = block.operations
        for op in body:
            self._operation(op)
        return list(terminator.operands)

    def _operation(self, op: ir.OpView) -> None:
        name = op.operation.name
        control = _CONTROL.get(name)
        if control is not None:
            control(self, op)
            return
        emit = operations.TABLE.get(name)
        if emit is None:
            raise CompileError(f"The Vulkan backend has no form of {name}.")
        emit(self, op)

    def begin(self, label: int, *, jump: bool = False) -> None:
        """Start a basic block, jumping to it from the current one if asked for."""
        if jump:
            self.asm.effect("Branch", label)
        self.asm.effect("Label", label)
        self.label = label

    def phi(self, kind: int, pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """Emit a phi; return its id and where the value of the last pair is in the code."""
        flat = [number for pair in pairs for number in pair]
        made = self.asm.emit("Phi", kind, *flat)
        return made, len(self.asm.code) - 2

    def branch(
        self,
        condition: int,
        kinds: Sequence[int],
        then: Callable[[], Sequence[int]],
        otherwise: Callable[[], Sequence[int]],
    ) -> list[int]:
        """Emit ``if`` with results of SPIR-V types ``kinds``."""
        asm = self.asm
        yes, no, merge = asm.fresh(), asm.fresh(), asm.fresh()
        asm.effect("SelectionMerge", merge, 0)
        asm.effect("BranchConditional", condition, yes, no)
        self.begin(yes)
        first, first_end = list(then()), self.label
        asm.effect("Branch", merge)
        self.begin(no)
        second, second_end = list(otherwise()), self.label
        asm.effect("Branch", merge)
        self.begin(merge)
        return [
            self.phi(kind, [(a, first_end), (b, second_end)])[0]
            for kind, a, b in zip(kinds, first, second, strict=True)
        ]

    def _kinds(self, values: Sequence[ir.Value]) -> list[int]:
        return [self.types.value(v.type) for v in values]

    def emit_if(self, op: ir.OpView) -> None:
        """Emit ``scf.if``."""

        def side(region: ir.Region) -> Callable[[], list[int]]:
            if not len(region.blocks):
                return list
            return lambda: [self.get(v) for v in self.block(region.blocks[0])]

        if any(isinstance(r.type, ir.MemRefType) for r in op.results):
            raise CompileError("A buffer chosen at run time has no form in SPIR-V.")
        then, otherwise = op.regions
        kinds = self._kinds(op.results)
        made = self.branch(self.get(op.operands[0]), kinds, side(then), side(otherwise))
        for result, value in zip(op.results, made, strict=True):
            self.set(result, value)

    def emit_region(self, op: ir.OpView) -> None:
        """Emit ``scf.execute_region`` in place."""
        (block,) = op.regions[0].blocks
        for result, value in zip(op.results, self.block(block), strict=True):
            if isinstance(result.type, ir.MemRefType):
                self.set_view(result, self.view(value))
            else:
                self.set(result, self.get(value))

    def _carry_views(
        self, values: Sequence[ir.Value], arguments: Sequence[ir.Value], results: Sequence[ir.Value]
    ) -> None:
        """Let carried buffers be what they start as; :meth:`_check_views` sees that they stay."""
        for value, argument, result in zip(values, arguments, results, strict=True):
            if isinstance(value.type, ir.MemRefType):
                self.set_view(argument, self.view(value))
                self.set_view(result, self.view(value))

    def _check_views(self, arguments: Sequence[ir.Value], yielded: Sequence[ir.Value]) -> None:
        for argument, value in zip(arguments, yielded, strict=True):
            if isinstance(argument.type, ir.MemRefType) and self.view(argument) != self.view(value):
                raise CompileError("A buffer that a loop exchanges has no form in SPIR-V.")

    def emit_for(self, op: ir.OpView) -> None:
        """Emit ``scf.for``: the phis of the header are the results."""
        asm = self.asm
        start, stop, step = (self.get(o) for o in list(op.operands)[:3])
        block = op.regions[0].blocks[0]
        counter, *everything = block.arguments
        starts = list(op.operands)[3:]
        self._carry_views(starts, everything, op.results)
        arguments, results, carried = _numbers(everything, op.results, starts)
        carried = [self.get(value) for value in carried]
        word = self.types.value(counter.type)
        merge, again, body = asm.fresh(), asm.fresh(), asm.fresh()
        before = self.label
        self.begin(asm.fresh(), jump=True)
        header = self.label
        number, patch = self.phi(word, [(start, before), (0, again)])
        phis = [
            self.phi(kind, [(value, before), (0, again)])
            for kind, value in zip(self._kinds(arguments), carried, strict=True)
        ]
        self.set(counter, number)
        for argument, result, (made, _) in zip(arguments, results, phis, strict=True):
            self.set(argument, made)
            self.set(result, made)
        condition_block = asm.fresh()
        asm.effect("LoopMerge", merge, again, 0)
        self.begin(condition_block, jump=True)
        condition = asm.emit("SLessThan", asm.boolean(), number, stop)
        asm.effect("BranchConditional", condition, body, merge)
        self.begin(body)
        yielded = self.block(block)
        self._check_views(everything, yielded)
        results = [self.get(v) for v in yielded if not isinstance(v.type, ir.MemRefType)]
        self.begin(again, jump=True)
        asm.code[patch] = asm.emit("IAdd", word, number, step)
        for (_, place), value in zip(phis, results, strict=True):
            asm.code[place] = value
        asm.effect("Branch", header)
        self.begin(merge)

    def emit_while(self, op: ir.OpView) -> None:
        """Emit ``scf.while``; its condition may take several basic blocks."""
        asm = self.asm
        first, second = (region.blocks[0] for region in op.regions)
        merge, again, body = asm.fresh(), asm.fresh(), asm.fresh()
        before = self.label
        self._carry_views(op.operands, first.arguments, first.arguments)
        arguments, starts = _numbers(first.arguments, op.operands)
        carried = [self.get(o) for o in starts]
        self.begin(asm.fresh(), jump=True)
        header = self.label
        phis = [
            self.phi(kind, [(value, before), (0, again)])
            for kind, value in zip(self._kinds(arguments), carried, strict=True)
        ]
        for argument, (made, _) in zip(arguments, phis, strict=True):
            self.set(argument, made)
        asm.effect("LoopMerge", merge, again, 0)
        self.begin(asm.fresh(), jump=True)
        condition, *passed = self.block(first)
        asm.effect("BranchConditional", self.get(condition), body, merge)
        self._carry_views(passed, second.arguments, op.results)
        for argument, result, value in zip(
            *_numbers(second.arguments, op.results, passed), strict=True
        ):
            self.set(argument, self.get(value))
            self.set(result, self.get(value))
        self.begin(body)
        yielded = self.block(second)
        self._check_views(list(first.arguments), yielded)
        results = [self.get(v) for v in yielded if not isinstance(v.type, ir.MemRefType)]
        self.begin(again, jump=True)
        for (_, place), value in zip(phis, results, strict=True):
            asm.code[place] = value
        asm.effect("Branch", header)
        self.begin(merge)

    # Memory.

    def linear(self, view: View, position: Sequence[int]) -> int:
        """Return the element number of a position in a view."""
        asm, total = self.asm, view.offset
        strides = view.strides or (0,) * len(position)
        for index, stride in zip(position, strides, strict=True):
            term = asm.emit("IMul", self.word, index, stride) if stride else index
            total = asm.emit("IAdd", self.word, total, term) if total else term
        return total or self.index(0)

    def load(self, view: View, index: int) -> int:
        """Emit the load of one element as a value."""
        asm = self.asm
        pointer = self.memory.pointer(view, index)
        if view.array is not None:
            return asm.emit("Load", self.types.value(view.element), pointer)
        stored, _ = self.types.storage(view.element)
        raw = asm.emit("Load", stored, pointer)
        kind = self.types.value(view.element)
        if is_boolean(view.element):
            number = asm.emit("UConvert", self.word, raw)
            return asm.emit("INotEqual", kind, number, self.index(0))
        return raw if kind == stored else asm.emit("UConvert", kind, raw)

    def store(self, view: View, index: int, value: int) -> None:
        """Emit the store of one element."""
        asm = self.asm
        pointer = self.memory.pointer(view, index, write=True)
        if view.array is None:
            stored, _ = self.types.storage(view.element)
            if is_boolean(view.element):
                value = asm.emit("Select", self.word, value, self.index(1), self.index(0))
            if stored != self.types.value(view.element):
                value = asm.emit("UConvert", stored, value)
        asm.effect("Store", pointer, value)

    def components(self, value: int, kind: ir.Type) -> list[int]:
        """Return the lanes of a value."""
        lanes = lanes_of(kind)
        if lanes == 1:
            return [value]
        scalar = self.types.scalar(kind)
        return [self.asm.emit("CompositeExtract", scalar, value, n) for n in range(lanes)]

    def compose(self, lanes: Sequence[int], kind: ir.Type) -> int:
        """Return a value from its lanes."""
        if len(lanes) == 1:
            return lanes[0]
        return self.asm.emit("CompositeConstruct", self.types.value(kind), *lanes)


def _numbers(*lists: Sequence[ir.Value]) -> list[list[ir.Value]]:
    """Return lists of values without the buffers among them."""
    return [[v for v in values if not isinstance(v.type, ir.MemRefType)] for values in lists]


_CONTROL: dict[str, Callable[[Emitter, ir.OpView], None]] = {
    "scf.if": Emitter.emit_if,
    "scf.for": Emitter.emit_for,
    "scf.while": Emitter.emit_while,
    "scf.execute_region": Emitter.emit_region,
}


def emit_module(function: ir.OpView, name: str, workgroup: int) -> tuple[bytes, frozenset[str]]:
    """Return the SPIR-V of a kernel function and the capabilities it needs.

    Raises:
        CompileError: something in it has no form in SPIR-V.
    """
    emitter = Emitter(function)
    binary = emitter.run(name, workgroup)
    return binary, emitter.asm.capabilities
