"""Merge contractions that read the same tensor with different weights, as Q, K and V do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iree_core.dialects import flow
from iree_core.ir import ir, linalg, tensor
from iree_core.params import ParameterStore
from iree_core.passes.dispatch.sizes import host_blocks, host_functions
from iree_core.passes.dispatch.structure import Decoder, Kind, linalg_kind, read_body
from iree_core.passes.globalopt.evaluate_parameters import derived_key, key_of
from iree_core.passes.globalopt.generics import (
    is_elementwise,
    is_splat_init,
    maps_of,
    owner_of,
)
from iree_core.passes.state import CompilationState

_SHAPE_ONLY = ("tensor.expand_shape", "tensor.collapse_shape")


@dataclass(frozen=True)
class MergeContractions:
    """Compute contractions that differ in constant operands only as one, stacked in front.

    Before::

        %q = linalg.generic {contraction + bias} ins(%x, %wq) -> tensor<1x128x768xf32>
        %k = linalg.generic {contraction + bias} ins(%x, %wk) -> tensor<1x128x768xf32>

    After::

        %qk = linalg.generic {contraction + bias} ins(%x, %w) -> tensor<2x1x128x768xf32>
        %q = tensor.extract_slice %qk[0, 0, 0, 0] [1, 1, 128, 768] [1, 1, 1, 1]
        %k = tensor.extract_slice %qk[1, 0, 0, 0] [1, 1, 128, 768] [1, 1, 1, 1]

    The slices are contiguous, so they cost nothing. Only contractions whose result is reshaped
    next are merged: elementwise consumers are better fused into each of them.
    """

    name: str = "merge-contractions"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Rewrite ``module``; stacked weights become derived parameters."""
        decoder = Decoder()
        for function in host_functions(module):
            for block in list(host_blocks(function)):
                for branches in _families(block, decoder):
                    _merge(branches, state.parameters)


@dataclass(frozen=True)
class _Branch:
    """A contraction and the bias that is added to it, if any."""

    contraction: ir.Operation
    bias: ir.Operation | None

    @property
    def result(self) -> ir.Value:
        return (self.bias or self.contraction).results[0]

    @property
    def stages(self) -> list[ir.Operation]:
        return [self.contraction] if self.bias is None else [self.contraction, self.bias]


def _families(block: ir.Block, decoder: Decoder) -> list[list[_Branch]]:
    """Return the sets of contractions that differ in their parameters only."""
    found: dict[tuple, list[_Branch]] = {}
    for view in block.operations:
        op = view.operation
        if op.name != "linalg.generic" or len(op.results) != 1 or is_elementwise(op):
            continue
        body, loops = read_body(op), decoder.loops(op)
        if linalg_kind(loops, body, len(op.operands) - 1) is not Kind.CONTRACTION:
            continue
        branch = _branch(op)
        if branch is not None:
            found.setdefault(_signature(branch), []).append(branch)
    return [branches for branches in found.values() if len(branches) > 1]


def _branch(op: ir.Operation) -> _Branch | None:
    if not is_splat_init(op.operands[len(op.operands) - 1]):
        return None
    branch = _Branch(op, None)
    users = [use.owner.operation for use in op.results[0].uses]
    if len(users) == 1 and users[0].name == "linalg.generic" and _adds_parameter(users[0]):
        branch = _Branch(op, users[0])
    users = [use.owner.operation for use in branch.result.uses]
    if not users or any(user.name not in _SHAPE_ONLY for user in users):
        return None
    parameters = [o for o in op.operands if _is_parameter(o)]
    return branch if len(parameters) == 1 else None


def _adds_parameter(op: ir.Operation) -> bool:
    """Whether ``op`` only adds a parameter to its other input."""
    names = [o.operation.name for o in op.regions[0].blocks[0].operations]
    return (
        names == ["arith.addf", "linalg.yield"]
        and len(op.operands) == 3
        and is_elementwise(op)
        and sum(_is_parameter(o) for o in list(op.operands)[:2]) == 1
        and is_splat_init(op.operands[2])
    )


def _is_parameter(value: ir.Value) -> bool:
    owner = owner_of(value)
    return owner is not None and owner.name == "flow.parameter"


def _signature(branch: _Branch) -> tuple:
    """Return what must be equal for two branches to be merged."""
    parts: list[object] = []
    for op in branch.stages:
        parts += [op.attributes["indexing_maps"], op.attributes["iterator_types"]]
        parts += [op.results[0].type, _body_text(op)]
        for operand in list(op.operands)[:-1]:
            own = operand == branch.contraction.results[0]
            parts.append(operand.type if _is_parameter(operand) or own else operand)
    return tuple(parts)


