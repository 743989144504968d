"""Fewer and longer loops: what memory holds as one run is walked as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from iree_core.dialects import flow
from iree_core.ir import arith, func, ir, linalg, tensor
from iree_core.passes.dispatch.outline import KIND
from iree_core.passes.dispatch.structure import Kind, nested_operations
from iree_core.passes.globalopt.fold_transposes import groups_attribute
from iree_core.passes.globalopt.generics import (
    copy_body,
    dim_positions,
    is_elementwise,
    maps_of,
    owner_of,
    parallel_loops,
)
from iree_core.passes.state import CompilationState

_Link = tuple[ir.Value, int]
"""The border between a dimension of a tensor and the next."""

_KNOWN = ("tensor.empty", "linalg.fill", "linalg.generic", "arith.constant", "func.return")


@dataclass(frozen=True)
class CollapseLoops:
    """Join neighbouring parallel loops of contractions wherever all tensors allow it.

    Before::

        %y = call @conv_1x1(%x, %w) : (tensor<1x7x7x512xf32>, ...) -> tensor<1x7x7x2048xf32>

    After::

        %0 = tensor.collapse_shape %x [[0, 1, 2], [3]] ... tensor<49x512xf32>
        %1 = call @conv_1x1(%0, %w) : (tensor<49x512xf32>, ...) -> tensor<49x2048xf32>
        %y = tensor.expand_shape %1 [[0, 1, 2], [3]] ... tensor<1x7x7x2048xf32>

    The reshapes on the host cost nothing. Register tiles then fit the rows better, and weights
    are read once for all images of a batch. Dimensions of unknown size stay as they are.
    """

    name: str = "collapse-loops"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Rewrite the dispatches of ``module``, none of which has two calls yet."""
        calls = {
            ir.FlatSymbolRefAttr(op.attributes["callee"]).value: op
            for op in nested_operations(module.operation)
            if op.name == "func.call"
        }
        for view in list(module.body.operations):
            op = view.operation
            if flow.DISPATCH in op.attributes and _is_contraction(op):
                joined = _joined_links(op)
                if joined:
                    _rewrite(op, calls[ir.StringAttr(op.attributes["sym_name"]).value], joined)


def _is_contraction(function: ir.Operation) -> bool:
    """Whether a dispatch holds one contraction and otherwise elementwise operations only."""
    if ir.StringAttr(function.attributes[KIND]).value != Kind.CONTRACTION.value:
        return False
    operations = _operations(function)
    if any(op.name not in _KNOWN for op in operations):
        return False
    inner = {o.operation.name for op in operations for o in _body(op)}
    if inner & {"linalg.index", "tensor.extract"}:
        return False
    generics = [op for op in operations if op.name == "linalg.generic"]
    return sum(not is_elementwise(op) for op in generics) == 1


def _operations(function: ir.Operation) -> list[ir.Operation]:
    return [view.operation for view in function.regions[0].blocks[0].operations]


def _body(op: ir.Operation) -> Iterable[ir.OpView]:
    return op.regions[0].blocks[0].operations if op.name == "linalg.generic" else ()


@dataclass
class _Links:
    """Links that only go together, by union-find, and those that must stay."""

    parents: dict[_Link, _Link] = field(default_factory=dict)
    fixed: list[_Link] = field(default_factory=list)

    def root(self, link: _Link) -> _Link:
        while self.parents.setdefault(link, link) != link:
            link = self.parents[link]
        return link

    def join(self, links: Sequence[_Link]) -> None:
        for link in links[1:]:
            self.parents[self.root(link)] = self.root(links[0])

    def movable(self) -> set[_Link]:
        fixed = {self.root(link) for link in self.fixed}
        return {link for link in self.parents if self.root(link) not in fixed}


def _joined_links(function: ir.Operation) -> set[_Link]:
    """Return every link of the dispatch's tensors over which two dimensions become one."""
    links = _Links()
    for value in _tensors(function):
        kind = ir.RankedTensorType(value.type)
        for dim in range(kind.rank - 1):
            links.root((value, dim))
            unknown = any(kind.is_dynamic_dim(d) for d in (dim, dim + 1))
            if unknown or kind.encoding is not None or _is_table(value):
                links.fixed.append((value, dim))
    for op in _operations(function):
        if op.name == "linalg.fill":
            for dim in range(op.results[0].type.rank - 1):
                links.join([(op.operands[1], dim), (op.results[0], dim)])
        elif op.name == "linalg.generic":
            _add_generic(op, links)
    return links.movable()


