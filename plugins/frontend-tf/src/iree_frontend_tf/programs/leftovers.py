"""Operations of TensorFlow that its own passes leave, mostly for dynamic shapes.

They are handed to the lowerings of TFLite's operators that mean the same (``as_tflite``), or to
the core's programs (``direct``, ``linear_algebra``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from iree_core.errors import UnsupportedOperatorError
from iree_core.ir import ir
from iree_core.lowering import element, index
from iree_core.lowering.tensors import DYNAMIC, Tensor
from iree_core.lowering.values import Constant, ConstantPool, Value
from iree_core.params import ParameterStore
from iree_frontend_tf.programs import as_tflite, direct, linear_algebra
from iree_frontend_tf.programs.call import Call
from iree_frontend_tf.tflite import registry
from iree_frontend_tf.tflite.file import OperatorInfo, TensorInfo
from iree_frontend_tf.tflite.registry import Node, Unsupported

_PRINTS = ("PrintV2", "Assert")
_CALLS = ("EagerPyFunc", "PyFunc", "PyFuncStateless")
_SET_ASIDE = "SetAside"  # prefix of operations that TensorFlow's passes should not touch
_OWN = {**direct.RULES, **linear_algebra.RULES}


class _Options:
    """TFLite's options of one operator, under the names of its schema."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Callable[[], Any]:
        return lambda: self._values.get(name, 0)


@dataclass(frozen=True)
class _Graph:
    tensors: tuple[TensorInfo, ...]


@dataclass(frozen=True)
class _Importer:
    """The part of TFLite's importer that lowerings of single operators use."""

    graph: _Graph
    pool: ConstantPool


