"""Operators that only change shape, and those that tell shapes."""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.ir import arith, ir, tensor
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import from_name
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import broadcast_dims, broadcast_to, computed, elementwise
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Constant, Value
from iree_frontend_tf.tflite.ops import quantized_elementwise as quantized
from iree_frontend_tf.tflite.ops.common import activate, is_quantized
from iree_frontend_tf.tflite.registry import Node, lowering


@lowering("SHAPE")
def shape(node: Node) -> Value:
    """The sizes of the input."""
    return Value(items=list(node.value(0).dims), element=node.element())


@lowering("RANK")
def rank(node: Node) -> Value:
    """The number of dimensions of the input."""
    return Value(items=[node.value(0).rank], rank=0, element=node.element())


def _same_elements(node: Node, dims: Sequence[Dim]) -> Value:
    """Return input 0 under other sizes."""
    source = node.value(0)
    known = source.constant
    items = source.tracked_items()
    if items is not None and len(dims) <= 1:
        return Value(items=items, rank=len(dims), element=source.element)
    if known is not None and all(isinstance(d, int) for d in dims):
        sizes = tuple(d for d in dims if isinstance(d, int))
        made = Constant(
            known.name, sizes, known.element, lambda: known.read().reshape(sizes), known.place
        )
        return Value(constant=made)
    return Value(tensor=tensors.reshape(node.tensor(0), dims))


@lowering("RESHAPE")
def reshape(node: Node) -> Value:
    """Other sizes; one -1 stands for what is left."""
    wanted = node.items(1) if node.has(1) else list(node.option_list("NewShape"))
    source = node.value(0).dims
    if -1 in [d for d in wanted if isinstance(d, int)]:
        place = wanted.index(-1)
        rest = [*wanted[:place], *wanted[place + 1 :]]
        left = index.floordiv(index.product(source), index.product(rest))
        wanted = [*wanted[:place], left, *wanted[place + 1 :]]
    elif any(not isinstance(d, int) for d in wanted):
        wanted = _resolve(wanted, source)
    return _same_elements(node, wanted)


def _resolve(wanted: Sequence[Dim], source: Sequence[Dim]) -> list[Dim]:
    """Sizes read at run time may be -1."""
    from iree_core.ir import arith

    product: Dim = 1
    for dim in wanted:
        product = index.mul(product, index.maximum(dim, 1) if not _is_size(dim) else dim)
    left = index.floordiv(index.product(source), product)
    return [
        d if _is_size(d) else index.select(index.compare(arith.CmpIPredicate.slt, d, 0), left, d)
        for d in wanted
    ]


def _is_size(dim: Dim) -> bool:
    """Whether ``dim`` is computed from sizes of tensors only, so that it cannot be negative."""
    from iree_core.ir import ir

    if isinstance(dim, int):
        return dim >= 0
    owner = dim.owner
    if isinstance(owner, ir.Block):
        return False
    if owner.name == "arith.muli":
        return all(_is_size(o) for o in owner.operands)
    return owner.name == "tensor.dim"


@lowering("DENSIFY")
def densify(node: Node) -> Value:
    """A sparse constant; its contents are made dense as they are read."""
    return node.value(0)


@lowering("SQUEEZE")
def squeeze(node: Node) -> Value:
    """Without the dimensions of size 1 that are named, or any."""
    dims = node.value(0).dims
    axes = [node.axis(a, len(dims)) for a in node.option_list("SqueezeDims")]
    if not axes:
        axes = [a for a, d in enumerate(dims) if index.same(d, 1)]
    kept = [d for a, d in enumerate(dims) if a not in axes]
    value = node.value(0)
    if value.constant is None and value.tracked_items() is None:
        return Value(tensor=tensors.squeeze(node.tensor(0), axes))
    return _same_elements(node, kept)


@lowering("EXPAND_DIMS")
def expand_dims(node: Node) -> Value:
    """With one more dimension of size 1."""
    dims = list(node.value(0).dims)
    axis = node.axis(node.ints(1, "the axis")[0], len(dims) + 1)
    dims.insert(axis, 1)
    return _same_elements(node, dims)


@lowering("TRANSPOSE")
def transpose(node: Node) -> Value:
    """Dimension ``permutation[i]`` at place ``i``."""
    order = node.ints(1, "the permutation")
    source = node.value(0)
    order = [node.axis(a, source.rank) for a in order]
    known = source.constant
    if known is not None:
        sizes = tuple(known.shape[p] for p in order)
        made = Constant(
            f"{known.name}.transposed", sizes, known.element, lambda: known.read().transpose(order)
        )
        return Value(constant=made)
    return Value(tensor=tensors.transpose(node.tensor(0), order))


