"""Fusion groups: which operations of a block become one dispatch.

A group has a *space*: the parallel loops of its root. Every member maps the space to its own
loops, so that all members can be evaluated together, point by point of the space.

- Attention is one group: both contractions, the softmax and what is elementwise between them.
- Contractions and windows take elementwise consumers whose loops are exactly the space.
- Reductions take elementwise operations on both sides and further reductions, as long as the
  rows agree: softmax and the normalisations become one group.
- Elementwise operations of equal loops are joined; a group may have several results.
- Views and cheap elementwise operations that read little are left out: every group that needs
  one evaluates it where it is used (:mod:`iree_core.passes.dispatch.inlining`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from iree_core.codegen.attention_analysis import match_attention
from iree_core.ir import ir
from iree_core.passes.dispatch.graph import OUTSIDE, Node
from iree_core.passes.dispatch.structure import FIXED, AccessMap, Kind

Space = tuple[int, ...]
"""For each loop of a group's space, the loop of one member."""

# With fewer rows than this, long rows are better split over threads than fused.
_MIN_ROWS = 4
_MAX_LONE_ROW = 16384


@dataclass
class Group:
    """Operations that become one dispatch.

    Attributes:
        root: the node that gives the group its schedule.
        members: nodes that the group evaluates, with the map of the space to their loops.
        clones: nodes outside that are evaluated again inside.
        first, last: no member lies outside of this range.
    """

    root: int
    members: dict[int, Space] = field(default_factory=dict)
    clones: set[int] = field(default_factory=set)
    first: int = field(init=False)
    last: int = field(init=False)

    def __post_init__(self) -> None:
        self.first = self.last = self.root

    def add(self, index: int, space: Space) -> None:
        """Make a node a member."""
        self.members[index] = space
        self.first, self.last = min(self.first, index), max(self.last, index)

    @property
    def operations(self) -> list[int]:
        """Members and clones in program order."""
        return sorted(self.clones.union(self.members))