def _tensors(function: ir.Operation) -> list[ir.Value]:
    values = list(function.regions[0].blocks[0].arguments)
    values += [result for op in _operations(function) for result in op.results]
    return [value for value in values if isinstance(value.type, ir.RankedTensorType)]


def _is_table(value: ir.Value) -> bool:
    """Whether ``value`` is a constant of several different elements."""
    owner = owner_of(value)
    if owner is None or owner.name != "arith.constant":
        return False
    return not ir.DenseElementsAttr(owner.attributes["value"]).is_splat


def _add_generic(op: ir.Operation, links: _Links) -> None:
    maps, parallel = maps_of(op), parallel_loops(op)
    by_pair: dict[tuple[int, int], list[_Link]] = defaultdict(list)
    for operand, each in zip(op.operands, maps, strict=True):
        positions = dim_positions(each)
        for dim in range(len(positions) - 1):
            first, second = positions[dim], positions[dim + 1]
            if first is None or second is None or first == second:
                links.fixed.append((operand, dim))
            else:
                by_pair[first, second].append((operand, dim))
    for number, result in enumerate(op.results):
        init = op.operands[len(op.operands) - len(op.results) + number]
        for dim in range(result.type.rank - 1):
            links.join([(init, dim), (result, dim)])
    for pair, members in by_pair.items():
        links.join(members)
        if not all(parallel[loop] for loop in pair) or not _go_together(maps, *pair):
            links.fixed.append(members[0])


def _go_together(maps: Sequence[ir.AffineMap], first: int, second: int) -> bool:
    """Whether two loops occur in every map side by side and nowhere else, or not at all."""
    for each in maps:
        positions = dim_positions(each)
        here = [d for d, p in enumerate(positions) if p == first]
        there = [d for d, p in enumerate(positions) if p == second]
        sums = [str(e) for e, p in zip(each.results, positions, strict=True) if p is None]
        if any(f"d{loop}" in text for text in sums for loop in (first, second)):
            return False
        if [d + 1 for d in here] != there or len(here) > 1:
            return False
    return True


def _groups(value: ir.Value, joined: set[_Link]) -> list[list[int]]:
    """Return which dimensions of a tensor become one."""
    groups: list[list[int]] = []
    for dim in range(value.type.rank):
        if dim and (value, dim - 1) in joined:
            groups[-1].append(dim)
        else:
            groups.append([dim])
    return groups


def _collapsed(value: ir.Value, joined: set[_Link]) -> ir.Type:
    """Return the type of a value with its groups joined."""
    kind = value.type
    if not isinstance(kind, ir.RankedTensorType) or not joined:
        return kind
    groups = _groups(value, joined)
    if len(groups) == kind.rank:
        return kind
    shape = [kind.shape[g[0]] if len(g) == 1 else prod(kind.shape[d] for d in g) for g in groups]
    return ir.RankedTensorType.get(shape, kind.element_type)


def _rewrite(function: ir.Operation, call: ir.Operation, joined: set[_Link]) -> None:
    block = function.regions[0].blocks[0]
    returned = list(_operations(function)[-1].operands)
    inputs = [_collapsed(argument, joined) for argument in block.arguments]
    outputs = [_collapsed(value, joined) for value in returned]
    with ir.InsertionPoint(function), function.location:
        made = func.FuncOp(
            ir.StringAttr(function.attributes["sym_name"]).value,
            (inputs, outputs),
            visibility="private",
        )
    for name in function.attributes:
        if name not in ("sym_name", "function_type"):
            made.attributes[name] = function.attributes[name]
    entry = made.add_entry_block()
    values = dict(zip(block.arguments, entry.arguments, strict=True))
    with ir.InsertionPoint(entry):
        for op in _operations(function):
            _remake(op, values, joined)
    _reshape_call(call, block.arguments, returned, inputs, outputs, joined)
    function.erase()