@lowering("PACK")
def pack(node: Node) -> Value:
    """Inputs of equal shape side by side along a dimension of their own."""
    values = [node.value(i) for i in range(len(node.inputs))]
    rank = values[0].rank
    items = [v.tracked_items() for v in values]
    if rank == 0 and all(i is not None for i in items):
        return Value(items=[i[0] for i in items if i is not None], element=values[0].element)
    axis = node.axis(node.option("Axis", 0), rank + 1)
    parts = [tensors.expand_dims(node.to_tensor(v), [axis]) for v in values]
    return Value(tensor=tensors.concat(parts, axis))


@lowering("UNPACK")
def unpack(node: Node) -> list[Value]:
    """The slices along one dimension, without it."""
    source = node.value(0)
    count = len(node.info.outputs)
    items = source.tracked_items()
    if items is not None and source.rank == 1:
        return [Value(items=[i], rank=0, element=source.element) for i in items]
    x = node.tensor(0)
    axis = node.axis(node.option("Axis", 0), x.rank)
    made = []
    for place in range(count):
        offsets = [place if a == axis else 0 for a in range(x.rank)]
        sizes = [1 if a == axis else d for a, d in enumerate(x.dims)]
        part = tensors.extract_slice(x, offsets, sizes, [1] * x.rank)
        made.append(Value(tensor=tensors.squeeze(part, [axis])))
    return made


@lowering("CONCATENATION")
def concatenation(node: Node) -> Value:
    """Inputs one after the other along a dimension."""
    values = [node.value(i) for i in range(len(node.inputs))]
    items = [v.tracked_items() for v in values]
    if all(v.rank == 1 for v in values) and all(i is not None for i in items):
        joined = [x for i in items if i is not None for x in i]
        return Value(items=joined, element=values[0].element)
    parts = [node.to_tensor(v) for v in values]
    if is_quantized(node):
        parts = [quantized.rescaled(node, p, i) for i, p in enumerate(parts)]
    axis = node.axis(node.option("Axis", 0), parts[0].rank)
    parts = [p for p in parts if not index.same(p.dims[axis], 0)] or parts[:1]
    return Value(tensor=activate(node, tensors.concat(parts, axis)))


@lowering("TILE")
def tile(node: Node) -> Tensor:
    """The input repeated along every dimension."""
    x, counts = node.tensor(0), node.items(1)
    doubled: list[Dim] = []
    for count, dim in zip(counts, x.dims, strict=True):
        doubled += [count, dim]
    spread: list[Dim] = []
    for dim in x.dims:
        spread += [1, dim]
    wide = broadcast_to(tensors.reshape(x, spread), doubled)
    merged = [index.mul(c, d) for c, d in zip(counts, x.dims, strict=True)]
    return tensors.with_dims(
        tensors.collapse(wide, [[2 * a, 2 * a + 1] for a in range(x.rank)]), merged
    )


@lowering("BROADCAST_TO")
def broadcast(node: Node) -> Tensor:
    """The input repeated to a shape by numpy's rules."""
    return broadcast_to(node.tensor(0), node.items(1))


@lowering("BROADCAST_ARGS")
def broadcast_args(node: Node) -> Value:
    """The shape that two shapes broadcast to."""
    dims = broadcast_dims([node.items(0), node.items(1)])
    return Value(items=list(dims), element=node.element())


@lowering("BITCAST")
def bitcast(node: Node) -> Tensor:
    """The same bits as another type; one of another width joins or makes a last dimension."""
    x, target = node.tensor(0), node.element()
    if x.element.bits == target.bits:
        if x.element.mlir == target.mlir:
            return Tensor(x.value, x.dims, target)
        return elementwise([x], target, lambda v: arith.bitcast(target.type, v))
    whole, part = (from_name(f"ui{e.bits}") for e in (x.element, target))

    def bits(v: ir.Value) -> ir.Value:
        return v if v.type == whole.type else arith.bitcast(whole.type, v)

    def typed(v: ir.Value) -> ir.Value:
        return v if v.type == target.type else arith.bitcast(target.type, v)

    if whole.bits > part.bits:

        def split(*at: ir.Value) -> ir.Value:
            place = arith.index_cast(whole.type, at[-1])
            shift = arith.muli(place, scalars.constant(part.bits, whole))
            item = bits(tensor.extract(x.value, list(at[:-1])))
            return typed(arith.trunci(part.type, arith.shrui(item, shift)))

        return computed([*x.dims, whole.bits // part.bits], [target], split)[0]

    def join(*at: ir.Value) -> ir.Value:
        made = scalars.constant(0, part)
        for place in range(part.bits // whole.bits):
            last = arith.constant(ir.IndexType.get(), place)
            item = arith.extui(part.type, bits(tensor.extract(x.value, [*at, last])))
            made = arith.ori(made, arith.shli(item, scalars.constant(place * whole.bits, part)))
        return typed(made)

    return computed(x.dims[:-1], [target], join)[0]


def permuted(x: Tensor, dims: Sequence[Dim], source: object) -> Tensor:
    """Return a tensor of ``dims`` whose elements are read at ``source(*positions)``."""
    assert callable(source)
    return computed(dims, [x.element], lambda *at: tensor.extract(x.value, source(*at)))[0]
