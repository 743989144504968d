"""Choose how the constant operands of contractions lie in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from iree_core.codegen.blocking import packing_for, panels_for
from iree_core.codegen.kernel import CpuModel
from iree_core.dialects import flow
from iree_core.ir import ir
from iree_core.layout import PackedLayout
from iree_core.params import ParameterStore
from iree_core.passes.dispatch.structure import (
    Decoder,
    Kind,
    linalg_kind,
    nested_operations,
    read_body,
)
from iree_core.passes.globalopt.evaluate_parameters import key_of
from iree_core.passes.globalopt.generics import dim_positions, generics_of, maps_of, owner_of
from iree_core.passes.globalopt.host_math import dtype_of
from iree_core.passes.state import CompilationState

if TYPE_CHECKING:
    from iree_core.interfaces import Target


@dataclass(frozen=True)
class PackWeights:
    """Give parameters that contractions read the layout that their schedule streams.

    Before::

        %w = "flow.parameter"() {key = "w"} : () -> tensor<768x3072xf32>

    After::

        %w = "flow.parameter"() {key = "w#1"} : () -> tensor<768x3072xf32,
            {order = [0], tile = 32 : i64, tile_dim = 1 : i64}>

    The lanes run along the output dimension of the operand; its other dimensions are stored in
    the order of the reduction loops. The type's shape stays the logical one; the stored array
    has :meth:`PackedLayout.storage_shape`. See :mod:`iree_core.layout`.

    A table that is only gathered from, and that is the transposition of a packed parameter, is
    read in the packed form (the embedding that a language model shares with its last layer).
    """

    name: str = "pack-weights"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Pack for the target's processor, or in panels as wide as its device wants."""
        if state.target.cpu is None and not state.target.panel:
            return
        decoder = Decoder()
        packed: dict[tuple[str, PackedLayout], str] = {}
        for op in generics_of(module):
            inputs = len(op.operands) - len(op.results)
            if len(op.results) != 1 or inputs < 2:
                continue
            if linalg_kind(decoder.loops(op), read_body(op), inputs) is Kind.CONTRACTION:
                for position in range(inputs):
                    layout = _layout_for(op, position, state.target)
                    if layout is not None:
                        _pack(op, position, layout, state.parameters, packed)
        _gather_from_packed(module, state.parameters, packed)


def _layout_for(op: ir.Operation, position: int, target: Target) -> PackedLayout | None:
    value = op.operands[position]
    owner = owner_of(value)
    if owner is None or owner.name != "flow.parameter" or value.type.encoding is not None:
        return None
    if dtype_of(value.type.element_type) is None or value.type.element_type.width < 8:
        return None
    maps = maps_of(op)
    dims = dim_positions(maps[position])
    output = dim_positions(maps[-1])
    lane = output[-1]
    if None in dims or lane is None or lane not in dims:
        return None
    kinds = [str(k) for k in op.attributes["iterator_types"]]
    reduced = [n for n, kind in enumerate(kinds) if "reduction" in kind]
    if not any(d in reduced for d in dims):
        return None
    lane_dim = dims.index(lane)
    order = _storage_order(dims, lane_dim, reduced)
    cpu, shape = target.cpu, list(value.type.shape)
    if cpu is None:
        return panels_for(target.panel, shape, lane_dim, order)
    bits = op.results[0].type.element_type.width
    layout = packing_for(cpu, shape, lane_dim, order, bits)
    group = _group_for(op, position, order[-1], cpu)
    return layout if layout is None or group == 1 else replace(layout, group=(order[-1], group))


def _group_for(op: ir.Operation, position: int, dim: int, cpu: CpuModel) -> int:
    """Return how many neighbours along ``dim`` a dot-product instruction takes of the operand.

    They must be neighbours in the memory of the other operand, too; otherwise it is 1.
    """
    kind, total = op.operands[position].type.element_type, op.results[0].type.element_type
    if kind == ir.IntegerType.get_signless(8) and total == ir.IntegerType.get_signless(32):
        group = 4 if cpu.dots & {"u8s8", "s8s8"} else 1
    elif isinstance(kind, ir.BF16Type) and isinstance(total, ir.F32Type | ir.BF16Type):
        group = 2 if "bf16" in cpu.dots else 1
    else:
        return 1
    maps, block = maps_of(op), op.regions[0].blocks[0]
    loop = maps[position].results[dim]
    others = [
        n
        for n, value in enumerate(list(op.operands)[:-1])
        if n != position and loop in list(maps[n].results)
    ]
    if len(others) != 1 or maps[others[0]].results[-1] != loop:
        return 1
    same = op.operands[others[0]].type.element_type == kind
    return group if same and _is_extended_factor(block.arguments[position]) else 1


