"""Pass: host functions over buffers become the runtime's program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from iree_core.dialects import hal
from iree_core.errors import CompileError
from iree_core.ir import func, ir, ml_program
from iree_core.passes.abi.signature import parse_type
from iree_core.passes.diagnostics import describe_location
from iree_core.passes.scheduling import constants
from iree_core.passes.state import CompilationState
from iree_core.passes.vm import scalars
from iree_core.passes.vm.builder import (
    FloatReg,
    FunctionBuilder,
    Imm,
    Int,
    Label,
    PendingCopy,
    PendingDispatch,
    PendingFill,
    Reg,
    View,
)
from iree_core.vm.program import Function, Global, Program

_Value = Int | FloatReg | View


@dataclass(frozen=True)
class LowerFunctions:
    """Write ``state.program`` from the host functions; the module itself stays as it is::

        %0 = "hal.arena"(%c64) : (index) -> !hal.buffer
        "hal.dispatch"(%x, %0) {entry = @dispatch_0, ...}
        "hal.dispatch"(%0, %y) {entry = @dispatch_1, ...}

    becomes two instructions, the second with a command list of both dispatches::

        arena   b2 <- i3
        execute 0 (b0, b2, b1) ()

    Device work up to the next branch, or to the next scalar that the host reads from what the
    device wrote, forms one command list.
    """

    name: str = "lower-functions"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Lower every host function of ``module``.

        Raises:
            CompileError: the host program has no instruction for a scalar operation.
        """
        program = Program()
        globals_: dict[str, int] = {}
        for op in module.body.operations:
            if isinstance(op, ml_program.GlobalOp):
                globals_[ir.StringAttr(op.sym_name).value] = len(program.globals)
                program.globals.append(_global(op, state))
        for op in module.body.operations:
            if isinstance(op, func.FuncOp) and hal.INPUTS in op.attributes:
                program.functions.append(_Lowering(op, state, program, globals_).run())
        state.program = program


def _global(op: ml_program.GlobalOp, state: CompilationState) -> Global:
    name = ir.StringAttr(op.sym_name).value
    kind = ir.TypeAttr(op.attributes["type"]).value
    key, nbytes = constants.register_initial(state, op, kind)
    offset = None if key is None else state.constants.add_parameter(key)
    return Global(name, nbytes, offset)


