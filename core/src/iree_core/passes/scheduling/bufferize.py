"""Pass: host functions on tensors become host functions on buffers.

Decides aliases, in-place updates, and what is copied. Where memory lies in the arena is
:mod:`plan_memory`'s.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from iree_core.dialects import flow, hal
from iree_core.errors import CompileError
from iree_core.ir import func, ir
from iree_core.passes.abi.signature import format_type, read_signature
from iree_core.passes.diagnostics import describe_location
from iree_core.passes.scheduling import constants, control_flow, results
from iree_core.passes.scheduling.aliases import Aliases, GlobalRoot, Root, global_name
from iree_core.passes.scheduling.checks import Checks
from iree_core.passes.scheduling.inplace import overwritable
from iree_core.passes.scheduling.places import Place, Places, users_through_reshapes
from iree_core.passes.scheduling.shapes import (
    NamedDim,
    Shapes,
    VaryingDim,
    element_bytes,
    mixed_sizes,
)
from iree_core.passes.scheduling.sizes import Size, as_index, fixed, index_constant
from iree_core.passes.state import CompilationState

# A constant of one repeated element is stored up to this size and filled at run time beyond.
_STORED_SPLAT_BYTES = 64 * 1024


@dataclass(frozen=True)
class Bufferize:
    """Rewrite every host function on buffers::

        func.func @main(%x: tensor<4xf32> {iree.name = "x"}) -> (tensor<4xf32> {iree.name = "y"}) {
          %0 = call @dispatch_0(%x) : (tensor<4xf32>) -> tensor<4xf32>
          return %0 : tensor<4xf32>
        }

    becomes::

        func.func @main(%x: !hal.buffer) -> !hal.buffer
            attributes {iree.inputs = ["x:f32[4]"], iree.outputs = ["y:f32[4]"]} {
          %c16 = arith.constant 16 : index
          %0 = "hal.transient"(%c16) {writer = "device"} : (index) -> !hal.buffer
          "hal.dispatch"(%x, %0) {entry = @dispatch_0, ...}
          return %0 : !hal.buffer
        }

    Reshapes and contiguous slices share their source's memory. A result is written over an
    operand that nobody needs any more where the dispatch allows it.
    """

    name: str = "bufferize"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Rewrite the host functions of ``module``.

        Raises:
            CompileError: an operation that the host cannot run, naming it and where it is.
        """
        for op in list(module.body.operations):
            if isinstance(op, func.FuncOp) and flow.DISPATCH not in op.attributes:
                Bufferizer(op, module, state).rewrite()