def _body_text(op: ir.Operation) -> tuple:
    block = op.regions[0].blocks[0]
    numbers: dict[ir.Value, int] = {a: n for n, a in enumerate(block.arguments)}
    text: list[object] = []
    for view in block.operations:
        inner = view.operation
        text.append((inner.name, *(numbers.get(o, o) for o in inner.operands)))
        for result in inner.results:
            numbers[result] = len(numbers)
    return tuple(text)


def _merge(branches: Sequence[_Branch], parameters: ParameterStore) -> None:
    first = branches[0]
    count = len(branches)
    with ir.InsertionPoint(first.contraction), first.contraction.location:
        merged = _stack(first.contraction, [b.contraction for b in branches], None, parameters)
        if first.bias is not None:
            biases = [b.bias for b in branches if b.bias is not None]
            merged = _stack(first.bias, biases, merged, parameters)
        for number in range(count):
            _redirect(branches[number], merged, number)
    for branch in branches:
        for op in reversed(branch.stages):
            op.erase()


def _stack(
    op: ir.Operation,
    alike: Sequence[ir.Operation],
    stacked: ir.Value | None,
    parameters: ParameterStore,
) -> ir.Value:
    """Emit ``op`` with a leading loop over its parameters, and over ``stacked`` if given."""
    count = len(alike)
    operands: list[ir.Value] = []
    maps: list[ir.AffineMap] = []
    rank = maps_of(op)[0].n_dims
    shift = ir.AffineMap.get(rank + 1, 0, [ir.AffineDimExpr.get(d + 1) for d in range(rank)])
    lead = ir.AffineDimExpr.get(0)
    for position, (operand, each) in enumerate(zip(op.operands, maps_of(op), strict=True)):
        results = [e.compose(shift) for e in each.results]
        last = position == len(op.operands) - 1
        if last:
            operand = _stacked_init(operand, count)
        elif _is_parameter(operand):
            operand = _stacked_parameter([o.operands[position] for o in alike], parameters)
        elif stacked is not None:
            operand = stacked
        else:
            operands.append(operand)
            maps.append(ir.AffineMap.get(rank + 1, 0, results))
            continue
        operands.append(operand)
        maps.append(ir.AffineMap.get(rank + 1, 0, [lead, *results]))
    parallel = ir.Attribute.parse("#linalg.iterator_type<parallel>")
    made = linalg.GenericOp(
        [operands[-1].type],
        operands[:-1],
        operands[-1:],
        ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in maps]),
        ir.ArrayAttr.get([parallel, *op.attributes["iterator_types"]]),
    )
    op.regions[0].blocks[0].append_to(made.regions[0])
    return made.results[0]


def _stacked_init(init: ir.Value, count: int) -> ir.Value:
    kind = ir.RankedTensorType(init.type)
    filled = owner_of(init)
    assert filled is not None
    empty = filled if filled.name == "tensor.empty" else owner_of(filled.operands[1])
    assert empty is not None
    dynamic = iter(list(empty.operands))
    sizes = [next(dynamic) if kind.is_dynamic_dim(d) else kind.shape[d] for d in range(kind.rank)]
    made = tensor.EmptyOp([count, *sizes], kind.element_type).result
    return made if filled is empty else linalg.fill(filled.operands[0], outs=[made])


def _stacked_parameter(values: Sequence[ir.Value], parameters: ParameterStore) -> ir.Value:
    keys = [key_of(value) for value in values]
    kind = values[0].type
    shape = (len(keys), *kind.shape)

    def read() -> NDArray:
        return np.stack([parameters.read(key) for key in keys])

    key = derived_key(parameters, keys[0])
    parameters.derive(key, shape, parameters.dtype(keys[0]), read)
    made = flow.ParameterOp(
        ir.StringAttr.get(key), ir.RankedTensorType.get(shape, kind.element_type)
    )
    return made.results[0]


def _redirect(branch: _Branch, merged: ir.Value, number: int) -> None:
    """Let the users of a branch read its part of ``merged``."""
    kind = ir.RankedTensorType(branch.result.type)
    source = owner_of(merged)
    assert source is not None
    empty = owner_of(source.operands[len(source.operands) - 1])
    assert empty is not None
    empty = empty if empty.name == "tensor.empty" else owner_of(empty.operands[1])
    assert empty is not None
    rank = kind.rank + 1
    part = tensor.ExtractSliceOp(
        kind,
        merged,
        [],
        list(empty.operands),
        [],
        [number, *[0] * kind.rank],
        [1, *kind.shape],
        [1] * rank,
    )
    branch.result.replace_all_uses_with(part.result)
