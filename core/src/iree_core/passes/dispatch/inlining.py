"""Which producers a group evaluates itself, and which it needs stored.

Code generation pulls values: a view, a constant or a cheap elementwise operation costs nothing
but its arithmetic where it is used, so it is cloned into every group that reads it. What a group
cannot read through becomes a dispatch of its own.
"""

from __future__ import annotations

from iree_core.passes.dispatch.graph import OUTSIDE, Node
from iree_core.passes.dispatch.grouping import Group, Grouper
from iree_core.passes.dispatch.structure import Kind

_COMPUTED = (Kind.VIEW, Kind.MOVE, Kind.ELEMENTWISE)


def complete_groups(grouper: Grouper) -> None:
    """Clone producers into groups and add the groups that are still needed, until all is closed."""
    nodes = grouper.nodes
    needed = [
        producer
        for node in nodes
        if node.kind is Kind.HOST
        for producer in node.producers
        if producer != OUTSIDE and producer not in grouper.owner
    ]
    pending = list(grouper.groups)
    while pending or needed:
        while pending:
            needed.extend(_clone_producers(grouper, pending.pop()))
        for index in sorted(set(needed), reverse=True):
            if index not in grouper.owner and _is_dispatched(nodes[index]):
                pending.append(grouper.add_alone(index))
                break
        else:
            needed = []


def _is_dispatched(node: Node) -> bool:
    """Whether a node that must be stored is computed by a dispatch, not by the host."""
    return node.kind in _COMPUTED or node.op.name in ("linalg.fill", "tensor.splat")


def _clone_producers(grouper: Grouper, group: Group) -> list[int]:
    """Clone what ``group`` can evaluate itself and return the nodes that must be stored for it."""
    nodes = grouper.nodes
    stored: list[int] = []
    pending = [(member, False) for member in group.members]
    visited: set[tuple[int, bool]] = set()
    while pending:
        consumer, strict = pending.pop()
        if (consumer, strict) in visited:
            continue
        visited.add((consumer, strict))
        node = nodes[consumer]
        for position, producer in enumerate(node.producers):
            if producer == OUTSIDE or producer in group.members:
                continue
            is_input = node.kind is Kind.CONTRACTION and position < node.inputs
            below = strict or is_input
            if producer not in grouper.owner and _readable(grouper, producer, node, below):
                group.clones.add(producer)
                pending.append((producer, below))
            elif nodes[producer].kind is not Kind.HOST:
                stored.append(producer)
    return [index for index in stored if index not in group.clones]


def _readable(grouper: Grouper, producer: int, consumer: Node, strict: bool) -> bool:
    """Whether ``consumer`` can evaluate ``producer`` at the point of use.

    ``strict`` holds for operands of contractions: every element is read many times, so only
    what costs nothing is evaluated again.
    """
    node = grouper.nodes[producer]
    if node.kind is Kind.CONSTANT:
        return True
    if consumer.kind is Kind.ATOMIC:
        return False
    if node.kind is Kind.VIEW:
        return not strict or node.op.name != "tensor.pad" or _slides(consumer)
    if strict:
        return producer in grouper.cheap and node.body is not None and node.body.casts_only
    if node.kind is Kind.MOVE:
        return len(node.users) == 1
    return producer in grouper.cheap


def _slides(consumer: Node) -> bool:
    return consumer.loops is not None and consumer.loops.windowed
