"""Runs host functions twice without machine code: as tensors, and as a scheduled program.

Both use the numpy functions in :data:`DISPATCHES` for the dispatches, so a difference can only
come from scheduling or from the lowering to the program.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from iree_core.codegen.kernel import CompiledDispatch, Kernel
from iree_core.expr import const
from iree_core.ir import ir, make_context
from iree_core.params import ParameterStore
from iree_core.passes.manager import PassManager
from iree_core.passes.state import CompilationState
from iree_core.phases import PHASES
from iree_core.vm import verify
from iree_core.vm.program import Binding, Dispatch, Function, Program

_POISON = 0xFF  # four of them are a NaN

_ELEMENTWISE = """
func.func private @{name}(%x: tensor<?x4xf32> {{flow.dims = array<i64: 2>}},
    %y: tensor<?x4xf32> {{flow.dims = array<i64: 2>}}, %n: index)
    -> (tensor<?x4xf32> {{flow.dims = array<i64: 2>}}) attributes {{flow.dispatch}} {{
  %e = tensor.empty(%n) : tensor<?x4xf32>
  %r = linalg.generic {{indexing_maps = [affine_map<(a, b) -> (a, b)>,
      affine_map<(a, b) -> (a, b)>, affine_map<(a, b) -> (a, b)>],
      iterator_types = ["parallel", "parallel"]}}
      ins(%x, %y : tensor<?x4xf32>, tensor<?x4xf32>) outs(%e : tensor<?x4xf32>) {{
  ^bb0(%a: f32, %b: f32, %c: f32):
    %0 = {op} %a, %b : f32
    linalg.yield %0 : f32
  }} -> tensor<?x4xf32>
  return %r : tensor<?x4xf32>
}}
"""

_OTHERS = """
func.func private @mix(%x: tensor<?x4xf32> {flow.dims = array<i64: 1>}, %n: index)
    -> (tensor<?x4xf32> {flow.dims = array<i64: 1>}) attributes {flow.dispatch} {
  %z = arith.constant 0.0 : f32
  %e = tensor.empty(%n) : tensor<?x4xf32>
  %f = linalg.fill ins(%z : f32) outs(%e : tensor<?x4xf32>) -> tensor<?x4xf32>
  %r = linalg.generic {indexing_maps = [affine_map<(a, b, k) -> (a, k)>,
      affine_map<(a, b, k) -> (a, b)>],
      iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%x : tensor<?x4xf32>) outs(%f : tensor<?x4xf32>) {
  ^bb0(%a: f32, %c: f32):
    %0 = arith.addf %a, %c : f32
    linalg.yield %0 : f32
  } -> tensor<?x4xf32>
  return %r : tensor<?x4xf32>
}
func.func private @cat(%x: tensor<?x4xf32> {flow.dims = array<i64: 2>},
    %y: tensor<?x4xf32> {flow.dims = array<i64: 3>}, %n: index, %m: index, %nm: index)
    -> (tensor<?x4xf32> {flow.dims = array<i64: 4>}) attributes {flow.dispatch} {
  %r = tensor.concat dim(0) %x, %y
      : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %r : tensor<?x4xf32>
}
func.func private @pair(%x: tensor<?x4xf32> {flow.dims = array<i64: 1>}, %n: index)
    -> (tensor<?x4xf32> {flow.dims = array<i64: 1>}, tensor<4xf32>) attributes {flow.dispatch} {
  %z = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<4xf32>
  %f = linalg.fill ins(%z : f32) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  return %x, %f : tensor<?x4xf32>, tensor<4xf32>
}
func.func private @total(%x: tensor<?x4xf32> {flow.dims = array<i64: 1>}, %n: index)
    -> tensor<i64> attributes {flow.dispatch} {
  %e = tensor.empty() : tensor<i64>
  return %e : tensor<i64>
}
func.func private @scale(%x: tensor<?x4xf32> {flow.dims = array<i64: 2>}, %s: tensor<4xf32>,
    %n: index) -> (tensor<?x4xf32> {flow.dims = array<i64: 2>}) attributes {flow.dispatch} {
  %e = tensor.empty(%n) : tensor<?x4xf32>
  %r = linalg.generic {indexing_maps = [affine_map<(a, b) -> (a, b)>,
      affine_map<(a, b) -> (b)>, affine_map<(a, b) -> (a, b)>],
      iterator_types = ["parallel", "parallel"]}
      ins(%x, %s : tensor<?x4xf32>, tensor<4xf32>) outs(%e : tensor<?x4xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<?x4xf32>
  return %r : tensor<?x4xf32>
}
"""

DISPATCH_TEXT = (
    _ELEMENTWISE.format(name="add", op="arith.addf")
    + _ELEMENTWISE.format(name="sub", op="arith.subf")
    + _OTHERS
)

Array = np.ndarray


def _total(x: Array) -> list[Array]:
    finite = np.clip(np.nan_to_num(x), -1e6, 1e6)
    return [np.array(int(abs(finite).sum() * 7) % 4, np.int64)]


DISPATCHES: Mapping[str, Callable[..., list[Array]]] = {
    "add": lambda x, y: [x + y],
    "sub": lambda x, y: [(x - y) / 2],
    "mix": lambda x: [np.broadcast_to(x.mean(1, keepdims=True), x.shape)],
    "cat": lambda x, y: [np.concatenate([x, y])],
    "pair": lambda x: [x[::-1], x.sum(0) / 8],
    "total": _total,
    "scale": lambda x, s: [x * s],
}
# Shapes of tensor operands over the scalar operands (negative: minus the position, minus 1).
_SHAPES: Mapping[str, Sequence[tuple[int, ...]]] = {
    "add": [(-1, 4), (-1, 4)],
    "sub": [(-1, 4), (-1, 4)],
    "mix": [(-1, 4)],
    "cat": [(-1, 4), (-2, 4)],
    "pair": [(-1, 4)],
    "total": [(-1, 4)],
    "scale": [(-1, 4), (4,)],
}


def compile_host(text: str, parameters: ParameterStore | None = None) -> CompilationState:
    """Schedule the host functions of ``text`` (dispatches are added) and lower them."""
    with make_context(), ir.Location.unknown():
        module = ir.Module.parse(text + DISPATCH_TEXT)
        return compile_module(module, parameters)


def compile_module(module: ir.Module, parameters: ParameterStore | None = None) -> CompilationState:
    """Schedule and lower ``module`` in place, verifying the program."""
    state = CompilationState(parameters or ParameterStore(), None, None)  # type: ignore[arg-type]
    for phase in ("abi", "scheduling"):
        PassManager(PHASES[phase](state)).run(module, state)
    kernel = Kernel("", "kernel", const(1), const(0), 1, "general")
    for number, name in enumerate(DISPATCHES):
        state.entries[name] = number
        state.kernels.append(CompiledDispatch(kernel, b"", name))
    PassManager(PHASES["vm"](state)).run(module, state)
    assert state.program is not None
    verify.verify(state.program, entries=len(DISPATCHES), data_size=state.constants.size)
    return state


class Machine:
    """Runs a program on poisoned memory; state survives from call to call."""

    def __init__(self, state: CompilationState) -> None:
        assert state.program is not None
        self.program: Program = state.program
        self.data = np.zeros(state.constants.size, np.uint8)
        for part, data in state.constants.read():
            self.data[part.offset : part.offset + part.nbytes] = data
        self.data.flags.writeable = False
        self.globals = [self._initial(g.nbytes, g.offset) for g in self.program.globals]
        self.arena_bytes = 0

    def _initial(self, nbytes: int, offset: int | None) -> Array:
        if offset is None:
            return np.zeros(nbytes, np.uint8)
        return self.data[offset : offset + nbytes].copy()

    def call(self, name: str, *inputs: Array) -> list[Array]:
        """Call a public function; the inputs must not change, the results are copies."""
        function = next(f for f in self.program.functions if f.name == name)
        sizes: dict[str, int] = {}
        for tensor, array in zip(function.inputs, inputs, strict=True):
            for dim, size in zip(tensor.shape, array.shape, strict=True):
                assert sizes.setdefault(dim, size) == size if isinstance(dim, str) else dim == size
        buffers = [np.frombuffer(a.tobytes(), np.uint8) for a in inputs]
        returned, offsets = self._run(function, list(sizes.values()), buffers)
        names = [d for t in function.outputs for d in t.shape if isinstance(d, str)]
        extra = [n for n in dict.fromkeys(names) if n not in sizes]
        sizes.update(zip(extra, offsets[len(returned) :], strict=True))
        dtypes = {"f32": np.float32, "i64": np.int64, "i1": np.bool_, "i32": np.int32}
        results = []
        for tensor, buffer, offset in zip(function.outputs, returned, offsets, strict=False):
            assert all(not np.shares_memory(buffer, b) for b in [*buffers, *self.globals])
            shape = [sizes[d] if isinstance(d, str) else d for d in tensor.shape]
            dtype = np.dtype(dtypes[tensor.dtype])
            count = int(np.prod(shape))
            raw = buffer[offset : offset + count * dtype.itemsize]
            results.append(raw.view(dtype).reshape(shape).copy())
        for i, one in enumerate(returned):
            assert not any(np.shares_memory(one, two) for two in returned[:i])
        return results

    def _run(
        self, function: Function, sizes: Sequence[int], buffers: Sequence[Array]
    ) -> tuple[list[Array], list[int]]:
        i: list = [*sizes] + [None] * function.registers[0]
        b: list = [*buffers] + [None] * function.registers[2]
        position = 0
        for _ in range(100_000):
            instruction = function.instructions[position]
            op, args = instruction.op, instruction.args
            position += 1
            if op == "return":
                return [b[r] for r in args[0]], [i[r] for r in args[1]]
            if op == "br":
                position = args[0]
            elif op == "br_if":
                position = args[1] if i[args[0]] else position
            elif op in _INTEGER:
                i[args[0]] = int(_INTEGER[op](*(i[a] for a in args[1:])))
            elif op == "const":
                i[args[0]] = args[1]
            elif op == "bmov":
                b[args[0]] = b[args[1]]
            elif op in ("arena", "alloc"):
                if op == "arena":
                    self.arena_bytes = i[args[1]]
                b[args[0]] = np.full(i[args[1]], _POISON, np.uint8)
            elif op == "constants":
                b[args[0]] = self.data
            elif op == "get_global":
                b[args[0]] = self.globals[args[1]]
            elif op == "set_global":
                self.globals[args[0]] = b[args[1]]
            elif op == "load":
                raw = b[args[1]][i[args[2]] :].tobytes()
                i[args[0]] = struct.unpack_from({"i64": "<q", "i1": "<b"}[args[3]], raw)[0]
            elif op == "store":
                raw = struct.pack({"i64": "<q", "i1": "<b"}[args[3]], i[args[0]])
                b[args[1]][i[args[2]] : i[args[2]] + len(raw)] = np.frombuffer(raw, np.uint8)
            elif op == "execute":
                self._execute(args[0], [b[r] for r in args[1]], [i[r] for r in args[2]])
            elif op == "check":
                assert i[args[0]], args[1]
            else:
                raise NotImplementedError(op)
        raise AssertionError("the program does not end")

    def _execute(self, number: int, slots: Sequence[Array], params: Sequence[int]) -> None:
        def value(operand: tuple[str, int]) -> int:
            return operand[1] if operand[0] == "imm" else params[operand[1]]

        def memory(binding: Binding, nbytes: int) -> Array:
            start = value(binding.offset)
            found = slots[binding.slot][start : start + nbytes]
            assert found.size == nbytes, "a binding reaches past its buffer"
            return found

        for command in self.program.command_lists[number].commands:
            if not isinstance(command, Dispatch):
                length = value(command.length)
                target = memory(command.target, length)
                if hasattr(command, "source"):
                    source = memory(command.source, length)
                    assert not length or not np.shares_memory(source, target)
                    target[:] = source
                else:
                    target[:] = np.resize(np.frombuffer(command.pattern, np.uint8), length)
                continue
            name = list(DISPATCHES)[command.entry]
            scalars = [value(s) for s in command.scalars]
            inputs = []
            for binding, shape in zip(command.bindings, _SHAPES[name], strict=False):
                sizes = [scalars[-d - 1] if d < 0 else d for d in shape]
                raw = memory(binding, 4 * int(np.prod(sizes)))
                inputs.append(raw.view(np.float32).reshape(sizes))
            outputs = DISPATCHES[name](*inputs)
            if name not in ("add", "sub", "scale"):
                # Anything else may write its results before it has read all operands.
                for binding, result in zip(command.bindings[len(inputs) :], outputs, strict=True):
                    memory(binding, result.nbytes)[:] = _POISON
                outputs = DISPATCHES[name](*inputs)
            for binding, result in zip(command.bindings[len(inputs) :], outputs, strict=True):
                memory(binding, result.nbytes)[:] = np.frombuffer(result.tobytes(), np.uint8)


_INTEGER: Mapping[str, Callable[..., int]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "ceildiv": lambda a, b: -(-a // b), "floordiv": lambda a, b: a // b,
    "min": min, "max": max, "and": lambda a, b: a & b, "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b, "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b, "mov": lambda a: a, "select": lambda c, a, b: a if c else b,
    "rems": lambda a, b: int(np.fmod(a, b)), "divs": lambda a, b: int(a / b),
}  # fmt: skip


class TensorMachine:
    """Evaluates host functions on tensors, one operation after the other."""

    def __init__(self, module: ir.Module, parameters: ParameterStore | None = None) -> None:
        self.functions = {
            op.name.value: op for op in module.body.operations if op.operation.name == "func.func"
        }
        self.module = module  # keeps the functions alive
        self.parameters = parameters
        self.state: dict[str, Array] = {}
        for op in module.body.operations:
            if op.operation.name == "ml_program.global":
                self.state[str(op.sym_name).strip('"')] = _dense(op.attributes["value"])

    def call(self, name: str, *inputs: Array) -> list[Array]:
        """Call a function."""
        block = self.functions[name].regions[0].blocks[0]
        return self._block(block, dict(zip(block.arguments, inputs, strict=True)))

    def _block(self, block: ir.Block, values: dict[ir.Value, object]) -> list:
        for op in block.operations:
            operands = [values[o] for o in op.operands]
            name = op.operation.name
            if name in ("func.return", "scf.yield", "scf.condition"):
                return operands
            values.update(zip(op.results, self._op(op, name, operands, values), strict=True))
        raise AssertionError("no terminator")

    def _op(self, op: ir.OpView, name: str, operands: list, values: dict) -> list:
        if name == "func.call":
            callee = op.callee.value
            if callee not in DISPATCHES:
                return self.call(callee, *operands)
            tensors = [o for o in operands if isinstance(o, np.ndarray)]
            return [np.array(r) for r in DISPATCHES[callee](*tensors)]
        if name == "scf.if":
            return self._block(op.regions[0 if operands[0] else 1].blocks[0], values)
        if name == "scf.for":
            body = op.regions[0].blocks[0]
            carried = operands[3:]
            for number in range(*operands[:3]):
                values.update(zip(body.arguments, [number, *carried], strict=True))
                carried = self._block(body, values)
            return carried
        if name == "scf.while":
            before, after = (region.blocks[0] for region in op.regions)
            carried = operands
            while True:
                values.update(zip(before.arguments, carried, strict=True))
                condition, *forwarded = self._block(before, values)
                if not condition:
                    return forwarded
                values.update(zip(after.arguments, forwarded, strict=True))
                carried = self._block(after, values)
        if name == "arith.constant":
            value = op.attributes["value"]
            if isinstance(value, ir.DenseElementsAttr):
                return [_dense(value)]
            return [int(value.value)]
        if name == "flow.parameter":
            assert self.parameters is not None
            return [self.parameters.read(str(op.attributes["key"]).strip('"'))]
        if name == "ml_program.global_load":
            return [self.state[str(op.attributes["global"]).lstrip("@")].copy()]
        if name == "ml_program.global_store":
            self.state[str(op.attributes["global"]).lstrip("@")] = copy.copy(operands[0])
            return []
        return [_SCALAR[name](op, *operands)]


def _dense(value: ir.DenseElementsAttr) -> Array:
    kind = value.type
    if value.is_splat:
        number = value.get_splat_value().value
        dtype = np.float32 if isinstance(kind.element_type, ir.F32Type) else np.int64
        return np.full(kind.shape, number, dtype)
    return np.array(value).copy()


def _slice(op: ir.OpView, x: Array, *dynamic: int) -> Array:
    numbers = iter(dynamic)
    unknown = ir.ShapedType.get_dynamic_size()
    lists = []
    for attribute in ("static_offsets", "static_sizes"):
        found = [int(n) for n in op.attributes[attribute]]
        lists.append([next(numbers) if n == unknown else n for n in found])
    return x[tuple(slice(o, o + s) for o, s in zip(*lists, strict=True))]


def _compare(op: ir.OpView, a: int, b: int) -> bool:
    names = ("eq", "ne", "lt", "le", "gt", "ge")
    return bool(_INTEGER[names[op.attributes["predicate"].value]](a, b))


_SCALAR: Mapping[str, Callable] = {
    "arith.addi": lambda op, a, b: a + b,
    "arith.subi": lambda op, a, b: a - b,
    "arith.muli": lambda op, a, b: a * b,
    "arith.remsi": lambda op, a, b: int(np.fmod(a, b)),
    "arith.cmpi": _compare,
    "arith.select": lambda op, c, a, b: a if c else b,
    "arith.index_cast": lambda op, a: a,
    "tensor.dim": lambda op, x, d: x.shape[d],
    "tensor.extract": lambda op, x, *i: x[i].item(),
    "tensor.from_elements": lambda op, *v: np.array(v).reshape(op.results[0].type.shape),
    "tensor.cast": lambda op, x: x,
    "tensor.expand_shape": lambda op, x, *n: x.reshape(
        [-1 if d == ir.ShapedType.get_dynamic_size() else d for d in op.results[0].type.shape]
    ),
    "tensor.collapse_shape": lambda op, x: x.reshape(-1, 4),
    "tensor.extract_slice": _slice,
}


def check(text: str, *inputs: Array, calls: int = 1, name: str = "main") -> Machine:
    """Compile ``text``, call it both ways ``calls`` times, and compare every result."""
    with make_context(), ir.Location.unknown():
        module = ir.Module.parse(text + DISPATCH_TEXT)
        parameters = ParameterStore()
        parameters.add("w", np.arange(4, dtype=np.float32) / 4)
        reference = TensorMachine(ir.Module.parse(text + DISPATCH_TEXT), parameters)
        machine = Machine(compile_module(module, parameters))
        for _ in range(calls):
            expected = reference.call(name, *inputs)
            actual = machine.call(name, *inputs)
            for one, two in zip(expected, actual, strict=True):
                np.testing.assert_array_equal(one, two)
                assert one.shape == two.shape
    return machine
