"""Fold per-channel scales and shifts behind contractions into weights and bias."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iree_core.dialects import flow
from iree_core.ir import arith, ir, linalg
from iree_core.params import ParameterStore
from iree_core.passes.dispatch.structure import Decoder, Kind, linalg_kind, read_body
from iree_core.passes.globalopt.evaluate_parameters import derived_key, key_of
from iree_core.passes.globalopt.generics import (
    dim_positions,
    generics_of,
    has_one_use,
    is_elementwise,
    is_splat_init,
    maps_of,
    owner_of,
)
from iree_core.passes.globalopt.host_math import HostBody, read_host_body
from iree_core.passes.state import CompilationState

_AFFINE = ("arith.addf", "arith.subf", "arith.mulf", "arith.divf", "arith.negf")


@dataclass(frozen=True)
class FoldScaleShift:
    """Fold inference-time batch normalisation, and whatever else is affine per channel.

    Before::

        %c = linalg.generic {convolution} ins(%x, %w) ...
        %y = linalg.generic {%c * %scale + %shift, per channel} ins(%c, %scale, %shift) ...

    After, with ``%w2 = %w * scale`` and ``%b = shift``, both derived parameters::

        %c = linalg.generic {convolution} ins(%x, %w2) ...
        %y = linalg.generic {%c + %b} ins(%c, %b) ...

    Chains of such operations become one addition. The factors are found by evaluating the chain
    at 0 and 1 in float64, when the module is written.
    """

    name: str = "fold-scale-shift"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Rewrite every f32 contraction with one constant operand."""
        decoder = Decoder()
        for op in generics_of(module):
            if is_elementwise(op) or len(op.results) != 1:
                continue
            body = read_body(op)
            kind = linalg_kind(decoder.loops(op), body, len(op.operands) - 1)
            if kind is Kind.CONTRACTION and len(body.operations) == 3:
                _fold(op, state.parameters)


@dataclass(frozen=True)
class _Affine:
    """One affine operation on arrays; it outlives the IR.

    Attributes:
        body: what it computes.
        keys: per input, the parameter, or None for the value it is applied to.
    """

    body: HostBody
    keys: tuple[str | None, ...]

    def run(self, value: NDArray, parameters: ParameterStore) -> NDArray:
        """Apply it to one number per channel, in float64."""
        inputs = [
            value if key is None else parameters.read(key).reshape(-1).astype(np.float64)
            for key in self.keys
        ]
        return self.body.in_float64().run(inputs)


_Stage = tuple[ir.Operation, _Affine]


def _fold(op: ir.Operation, parameters: ParameterStore) -> None:
    weight = _weight_of(op)
    if weight is None or not is_splat_init(op.operands[len(op.operands) - 1]):
        return
    position, channel_dim, channel = weight
    stages = _stages(op, channel)
    if not any(set(affine.body.names) - {"arith.addf"} for _, affine in stages):
        return  # at most biases: nothing to gain
    size = op.operands[position].type.shape[channel_dim]
    chain = [affine for _, affine in stages]

    def at(number: float) -> NDArray:
        value = np.full(size, number)
        for affine in chain:
            value = np.broadcast_to(affine.run(value, parameters), (size,))
        return value

    _rewrite(op, position, channel_dim, channel, stages, at, parameters)


def _weight_of(op: ir.Operation) -> tuple[int, int, int] | None:
    """Return the constant operand, its channel dimension, and that dimension in the result."""
    output = dim_positions(maps_of(op)[-1])
    if None in output or not isinstance(op.results[0].type.element_type, ir.F32Type):
        return None
    found = [n for n, o in enumerate(list(op.operands)[:-1]) if _is_parameter(o)]
    if len(found) != 1 or op.operands[found[0]].type.encoding is not None:
        return None
    dims = dim_positions(maps_of(op)[found[0]])
    if not isinstance(op.operands[found[0]].type.element_type, ir.F32Type):
        return None
    channels = [(d, output.index(loop)) for d, loop in enumerate(dims) if loop in output]
    return (found[0], *channels[0]) if len(channels) == 1 else None


def _is_parameter(value: ir.Value) -> bool:
    owner = owner_of(value)
    return owner is not None and owner.name == "flow.parameter"