class _Lowering:
    """Lowers one function."""

    def __init__(
        self,
        function: func.FuncOp,
        state: CompilationState,
        program: Program,
        globals_: dict[str, int],
    ) -> None:
        self.function = function
        self.state = state
        self.globals = globals_
        self.values: dict[ir.Value, _Value] = {}
        arguments = list(function.regions[0].blocks[0].arguments)
        integers = sum(isinstance(a.type, ir.IndexType) for a in arguments)
        self.builder = FunctionBuilder(program.command_lists, integers, len(arguments) - integers)
        for number, argument in enumerate(arguments):
            self.values[argument] = (
                Reg(number) if number < integers else View(number - integers, Imm(0), stable=True)
            )

    def run(self) -> Function:
        """Return the function."""
        self._block(self.function.regions[0].blocks[0])
        instructions, registers = self.builder.finish()

        def types(name: str) -> tuple:
            return tuple(parse_type(ir.StringAttr(t).value) for t in self.function.attributes[name])

        return Function(
            self.function.name.value,
            types(hal.INPUTS),
            types(hal.OUTPUTS),
            instructions,
            registers,
        )

    def _block(self, block: ir.Block) -> ir.OpView:
        """Lower all operations of ``block``; return its terminator, lowered only at the top."""
        *body, terminator = list(block.operations)
        for op in body:
            self._lower(op)
        if terminator.operation.name == "func.return":
            self._return(terminator)
        return terminator

    def _lower(self, op: ir.OpView) -> None:
        name = op.operation.name
        handler = _HANDLERS.get(name)
        if name == "arith.select" and isinstance(op.results[0].type, hal.BufferType):
            handler = _Lowering._select_buffer
        if handler is not None:
            handler(self, op)
        elif len(op.results) == 1 and not op.regions:
            operands = [self._scalar(o) for o in op.operands]
            self.values[op.results[0]] = scalars.lower(self.builder, op, operands)
        else:
            raise CompileError(
                f"The host program has no operation {name}.",
                where=describe_location(op.location) or None,
            )

    def _scalar(self, value: ir.Value) -> scalars.Scalar:
        found = self.values[value]
        assert not isinstance(found, View)
        return found

    def _int(self, value: ir.Value) -> Int:
        found = self.values[value]
        assert isinstance(found, Imm | Reg)
        return found

    def _view(self, value: ir.Value) -> View:
        found = self.values[value]
        assert isinstance(found, View)
        return found

    # Buffers.

    def _constant(self, op: ir.OpView) -> None:
        key = ir.StringAttr(op.key).value
        offset = self.state.constants.add_parameter(key)
        self.values[op.result] = View(self.builder.constants(), Imm(offset), stable=True)

    def _allocate(self, op: ir.OpView) -> None:
        register = self.builder.register("b")
        mnemonic = op.operation.name.removeprefix("hal.")
        self.builder.emit(mnemonic, register, self.builder.integer(self._int(op.size)))
        self.values[op.result] = View(register, Imm(0))

    def _subview(self, op: ir.OpView) -> None:
        self.values[op.result] = self.builder.subview(self._view(op.source), self._int(op.offset))

    def _load_global(self, op: ir.OpView) -> None:
        register = self.builder.register("b")
        number = self.globals[ir.StringAttr(op.variable).value]
        self.builder.emit("get_global", register, number)
        self.values[op.result] = View(register, Imm(0))

    def _store_global(self, op: ir.OpView) -> None:
        view = self._view(op.source)
        assert view.offset == Imm(0), "state is the whole of its buffer"
        number = self.globals[ir.StringAttr(op.variable).value]
        self.builder.emit("set_global", number, view.register)

    def _load(self, op: ir.OpView) -> None:
        view = self._view(op.source)
        if not view.stable:
            self.builder.flush()
        offset = self.builder.compute("add", view.offset, self._int(op.offset))
        is_float = isinstance(op.result.type, ir.FloatType)
        register = self.builder.register("f" if is_float else "i")
        dtype = ir.StringAttr(op.dtype).value
        mnemonic = "fload" if is_float else "load"
        self.builder.emit(mnemonic, register, view.register, self.builder.integer(offset), dtype)
        self.values[op.result] = FloatReg(register) if is_float else Reg(register)

    def _store(self, op: ir.OpView) -> None:
        view = self._view(op.target)
        offset = self.builder.compute("add", view.offset, self._int(op.offset))
        value = self._scalar(op.value)
        register = value.number if isinstance(value, FloatReg) else self.builder.integer(value)
        mnemonic = "fstore" if isinstance(value, FloatReg) else "store"
        dtype = ir.StringAttr(op.dtype).value
        self.builder.emit(mnemonic, register, view.register, self.builder.integer(offset), dtype)

    # Device work.

    def _dispatch(self, op: ir.OpView) -> None:
        entry = self.state.entries[op.entry.value]
        kernel = self.state.kernels[entry].kernel
        operands = tuple(self._int(s) for s in op.scalars)
        self.builder.enqueue(
            PendingDispatch(
                entry,
                tuple(self._view(b) for b in (*op.inputs, *op.outputs)),
                operands,
                self.builder.expression(kernel.grid, operands),
                self.builder.expression(kernel.scratch, operands),
                kernel.grain,
            )
        )

    def _copy(self, op: ir.OpView) -> None:
        source, target = self._view(op.source), self._view(op.target)
        self.builder.enqueue(PendingCopy(source, target, self._int(op.length)))

    def _fill(self, op: ir.OpView) -> None:
        pattern = bytes.fromhex(ir.StringAttr(op.pattern).value)
        self.builder.enqueue(PendingFill(self._view(op.target), self._int(op.length), pattern))

    def _check(self, op: ir.OpView) -> None:
        register = self.builder.integer(self._int(op.condition))
        self.builder.emit("check", register, ir.StringAttr(op.message).value)

    def _call_host(self, op: ir.OpView) -> None:
        self.builder.flush()
        views = [self._view(b) for b in (*op.inputs, *op.outputs)]
        integers = [*(view.offset for view in views), *(self._int(s) for s in op.sizes)]
        self.builder.emit(
            "call_host",
            ir.StringAttr(op.callee).value,
            ir.StringAttr(op.signature).value,
            tuple(view.register for view in views),
            tuple(self.builder.integer(value) for value in integers),
        )

    # Control flow.

    def _fresh(self, value: ir.Value) -> _Value:
        """Return registers of their own for ``value``."""
        if isinstance(value.type, hal.BufferType):
            return View(self.builder.register("b"), Reg(self.builder.register("i")))
        if isinstance(value.type, ir.FloatType):
            return FloatReg(self.builder.register("f"))
        return Reg(self.builder.register("i"))

    def _move(self, targets: list[_Value], sources: list[_Value]) -> None:
        moves: list[tuple[str, int, int]] = []
        for target, source in zip(targets, sources, strict=True):
            if isinstance(target, View):
                assert isinstance(source, View) and isinstance(target.offset, Reg)
                moves.append(("b", target.register, source.register))
                offset = self.builder.integer(source.offset)
                moves.append(("i", target.offset.number, offset))
            elif isinstance(target, FloatReg):
                assert isinstance(source, FloatReg)
                moves.append(("f", target.number, source.number))
            else:
                assert isinstance(source, Imm | Reg)
                moves.append(("i", target.number, self.builder.integer(source)))
        self.builder.flush()
        self.builder.move(moves)

    def _carry(self, targets: list[_Value], values: list[ir.Value]) -> None:
        self._move(targets, [self.values[v] for v in values])

    def _if(self, op: ir.OpView) -> None:
        results = [self._fresh(r) for r in op.results]
        then, end = Label(), Label()
        self.builder.jump(then, self._int(op.operands[0]))
        self._branch(op.regions[1], results)
        self.builder.jump(end)
        self.builder.place(then)
        self._branch(op.regions[0], results)
        self.builder.place(end)
        self.values.update(zip(op.results, results, strict=True))

    def _branch(self, region: ir.Region, results: list[_Value]) -> None:
        with self.builder.scope():
            if region.blocks:
                self._carry(results, list(self._block(region.blocks[0]).operands))

    def _select_buffer(self, op: ir.OpView) -> None:
        condition, first, second = op.operands
        result = self._fresh(op.results[0])
        end = Label()
        self._carry([result], [first])
        self.builder.jump(end, self._int(condition))
        self._carry([result], [second])
        self.builder.place(end)
        self.values[op.results[0]] = result

    def _for(self, op: ir.OpView) -> None:
        lower, upper, step = (self._int(o) for o in list(op.operands)[:3])
        body = op.regions[0].blocks[0]
        variable, *arguments = body.arguments
        counter = Reg(self.builder.register("i"))
        targets = [self._fresh(a) for a in arguments]
        self._move([counter, *targets], [lower, *(self.values[v] for v in list(op.operands)[3:])])
        self.values[variable] = counter
        self.values.update(zip(arguments, targets, strict=True))
        again, test = Label(), Label()
        self.builder.jump(test)
        self.builder.place(again)
        with self.builder.scope():
            self._carry(targets, list(self._block(body).operands))
            self.builder.emit("add", counter.number, counter.number, self.builder.integer(step))
        self.builder.place(test)
        more = Reg(self.builder.register("i"))
        self.builder.emit("lt", more.number, counter.number, self.builder.integer(upper))
        self.builder.jump(again, more)
        self.values.update(zip(op.results, targets, strict=True))

    def _while(self, op: ir.OpView) -> None:
        before, after = (region.blocks[0] for region in op.regions)
        targets = [self._fresh(a) for a in before.arguments]
        self._carry(targets, list(op.operands))
        self.values.update(zip(before.arguments, targets, strict=True))
        head, body, end = Label(), Label(), Label()
        self.builder.place(head)
        with self.builder.scope():
            condition, *forwarded = self._block(before).operands
            values = [self.values[v] for v in forwarded]
            self.builder.jump(body, self._int(condition))
            self.builder.jump(end)
            self.builder.place(body)
            self.values.update(zip(after.arguments, values, strict=True))
            self._carry(targets, list(self._block(after).operands))
            self.builder.jump(head)
        self.builder.place(end)
        self.values.update(zip(op.results, values, strict=True))

    def _return(self, op: ir.OpView) -> None:
        self.builder.flush()
        views = [self._view(v) for v in op.operands if isinstance(v.type, hal.BufferType)]
        sizes = [self._int(v) for v in op.operands if not isinstance(v.type, hal.BufferType)]
        integers = [*(view.offset for view in views), *sizes]
        self.builder.emit(
            "return",
            tuple(view.register for view in views),
            tuple(self.builder.integer(value) for value in integers),
        )


_HANDLERS: dict[str, Callable[[_Lowering, ir.OpView], None]] = {
    "hal.constant": _Lowering._constant,
    "hal.arena": _Lowering._allocate,
    "hal.alloc": _Lowering._allocate,
    "hal.subview": _Lowering._subview,
    "hal.load_global": _Lowering._load_global,
    "hal.store_global": _Lowering._store_global,
    "hal.load": _Lowering._load,
    "hal.store": _Lowering._store,
    "hal.dispatch": _Lowering._dispatch,
    "hal.copy": _Lowering._copy,
    "hal.fill": _Lowering._fill,
    "hal.check": _Lowering._check,
    "hal.call_host": _Lowering._call_host,
    "scf.if": _Lowering._if,
    "scf.for": _Lowering._for,
    "scf.while": _Lowering._while,
}
