"""Attention in one kernel: both products and the softmax between them, memory linear in length.

An invocation has some queries of one head and goes through the keys in blocks: scores of a
block, the largest so far, exponentials, and the sums of weighted values, which are scaled down
whenever the largest grows (M. Milakov and N. Gimelshein, "Online normalizer calculation for
softmax", 2018; T. Dao et al., "FlashAttention", 2022). Everything stays in registers. Where
queries are too few for all invocations of a device that has subgroups, those of a subgroup share
them, take turns at the blocks of keys, and join what they have at the end. Columns of the values
that do not fit the registers belong to other invocations, which compute the scores again.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from iree_core.codegen.attention_analysis import Attention, match_attention
from iree_core.codegen.builder import NotScheduled
from iree_core.codegen.contraction_analysis import loop_extents
from iree_core.codegen.dispatch import Dispatch, Size, as_expr
from iree_core.codegen.gpu.attention_block import AttentionBlock, Shape
from iree_core.codegen.gpu.frame import make_gpu_kernel, product
from iree_core.codegen.gpu.kernel import GpuKernel, GpuModel
from iree_core.codegen.placement import placements

# Invocations of a workgroup, where few of them have much to do.
_WORKGROUP = 32
_ASSUMED = 512


def build_attention(dispatch: Dispatch, gpu: GpuModel) -> GpuKernel:
    """Schedule a dispatch that is attention, with elementwise code before and behind it.

    Raises:
        NotScheduled: it is not of that form.
    """
    found = [a for op in dispatch.operations if (a := match_attention(op)) is not None]
    if len(found) != 1:
        raise NotScheduled("not one attention")
    (attention,) = found
    for part in (attention.first, attention.second):
        if {*part.body.term.owner.operands} != {*part.body.inputs}:
            raise NotScheduled("a product that is none of its two operands")
    results = placements(dispatch, attention.second.op.results[0])
    if results is None:
        raise NotScheduled("a result that is not stored from the rows of the second product")
    extents = loop_extents(dispatch, attention.second.op)
    shape = _shape(attention, extents, gpu)
    outer = product(tuple(extents[d] for d in attention.outer))
    blocks = as_expr(extents[attention.second.row]).ceildiv(shape.rows)
    return make_gpu_kernel(
        dispatch,
        "attention",
        outer * shape.slices * blocks * shape.workers,
        lambda frame: AttentionBlock(attention, shape, results, gpu, frame).emit(),
        workgroup=gpu.invocations if shape.workers > 1 else min(_WORKGROUP, gpu.invocations),
    )


def _shape(a: Attention, extents: Sequence[Size], gpu: GpuModel) -> Shape:
    columns, queries = extents[a.second.lane], extents[a.second.row]
    assert isinstance(columns, int)
    slices = -(-columns // gpu.sums)
    width = -(-columns // slices)
    rows = max(1, min(gpu.tile_rows, gpu.sums // width))
    if isinstance(queries, int):
        rows = min(rows, queries)
    known = [n if isinstance(n, int) else _ASSUMED for n in (extents[d] for d in a.outer)]
    items = prod(known) * slices * (queries if isinstance(queries, int) else _ASSUMED)
    least = gpu.least_tiles // 2
    workers = gpu.subgroup if gpu.subgroup and items // rows < least else 1
    while rows > 1 and items * workers // rows < least:
        rows = -(-rows // 2)
    return Shape(rows, width, slices, workers)
