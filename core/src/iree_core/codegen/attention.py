"""The schedule of attention: both products and the softmax between them in one kernel.

A work item is one head and a run of its queries. Keys and values of the head are packed into
panels once per item; then, for a block of queries at a time, the scores of the whole block are
computed into private memory, the softmax runs over its rows in place, and the product with the
values is taken from there. A block has so many rows that its scores stay in the second-level
cache, so nothing of the size queries times keys is ever written to main memory, and memory
grows with the length, not with its square. (The same traffic argument as Dao et al.,
"FlashAttention", 2022, with exact rows in place of rescaled ones: on CPUs a whole row of scores
fits the cache.) Division by the row's sum is moved behind the second product.

:mod:`iree_core.codegen.attention_analysis` recognises the operations,
:mod:`iree_core.codegen.attention_loops` emits the loops.
"""

from __future__ import annotations

from math import prod

from iree_core.codegen import blocking
from iree_core.codegen.attention_analysis import Attention, match_attention
from iree_core.codegen.attention_loops import ALIGNMENT, AttentionLoops, Schedule
from iree_core.codegen.builder import NotScheduled, element_bits
from iree_core.codegen.contraction_analysis import loop_extents
from iree_core.codegen.dispatch import Dispatch, Size, as_expr
from iree_core.codegen.frame import make_kernel
from iree_core.codegen.kernel import CpuModel, Kernel
from iree_core.codegen.placement import placements
from iree_core.expr import Expr, const

_ASSUMED = 512
_FEWEST_ITEMS = 32
# Queries of an item that make up for packing the keys and values.
_ROWS_WORTH_PACKING = 128


def build_attention(dispatch: Dispatch, cpu: CpuModel) -> Kernel:
    """Schedule a dispatch that is attention, with elementwise code before and behind it.

    Raises:
        NotScheduled: it is not of that form.
    """
    attention = _find(dispatch)
    results = placements(dispatch, attention.second.op.results[0])
    if results is None:
        raise NotScheduled("a result that is not stored from the tiles of the second product")
    schedule = _plan(attention, dispatch, cpu)
    return make_kernel(
        dispatch,
        "attention",
        schedule.grid,
        lambda frame: AttentionLoops(attention, schedule, results, cpu, frame).emit(),
        scratch=schedule.scratch,
        grain=schedule.grain,
    )


def _find(dispatch: Dispatch) -> Attention:
    found = [a for op in dispatch.operations if (a := match_attention(op)) is not None]
    if len(found) != 1:
        raise NotScheduled("not one attention")
    return found[0]


def _plan(a: Attention, dispatch: Dispatch, cpu: CpuModel) -> Schedule:
    extents = loop_extents(dispatch, a.second.op)
    depths = [loop_extents(dispatch, a.first.op)[d] for d in a.first.reductions]
    (key,) = a.second.reductions
    queries, keys, columns = (extents[d] for d in (a.second.row, key, a.second.lane))
    assert isinstance(columns, int)
    bits = element_bits(a.element)
    lanes, vectors = cpu.lanes(bits), blocking.vectors_per_panel(cpu)
    key_vectors = min(vectors, -(-_number(keys) // lanes))
    value_vectors = min(vectors, -(-columns // lanes))
    rows = blocking.register_rows(cpu, vectors, queries if isinstance(queries, int) else None)
    heads = prod(_number(extents[d], 16) for d in a.outer)
    items_of_head = max(1, -(-_FEWEST_ITEMS // heads))
    item = max(_ROWS_WORTH_PACKING, -(-_number(queries) // items_of_head))
    block = min(item, max(rows, cpu.l2_bytes // 4 // (_number(keys) * bits // 8)))
    if isinstance(queries, int):
        item = -(-queries // -(-queries // item))
        block = -(-item // -(-item // min(block, item)))
    block = -(-block // rows) * rows
    item = -(-item // block) * block
    depth = prod(_number(d, 64) for d in depths)
    cycles = blocking.item_cycles(
        min(item, _number(queries)) * _number(keys) * (depth + columns), lanes, 0
    )
    grid: Expr = const(1)
    for dim in a.outer:
        grid = grid * as_expr(extents[dim])
    key_width, value_width = key_vectors * lanes, value_vectors * lanes
    scratch = _panels(keys, key_width, bits, depths)
    scratch = scratch + _panels(columns, value_width, bits, [keys])
    padded = as_expr(keys).ceildiv(key_width) * key_width
    scratch = scratch + padded * (block * bits // 8) + const(_aligned(block * bits // 8))
    return Schedule(
        rows=rows,
        lanes=lanes,
        key_vectors=key_vectors,
        value_vectors=value_vectors,
        block=block,
        item=item,
        static_rows=queries if isinstance(queries, int) else None,
        grid=grid * as_expr(queries).ceildiv(item),
        grain=blocking.grain_for(cycles),
        scratch=scratch,
    )


def _number(size: Size, assumed: int = _ASSUMED) -> int:
    return size if isinstance(size, int) else assumed


def _panels(columns: Size, width: int, bits: int, rows: list[Size]) -> Expr:
    """Return the bytes of all panels of a packed operand."""
    length = const(width * bits // 8)
    for size in rows:
        length = length * as_expr(size)
    return length.ceildiv(ALIGNMENT) * ALIGNMENT * as_expr(columns).ceildiv(width)


def _aligned(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT
