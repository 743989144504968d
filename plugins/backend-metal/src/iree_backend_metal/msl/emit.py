"""From the MLIR of a GPU kernel (scf, arith, math, memref, vector, gpu) to MSL text.

Every value becomes a variable, every loop a loop; a memref is a
:class:`~iree_backend_metal.msl.memory.View` and costs nothing by itself. Operations are emitted
by the tables of :mod:`~iree_backend_metal.msl.arithmetic`, :mod:`~iree_backend_metal.msl.data`
and :mod:`~iree_backend_metal.msl.cooperative`; what is in no table is an error that names it.

The arguments of a kernel: ``buffer(0)``, ``buffer(1)``, ... are the tensors, operands first,
then results, then private memory if there is any; the next buffer is ``constant int*``, the
scalar operands, if there are any. Threadgroups and threads lie in one dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from iree_backend_metal.msl import arithmetic, cooperative, data
from iree_backend_metal.msl.memory import Buffers, View
from iree_backend_metal.msl.types import signed_type, storage_type, value_type
from iree_core.errors import CompileError
from iree_core.ir import ir

ENTRY = "compute"

_PRELUDE = """#include <metal_stdlib>
using namespace metal;
#pragma METAL fp math_mode(safe)
#pragma METAL fp contract(off)
"""
_TABLE = {**arithmetic.TABLE, **data.TABLE, **cooperative.TABLE}


@dataclass(frozen=True)
class Source:
    """The text of one kernel.

    Attributes:
        text: MSL; the kernel is called :data:`ENTRY`.
        needs: features of a device that it uses, see :mod:`iree_backend_metal.features`.
        element_bytes: bytes of an element of each buffer.
    """

    text: str
    needs: frozenset[str]
    element_bytes: tuple[int, ...]


class Emitter:
    """Emits the body of one kernel function.

    Attributes:
        buffers: the tensors.
        needs: features of the device that the text uses.
        inputs: names of the built-in arguments that the text uses, and their declarations.
    """

    def __init__(self, function: ir.OpView) -> None:
        self.buffers = Buffers()
        self.needs: set[str] = set()
        self.inputs: dict[str, str] = {}
        self._function = function
        self._values: dict[ir.Value, str] = {}
        self._views: dict[ir.Value, View] = {}
        self._lines: list[str] = []
        self._globals: list[str] = []
        self._shared: dict[str, str] = {}
        self._depth = 1
        self._count = 0

    def run(self, workgroup: int) -> Source:
        """Emit everything.

        Raises:
            CompileError: an operation or a type has no form in MSL.
        """
        block = self._function.regions[0].blocks[0]
        *arguments, group, local = block.arguments
        memories = [a for a in arguments if isinstance(a.type, ir.MemRefType)]
        scalars = [a for a in arguments if a not in memories]
        for number, argument in enumerate(memories):
            kind = storage_type(argument.type.element_type)[0]
            view = View(f"b{number}", argument.type.element_type, "device", kind)
            self.set_view(argument, view)
        for number, argument in enumerate(scalars):
            self.set(argument, f"s{number}")
        self.set(group, "group")
        self.set(local, "local")
        self.block(block)
        text = self._text(memories, len(scalars), workgroup)
        bytes_each = tuple(storage_type(a.type.element_type)[1] for a in memories)
        return Source(text, frozenset(self.needs), bytes_each)

    def _text(self, memories: Sequence[ir.Value], scalars: int, workgroup: int) -> str:
        arguments = []
        for number, memory in enumerate(memories):
            view = self.view(memory)
            const = "" if view.base in self.buffers.written else " const"
            arguments.append(f"device {view.declared}{const}* {view.base} [[buffer({number})]]")
        if scalars:
            arguments.append(f"constant int* sizes [[buffer({len(memories)})]]")
        arguments.append("uint group_id [[threadgroup_position_in_grid]]")
        arguments.append("uint local_id [[thread_position_in_threadgroup]]")
        arguments += [f"uint {name} [[{attribute}]]" for name, attribute in self.inputs.items()]
        head = [f"    const int s{n} = sizes[{n}];" for n in range(scalars)]
        head += ["    const int group = int(group_id), local = int(local_id);"]
        head += [f"    {declaration}" for declaration in self._shared.values()]
        return "\n".join(
            [
                _PRELUDE,
                *self._globals,
                f"[[kernel, max_total_threads_per_threadgroup({workgroup})]]",
                f"void {ENTRY}(",
                ",\n".join(f"    {argument}" for argument in arguments),
                ") {",
                *head,
                *self._lines,
                "}",
                "",
            ]
        )

    # Values.

    def get(self, value: ir.Value) -> str:
        """Return the variable or literal of a value."""
        try:
            return self._values[value]
        except KeyError:
            raise CompileError(f"A value of type {value.type} has no form in MSL.") from None

    def set(self, value: ir.Value, text: str) -> None:
        """Say which variable or literal a value is."""
        self._values[value] = text

    def define(self, value: ir.Value, expression: str) -> None:
        """Emit the variable of a value."""
        self.set(value, self.variable(value_type(value.type), expression))

    def variable(self, kind: str, expression: str, *, const: bool = True) -> str:
        """Emit a variable and return its name."""
        name = self.fresh("v")
        # Metal's own matrix types are not made to be constants.
        plain = not kind.startswith("simdgroup_")
        self.line(f"{'const ' if const and plain else ''}{kind} {name} = {expression};")
        return name

    def view(self, value: ir.Value) -> View:
        """Return the view of a memref."""
        try:
            return self._views[value]
        except KeyError:
            raise CompileError("A buffer chosen at run time has no form in MSL.") from None

    def set_view(self, value: ir.Value, view: View) -> None:
        """Say what a memref is."""
        self._views[value] = view

    # Text.

    def fresh(self, letter: str) -> str:
        """Return a name that nothing has."""
        self._count += 1
        return f"{letter}{self._count}"

    def line(self, text: str) -> None:
        """Append a line."""
        self._lines.append("    " * self._depth + text)

    def table(self, declaration: str) -> None:
        """Append a declaration in program scope."""
        self._globals.append(declaration)

    def shared(self, symbol: str, declare: Callable[[str], str]) -> str:
        """Return the threadgroup variable of a global symbol, declared on first use."""
        name = f"t_{symbol.strip('_')}"
        self._shared.setdefault(name, declare(name))
        return name

    # Control flow.

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
        emit = _TABLE.get(name)
        if emit is None:
            raise CompileError(f"The Metal backend has no form of {name}.")
        emit(self, op)

    def _inside(self, block: ir.Block) -> list[ir.Value]:
        self._depth += 1
        yielded = self.block(block)
        self._depth -= 1
        return yielded

    def _assign(self, names: Sequence[str], values: Sequence[ir.Value]) -> None:
        """Assign values to variables that some of them may be, one level deeper."""
        self._depth += 1
        texts = [self.get(v) for v in values]
        changes = [(n, t, v) for n, t, v in zip(names, texts, values, strict=True) if n != t]
        if len(changes) > 1:
            changes = [(n, self.variable(value_type(v.type), t), v) for n, t, v in changes]
        for name, text, _ in changes:
            self.line(f"{name} = {text};")
        self._depth -= 1

    def _declare(self, values: Sequence[ir.Value]) -> list[str]:
        names = []
        for value in values:
            names.append(self.fresh("r"))
            self.line(f"{value_type(value.type)} {names[-1]};")
        return names

    def emit_if(self, op: ir.OpView) -> None:
        """Emit ``scf.if``."""
        if any(isinstance(r.type, ir.MemRefType) for r in op.results):
            raise CompileError("A buffer chosen at run time has no form in MSL.")
        names = self._declare(op.results)
        condition = self.get(op.operands[0])
        for number, region in enumerate(op.regions):
            if not len(region.blocks):
                continue
            (block,) = region.blocks
            if number and not names and len(list(block.operations)) == 1:
                continue
            self.line("} else {" if number else f"if ({condition}) {{")
            self._assign(names, self._inside(block))
        self.line("}")
        for result, name in zip(op.results, names, strict=True):
            self.set(result, name)

    def emit_region(self, op: ir.OpView) -> None:
        """Emit ``scf.execute_region`` in place."""
        (block,) = op.regions[0].blocks
        for result, value in zip(op.results, self.block(block), strict=True):
            if isinstance(result.type, ir.MemRefType):
                self.set_view(result, self.view(value))
            else:
                self.set(result, self.get(value))

    def _carry(self, values: Sequence[ir.Value], *aliases: Sequence[ir.Value]) -> list[str]:
        """Emit the variables that a loop changes; buffers must stay what they start as."""
        names = []
        for number, value in enumerate(values):
            if isinstance(value.type, ir.MemRefType):
                for alias in aliases:
                    self.set_view(alias[number], self.view(value))
                continue
            names.append(self.fresh("a"))
            self.line(f"{value_type(value.type)} {names[-1]} = {self.get(value)};")
            for alias in aliases:
                self.set(alias[number], names[-1])
        return names

    def _check_views(self, arguments: Sequence[ir.Value], yielded: Sequence[ir.Value]) -> None:
        for argument, value in zip(arguments, yielded, strict=True):
            if isinstance(argument.type, ir.MemRefType) and self.view(argument) != self.view(value):
                raise CompileError("A buffer that a loop exchanges has no form in MSL.")

    def emit_for(self, op: ir.OpView) -> None:
        """Emit ``scf.for``."""
        start, stop, step, *starts = op.operands
        (block,) = op.regions[0].blocks
        counter, *arguments = block.arguments
        names = self._carry(starts, arguments, list(op.results))
        i = self.fresh("i")
        self.set(counter, i)
        kind = signed_type(counter.type)
        first, last, by = (arithmetic.extended(self, o, True) for o in (start, stop, step))
        self.line(f"for ({kind} {i} = {first}; {i} < {last}; {i} += {by}) {{")
        if not isinstance(counter.type, ir.IndexType):
            self._depth += 1
            self.define(counter, f"{value_type(counter.type)}({i})")
            self._depth -= 1
        yielded = self._inside(block)
        self._check_views(arguments, yielded)
        self._assign(names, _numbers(yielded))
        self.line("}")

    def emit_while(self, op: ir.OpView) -> None:
        """Emit ``scf.while``."""
        first, second = (region.blocks[0] for region in op.regions)
        names = self._carry(list(op.operands), list(first.arguments))
        results = self._declare(_numbers(op.results))
        self.line("while (true) {")
        condition, *passed = self._inside(first)
        self._assign(results, _numbers(passed))
        self.line(f"    if (!{self.get(condition)}) break;")
        numbers = iter(results)
        for value, argument, result in zip(passed, second.arguments, op.results, strict=True):
            if isinstance(value.type, ir.MemRefType):
                self.set_view(argument, self.view(value))
                self.set_view(result, self.view(value))
                continue
            name = next(numbers)
            self.set(argument, name)
            self.set(result, name)
        yielded = self._inside(second)
        self._check_views(list(first.arguments), yielded)
        self._assign(names, _numbers(yielded))
        self.line("}")


def _numbers(values: Sequence[ir.Value]) -> list[ir.Value]:
    """Return values without the buffers among them."""
    return [v for v in values if not isinstance(v.type, ir.MemRefType)]


_CONTROL: dict[str, Callable[[Emitter, ir.OpView], None]] = {
    "scf.if": Emitter.emit_if,
    "scf.for": Emitter.emit_for,
    "scf.while": Emitter.emit_while,
    "scf.execute_region": Emitter.emit_region,
}


def emit_source(function: ir.OpView, workgroup: int) -> Source:
    """Return the MSL of a kernel function.

    Args:
        function: a prepared kernel (:func:`iree_core.codegen.gpu.prepare.prepare`).
        workgroup: threads of a threadgroup.

    Raises:
        CompileError: something in it has no form in MSL.
    """
    return Emitter(function).run(workgroup)
