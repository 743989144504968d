"""StableHLO's while, if and case as ``scf`` over tensors."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.ir import arith, ir, tensor
from iree_core.passes.input.support import before, create, operations, replace, terminator
from iree_core.passes.state import CompilationState


@dataclass(frozen=True)
class StablehloControlFlow:
    """Converts ``stablehlo.while``, ``stablehlo.if`` and ``stablehlo.case``.

    Before::

        %r = stablehlo.while(%i = %a) : tensor<i32>
          cond { ... stablehlo.return %c : tensor<i1> } do { ... stablehlo.return %n : tensor<i32> }

    After::

        %r = scf.while (%i = %a) : (tensor<i32>) -> tensor<i32> {
          ... %p = tensor.extract %c[] : tensor<i1>
          scf.condition(%p) %i : tensor<i32>
        } do { ^bb0(%i: tensor<i32>): ... scf.yield %n : tensor<i32> }
    """

    name: str = "stablehlo-control-flow"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Convert every such operation, innermost first."""
        convert = {
            "stablehlo.while": _while,
            "stablehlo.if": _if,
            "stablehlo.case": _case,
        }
        for op in operations(module, convert):
            with before(op):
                made = convert[op.name](op)
            replace(op, list(made.results))


def _while(op: ir.Operation) -> ir.Operation:
    made = create("scf.while", [r.type for r in op.results], list(op.operands), regions=2)
    condition = _move(op, 0, made, 0)
    _move(op, 1, made, 1)
    _yield(made.regions[1].blocks[0])
    end = terminator(condition)
    with before(end):
        go_on = tensor.extract(end.operands[0], [])
        create("scf.condition", [], [go_on, *condition.arguments])
    end.erase()
    return made


def _if(op: ir.Operation) -> ir.Operation:
    return _two_way(op, tensor.extract(op.operands[0], []))


def _case(op: ir.Operation) -> ir.Operation:
    """Branch i for index i; every index out of range takes the last branch."""
    branches = len(op.regions)
    position = tensor.extract(op.operands[0], [])
    if branches == 1:
        always = create("scf.execute_region", [r.type for r in op.results], [], regions=1)
        _yield(_move(op, 0, always, 0))
        return always
    return _chain(op, position, 0)


def _chain(op: ir.Operation, position: ir.Value, branch: int) -> ir.Operation:
    """Return branch number ``branch`` for its number, else what follows."""
    here = arith.constant(position.type, branch)
    chosen = arith.cmpi(arith.CmpIPredicate.eq, position, here)
    made = create("scf.if", [r.type for r in op.results], [chosen], regions=2)
    _yield(_move(op, branch, made, 0))
    if branch + 2 == len(op.regions):
        _yield(_move(op, branch + 1, made, 1))
        return made
    otherwise = made.regions[1].blocks.append()
    with ir.InsertionPoint(otherwise):
        rest = _chain(op, position, branch + 1)
        create("scf.yield", [], list(rest.results))
    return made


def _two_way(op: ir.Operation, condition: ir.Value) -> ir.Operation:
    made = create("scf.if", [r.type for r in op.results], [condition], regions=2)
    for branch in range(2):
        _yield(_move(op, branch, made, branch))
    return made


def _move(source: ir.Operation, region: int, target: ir.Operation, place: int) -> ir.Block:
    source.regions[region].blocks[0].append_to(target.regions[place])
    return target.regions[place].blocks[0]


def _yield(block: ir.Block) -> None:
    end = terminator(block)
    with before(end):
        create("scf.yield", [], list(end.operands))
    end.erase()
