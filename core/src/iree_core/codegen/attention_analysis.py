"""Recognition of attention: softmax of a product, times values, as plain ``linalg`` operations.

:func:`match_attention` starts from the second contraction and walks back over the elementwise
code between the reductions. It only reads IR, so that dispatch creation can ask it before a
dispatch exists which operations belong together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from iree_core.codegen.builder import NotScheduled
from iree_core.codegen.microkernel import Body, Linear, linear, read_body
from iree_core.codegen.reduction import combiners, is_reduction, reduction_dims
from iree_core.codegen.traits import result_positions
from iree_core.ir import ir

_T = TypeVar("_T")

At = tuple[int | None, ...]
"""Where a tensor is read: per dimension a loop of the second contraction, None where it is 0."""

# Packing the keys costs about as much as multiplying so many queries by them.
FEWEST_QUERIES = 8


@dataclass(frozen=True)
class Product:
    """One of the two contractions.

    Attributes:
        op: the ``linalg.generic``.
        body: what it computes.
        maps: linear forms of its inputs.
        rows: number of the input along the queries (queries, weights).
        lanes: number of the input along the lanes (keys, values).
        row, lane: their loops.
        reductions: its reduction loops, in the order in which ``lanes`` is stored.
    """

    op: ir.OpView
    body: Body
    maps: tuple[tuple[Linear, ...], ...]
    rows: int
    lanes: int
    row: int
    lane: int
    reductions: tuple[int, ...]


@dataclass(frozen=True)
class Attention:
    """``epilogue(sum_k softmax_k(f(scores))[q, k] * values[k, v])``.

    Attributes:
        first: the product of queries and keys; its result are the raw scores.
        second: the product of weights and values.
        loops: for every loop of ``first``, that of ``second`` (None: its only iteration).
        outer: the parallel loops of ``second`` but queries and columns.
        scores: what the softmax is taken of, and where.
        maximum, total: the reductions of a row, and where they are read.
        exponentials: what ``total`` sums, and where.
        guarded: weights that are not a number (of rows without any key) count as zero.
        members: every operation that belongs to it.
    """

    first: Product
    second: Product
    loops: Mapping[int, int | None]
    outer: tuple[int, ...]
    scores: tuple[ir.Value, At]
    maximum: tuple[ir.Value, At]
    total: tuple[ir.Value, At]
    exponentials: tuple[ir.Value, At]
    guarded: bool
    members: tuple[ir.OpView, ...]

    @property
    def element(self) -> ir.Type:
        """The type that everything is computed in."""
        return self.second.op.results[0].type.element_type


def match_attention(op: ir.OpView) -> Attention | None:
    """Return the attention that ends in the contraction ``op``, None where it ends in none.

    No value inside is used by operations outside.
    """
    try:
        return _Match(op).run() if _sums_products(op) else None
    except NotScheduled:
        return None


def _sums_products(op: ir.OpView) -> bool:
    """Whether ``op`` multiplies two operands and adds up, from zero, in f32 or f64."""
    if op.operation.name != "linalg.generic" or len(op.results) != 1 or not is_reduction(op):
        return False
    element = op.results[0].type.element_type
    if len(list(op.inputs)) != 2 or not isinstance(element, ir.F32Type | ir.F64Type):
        return False
    if any(getattr(o.type, "element_type", None) != element for o in op.inputs):
        return False
    names = [o.operation.name for o in op.regions[0].blocks[0].operations]
    return names == ["arith.mulf", "arith.addf", "linalg.yield"] and _is_zero(op.outputs[0])


def _is_zero(init: ir.Value) -> bool:
    if isinstance(init.owner, ir.Block) or init.owner.operation.name != "linalg.fill":
        return False
    number = init.owner.operands[0].owner
    if isinstance(number, ir.Block) or number.operation.name != "arith.constant":
        return False
    value = number.attributes["value"]
    return isinstance(value, ir.FloatAttr) and value.value == 0.0


class _Match:
    """One attempt; every condition that fails raises NotScheduled."""

    def __init__(self, op: ir.OpView) -> None:
        self.op = op
        self.members: dict[ir.OpView, None] = {op: None}
        # What _leaves found, because a value that is used twice is reached on many paths.
        self._found: dict[tuple[ir.Value, At, frozenset[ir.Value]], list[tuple[ir.Value, At]]] = {}
        self._reductions: dict[ir.Value, bool] = {}

    def run(self) -> Attention:
        for weights in range(2):
            operand = self.op.inputs[weights]
            if isinstance(operand.owner, ir.Block) or not _is_elementwise(operand.owner):
                continue
            at = _access(self.op, weights)
            found = self._leaves(operand, at, frozenset())
            owners = [t.owner for t, _ in found if not isinstance(t.owner, ir.Block)]
            if sum(_is_row_reduction(o, "arith.addf") for o in owners) == 1:
                return self._softmax(weights, operand, at, found)
        raise NotScheduled("no operand is a softmax")

    def _softmax(
        self, weights: int, operand: ir.Value, at: At, found: list[tuple[ir.Value, At]]
    ) -> Attention:
        total = _only(found, "arith.addf")
        exponentials = total[0].owner.inputs[0]
        tree = self._tree(operand, at, frozenset({total[0], exponentials}))
        guarded, numerator, denominator = _quotient(tree)
        _require(denominator == total and numerator[0] == exponentials)
        here = numerator[1]
        inside = self._leaves(exponentials, here, frozenset())
        maximum = _only(inside, "arith.maximumf", "arith.maxnumf")
        scores = maximum[0].owner.inputs[0]
        stops = frozenset({scores, maximum[0]})
        tree = self._tree(exponentials, here, stops)
        _require(isinstance(tree, tuple) and tree[0] == "math.exp")
        difference = tree[1]
        _require(difference[0] == "arith.subf" and difference[2] == ("leaf", *maximum))
        _require(difference[1][:2] == ("leaf", scores))
        scored: At = difference[1][2]
        second = _product(self.op, weights)
        key = _one(reduction_dims(self.op))
        self.members |= {total[0].owner: None, maximum[0].owner: None}
        _require(_row_of(total[0].owner, here, key) == total[1])
        _require(_row_of(maximum[0].owner, scored, key) == maximum[1])
        first, place = self._first(scores, scored)
        loops = _loops_of(first, place)
        product = self._product(first, loops, second.row, key)
        outer = tuple(d for d in _parallel(self.op) if d not in (second.row, second.lane))
        self._check_uses()
        return Attention(
            product, second, loops, outer, (scores, scored), maximum, total,
            (exponentials, here), guarded, tuple(self.members),
        )  # fmt: skip

    def _first(self, scores: ir.Value, at: At) -> tuple[ir.OpView, At]:
        """Return the product that the scores are computed from, and where it is read."""
        leaves = self._leaves(scores, at, frozenset())
        found = [
            (t, a) for t, a in leaves if not isinstance(t.owner, ir.Block) and is_product(t.owner)
        ]
        # Masks may be computed by other operations, but not from the scores.
        tensor, place = _one(found)
        self.members[tensor.owner] = None
        return tensor.owner, place

    def _product(
        self, op: ir.OpView, loops: Mapping[int, int | None], row: int, key: int
    ) -> Product:
        of = {symbol: loop for loop, symbol in loops.items() if symbol is not None}
        _require(row in of and key in of)
        maps = [{p for p in _access(op, n) if p is not None} for n in range(2)]
        for queries in range(2):
            q, k = maps[queries], maps[1 - queries]
            if of[row] in q and of[key] not in q and of[key] in k and of[row] not in k:
                return _describe(op, queries, of[row], of[key])
        raise NotScheduled("scores that are no product of queries and keys")

    def _check_uses(self) -> None:
        inside = {op.operation for op in self.members}
        for op in self.members:
            if op == self.op:
                continue
            for result in op.results:
                _require(all(use.owner.operation in inside for use in result.uses))

    # Walking back through elementwise operations.

    def _leaves(
        self, tensor: ir.Value, at: At, stops: frozenset[ir.Value]
    ) -> list[tuple[ir.Value, At]]:
        """Return the tensors that ``tensor`` is computed from elementwise, and where, each once."""
        key = (tensor, _normal(tensor, at), stops)
        if key not in self._found:
            self._found[key] = self._new_leaves(*key)
        return self._found[key]

    def _new_leaves(
        self, tensor: ir.Value, at: At, stops: frozenset[ir.Value]
    ) -> list[tuple[ir.Value, At]]:
        op = tensor.owner
        if tensor in stops or isinstance(op, ir.Block) or not _is_elementwise(op):
            return [(tensor, at)]
        leaves: dict[tuple[ir.Value, At], None] = {}
        for operand, there in _operands(op, at):
            found = self._leaves(operand, there, stops)
            if any(self._is_reduction(leaf) for leaf, _ in found):
                self.members[op] = None
            leaves |= dict.fromkeys(found)
        return list(leaves)

    def _is_reduction(self, leaf: ir.Value) -> bool:
        if leaf not in self._reductions:
            self._reductions[leaf] = _depends_on_reduction(leaf)
        return self._reductions[leaf]

    def _tree(self, tensor: ir.Value, at: At, stops: frozenset[ir.Value]) -> tuple:
        """Return how ``tensor`` is computed: ``("leaf", tensor, at)`` or (name, operands...)."""
        at = _normal(tensor, at)
        if tensor in stops or isinstance(tensor.owner, ir.Block):
            return ("leaf", tensor, at)
        op = tensor.owner
        if op.operation.name == "linalg.fill":
            return self._scalar(op.operands[0], {})
        if not _is_elementwise(op):
            return ("leaf", tensor, at)
        block = op.regions[0].blocks[0]
        values = {}
        for argument, (operand, there) in zip(block.arguments, _operands(op, at), strict=False):
            if isinstance(operand.type, ir.RankedTensorType):
                values[argument] = (operand, there)
        self.members[op] = None

        def read(value: ir.Value) -> tuple:
            if value in values:
                return self._tree(*values[value], stops)
            return self._scalar(value, read)

        return read(list(block.operations)[-1].operands[0])

    def _scalar(self, value: ir.Value, read: object) -> tuple:
        owner = value.owner
        if isinstance(owner, ir.Block):
            raise NotScheduled("a scalar operand")
        name = owner.operation.name
        if name == "arith.constant":
            return ("constant", owner.attributes["value"])
        if not callable(read) or len(owner.regions):
            raise NotScheduled(f"{name} in a softmax")
        if name == "arith.cmpf":
            name += f" {ir.IntegerAttr(owner.attributes['predicate']).value}"
        return (name, *(read(o) for o in owner.operands))


def is_product(op: ir.OpView) -> bool:
    """Whether ``op`` is a contraction that :func:`match_attention` may start or end with."""
    return _sums_products(op)


def _quotient(tree: tuple) -> tuple[bool, tuple[ir.Value, At], tuple[ir.Value, At]]:
    """Return (guarded, numerator, denominator) of ``a / b`` or of ``isnan(a / b) ? 0 : a / b``."""
    guarded = tree[0] == "arith.select"
    if guarded:
        _, test, zero, value = tree
        # Unordered, or unordered and unequal, with itself: not a number.
        _require(test[0] in ("arith.cmpf 13", "arith.cmpf 14"))
        _require(test[1] == value and test[2] == value)
        _require(zero[0] == "constant" and isinstance(zero[1], ir.FloatAttr))
        _require(zero[1].value == 0.0)
        tree = value
    _require(tree[0] == "arith.divf")
    _require(tree[1][0] == "leaf" and tree[2][0] == "leaf")
    return guarded, tree[1][1:], tree[2][1:]


def _require(condition: bool) -> None:
    if not condition:
        raise NotScheduled("this is not attention")


def _one(values: Sequence[_T]) -> _T:
    _require(len(values) == 1)
    return values[0]


def _only(leaves: list[tuple[ir.Value, At]], *names: str) -> tuple[ir.Value, At]:
    found = dict.fromkeys(
        leaf
        for leaf in leaves
        if not isinstance(leaf[0].owner, ir.Block)
        and any(_is_row_reduction(leaf[0].owner, name) for name in names)
    )
    return _one(list(found))


def _is_elementwise(op: ir.OpView) -> bool:
    """Whether ``op`` computes its only result point by point."""
    if op.operation.name != "linalg.generic" or is_reduction(op) or len(op.results) != 1:
        return False
    return None not in result_positions(list(op.indexing_maps)[-1].value)


def _is_row_reduction(op: ir.OpView, combiner: str) -> bool:
    """Whether ``op`` combines the elements of one input over one loop."""
    if op.operation.name != "linalg.generic" or len(reduction_dims(op)) != 1:
        return False
    found = combiners(op)
    if found is None or [c.op for c in found] != [combiner] or len(list(op.inputs)) != 1:
        return False
    operations = list(op.regions[0].blocks[0].operations)
    return len(operations) == 2 and None not in result_positions(op.indexing_maps[0].value)


def _depends_on_reduction(tensor: ir.Value) -> bool:
    owner = tensor.owner
    if isinstance(owner, ir.Block) or owner.operation.name != "linalg.generic":
        return False
    rows = ("arith.addf", "arith.maximumf", "arith.maxnumf")
    return is_product(owner) or any(_is_row_reduction(owner, name) for name in rows)


def _normal(tensor: ir.Value, at: At) -> At:
    """Return ``at`` with 0 for every dimension of size 1."""
    return tuple(None if n == 1 else d for d, n in zip(at, tensor.type.shape, strict=True))


def _operands(op: ir.OpView, at: At) -> Iterator[tuple[ir.Value, At]]:
    """Yield the inputs of an elementwise operation that is evaluated at ``at``, and where."""
    maps = [a.value for a in op.indexing_maps]
    written = [e.position for e in maps[-1].results]
    loops = dict(zip(written, at, strict=True))
    for operand, map_ in zip(op.inputs, maps, strict=False):
        there: list[int | None] = []
        for expression in map_.results:
            if isinstance(expression, ir.AffineDimExpr):
                there.append(loops.get(expression.position))
            elif isinstance(expression, ir.AffineConstantExpr):
                there.append(None)
            else:
                raise NotScheduled(f"elements read at {expression}")
        yield operand, tuple(there)


def _access(op: ir.OpView, number: int) -> At:
    """Return which loop indexes each dimension of an input of a contraction."""
    operand, map_ = op.inputs[number], op.indexing_maps[number].value
    forms = [linear(e) for e in map_.results]
    _require(all(f.constant == 0 and [c for _, c in f.factors] in ([], [1]) for f in forms))
    return _normal(operand, tuple(f.dims[0] if f.dims else None for f in forms))


def _parallel(op: ir.OpView) -> list[int]:
    positions = result_positions(list(op.indexing_maps)[-1].value)
    _require(None not in positions)
    return [p for p in positions if p is not None]


def _product(op: ir.OpView, weights: int) -> Product:
    """Describe the second contraction, whose input ``weights`` is the softmax."""
    key = _one(reduction_dims(op))
    rows, columns = _access(op, weights), _access(op, 1 - weights)
    queries = [d for d in rows if d is not None and d != key and d not in columns]
    lanes = [d for d in columns if d is not None and d != key and d not in rows]
    _require(bool(queries) and len(lanes) == 1 and key in columns and key in rows)
    size = dict(zip(rows, op.inputs[weights].type.shape, strict=True))
    width = dict(zip(columns, op.inputs[1 - weights].type.shape, strict=True))[lanes[0]]
    dynamic = ir.ShapedType.get_dynamic_size()
    row = queries[-1]
    if width == dynamic or (size[row] != dynamic and size[row] < FEWEST_QUERIES):
        raise NotScheduled("too few queries for packed keys, or columns of unknown number")
    return _describe(op, weights, row, lanes[0])


def _describe(op: ir.OpView, rows: int, row: int, lane: int) -> Product:
    body = read_body(op)
    if body is None:
        raise NotScheduled("a contraction of another form")
    maps = tuple(tuple(linear(e) for e in a.value.results) for a in op.indexing_maps)[:2]
    reduced = reduction_dims(op)
    order = [d for form in maps[1 - rows] for d in form.dims if d in reduced]
    _require(sorted(order) == sorted(reduced))
    return Product(op, body, maps, rows, 1 - rows, row, lane, tuple(order))


def _row_of(op: ir.OpView, at: At, key: int) -> At:
    """Return where the result of a row reduction lies whose input is read at ``at``."""
    maps = [a.value for a in op.indexing_maps]
    loops = dict(zip(result_positions(maps[0]), at, strict=True))
    _require(loops[_one(reduction_dims(op))] == key)
    row = tuple(None if p is None else loops[p] for p in result_positions(maps[1]))
    return _normal(op.results[0], row)


def _loops_of(op: ir.OpView, at: At) -> dict[int, int | None]:
    """Return which loop of the second contraction each parallel loop of the first is."""
    loops = dict(zip(_parallel(op), at, strict=True))
    symbols = [s for s in loops.values() if s is not None]
    _require(len(set(symbols)) == len(symbols))
    return loops