class Grouper:
    """Forms the groups of one block."""

    def __init__(self, nodes: list[Node], attention: bool = True) -> None:
        """Prepare the groups of ``nodes``; ``attention`` says that a schedule takes it whole."""
        self.nodes = nodes
        self.attention = attention
        self.groups: list[Group] = []
        self.owner: dict[int, Group] = {}
        self.cheap = _cheap_nodes(nodes)

    def run(self) -> list[Group]:
        """Assign every node that must be computed on its own account to a group."""
        if self.attention:
            self._form_attentions()
        for kind in (Kind.CONTRACTION, Kind.REDUCTION, Kind.WINDOW, Kind.ELEMENTWISE):
            for node in self.nodes:
                if node.kind is kind and not self._is_taken(node.index):
                    self._form(node)
        for node in self.nodes:
            if node.kind is Kind.ATOMIC:
                self.add_alone(node.index)
        return self.groups

    def add_alone(self, index: int) -> Group:
        """Make a group of one node."""
        node = self.nodes[index]
        space = node.space if node.loops is not None else ()
        group = Group(index, {index: space})
        self.groups.append(group)
        self.owner[index] = group
        return group

    def _form_attentions(self) -> None:
        number = {node.op: node.index for node in self.nodes if node.kind is not Kind.HOST}
        for node in self.nodes:
            if node.kind is not Kind.CONTRACTION or node.index in self.owner:
                continue
            found = match_attention(node.op.opview)
            inside = [] if found is None else [number.get(op.operation) for op in found.members]
            if not inside or None in inside or any(i in self.owner for i in inside):
                continue
            self._form(node)
            group = self.owner[node.index]
            for index in inside:
                if index is not None and index not in group.members:
                    group.add(index, ())
                    self.owner[index] = group

    def _is_taken(self, index: int) -> bool:
        return index in self.owner or index in self.cheap

    def _form(self, root: Node) -> None:
        group = self.add_alone(root.index)
        both_ways = root.kind in (Kind.REDUCTION, Kind.ELEMENTWISE)
        if root.kind is Kind.REDUCTION and self._rows_are_few(root):
            return
        pending = [root.index]
        while pending:
            index = pending.pop()
            for candidate in self._neighbours(index, both_ways):
                if candidate not in group.members and self._try_add(group, candidate):
                    pending.append(candidate)
        if not both_ways:
            self._cut_epilogue(group)
        self._drop_escaping_views(group)

    def _neighbours(self, index: int, both_ways: bool) -> Iterator[int]:
        node = self.nodes[index]
        yield from node.users
        if both_ways:
            yield from (p for p in node.producers if p != OUTSIDE)

    def _try_add(self, group: Group, index: int) -> bool:
        node = self.nodes[index]
        if index in self.owner or node.loops is None:
            return False
        root = self.nodes[group.root]
        if node.kind is Kind.REDUCTION:
            if root.kind is not Kind.REDUCTION:
                return False
        elif node.kind not in (Kind.ELEMENTWISE, Kind.VIEW):
            return False
        space = self._space_in(group, node)
        if space is None or not self._fits(root, node, space) or self._closes_cycle(group, index):
            return False
        group.add(index, space)
        self.owner[index] = group
        return True

    def _fits(self, root: Node, node: Node, space: Space) -> bool:
        assert node.loops is not None
        if node.kind is Kind.REDUCTION:
            return sorted(space) == [d for d, p in enumerate(node.loops.parallel) if p]
        if root.kind is Kind.REDUCTION:
            return _keeps_layout(root, node, space)
        return len(node.loops) == len(space)

    def _space_in(self, group: Group, node: Node) -> Space | None:
        """Return how the group's space maps to the loops of ``node``, None if it does not."""
        found: Space | None = None
        for space in self._space_candidates(group, node):
            if space is None or (found is not None and space != found):
                return None
            found = space
        return found

    def _space_candidates(self, group: Group, node: Node) -> Iterator[Space | None]:
        assert node.loops is not None
        for position, producer in enumerate(node.producers):
            if producer in group.members:
                member = self.nodes[producer]
                if position >= len(node.loops.maps) or member.loops is None:
                    yield None  # read at computed positions
                else:
                    result = _result_number(member.op, node.operands[position])
                    yield _through(
                        group.members[producer],
                        member.loops.maps[member.inputs + result],
                        node.loops.maps[position],
                    )
        for user in node.users:
            if user in group.members:
                member = self.nodes[user]
                assert member.loops is not None
                for position, producer in enumerate(member.producers):
                    if producer != node.index:
                        continue
                    if position >= len(member.loops.maps):
                        yield None
                    else:
                        result = _result_number(node.op, member.operands[position])
                        yield _through(
                            group.members[user],
                            member.loops.maps[position],
                            node.loops.maps[node.inputs + result],
                        )

    def _closes_cycle(self, group: Group, index: int) -> bool:
        """Whether a value would leave the enlarged group and come back through other nodes."""
        inside = {index, *group.members}
        first = self._reached_from(min(inside), group)
        pending = [p for i in inside for p in self.nodes[i].producers if p not in inside]
        seen: set[int] = set()
        while pending:
            current = pending.pop()
            if current == OUTSIDE or current in seen:
                continue
            unit = self.owner[current].members if current in self.owner else (current,)
            seen.update(unit)
            if max(unit) < first:
                continue
            for member in unit:
                for producer in self.nodes[member].producers:
                    if producer in inside:
                        return True
                    pending.append(producer)
        return False

    def _reached_from(self, first: int, group: Group) -> int:
        """Return the earliest node from which other groups lead to ``first`` or later ones."""
        for other in sorted(self.groups, key=lambda g: g.last, reverse=True):
            if other.last < first:
                break
            if other is not group:
                first = min(first, other.first)
        return first

    def _rows_are_few(self, root: Node) -> bool:
        assert root.loops is not None
        extents = _extents(root)
        rows = row = 1
        for loop, parallel in enumerate(root.loops.parallel):
            extent = extents.get(loop)
            if extent is None:
                return not root.space
            rows, row = (rows * extent, row) if parallel else (rows, row * extent)
        return rows < _MIN_ROWS and row > _MAX_LONE_ROW

    def escaping(self, members: Iterable[int]) -> list[int]:
        """Return the members whose results are used by other nodes."""
        inside = set(members)
        return [i for i in inside if any(user not in inside for user in self.nodes[i].users)]

    def _cut_epilogue(self, group: Group) -> None:
        """Keep the longest prefix with the fewest results; the rest is free for other groups."""
        order = sorted(group.members)
        order.remove(group.root)
        best, best_count = [group.root], len(self.escaping([group.root]))
        prefix = [group.root]
        for index in order:
            prefix = [*prefix, index]
            count = len(self.escaping(prefix))
            if count <= max(best_count, 1):
                best, best_count = prefix, count
        for index in set(order).difference(best):
            self._release(group, index)

    def _drop_escaping_views(self, group: Group) -> None:
        """Release members that others can as well evaluate themselves from other results."""
        escaping = set(self.escaping(group.members))
        for index in sorted(escaping, reverse=True):
            node = self.nodes[index]
            if index == group.root or len(escaping) < 2:
                continue
            if node.kind is not Kind.VIEW and index not in self.cheap:
                continue
            sources = {p for p in node.producers if p in group.members}
            if sources <= escaping:
                escaping.discard(index)
                self._release(group, index)

    def _release(self, group: Group, index: int) -> None:
        del group.members[index]
        del self.owner[index]