def _remake(op: ir.Operation, values: dict[ir.Value, ir.Value], joined: set[_Link]) -> None:
    """Emit an operation on the joined dimensions."""
    operands = [values[operand] for operand in op.operands]
    results = [_collapsed(result, joined) for result in op.results]
    with op.location:
        if op.name == "linalg.generic":
            made = _remake_generic(op, operands, results, joined, values)
        elif op.name == "linalg.fill":
            values[op.results[0]] = linalg.fill(operands[0], outs=[operands[1]])
            return
        elif op.name == "arith.constant":
            made = _remake_constant(op, results[0])
        else:
            attributes = {name: op.attributes[name] for name in op.attributes}
            made = ir.Operation.create(op.name, results, operands, attributes)
    values.update(zip(op.results, made.results, strict=True))


def _remake_constant(op: ir.Operation, kind: ir.Type) -> ir.Operation:
    if kind == op.results[0].type:
        return op.clone(ir.InsertionPoint.current).operation
    element = ir.DenseElementsAttr(op.attributes["value"]).get_splat_value()
    return arith.ConstantOp(kind, ir.DenseElementsAttr.get_splat(kind, element)).operation


def _remake_generic(
    op: ir.Operation,
    operands: list[ir.Value],
    results: list[ir.Type],
    joined: set[_Link],
    values: Mapping[ir.Value, ir.Value],
) -> ir.Operation:
    maps = maps_of(op)
    gone = {
        loop
        for operand, each in zip(op.operands, maps, strict=True)
        for dim, loop in enumerate(dim_positions(each))
        if (operand, dim - 1) in joined
    }
    kept = [loop for loop in range(maps[0].n_dims) if loop not in gone]
    number = {loop: n for n, loop in enumerate(kept)}
    moved = ir.AffineMap.get(
        len(kept),
        0,
        [ir.AffineDimExpr.get(number.get(loop, 0)) for loop in range(maps[0].n_dims)],
    )
    changed = []
    for operand, each in zip(op.operands, maps, strict=True):
        firsts = [group[0] for group in _groups(operand, joined)]
        expressions = [each.results[d].compose(moved) for d in firsts]
        changed.append(ir.AffineMapAttr.get(ir.AffineMap.get(len(kept), 0, expressions)))
    kinds = list(op.attributes["iterator_types"])
    count = len(operands) - len(results)
    made = linalg.GenericOp(
        results,
        operands[:count],
        operands[count:],
        ir.ArrayAttr.get(changed),
        ir.ArrayAttr.get([kinds[loop] for loop in kept]),
    )
    copy_body(op, made.operation, values)
    return made.operation


def _reshape_call(
    call: ir.Operation,
    arguments: Sequence[ir.Value],
    returned: Sequence[ir.Value],
    inputs: Sequence[ir.Type],
    outputs: Sequence[ir.Type],
    joined: set[_Link],
) -> None:
    """Collapse the operands of a call and expand its results."""
    with ir.InsertionPoint(call), call.location:
        operands = []
        for operand, argument, kind in zip(call.operands, arguments, inputs, strict=True):
            if kind != operand.type:
                groups = groups_attribute(_groups(argument, joined))
                operand = tensor.CollapseShapeOp(kind, operand, groups).result
            operands.append(operand)
        callee = ir.FlatSymbolRefAttr(call.attributes["callee"]).value
        made = func.CallOp(list(outputs), callee, operands)
        for old, new, value in zip(call.results, made.results, returned, strict=True):
            if old.type != new.type:
                kind = ir.RankedTensorType(old.type)
                groups = groups_attribute(_groups(value, joined))
                shape = list(kind.shape)
                new = tensor.ExpandShapeOp(kind, new, groups, _sizes(old, call), shape).result
            old.replace_all_uses_with(new)
    call.erase()


def _sizes(result: ir.Value, call: ir.Operation) -> list[ir.Value]:
    """Return the run-time sizes of a result of a call, which its operands hold."""
    kind = ir.RankedTensorType(result.type)
    if kind.has_static_shape:
        return []
    module = call
    while module.name != "builtin.module":
        module = module.parent.operation
    callee = ir.FlatSymbolRefAttr(call.attributes["callee"]).value
    function = ir.SymbolTable(module)[callee].operation
    attributes = ir.ArrayAttr(function.attributes["res_attrs"])[ir.OpResult(result).result_number]
    numbers = ir.DenseI64ArrayAttr(ir.DictAttr(attributes)[flow.DIMS])
    return [call.operands[number] for number in numbers]
