"""Tensors that are made rather than changed."""

from __future__ import annotations

from iree_core.ir import arith, ir, math, tensor
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import F64, I64, ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.scalars import constant
from iree_core.lowering.scan import cumulative
from iree_core.lowering.structured import computed
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Value
from iree_frontend_tf.tflite.registry import Node, lowering


def _scalar(node: Node, position: int) -> ir.Value:
    return tensors.scalar_at(tensors.reshape(node.tensor(position), ()), [])


@lowering("FILL")
def fill(node: Node) -> Tensor | Value:
    """A tensor full of one element."""
    dims = node.items(0)
    value = node.value(1)
    items = value.tracked_items()
    if items is not None and len(dims) == 1 and isinstance(dims[0], int) and dims[0] <= 8:
        return Value(items=items * dims[0], element=value.element)
    return tensors.fill(dims, value.element, _scalar(node, 1))


@lowering("RANGE")
def range_(node: Node) -> Tensor | Value:
    """Numbers from start up to a limit."""
    e = node.element()
    known = [node.array(i) for i in range(3)]
    if all(k is not None for k in known):
        import numpy as np

        start, limit, delta = (k.reshape(-1)[0] for k in known if k is not None)
        if e.is_integer:
            made = np.arange(start, limit, delta, dtype=e.numpy)
        else:
            count = max(0, int(np.ceil(np.abs((limit - start) / delta))))
            made = (start + delta * np.arange(count).astype(e.numpy)).astype(e.numpy)
        from iree_core.lowering.values import Constant

        name = f"{node.output().name}.range"
        return Value(constant=Constant(name, made.shape, e, lambda: made))
    start_, delta_ = _scalar(node, 0), _scalar(node, 2)
    count_ = _integer_count(node) if e.is_integer else _float_count(node, e)

    def body(place: ir.Value) -> ir.Value:
        number = scalars.convert(arith.index_cast(I64.type, place), I64, e)
        return scalars.add(start_, scalars.mul(delta_, number, e), e)

    return computed([count_], [e], body)[0]


def _integer_count(node: Node) -> Dim:
    start, limit, delta = (node.items(i)[0] for i in range(3))
    up = index.compare(arith.CmpIPredicate.sgt, delta, 0)
    forward = index.ceildiv(index.sub(limit, start), index.maximum(delta, 1))
    backward = index.ceildiv(index.sub(start, limit), index.maximum(index.sub(0, delta), 1))
    return index.maximum(index.select(up, forward, backward), 0)


def _float_count(node: Node, e: ElementType) -> Dim:
    start, limit, delta = (_scalar(node, i) for i in range(3))
    steps = math.ceil(math.absf(arith.divf(arith.subf(limit, start), delta)))
    wide = scalars.convert(steps, e, F64)
    return index.maximum(arith.index_cast(ir.IndexType.get(), arith.fptosi(I64.type, wide)), 0)


@lowering("CUMSUM")
def cumsum(node: Node) -> Tensor:
    """Running sums along a dimension."""
    x = node.tensor(0)
    axis = node.axis(node.ints(1, "the axis")[0], x.rank)
    return cumulative(
        x, axis, "add",
        exclusive=bool(node.option("Exclusive", False)),
        reverse=bool(node.option("Reverse", False)),
    )  # fmt: skip


@lowering("ONE_HOT")
def one_hot(node: Node) -> Tensor:
    """A dimension that holds ``on`` at the position given, ``off`` elsewhere."""
    places = node.tensor(0)
    depth = node.items(1)[0]
    on, off = _scalar(node, 2), _scalar(node, 3)
    axis = node.axis(node.option("Axis", -1), places.rank + 1)
    dims = [*places.dims[:axis], depth, *places.dims[axis:]]
    e = node.element()

    def body(*at: ir.Value) -> ir.Value:
        wanted = tensor.extract(places.value, [*at[:axis], *at[axis + 1 :]])
        here = arith.index_cast(places.element.type, at[axis])
        return arith.select(scalars.compare("eq", wanted, here, places.element), on, off)

    return computed(dims, [e], body)[0]


@lowering("MATRIX_DIAG")
def matrix_diag(node: Node) -> Tensor:
    """Rows on the diagonal of matrices of zeros."""
    x = node.tensor(0)
    dims = [*x.dims, x.dims[-1]]

    def body(*at: ir.Value) -> ir.Value:
        here = arith.cmpi(arith.CmpIPredicate.eq, at[-1], at[-2])
        item = tensor.extract(x.value, at[:-1])
        return arith.select(here, item, constant(0, x.element))

    return computed(dims, [x.element], body)[0]


@lowering("MATRIX_SET_DIAG")
def matrix_set_diag(node: Node) -> Tensor:
    """Matrices with other elements on their diagonals."""
    x, diagonal = node.tensor(0), node.tensor(1)
    last = index.value(index.sub(diagonal.dims[-1], 1))

    def body(*at: ir.Value) -> ir.Value:
        here = arith.cmpi(arith.CmpIPredicate.eq, at[-1], at[-2])
        place = arith.minsi(at[-1], last)
        item = tensor.extract(diagonal.value, [*at[:-2], place])
        return arith.select(here, item, tensor.extract(x.value, list(at)))

    return computed(x.dims, [x.element], body)[0]


@lowering("BUCKETIZE")
def bucketize(node: Node) -> Tensor:
    """How many boundaries are not above each element."""
    x = node.tensor(0)
    options = node.info.options
    count = options.BoundariesLength() if options is not None else 0
    bounds = [float(options.Boundaries(i)) for i in range(count)]
    from iree_core.lowering.element import I32
    from iree_core.lowering.structured import elementwise

    e = x.element

    def body(v: ir.Value) -> ir.Value:
        total = constant(0, I32)
        for bound in bounds:
            limit = bound if e.is_float else -(-bound // 1)
            reached = scalars.compare("ge", v, constant(limit, e), e)
            total = arith.addi(total, arith.extui(I32.type, reached))
        return total

    return elementwise([x], I32, body)
