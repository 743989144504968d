"""Tensors with known sizes: creation, reshapes, slices, padding, concatenation.

A :class:`Tensor` is an SSA tensor with its element type (signedness included) and one
:data:`~iree_core.lowering.index.Dim` per dimension; an int exactly where the type is static.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.typing import NDArray

from iree_core.dialects import flow
from iree_core.ir import ir, linalg, tensor
from iree_core.lowering import index, scalars
from iree_core.lowering.element import ElementType, from_numpy
from iree_core.lowering.index import Dim

DYNAMIC = ir.ShapedType.get_dynamic_size()


@dataclass(frozen=True)
class Tensor:
    """An SSA tensor value.

    Attributes:
        value: the SSA value, of a ranked tensor type.
        dims: its sizes.
        element: how to read its elements.
    """

    value: ir.Value
    dims: tuple[Dim, ...]
    element: ElementType

    @staticmethod
    def of(value: ir.Value, element: ElementType) -> Tensor:
        """Wrap ``value``, reading run-time sizes with ``tensor.dim``."""
        shape = ir.RankedTensorType(value.type).shape
        return Tensor(value, tuple(_read_dim(value, a, n) for a, n in enumerate(shape)), element)

    @property
    def rank(self) -> int:
        """The number of dimensions."""
        return len(self.dims)

    @property
    def type(self) -> ir.RankedTensorType:
        """The MLIR type."""
        return ir.RankedTensorType(self.value.type)


def _read_dim(value: ir.Value, axis: int, size: int) -> Dim:
    if size != DYNAMIC:
        return size
    position = index.value(axis)
    return index.shared(("dim", value, axis), lambda: tensor.dim(value, position))


def tensor_type(dims: Sequence[Dim], element: ElementType) -> ir.RankedTensorType:
    """Return the tensor type that is static where ``dims`` are ints."""
    return ir.RankedTensorType.get(
        [d if isinstance(d, int) else DYNAMIC for d in dims], element.type
    )


def split_dims(dims: Sequence[Dim]) -> tuple[list[ir.Value], list[int]]:
    """Return the run-time sizes, and all sizes with a marker at the run-time ones."""
    dynamic = [d for d in dims if not isinstance(d, int)]
    return dynamic, [d if isinstance(d, int) else DYNAMIC for d in dims]


def empty(dims: Sequence[Dim], element: ElementType) -> ir.Value:
    """Return a tensor without contents."""
    return tensor.empty(list(dims), element.type)


def fill(dims: Sequence[Dim], element: ElementType, number: complex | ir.Value) -> Tensor:
    """Return a tensor full of ``number``."""
    scalar = number if isinstance(number, ir.Value) else scalars.constant(number, element)
    filled = linalg.fill(scalar, outs=[empty(dims, element)])
    return Tensor(filled, tuple(dims), element)


def constant(array: NDArray, element: ElementType | None = None) -> Tensor:
    """Return ``array`` as a constant inside the IR (meant for small ones)."""
    element = element or from_numpy(array.dtype)
    kind = tensor_type(array.shape, element)
    attribute = _dense(array, element, kind)
    from iree_core.ir import arith

    return Tensor(arith.constant(kind, attribute), tuple(array.shape), element)


def _dense(array: NDArray, element: ElementType, kind: ir.RankedTensorType) -> ir.Attribute:
    scalar = element.type
    if element.kind == "complex":
        text = _nested(array)
        return ir.Attribute.parse(f"dense<{text}> : {kind}")
    flat = array.reshape(-1)
    if element.is_float:
        items = [ir.FloatAttr.get(scalar, float(x)) for x in flat]
    else:
        items = [ir.IntegerAttr.get(scalar, scalars.wrap(int(x), element)) for x in flat]
    if not items:
        return ir.Attribute.parse(f"dense<> : {kind}")
    if len(items) == 1 or ((flat == flat[0]).all() and not (element.is_float and flat[0] == 0)):
        return ir.DenseElementsAttr.get_splat(kind, items[0])
    return ir.DenseElementsAttr.get(items, kind)


def _nested(array: NDArray) -> str:
    if array.ndim == 0:
        return f"({float(array.real)!r}, {float(array.imag)!r})"
    return "[" + ", ".join(_nested(row) for row in array) + "]"


def parameter(key: str, shape: Sequence[int], element: ElementType) -> Tensor:
    """Return the parameter stored under ``key``."""
    op = flow.ParameterOp(ir.StringAttr.get(key), tensor_type(shape, element))
    return Tensor(op.results[0], tuple(shape), element)


def from_elements(
    items: Sequence[ir.Value], element: ElementType, dims: Sequence[int] | None = None
) -> Tensor:
    """Return scalars as a tensor, one-dimensional unless ``dims`` says otherwise."""
    dims = (len(items),) if dims is None else tuple(dims)
    if not items:
        return Tensor(empty(dims, element), tuple(dims), element)
    return Tensor(tensor.from_elements(tensor_type(dims, element), list(items)), dims, element)


def with_dims(source: Tensor, dims: Sequence[Dim]) -> Tensor:
    """Return ``source`` under equal but better known (or shared) sizes."""
    target = tensor_type(dims, source.element)
    if target == source.type:
        return Tensor(source.value, tuple(dims), source.element)
    return Tensor(tensor.cast(target, source.value), tuple(dims), source.element)


def collapse(source: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """Return ``source`` with each group of neighbouring dimensions merged into one."""
    if all(len(g) == 1 for g in groups) and len(groups) == source.rank:
        return source
    dims = tuple(index.product(source.dims[d] for d in group) for group in groups)
    # The result is static only where the whole group is.
    kind = tensor_type(dims, source.element)
    op = tensor.CollapseShapeOp(kind, source.value, _groups(groups))
    return Tensor(op.result, dims, source.element)


def expand(source: Tensor, groups: Sequence[Sequence[int]], dims: Sequence[Dim]) -> Tensor:
    """Return ``source`` with each dimension split into the group of ``dims`` at its place."""
    if all(len(g) == 1 for g in groups) and len(groups) == len(dims):
        return with_dims(source, dims)
    wanted: list[Dim] = []
    for size, group in zip(source.dims, groups, strict=True):
        parts = [dims[d] for d in group]
        static = all(isinstance(d, int) for d in parts)
        wanted.append(index.product(parts) if static else index.value(size))
    source = with_dims(source, wanted)
    dynamic, static_dims = split_dims(dims)
    kind = tensor_type(dims, source.element)
    op = tensor.ExpandShapeOp(kind, source.value, _groups(groups), dynamic, static_dims)
    return Tensor(op.result, tuple(dims), source.element)


def _groups(groups: Sequence[Sequence[int]]) -> ir.ArrayAttr:
    i64 = ir.IntegerType.get_signless(64)
    return ir.ArrayAttr.get(
        [ir.ArrayAttr.get([ir.IntegerAttr.get(i64, d) for d in group]) for group in groups]
    )


def reshape(source: Tensor, dims: Sequence[Dim]) -> Tensor:
    """Return ``source`` with other sizes and the same elements in row-major order.

    Dimensions are merged and split as little as the provably equal products allow.
    """
    pairs = reassociation(source.dims, dims)
    if not pairs:
        groups: list[list[int]] = [] if not source.rank else [list(range(source.rank))]
        if source.rank and dims:
            merged = collapse(source, groups)
            return expand(merged, [list(range(len(dims)))], dims)
        if source.rank:
            ones = with_dims(source, (1,) * source.rank)
            return collapse(ones, [])
        return expand(source, [], (1,) * len(dims)) if dims else source
    middle = collapse(source, [pair[0] for pair in pairs])
    return expand(middle, [pair[1] for pair in pairs], dims)


def reassociation(
    source: Sequence[Dim], target: Sequence[Dim]
) -> list[tuple[list[int], list[int]]]:
    """Return groups of dimensions of both sides with provably equal products, finest first.

    The list is empty where one side has rank 0. What cannot be proved equal ends up in the
    last group.
    """
    if not source or not target:
        return []
    left, right = _prefixes(source), _prefixes(target)
    pairs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(source) and j < len(target):
        found = next(
            (
                (a, b)
                for total in range(2, len(source) + len(target) - i - j + 1)
                for a in range(i + 1, min(len(source), i + total - 1) + 1)
                for b in [j + total - (a - i)]
                if j < b <= len(target) and left[a] == right[b]
            ),
            (len(source), len(target)),
        )
        pairs.append((list(range(i, found[0])), list(range(j, found[1]))))
        i, j = found
    pairs[-1][0].extend(range(i, len(source)))
    pairs[-1][1].extend(range(j, len(target)))
    return pairs


def _prefixes(dims: Sequence[Dim]) -> list[index.Monomial]:
    totals = [index.ONE]
    for dim in dims:
        totals.append(totals[-1].times(index.monomial(dim)))
    return totals


def expand_dims(source: Tensor, axes: Sequence[int]) -> Tensor:
    """Return ``source`` with dimensions of size 1 put in at ``axes`` of the result."""
    dims: list[Dim] = list(source.dims)
    for axis in sorted(axes):
        dims.insert(axis, 1)
    return reshape(source, dims)


def squeeze(source: Tensor, axes: Sequence[int]) -> Tensor:
    """Return ``source`` without the dimensions ``axes``, which have size 1."""
    dims: list[Dim] = [1 if a in axes else d for a, d in enumerate(source.dims)]
    source = with_dims(source, dims)
    return reshape(source, [d for a, d in enumerate(dims) if a not in axes])


def extract_slice(
    source: Tensor, offsets: Sequence[Dim], sizes: Sequence[Dim], strides: Sequence[Dim]
) -> Tensor:
    """Return the rectangular part at ``offsets``; strides must be positive."""
    if all(index.same(o, 0) for o in offsets) and all(
        index.same(a, b) for a, b in zip(sizes, source.dims, strict=True)
    ):
        return source
    if any(index.same(size, 0) for size in (*sizes, *source.dims)):
        # Nothing is read, so that the offset does not matter (it may be the very end).
        return Tensor(empty(sizes, source.element), tuple(sizes), source.element)
    kind = tensor_type(sizes, source.element)
    (do, so), (dn, sn), (ds, ss) = split_dims(offsets), split_dims(sizes), split_dims(strides)
    op = tensor.ExtractSliceOp(kind, source.value, do, dn, ds, so, sn, ss)
    return Tensor(op.result, tuple(sizes), source.element)


def insert_slice(
    source: Tensor, into: Tensor, offsets: Sequence[Dim], strides: Sequence[Dim] | None = None
) -> Tensor:
    """Return ``into`` with ``source`` written at ``offsets``."""
    strides = strides if strides is not None else [1] * into.rank
    (do, so), (dn, sn), (ds, ss) = (split_dims(p) for p in (offsets, source.dims, strides))
    op = tensor.InsertSliceOp(source.value, into.value, do, dn, ds, so, sn, ss)
    return Tensor(op.result, into.dims, into.element)


def pad(
    source: Tensor, low: Sequence[Dim], high: Sequence[Dim], number: complex | ir.Value
) -> Tensor:
    """Return ``source`` with ``low`` and ``high`` elements of ``number`` around it."""
    if all(index.same(p, 0) for p in (*low, *high)):
        return source
    dims = tuple(
        index.add(index.add(before, size), after)
        for before, size, after in zip(low, source.dims, high, strict=True)
    )
    (dl, sl), (dh, sh) = split_dims(low), split_dims(high)
    scalar = number if isinstance(number, ir.Value) else scalars.constant(number, source.element)
    op = tensor.PadOp(tensor_type(dims, source.element), source.value, dl, dh, sl, sh)
    positions = [ir.IndexType.get()] * source.rank
    block = op.region.blocks.append(*positions)
    with ir.InsertionPoint(block):
        tensor.YieldOp(scalar)
    return Tensor(op.result, dims, source.element)


def concat(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Return ``parts`` joined along ``axis``; their other sizes are equal."""
    if len(parts) == 1:
        return parts[0]
    dims = list(parts[0].dims)
    for part in parts[1:]:
        dims = [d if isinstance(d, int) else o for d, o in zip(dims, part.dims, strict=True)]
    total: Dim = 0
    for part in parts:
        total = index.add(total, part.dims[axis])
    dims[axis] = total
    aligned = [with_dims(p, [*dims[:axis], p.dims[axis], *dims[axis + 1 :]]) for p in parts]
    element = parts[0].element
    op = tensor.ConcatOp(tensor_type(dims, element), axis, [p.value for p in aligned])
    return Tensor(op.result, tuple(dims), element)


def transpose(source: Tensor, permutation: Sequence[int]) -> Tensor:
    """Return ``source`` with dimension ``permutation[i]`` at place ``i``."""
    if list(permutation) == list(range(source.rank)):
        return source
    dims = tuple(source.dims[p] for p in permutation)
    moved = linalg.transpose(
        source.value, outs=[empty(dims, source.element)], permutation=list(permutation)
    )
    return Tensor(_single(moved), dims, source.element)


def _single(results: object) -> ir.Value:
    if isinstance(results, ir.Value):
        return results
    owner = getattr(results, "results", results)
    return owner[0]  # type: ignore[index]


def scalar_at(source: Tensor, position: Sequence[Dim]) -> ir.Value:
    """Return one element as a scalar."""
    return tensor.extract(source.value, [index.value(p) for p in position])


def from_scalar(scalar: ir.Value, element: ElementType) -> Tensor:
    """Return a scalar as a tensor of rank 0."""
    return from_elements([scalar], element, ())
