"""The vm phase: command lists, parameters, scalars, and the plan that is shown of them."""

from __future__ import annotations

import numpy as np
import pytest

from iree_core.inspect import describe_plan, plan_of
from iree_core.ir import ir, make_context
from iree_core.passes.vm.builder import FunctionBuilder, Imm, PendingFill, Reg, View
from iree_core.vm.program import CommandList, Dispatch

from .scheduling_kit import TensorMachine, compile_host

T = "tensor<?x4xf32>"
DIMS = '{iree.dims = ["n"]}'

CHAIN = f"""
func.func @main(%x: {T} {DIMS}, %y: {T} {DIMS}) -> {T} {{
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : {T}
  %0 = func.call @mix(%x, %n) : ({T}, index) -> {T}
  %1 = func.call @mix(%0, %n) : ({T}, index) -> {T}
  %2 = func.call @add(%1, %y, %n) : ({T}, {T}, index) -> {T}
  return %2 : {T}
}}
"""


def test_straight_line_work_is_one_command_list() -> None:
    program = compile_host(CHAIN).program
    assert program is not None
    (listed,) = program.command_lists
    assert len(listed.commands) == 3
    dispatches = [c for c in listed.commands if isinstance(c, Dispatch)]
    assert {d.scalars for d in dispatches} == {(("param", dispatches[0].scalars[0][1]),)}
    executed = [i for i in program.functions[0].instructions if i.op == "execute"]
    assert len(executed) == 1
    # n is passed once, however many dispatches take it.
    assert len(set(executed[0].args[2])) == listed.params


def test_a_scalar_read_from_the_device_ends_a_command_list() -> None:
    text = f"""
func.func @main(%x: {T} {DIMS}) -> {T} {{
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : {T}
  %t = func.call @total(%x, %n) : ({T}, index) -> tensor<i64>
  %v = tensor.extract %t[] : tensor<i64>
  %m = arith.index_cast %v : i64 to index
  %r = scf.for %i = %c0 to %m step %n iter_args(%a = %x) -> ({T}) {{
    %0 = func.call @mix(%a, %n) : ({T}, index) -> {T}
    scf.yield %0 : {T}
  }}
  return %r : {T}
}}
"""
    program = compile_host(text).program
    assert program is not None
    ops = [i.op for i in program.functions[0].instructions]
    assert ops.index("execute") < ops.index("load")
    assert plan_of(program, program.functions[0]).host_reads == 1


def test_a_scalar_read_from_an_input_does_not() -> None:
    text = f"""
func.func @main(%x: {T} {DIMS}, %k: tensor<i64>) -> {T} {{
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : {T}
  %0 = func.call @mix(%x, %n) : ({T}, index) -> {T}
  %v = tensor.extract %k[] : tensor<i64>
  %w = tensor.from_elements %v : tensor<i64>
  %1 = func.call @mix(%0, %n) : ({T}, index) -> {T}
  return %1 : {T}
}}
"""
    program = compile_host(text).program
    assert program is not None
    assert len(program.command_lists) == 1


def test_the_plan_shows_lifetimes() -> None:
    program = compile_host(CHAIN).program
    assert program is not None
    text = "\n".join(describe_plan(program, program.functions[0]))
    assert "3 dispatches, 0 copies (0 B), 0 fills in 1 command lists" in text
    assert "|## |" in text  # %0: written by the first command, read by the second


def test_constants_fold_and_equal_computations_share_a_register() -> None:
    lists: list[CommandList] = []
    builder = FunctionBuilder(lists, integers=1, buffers=1)
    assert builder.compute("add", Imm(2), Imm(3)) == Imm(5)
    assert builder.compute("mul", Reg(0), Imm(1)) == Reg(0)
    once = builder.compute("mul", Reg(0), Imm(4))
    assert builder.compute("mul", Reg(0), Imm(4)) == once
    with builder.scope():
        inside = builder.compute("add", Reg(0), Imm(9))
    assert builder.compute("add", Reg(0), Imm(9)) != inside
    builder.enqueue(PendingFill(View(0, Imm(0)), once, b"\0"))
    builder.flush()
    builder.emit("return", (), ())
    instructions, _ = builder.finish()
    assert [i.op for i in instructions] == [
        "const", "const", "mul", "add", "add", "execute", "return",
    ]  # fmt: skip


