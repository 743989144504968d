"""Axes that are inputs: known at import in most models, computed at run time in some."""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.ir import arith, ir
from iree_core.lowering import index
from iree_core.lowering.element import BOOL
from iree_core.lowering.index import Dim
from iree_frontend_onnx.registry import Node


def given_axes(node: Node, position: int, name: str = "axes") -> list[Dim] | None:
    """Return the axes from attribute ``name`` or an input as ints or index values, or None."""
    attribute = node.attr(name)
    if attribute is not None:
        return [int(a) for a in (attribute if isinstance(attribute, list) else [attribute])]
    return node.items(position) if node.has(position) else None


def static_axes(axes: Sequence[Dim]) -> list[int] | None:
    """Return ``axes`` as ints if all are known at import."""
    known = [a for a in axes if isinstance(a, int)]
    return known if len(known) == len(axes) else None


def chosen(axes: Sequence[Dim], rank: int) -> list[ir.Value]:
    """Return for each dimension an i1 that tells whether it is among ``axes``."""
    wrapped = [index.wrap_negative(a, rank) for a in axes]
    flags = []
    for axis in range(rank):
        flag: ir.Value | None = None
        for wanted in wrapped:
            same = index.compare(arith.CmpIPredicate.eq, wanted, axis)
            flag = same if flag is None else arith.ori(flag, same)
        flags.append(flag if flag is not None else arith.constant(BOOL.type, 0))
    return flags


def pick(options: Sequence[Dim], position: Dim) -> Dim:
    """Return ``options[position]``."""
    if isinstance(position, int):
        return options[position]
    result: Dim = options[-1]
    for place in reversed(range(len(options) - 1)):
        here = index.compare(arith.CmpIPredicate.eq, position, place)
        result = index.select(here, options[place], result)
    return result


def without(dims: Sequence[Dim], axes: Sequence[Dim]) -> list[Dim]:
    """Return ``dims`` without those at run-time ``axes``, which are distinct."""
    flags = chosen(axes, len(dims))
    kept: list[Dim] = []
    for place in range(len(dims) - len(axes)):
        # The place-th kept dimension is the last whose count of kept ones before it is place.
        count: Dim = 0
        result: Dim = dims[-1]
        picks = []
        for dim, flag in zip(dims, flags, strict=True):
            here = index.compare(arith.CmpIPredicate.eq, count, place)
            picks.append((here, flag, dim))
            count = index.select(flag, count, index.add(count, 1))
        for here, flag, dim in reversed(picks):
            keep = arith.andi(here, arith.xori(flag, arith.constant(BOOL.type, 1)))
            result = index.select(keep, dim, result)
        kept.append(result)
    return kept


def with_ones(dims: Sequence[Dim], axes: Sequence[Dim]) -> list[Dim]:
    """Return ``dims`` with ones inserted at run-time ``axes`` of the result."""
    flags = chosen(axes, len(dims) + len(axes))
    result: list[Dim] = []
    used: Dim = 0
    for flag in flags:
        taken = pick(dims, index.minimum(used, len(dims) - 1)) if dims else 1
        result.append(index.select(flag, 1, taken))
        used = index.select(flag, used, index.add(used, 1))
    return result