def _keeps_layout(root: Node, node: Node, space: Space) -> bool:
    """Whether ``node`` writes rows where the reduction ``root`` reads them."""
    assert root.loops is not None and node.loops is not None
    read, written = root.loops.maps[0], node.loops.maps[node.inputs]
    extents = _extents(node)
    one_per_row = all(extents.get(d) == 1 for d in range(len(node.loops)) if d not in space)
    if len(read) != len(written) or one_per_row:
        return True
    return all(
        loop not in read or target not in written or read.index(loop) == written.index(target)
        for loop, target in zip(root.space, space, strict=True)
    )


def _through(space: Space, produced: AccessMap, read: AccessMap) -> Space | None:
    """Carry ``space`` from loops that index a value by ``produced`` to those that ``read`` it."""
    carried: list[int] = []
    for loop in space:
        if loop not in produced:
            return None
        target = read[produced.index(loop)]
        if target is None or target == FIXED or target in carried:
            return None
        carried.append(target)
    return tuple(carried)


def _result_number(op: ir.Operation, value: ir.Value) -> int:
    return ir.OpResult(value).result_number if len(op.results) > 1 else 0


def _extents(node: Node) -> dict[int, int]:
    """Return the sizes of the loops of ``node`` that are known while compiling."""
    assert node.loops is not None
    dynamic = ir.ShapedType.get_dynamic_size()
    extents: dict[int, int] = {}
    for value, access in zip(node.operands, node.loops.maps, strict=False):
        if isinstance(value.type, ir.RankedTensorType):
            for loop, size in zip(access, value.type.shape, strict=True):
                if loop is not None and loop != FIXED and size != dynamic:
                    extents[loop] = size
    return extents


# A cheap operation costs at most this many additions, with all that is evaluated along with it.
_MAX_CHEAP_COST = 4
_MAX_CHEAP_CHAIN = 8


def _cheap_nodes(nodes: list[Node]) -> dict[int, int]:
    """Return the elementwise nodes that are better evaluated again than stored, with their cost.

    Such a node computes little and reads no more elements than it makes.
    """
    costs: dict[int, int] = {}
    for node in nodes:
        if node.kind is not Kind.ELEMENTWISE or node.loops is None or node.body is None:
            continue
        if node.body.cost > _MAX_CHEAP_COST or len(node.op.results) != 1:
            continue
        if any(node.body.reads_output) or not _reads_little(node, nodes):
            continue
        cost = node.body.cost + sum(costs.get(p, 0) for p in node.producers)
        if cost <= _MAX_CHEAP_CHAIN:
            costs[node.index] = cost
    return costs


def _reads_little(node: Node, nodes: list[Node]) -> bool:
    assert node.loops is not None
    large = 0
    for position in range(node.inputs):
        producer = node.producers[position]
        constant = producer != OUTSIDE and nodes[producer].kind is Kind.CONSTANT
        access = node.loops.maps[position]
        if not constant and len(access) - access.count(FIXED) == len(node.loops):
            large += 1
    return large <= 1