def lower(
    module: ir.Module, parameters: ParameterStore, places: Mapping[str, Sequence[str]]
) -> None:
    """Replace all operations of the ``tf`` dialect in ``module``.

    ``places`` names the nodes of every kind of operation, for the error message.

    Raises:
        UnsupportedOperatorError: naming all that have no lowering.
    """
    found: list[ir.Operation] = []

    def visit(op: ir.OpView) -> ir.WalkResult:
        if op.operation.name.startswith("tf."):
            found.append(op.operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    if not found:
        return
    registry.load()
    found = _without_dead(found)
    problems: dict[str, None] = {}
    dynamic: dict[str, bool] = {}
    for op in found:
        try:
            _replace(op, parameters)
        except Unsupported as problem:
            dynamic[_name(op)] = dynamic.get(_name(op), True) and _is_dynamic(op)
            nodes = ", ".join(places.get(_name(op), ())) or "made by TensorFlow"
            problems[f"{_name(op)} ({nodes}): {problem.reason}"] = None
    if problems:
        count = len(problems)
        raise UnsupportedOperatorError(
            f"{count} kind{'s' if count > 1 else ''} of operations cannot be compiled. "
            + " ".join(f"[{n}] {problem}." for n, problem in enumerate(problems, 1)),
            hint=_hint(dynamic),
        )


def _is_dynamic(op: ir.Operation) -> bool:
    kinds = [ir.RankedTensorType(value.type) for value in [*op.operands, *op.results]]
    return not all(kind.has_static_shape for kind in kinds)


def _hint(dynamic: Mapping[str, bool]) -> str:
    """Return what to try; ``dynamic`` says of each operation whether a size of it is unknown."""
    parts = []
    by_sizes = [name for name, has in dynamic.items() if has]
    others = [name for name, has in dynamic.items() if not has]
    if by_sizes:
        parts.append(
            f"Static shapes (a tf.TensorSpec without None) may help with {', '.join(by_sizes)}."
        )
    if others:
        verb = "has" if len(others) == 1 else "have"
        parts.append(
            f"{', '.join(others)} {verb} no lowering at all: write it with other operations, or "
            "compute it outside of the compiled function."
        )
    return " ".join(parts)


def _without_dead(operations: list[ir.Operation]) -> list[ir.Operation]:
    """Erase what nobody uses: messages of assertions, and printing with its strings."""
    kept = []
    for op in reversed(operations):
        unused = not any(list(result.uses) for result in op.results)
        if unused and (op.results or _name(op) in _PRINTS) and _name(op) not in _CALLS:
            op.erase()
        else:
            kept.append(op)
    return kept[::-1]


def _name(op: ir.Operation) -> str:
    return op.name.removeprefix("tf.").removeprefix(_SET_ASIDE)


def _replace(op: ir.Operation, parameters: ParameterStore) -> None:
    rule, own = as_tflite.RULES.get(_name(op)), _OWN.get(_name(op))
    if rule is None and own is None:
        raise Unsupported("there is no lowering")
    block = op
    while block.name != "func.func":
        block = block.parent.operation
    pool = ConstantPool(parameters, block.regions[0].blocks[0])
    with ir.InsertionPoint(op), op.location, index.sharing():
        values = [_value(operand) for operand in op.operands]
        if rule is not None:
            many = _by_tflite(op, rule, values, pool)
        else:
            assert own is not None
            types = [ir.RankedTensorType(result.type) for result in op.results]
            many = own(Call(values, _attributes(op), types, pool))
        for old, new in zip(op.results, many, strict=True):
            tensor = new if isinstance(new, Tensor) else new.tensor(pool)
            old.replace_all_uses_with(_fitted(tensor.value, old.type))
    op.erase()


def _by_tflite(
    op: ir.Operation, rule: as_tflite.Rule, values: list[Value], pool: ConstantPool
) -> Sequence[Tensor | Value]:
    lowering = registry.find(rule.name)
    assert lowering is not None
    values = rule.operands(values, pool)
    if rule.name == "RESHAPE":
        values[1] = _declared_shape(op) or values[1]
    made = lowering(_node(rule.name, values, op, _Options(rule.options(_attributes(op))), pool))
    many = made if isinstance(made, list | tuple) else [made]
    return [value for value in many if isinstance(value, Tensor | Value)]


def _node(
    name: str, values: list[Value], op: ir.Operation, options: _Options, pool: ConstantPool
) -> Node:
    count = len(values)
    results = [_info(ir.RankedTensorType(r.type)) for r in op.results]
    infos = [*(_declared(v) for v in values), *results]
    info = OperatorInfo(
        name, False, 1, tuple(range(count)), tuple(range(count, len(infos))), (), options
    )
    importer = _Importer(_Graph(tuple(infos)), pool)
    return Node(info, values, importer)  # type: ignore[arg-type]


def _info(kind: ir.RankedTensorType) -> TensorInfo:
    dims = tuple(None if d == DYNAMIC else d for d in kind.shape)
    found = element.from_name(str(kind.element_type))
    return TensorInfo(_name_of(found), found, found.name, dims, 0, None, False, None)


def _name_of(found: element.ElementType) -> str:
    return f"tensor of {found.name}"


def _declared(value: Value) -> TensorInfo:
    dims = tuple(d if isinstance(d, int) else None for d in value.dims)
    found = value.element
    return TensorInfo(_name_of(found), found, found.name, dims, 0, None, False, None)


def _value(operand: ir.Value) -> Value:
    kind = ir.RankedTensorType(operand.type)
    found = element.from_name(str(kind.element_type))
    array = _constant(operand)
    if array is not None:
        shaped = array.astype(found.numpy).reshape(tuple(kind.shape))
        return Value(constant=Constant("constant", shaped.shape, found, lambda: shaped))
    signless = ir.RankedTensorType.get(kind.shape, found.type)
    return Value(tensor=Tensor.of(_reinterpreted(operand, signless), found))


def _constant(operand: ir.Value) -> np.ndarray | None:
    owner = operand.owner
    if not isinstance(owner, ir.Operation | ir.OpView):
        return None
    if owner.operation.name not in ("stablehlo.constant", "arith.constant"):
        return None
    attribute = owner.operation.attributes["value"]
    if not isinstance(attribute, ir.DenseElementsAttr):
        return None
    if attribute.is_splat:
        count = int(np.prod(ir.RankedTensorType(operand.type).shape))
        return np.full(count, attribute.get_splat_value().value)
    return np.array(list(attribute))


def _declared_shape(op: ir.Operation) -> Value | None:
    """Return the shape of a result with at most one dynamic size, -1 there."""
    sizes = [-1 if d == DYNAMIC else d for d in ir.RankedTensorType(op.results[0].type).shape]
    if sizes.count(-1) > 1 or 0 in sizes:
        return None
    array = np.array(sizes, np.int32)
    return Value(constant=Constant("shape", array.shape, element.I32, lambda: array))


def _fitted(value: ir.Value, kind: ir.Type) -> ir.Value:
    shaped = ir.RankedTensorType(kind)
    given = ir.RankedTensorType(value.type)
    value = _reinterpreted(value, ir.RankedTensorType.get(given.shape, shaped.element_type))
    if value.type == kind:
        return value
    return ir.Operation.create("tensor.cast", results=[kind], operands=[value]).result


def _reinterpreted(value: ir.Value, kind: ir.Type) -> ir.Value:
    """Return ``value`` as ``kind``, which differs in signedness only."""
    if value.type == kind:
        return value
    name = "builtin.unrealized_conversion_cast"
    return ir.Operation.create(name, results=[kind], operands=[value]).result


def _attributes(op: ir.Operation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for named in op.attributes:
        name = named if isinstance(named, str) else named.name
        value = op.attributes[name]
        if isinstance(value, ir.StringAttr | ir.IntegerAttr | ir.BoolAttr | ir.FloatAttr):
            found[name] = value.value
        elif isinstance(value, ir.ArrayAttr):
            found[name] = [item.value for item in value if isinstance(item, ir.IntegerAttr)]
    return found
