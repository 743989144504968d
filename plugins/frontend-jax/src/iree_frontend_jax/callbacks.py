"""Calls back into Python (``pure_callback``, ``io_callback``, ``debug.print``) in StableHLO.

JAX numbers the functions of a program; callback ``n`` becomes the host function ``callback_n``.
Tokens, which order callbacks with effects, become tensors of one element: what comes of a token
is computed after it, and host functions keep their order anyway.
"""

from __future__ import annotations

from iree_core.ir import arith, func, ir
from iree_core.passes.input.stablehlo_calls import CALL_HOST, call_target

_PREFIXES = ("xla_python", "xla_ffi_python", "xla_ffi_partitioned_python")
_CALL = "stablehlo.custom_call"
_TOKEN = "!stablehlo.token"
_CONFIG = "mhlo.backend_config"


def host_name(number: int) -> str:
    """Return the name under which the runtime knows callback ``number`` of a program."""
    return f"callback_{number}"


def is_callback(op: ir.Operation) -> bool:
    """Tell whether ``op`` calls back into Python."""
    return op.name == _CALL and call_target(op).startswith(_PREFIXES)


def name_callbacks(module: ir.Module, entry: func.FuncOp) -> func.FuncOp:
    """Let callbacks call host functions and take the tokens out of the signature of ``entry``."""
    _replace_tokens(module)
    for op in _callbacks(module):
        config = ir.DictAttr(op.attributes[_CONFIG])
        name = host_name(ir.IntegerAttr(config["index"]).value)
        op.attributes["call_target_name"] = ir.StringAttr.get(CALL_HOST)
        op.attributes[_CONFIG] = ir.DictAttr.get({"callee": ir.StringAttr.get(name)})
    return _without_tokens(entry)


def _callbacks(module: ir.Module) -> list[ir.Operation]:
    found: list[ir.Operation] = []

    def visit(op: ir.OpView) -> ir.WalkResult:
        if is_callback(op.operation):
            found.append(op.operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    return found


def _stand_in() -> ir.Type:
    return ir.RankedTensorType.get([], ir.IntegerType.get_signless(1))


def _replace_tokens(module: ir.Module) -> None:
    """Give everything that is a token another type, signatures of functions included."""
    token, stand_in = ir.Type.parse(_TOKEN), _stand_in()

    def retype(values: ir.OpResultList | ir.BlockArgumentList) -> None:
        for value in values:
            if value.type == token:
                value.set_type(stand_in)

    def visit(op: ir.OpView) -> ir.WalkResult:
        retype(op.results)
        for region in op.regions:
            for block in region.blocks:
                retype(block.arguments)
        function = op.operation.opview
        if isinstance(function, func.FuncOp):
            signature = function.type
            kinds = [
                [stand_in if kind == token else kind for kind in kinds]
                for kinds in (signature.inputs, signature.results)
            ]
            function.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(*kinds))
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)


def _is_token(attributes: ir.Attribute) -> bool:
    return "jax.token" in ir.DictAttr(attributes)


def _without_tokens(entry: func.FuncOp) -> func.FuncOp:
    """Drop arguments and results that JAX marks as tokens."""
    block = entry.regions[0].blocks[0]
    kinds = {}
    for name, types in (("arg_attrs", entry.type.inputs), ("res_attrs", entry.type.results)):
        given = list(entry.attributes[name]) if name in entry.attributes else []
        tokens = [n for n, attributes in enumerate(given) if _is_token(attributes)]
        kinds[name] = ([kind for n, kind in enumerate(types) if n not in tokens], tokens)
        if tokens:
            entry.attributes[name] = ir.ArrayAttr.get(
                [attributes for n, attributes in enumerate(given) if n not in tokens]
            )
    (inputs, arguments), (results, returned) = kinds["arg_attrs"], kinds["res_attrs"]
    with ir.InsertionPoint.at_block_begin(block), entry.location:
        for number in reversed(arguments):
            false = ir.DenseElementsAttr.get_splat(
                _stand_in(), ir.IntegerAttr.get(ir.IntegerType.get_signless(1), 0)
            )
            block.arguments[number].replace_all_uses_with(arith.constant(_stand_in(), false))
            block.erase_argument(number)
    end = list(block.operations)[-1]
    kept = [value for n, value in enumerate(end.operands) if n not in returned]
    with ir.InsertionPoint(end), end.location:
        func.ReturnOp(kept)
    end.operation.erase()
    entry.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(inputs, results))
    return entry