def _is_extended_factor(argument: ir.Value) -> bool:
    """Whether the body extends an input and multiplies it, nothing else."""
    uses = [use.owner.operation for use in argument.uses]
    if len(uses) != 1 or uses[0].name not in ("arith.extsi", "arith.extui", "arith.extf"):
        return False
    then = [use.owner.operation.name for use in uses[0].results[0].uses]
    return then in (["arith.muli"], ["arith.mulf"])


def _storage_order(dims: Sequence[int | None], lane_dim: int, reduced: Sequence[int]) -> list[int]:
    """Return the dimensions but ``lane_dim``: parallel ones, then in order of reduction loops."""
    others = [d for d in range(len(dims)) if d != lane_dim]
    parallel = [d for d in others if dims[d] not in reduced]
    inner = sorted((d for d in others if dims[d] in reduced), key=lambda d: dims[d] or 0)
    return [*parallel, *inner]


def _pack(
    op: ir.Operation,
    position: int,
    layout: PackedLayout,
    parameters: ParameterStore,
    packed: dict[tuple[str, PackedLayout], str],
) -> None:
    value = op.operands[position]
    key = key_of(value)
    if (key, layout) not in packed:
        packed[key, layout] = pack_parameter(parameters, key, layout)
    plain = value.type
    encoding = ir.Attribute.parse(layout.to_attribute_text())
    kind = ir.RankedTensorType.get(plain.shape, plain.element_type, encoding)
    with ir.InsertionPoint(owner_of(value)), op.location:
        made = flow.ParameterOp(ir.StringAttr.get(packed[key, layout]), kind)
    op.operands[position] = made.results[0]


# Smaller tables are not worth gathers that touch a cache line per element.
_LARGE_TABLE_BYTES = 1024 * 1024


def _gather_from_packed(
    module: ir.Module, parameters: ParameterStore, packed: dict[tuple[str, PackedLayout], str]
) -> None:
    """Let gathers read a packed parameter that holds the same numbers as theirs."""
    for op in list(nested_operations(module.operation)):
        if op.name != "flow.parameter" or op.results[0].type.encoding is not None:
            continue
        table, uses = op.results[0], [use.owner.operation for use in op.results[0].uses]
        key = key_of(table)
        if parameters.nbytes(key) < _LARGE_TABLE_BYTES or not uses:
            continue
        if any(use.name != "tensor.extract" for use in uses):
            continue
        for (source, layout), name in packed.items():
            permutation = _permutation(parameters, source, key)
            if permutation is None or layout.group is not None:
                continue
            moved = PackedLayout(
                tuple(permutation.index(d) for d in layout.order),
                permutation.index(layout.tile_dim),
                layout.tile,
            )
            encoding = ir.Attribute.parse(moved.to_attribute_text())
            kind = ir.RankedTensorType.get(table.type.shape, table.type.element_type, encoding)
            with ir.InsertionPoint(op), op.location:
                made = flow.ParameterOp(ir.StringAttr.get(name), kind)
            table.replace_all_uses_with(made.results[0])
            op.erase()
            break


def _permutation(parameters: ParameterStore, source: str, key: str) -> list[int] | None:
    """Return p where entry ``key`` is ``source`` with its dimensions in the order p.

    Two entries are the same numbers if they are views of the same memory; nothing is compared.
    """
    if source == key:
        return list(range(len(parameters.shape(key))))
    shape, other = parameters.shape(key), parameters.shape(source)
    if sorted(shape) != sorted(other) or parameters.dtype(key) != parameters.dtype(source):
        return None
    if len(set(shape)) != len(shape):
        return None  # which dimension is which would have to be told from the strides
    permutation = [other.index(n) for n in shape]
    mine, theirs = parameters.read(key), parameters.read(source).transpose(permutation)
    same = mine.__array_interface__["data"][0] == theirs.__array_interface__["data"][0]
    return permutation if same and mine.strides == theirs.strides else None


def pack_parameter(parameters: ParameterStore, key: str, layout: PackedLayout) -> str:
    """Derive the packed form of an entry and return its key.

    The entry has the storage shape of the layout, zero-padded.
    """
    number = 1
    while f"{key}#packed{number}" in parameters:
        number += 1
    name = f"{key}#packed{number}"
    shape = layout.storage_shape(parameters.shape(key))
    return parameters.derive(
        name, shape, parameters.dtype(key), lambda: layout.pack(parameters.read(key))
    )