class Bufferizer:
    """Rewrites one function. The methods named ``_op_*`` handle one operation each."""

    def __init__(self, function: func.FuncOp, module: ir.Module, state: CompilationState) -> None:
        self.function = function
        self.state = state
        self.callees = {
            op.name.value: op for op in module.body.operations if isinstance(op, func.FuncOp)
        }
        self.shapes = Shapes(function, module)
        self.aliases = Aliases(function)
        self.checks = Checks(self.shapes, self.size)
        self.places = Places(self.shapes, self.aliases, self.overwritable)
        self.place_buffers: dict[Place, ir.Value] = {}
        self.spare_buffers: dict[Place, ir.Value] = {}
        self.scalars: dict[ir.Value, ir.Value] = {}
        self.buffers: dict[ir.Value, ir.Value] = {}
        self.named: dict[str, ir.Value] = {}
        self.varying: dict[tuple[ir.Value, int], ir.Value] = {}
        self.escaped: set[Root] = set()
        self._overwritable: dict[str, frozenset[int]] = {}

    def rewrite(self) -> None:
        """Build the function on buffers in front of the one on tensors, and erase that."""
        inputs, outputs = read_signature(self.function)
        names = list(dict.fromkeys(d for t in inputs for d in t.shape if isinstance(d, str)))
        index, buffer = ir.IndexType.get(), hal.BufferType.get()
        kinds = [index] * len(names) + [buffer] * len(inputs)
        old = self.function.regions[0].blocks[0]
        with ir.InsertionPoint(self.function.operation), self.function.location:
            function = func.FuncOp(self.function.name.value, (kinds, []))
            block = function.add_entry_block()
        sizes, buffers = list(block.arguments)[: len(names)], list(block.arguments)[len(names) :]
        self.named = dict(zip(names, sizes, strict=True))
        self.buffers = dict(zip(old.arguments, buffers, strict=True))
        with ir.InsertionPoint(block):
            self.block(old)
            terminator = list(old.operations)[-1]
            with terminator.location:
                returned, types = results.build(self, terminator.operands, outputs)
                func.ReturnOp(returned)
        function.attributes["function_type"] = ir.TypeAttr.get(
            ir.FunctionType.get(kinds, [v.type for v in returned])
        )
        for name, tensors in ((hal.INPUTS, inputs), (hal.OUTPUTS, types)):
            texts = [ir.StringAttr.get(format_type(t)) for t in tensors]
            function.attributes[name] = ir.ArrayAttr.get(texts)
        self.function.operation.erase()

    def block(self, block: ir.Block) -> None:
        """Emit every operation of ``block`` but the terminator."""
        for op in list(block.operations)[:-1]:
            with op.location:
                self._emit(op)

    def _emit(self, op: ir.OpView) -> None:
        name = op.operation.name
        handler = getattr(self, "_op_" + name.replace(".", "_"), None)
        if handler is not None:
            handler(op)
        elif name in control_flow.HANDLERS:
            control_flow.HANDLERS[name](self, op)
        elif any(isinstance(v.type, ir.RankedTensorType) for v in (*op.operands, *op.results)):
            raise CompileError(
                f"The host program cannot run {name} on tensors; it belongs into a dispatch.",
                where=describe_location(op.location) or None,
            )
        else:
            self.clone(op)

    def clone(self, op: ir.OpView) -> None:
        """Emit a scalar operation unchanged."""
        clone = op.operation.clone()
        for number, operand in enumerate(op.operands):
            clone.operands[number] = self.scalars[operand]
        for before, after in zip(op.results, clone.results, strict=True):
            self.scalars[before] = after

    # Sizes and memory.

    def size(self, size: Size) -> ir.Value:
        """Build ``size`` as an ``index`` value."""
        return self.shapes.symbols.emit(size, self._leaf)

    def _leaf(self, key: Hashable) -> ir.Value:
        if isinstance(key, NamedDim):
            return self.named[key.name]
        if isinstance(key, VaryingDim):
            return self.varying[key.value, key.position]
        return as_index(self.scalars[key])

    def transient(self, size: Size, *, host: bool = False) -> ir.Value:
        """Build memory for ``size`` bytes."""
        writer = ir.StringAttr.get("host" if host else "device")
        return hal.TransientOp(writer, self.size(size)).result

    def copy(self, value: ir.Value, target: ir.Value) -> None:
        """Copy the tensor ``value`` into the buffer ``target``."""
        hal.CopyOp(self.buffers[value], target, self.size(self.shapes.nbytes(value)))

    def overwritable(self, call: ir.OpView) -> frozenset[int]:
        """Return the operand positions that the result of a dispatch may overwrite."""
        name = call.callee.value
        if name not in self._overwritable:
            found = self._overwritable[name] = overwritable(self.callees[name])
            if found:
                positions = ir.DenseI64ArrayAttr.get(sorted(found))
                self.callees[name].attributes[flow.IN_PLACE] = positions
        return self._overwritable[name]

    # Dispatches.

    def _op_func_call(self, op: func.CallOp) -> None:
        self.checks.call(op, self.callees[op.callee.value])
        tensors = [o for o in op.operands if isinstance(o.type, ir.RankedTensorType)]
        inputs = [self.buffers[o] for o in tensors]
        scalars = [self._scalar_operand(o) for o in op.operands if o not in tensors]
        outputs = [self._output(op, result) for result in op.results]
        hal.DispatchOp(ir.FlatSymbolRefAttr.get(op.callee.value), inputs, outputs, scalars)
        self.buffers.update(zip(op.results, outputs, strict=True))

    def _scalar_operand(self, value: ir.Value) -> ir.Value:
        if isinstance(value.type, ir.FloatType):
            raise CompileError("A dispatch takes a floating-point scalar; it must be a tensor.")
        size = self.shapes.symbols.value(value)
        if isinstance(value.type, ir.IndexType) and value not in self.scalars:
            return self.size(size)
        return as_index(self.scalars[value])

    def _output(self, op: func.CallOp, result: ir.Value) -> ir.Value:
        place = self.places.dispatched.get(result)
        if place is not None:
            return self.place_buffers[place]
        operand = self._overwritten(op, result)
        if operand is not None:
            self.aliases.join(result, self.aliases.roots(operand))
            return self.buffers[operand]
        return self.transient(self.shapes.nbytes(result))

    def _overwritten(self, op: func.CallOp, result: ir.Value) -> ir.Value | None:
        """Return the operand over which ``result`` may be written, if there is one."""
        if len(op.results) != 1:
            return None
        for number in sorted(self.overwritable(op)):
            operand = op.operands[number]
            if self.shapes.nbytes(operand) == self.shapes.nbytes(result) and (
                self._dies_at(op, operand) or self._replaces_state(op, operand, result)
            ):
                return operand
        return None

    def _only_operand(self, op: func.CallOp, operand: ir.Value) -> bool:
        roots = self.aliases.roots(operand)
        return not any(
            other != operand and isinstance(other.type, ir.RankedTensorType)
            and self.aliases.roots(other) & roots
            for other in op.operands
        ) and all(
            number in self.overwritable(op)
            for number, other in enumerate(op.operands) if other == operand
        )  # fmt: skip

    def _dies_at(self, op: func.CallOp, operand: ir.Value) -> bool:
        position = self.aliases.position[op.operation]
        return self._only_operand(op, operand) and all(
            isinstance(root, ir.Value)
            and not isinstance(root.owner, ir.Block)
            and root.owner.operation.name == "func.call"
            and root not in self.places.dispatched
            and self.aliases.last_use(root) <= position
            for root in self.aliases.roots(operand)
        )

    def _replaces_state(self, op: func.CallOp, operand: ir.Value, result: ir.Value) -> bool:
        """Whether ``result`` is the next value of the state that ``operand`` holds."""
        roots = self.aliases.roots(operand)
        root = next(iter(roots))
        if len(roots) != 1 or not isinstance(root, GlobalRoot) or self.aliases.is_part(operand):
            return False
        block = op.operation.block
        stored = any(
            use.name == "ml_program.global_store"
            and global_name(use.opview) == root.name
            and use.block == block
            for use in users_through_reshapes(result)
        )
        return (
            stored
            and block.owner.operation.name == "func.func"
            and self.aliases.last_use(root) <= self.aliases.position[op.operation]
            and self._only_operand(op, operand)
        )

    # Functions of Python.

    def _op_flow_host_function(self, op: ir.OpView) -> None:
        """Its calls look at it."""

    def _op_func_call_indirect(self, op: ir.OpView) -> None:
        callee, *operands = op.operands
        function = callee.owner.operation
        names = [ir.StringAttr(name).value for name in function.attributes["dtypes"]]
        described: list[str] = []
        sizes: list[ir.Value] = []
        for name, value in zip(names, (*operands, *op.results), strict=True):
            dims = self.shapes.dims(value)
            sizes += [self.size(size) for size in dims if size.number is None]
            extents = ",".join("?" if s.number is None else str(s.number) for s in dims)
            described.append(f"{name}[{extents}]")
        count = len(operands)
        signature = f"{';'.join(described[:count])}->{';'.join(described[count:])}"
        outputs = [self.transient(self.shapes.nbytes(result)) for result in op.results]
        hal.CallHostOp(
            function.attributes["callee"],
            ir.StringAttr.get(signature),
            [self.buffers[operand] for operand in operands],
            outputs,
            sizes,
        )
        self.buffers.update(zip(op.results, outputs, strict=True))

    # Memory that is there already.

    def _op_flow_parameter(self, op: ir.OpView) -> None:
        key = ir.StringAttr(op.attributes["key"]).value
        self._constant(op.results[0], constants.require(self.state, key, op))

    def _op_arith_constant(self, op: ir.OpView) -> None:
        result = op.results[0]
        if not isinstance(result.type, ir.RankedTensorType):
            self.clone(op)
            return
        nbytes = self.shapes.nbytes(result).number or 0
        pattern = constants.splat_pattern(op) if nbytes > _STORED_SPLAT_BYTES else None
        if pattern is not None:
            buffer = self.transient(fixed(nbytes))
            hal.FillOp(ir.StringAttr.get(pattern.hex()), buffer, index_constant(nbytes))
            self.buffers[result] = buffer
        else:
            self._constant(result, constants.register(self.state, op))

    def _constant(self, result: ir.Value, key: str) -> None:
        self.buffers[result] = hal.ConstantOp(ir.StringAttr.get(key)).result

    def _op_ml_program_global_load(self, op: ir.OpView) -> None:
        self.buffers[op.results[0]] = hal.LoadGlobalOp(ir.StringAttr.get(global_name(op))).result

    _op_ml_program_global_load_const = _op_ml_program_global_load

    def _op_ml_program_global_store(self, op: ir.OpView) -> None:
        results.store_state(self, op)

    # Views.

    def _op_tensor_collapse_shape(self, op: ir.OpView) -> None:
        self.buffers[op.results[0]] = self.buffers[op.operands[0]]

    def _op_tensor_cast(self, op: ir.OpView) -> None:
        self.checks.cast(op)
        self._op_tensor_collapse_shape(op)

    def _op_tensor_expand_shape(self, op: ir.OpView) -> None:
        self.checks.expansion(op)
        self._op_tensor_collapse_shape(op)

    def _op_tensor_extract_slice(self, op: ir.OpView) -> None:
        offset = self.slice_offset(op, self.shapes.dims(op.operands[0]), 1)
        source = self.buffers[op.operands[0]]
        if offset.number == 0:
            self.buffers[op.results[0]] = source
        else:
            self.buffers[op.results[0]] = hal.SubviewOp(source, self.size(offset)).result

    def slice_offset(self, op: ir.OpView, dims: Sequence[Size], first: int) -> Size:
        """Return the byte offset of a contiguous slice of a tensor of shape ``dims``.

        ``first`` is the operand group that holds the dynamic offsets.

        Raises:
            CompileError: the slice is not contiguous.
        """
        symbols = self.shapes.symbols
        offsets = mixed_sizes(op, "static_offsets", first, symbols)
        sizes = mixed_sizes(op, "static_sizes", first + 1, symbols)
        strides = mixed_sizes(op, "static_strides", first + 2, symbols)
        if not _contiguous(sizes, strides, dims):
            raise CompileError(
                f"A slice that is not contiguous cannot be a view: {op}.",
                where=describe_location(op.location) or None,
            )
        self.checks.slice(op, offsets, sizes, dims)
        total, step = fixed(0), fixed(element_bytes(op.results[0].type.element_type))
        for offset, size in zip(reversed(offsets), reversed(dims), strict=True):
            total = total + offset * step
            step = step * size
        return total

    # Scalars to and from tensors.

    def _op_tensor_dim(self, op: ir.OpView) -> None:
        self.scalars[op.results[0]] = self.size(self.shapes.symbols.value(op.results[0]))

    def _op_cf_assert(self, op: ir.OpView) -> None:
        where = describe_location(op.location)
        message = ir.StringAttr(op.attributes["msg"]).value
        text = f"{message.rstrip('.')}, at {where}." if where else message
        hal.CheckOp(ir.StringAttr.get(text), self.scalars[op.operands[0]])

    def _op_tensor_empty(self, op: ir.OpView) -> None:
        self.buffers[op.results[0]] = self.transient(self.shapes.nbytes(op.results[0]))

    def _op_tensor_extract(self, op: ir.OpView) -> None:
        source, *indices = op.operands
        linear = fixed(0)
        for position, size in zip(indices, self.shapes.dims(source), strict=True):
            linear = linear * size + self.shapes.symbols.value(position)
        kind = source.type.element_type
        offset = self.size(linear * element_bytes(kind))
        text = ir.StringAttr.get(dtype_name(kind, op))
        load = hal.LoadOp(text, self.buffers[source], offset, kind)
        self.scalars[op.results[0]] = load.result

    def _op_tensor_from_elements(self, op: ir.OpView) -> None:
        result = op.results[0]
        kind = result.type.element_type
        target = self.transient(self.shapes.nbytes(result), host=True)
        for number, value in enumerate(op.operands):
            offset = index_constant(number * element_bytes(kind))
            text = ir.StringAttr.get(dtype_name(kind, op))
            hal.StoreOp(text, self.scalars[value], target, offset)
        self.buffers[result] = target

    def _op_tensor_insert_slice(self, op: ir.OpView) -> None:
        source, dest = list(op.operands)[:2]
        offset = self.slice_offset(op, self.shapes.dims(dest), 2)
        target = self.buffers[dest]
        if self._dies_here(op, dest):
            self.aliases.join(op.results[0], self.aliases.roots(dest))
        else:
            target = self.transient(self.shapes.nbytes(dest))
            self.copy(dest, target)
        self.copy(source, hal.SubviewOp(target, self.size(offset)).result)
        self.buffers[op.results[0]] = target

    def _dies_here(self, op: ir.OpView, value: ir.Value) -> bool:
        return not self.aliases.roots(value) & self.aliases.roots(op.operands[0]) and all(
            isinstance(root, ir.Value)
            and not isinstance(root.owner, ir.Block)
            and root.owner.operation.name in ("func.call", "tensor.empty")
            and root not in self.places.dispatched
            and self.aliases.last_use(root) <= self.aliases.position[op.operation]
            for root in self.aliases.roots(value)
        )

    def _op_tensor_concat(self, op: ir.OpView) -> None:
        result = op.results[0]
        axis = ir.IntegerAttr(op.attributes["dim"]).value
        if any(size.number != 1 for size in self.shapes.dims(result)[:axis]):
            raise CompileError(
                f"A concatenation along dimension {axis} belongs into a dispatch.",
                where=describe_location(op.location) or None,
            )
        target = self.transient(self.shapes.nbytes(result))
        offset = fixed(0)
        for operand in op.operands:
            self.copy(operand, hal.SubviewOp(target, self.size(offset)).result)
            offset = offset + self.shapes.nbytes(operand)
        self.buffers[result] = target


def _contiguous(sizes: Sequence[Size], strides: Sequence[Size], dims: Sequence[Size]) -> bool:
    whole = True  # all dimensions to the right are taken completely
    for size, stride, dim in zip(reversed(sizes), reversed(strides), reversed(dims), strict=True):
        if size.number == 1:
            whole = whole and dim.number == 1
        elif not whole or stride.number != 1:
            return False
        else:
            whole = size == dim
    return True


def dtype_name(kind: ir.Type, op: ir.OpView) -> str:
    """Return the name under which the host program reads or writes an element.

    Raises:
        CompileError: the host has no such scalars.
    """
    if isinstance(kind, ir.IndexType):
        return "i64"
    if isinstance(kind, ir.ComplexType):
        raise CompileError(
            f"The host program cannot read or write one element of type {kind}.",
            where=describe_location(op.location) or None,
        )
    return str(kind)