def test_moves_that_swap_registers_use_a_third() -> None:
    builder = FunctionBuilder([], integers=2, buffers=0)
    builder.move([("i", 0, 1), ("i", 1, 0)])
    instructions, _ = builder.finish()
    values = {0: "a", 1: "b"}
    for instruction in instructions:
        target, source = instruction.args
        values[target] = values[source]  # type: ignore[index]
    assert (values[0], values[1]) == ("b", "a")


SCALARS = [
    ("arith.divsi %a, %b : i64", lambda a, b: int(a / b)),
    ("arith.floordivsi %a, %b : i64", lambda a, b: a // b),
    ("arith.ceildivsi %a, %b : i64", lambda a, b: -(-a // b)),
    ("arith.maxui %a, %b : i64", lambda a, b: max(a, b, key=lambda v: v % 2**64)),
    ("arith.minui %a, %b : i64", lambda a, b: min(a, b, key=lambda v: v % 2**64)),
    ("arith.shrui %a, %c3 : i64", lambda a, b: (a % 2**64) >> 3),
    ("math.absi %a : i64", lambda a, b: abs(a)),
]


@pytest.mark.parametrize(("text", "expected"), SCALARS, ids=[t.split()[0] for t, _ in SCALARS])
@pytest.mark.parametrize(("a", "b"), [(17, 5), (-17, 5), (17, -5), (-3, -7)])
def test_scalars(text: str, expected: object, a: int, b: int) -> None:
    from iree_core.vm import operations

    assert run_scalar(text, a, b, operations) == expected(a, b)  # type: ignore[operator]


def run_scalar(text: str, a: int, b: int, operations: object) -> int:
    """Compile one operation on two i64 tensors of rank 0, and run its instructions."""
    program = compile_host(f"""
func.func @main(%x: tensor<i64>, %y: tensor<i64>) -> tensor<i64> {{
  %c3 = arith.constant 3 : i64
  %a = tensor.extract %x[] : tensor<i64>
  %b = tensor.extract %y[] : tensor<i64>
  %r = {text}
  %0 = tensor.from_elements %r : tensor<i64>
  return %0 : tensor<i64>
}}
""").program
    assert program is not None
    registers: dict[int, int] = {}
    functions = {
        "divs": operations.divide, "floordiv": lambda p, q: p // q,
        "ceildiv": operations.ceil_divide, "shl": operations.shift_left,
        "shr": operations.shift_right, "xor": lambda p, q: p ^ q, "and": lambda p, q: p & q,
        "sub": lambda p, q: p - q, "max": max, "min": min, "lt": lambda p, q: int(p < q),
        "gt": lambda p, q: int(p > q), "select": lambda c, p, q: p if c else q,
    }  # fmt: skip
    for instruction in program.functions[0].instructions:
        op, args = instruction.op, instruction.args
        if op == "const":
            registers[args[0]] = args[1]
        elif op == "load":
            # The order of loads is that of the arguments unless one is unused.
            registers[args[0]] = (a, b)[args[1]]
        elif op == "store":
            return registers[args[0]]
        elif op in functions:
            registers[args[0]] = functions[op](*(registers[r] for r in args[1:]))
    raise AssertionError("nothing is stored")


def test_reference_machine_agrees_with_numpy() -> None:
    with make_context(), ir.Location.unknown():
        from .scheduling_kit import DISPATCH_TEXT

        machine = TensorMachine(ir.Module.parse(CHAIN + DISPATCH_TEXT))
        x = np.ones((2, 4), np.float32)
        (result,) = machine.call("main", x, x)
        assert result.tolist() == (x + x).tolist()