def _stages(op: ir.Operation, channel: int) -> list[_Stage]:
    """Return the affine operations that follow ``op``, each the only user of the one before."""
    stages: list[_Stage] = []
    value = op.results[0]
    while has_one_use(value):
        user = next(iter(value.uses)).owner.operation
        stage = _stage(user, value, channel) if user.block == op.block else None
        if stage is None:
            break
        stages.append(stage)
        value = user.results[0]
    return stages


def _stage(op: ir.Operation, value: ir.Value, channel: int) -> _Stage | None:
    if op.name != "linalg.generic" or not is_elementwise(op) or op.results[0].type != value.type:
        return None
    operands = list(op.operands)[:-1]
    maps = maps_of(op)
    if operands.count(value) != 1 or not is_splat_init(op.operands[len(operands)]):
        return None
    position = operands.index(value)
    if maps[position] != maps[-1] or not maps[-1].is_permutation:
        return None
    loop = dim_positions(maps[-1])[channel]
    for number, operand in enumerate(operands):
        if number == position:
            continue
        dims = dim_positions(maps[number])
        if not _is_parameter(operand) or any(d not in (None, loop) for d in dims):
            return None
        if sum(d == loop for d in dims) > 1:
            return None
    body = read_host_body(op)
    if body is None or not _is_affine(op, position):
        return None
    keys = tuple(None if n == position else key_of(o) for n, o in enumerate(operands))
    return op, _Affine(body, keys)


def _is_affine(op: ir.Operation, position: int) -> bool:
    """Whether the body is affine in its argument ``position``."""
    block = op.regions[0].blocks[0]
    varying = {block.arguments[position]}
    operations = [o.operation for o in block.operations]
    for inner in operations[:-1]:
        depends = [operand in varying for operand in inner.operands]
        if not any(depends):
            continue
        if inner.name not in _AFFINE or (inner.name == "arith.mulf" and all(depends)):
            return False
        if inner.name == "arith.divf" and depends[1]:
            return False
        varying.update(inner.results)
    return operations[-1].operands[0] in varying


def _rewrite(
    op: ir.Operation,
    position: int,
    channel_dim: int,
    channel: int,
    stages: Sequence[_Stage],
    at: Callable[[float], NDArray],
    parameters: ParameterStore,
) -> None:
    old = op.operands[position]
    kind = ir.RankedTensorType(old.type)
    key = key_of(old)
    size = kind.shape[channel_dim]
    along = [size if d == channel_dim else 1 for d in range(kind.rank)]

    def scaled() -> NDArray:
        factor = (at(1.0) - at(0.0)).reshape(along)
        return (parameters.read(key) * factor).astype(np.float32)

    weight = parameters.derive(derived_key(parameters, key), tuple(kind.shape), np.float32, scaled)
    bias = parameters.derive(
        derived_key(parameters, key), (size,), np.float32, lambda: at(0.0).astype(np.float32)
    )
    with ir.InsertionPoint(op), op.location:
        op.operands[position] = flow.ParameterOp(ir.StringAttr.get(weight), kind).results[0]
        shift = flow.ParameterOp(
            ir.StringAttr.get(bias), ir.RankedTensorType.get([size], kind.element_type)
        ).results[0]
    last = stages[-1][0]
    with ir.InsertionPoint(last), last.location:
        added = _add_shift(op.results[0], shift, last.operands[len(last.operands) - 1], channel)
    last.results[0].replace_all_uses_with(added)
    for stage, _ in reversed(stages):
        stage.erase()


def _add_shift(value: ir.Value, shift: ir.Value, init: ir.Value, channel: int) -> ir.Value:
    rank = value.type.rank
    identity = ir.AffineMap.get_identity(rank)
    maps = [identity, ir.AffineMap.get(rank, 0, [ir.AffineDimExpr.get(channel)]), identity]
    parallel = ir.Attribute.parse("#linalg.iterator_type<parallel>")
    made = linalg.GenericOp(
        [value.type],
        [value, shift],
        [init],
        ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in maps]),
        ir.ArrayAttr.get([parallel] * rank),
    )
    element = value.type.element_type
    block = made.regions[0].blocks.append(element, element, element)
    with ir.InsertionPoint(block):
        linalg.YieldOp([arith.addf(block.arguments[0], block.arguments[1])])
    return made.results[0]
