"""Pass: calls between host functions are inlined, so that each entry point is planned whole."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.dialects import flow
from iree_core.errors import CompileError
from iree_core.ir import func, ir
from iree_core.passes.abi.signature import is_public
from iree_core.passes.diagnostics import describe_location
from iree_core.passes.state import CompilationState


@dataclass(frozen=True)
class InlineCalls:
    """Replace every call of a host function by the function's body::

        func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
          %y = call @layer(%x) : (tensor<4xf32>) -> tensor<4xf32>
          return %y : tensor<4xf32>
        }
        func.func private @layer(%x: tensor<4xf32>) -> tensor<4xf32> {
          %y = call @dispatch_0(%x) : (tensor<4xf32>) -> tensor<4xf32>
          return %y : tensor<4xf32>
        }

    becomes::

        func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
          %y = call @dispatch_0(%x) : (tensor<4xf32>) -> tensor<4xf32>
          return %y : tensor<4xf32>
        }

    Dispatches stay calls. Private host functions are erased.
    """

    name: str = "inline-calls"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Inline until only dispatches are called.

        Raises:
            CompileError: functions call each other in a circle, or one has no body.
        """
        functions = {
            op.name.value: op for op in module.body.operations if isinstance(op, func.FuncOp)
        }
        hosts = {n: f for n, f in functions.items() if flow.DISPATCH not in f.attributes}
        done: set[str] = set()
        for name in hosts:
            _inline_into(name, hosts, done, [])
        for function in hosts.values():
            if not is_public(function):
                function.operation.erase()


def _inline_into(
    name: str, hosts: dict[str, func.FuncOp], done: set[str], stack: list[str]
) -> None:
    if name in done:
        return
    function = hosts[name]
    if name in stack:
        raise CompileError(
            f"Function {name!r} calls itself ({' -> '.join([*stack, name])}).",
            where=describe_location(function.location) or None,
            hint="Write the recursion as a loop.",
        )
    for call in _host_calls(function, hosts):
        callee = call.callee.value
        _inline_into(callee, hosts, done, [*stack, name])
        if not hosts[callee].regions[0].blocks:
            raise CompileError(
                f"Function {callee!r} is called but has no body.",
                where=describe_location(call.location) or None,
            )
        _inline(call, hosts[callee])
    done.add(name)


def _host_calls(function: func.FuncOp, hosts: dict[str, func.FuncOp]) -> list[func.CallOp]:
    calls: list[func.CallOp] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.operation.name == "func.call" and op.opview.callee.value in hosts:
            calls.append(op.opview)
        return ir.WalkResult.ADVANCE

    function.operation.walk(visit)
    return calls


def _inline(call: func.CallOp, callee: func.FuncOp) -> None:
    # A clone of the whole function keeps every value mapped; its operations then move.
    clone = callee.operation.clone(ip=ir.InsertionPoint(callee.operation))
    block = clone.regions[0].blocks[0]
    for argument, operand in zip(block.arguments, call.operands, strict=True):
        argument.replace_all_uses_with(operand)
    *body, terminator = list(block.operations)
    for op in body:
        op.operation.move_before(call.operation)
    for result, value in zip(call.results, terminator.operands, strict=True):
        result.replace_all_uses_with(value)
    terminator.operation.erase()
    clone.erase()
    call.operation.erase()
