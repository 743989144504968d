"""``linalg.generic`` in its usual shapes: elementwise, computed, reduced, contracted.

Broadcasting and transposition become indexing maps, never copies. Two sizes that cannot be
proved equal broadcast at run time (the slow, always right way).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iree_core.dialects import flow
from iree_core.ir import arith, cf, ir, linalg, tensor
from iree_core.lowering import index, scalars
from iree_core.lowering.element import ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import ATOMIC
from iree_core.lowering.tensors import Tensor, empty, fill, with_dims

Body = Callable[..., ir.Value | Sequence[ir.Value]]


def generic(
    inputs: Sequence[ir.Value],
    outputs: Sequence[ir.Value],
    maps: Sequence[ir.AffineMap],
    reductions: Sequence[bool],
    body: Body,
) -> list[ir.Value]:
    """Emit one ``linalg.generic``; ``body`` gets the scalars of inputs then outputs."""
    kinds = ["reduction" if r else "parallel" for r in reductions]
    iterators = ir.ArrayAttr.get([ir.Attribute.parse(f"#linalg.iterator_type<{k}>") for k in kinds])
    op = linalg.GenericOp(
        [o.type for o in outputs],
        list(inputs),
        list(outputs),
        ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in maps]),
        iterators,
    )
    scalar_types = [ir.RankedTensorType(v.type).element_type for v in (*inputs, *outputs)]
    block = op.regions[0].blocks.append(*scalar_types)
    with ir.InsertionPoint(block):
        made = body(*block.arguments)
        linalg.YieldOp([made] if isinstance(made, ir.Value) else list(made))
    return list(op.results)


def affine_map(rank: int, results: Sequence[int | ir.AffineExpr | None]) -> ir.AffineMap:
    """Return a map of ``rank`` loops; ints name loops, None is the constant 0."""
    exprs = [
        ir.AffineConstantExpr.get(0)
        if r is None
        else ir.AffineDimExpr.get(r)
        if isinstance(r, int)
        else r
        for r in results
    ]
    return ir.AffineMap.get(rank, 0, exprs)


def broadcast_dims(shapes: Sequence[Sequence[Dim]]) -> tuple[Dim, ...]:
    """Return the sizes that numpy's rules give for ``shapes``."""
    rank = max((len(s) for s in shapes), default=0)
    result: list[Dim] = []
    for axis in range(rank):
        sizes = [s[axis - rank + len(s)] for s in shapes if axis - rank + len(s) >= 0]
        size: Dim = 1
        for other in sizes:
            size = _broadcast(size, other)
        result.append(size)
    return tuple(result)


def _broadcast(a: Dim, b: Dim) -> Dim:
    if index.same(a, b) or index.same(b, 1):
        return a
    if index.same(a, 1):
        return b
    if isinstance(a, int):
        return a
    if isinstance(b, int):
        return b
    is_one = index.compare(arith.CmpIPredicate.eq, a, 1)
    return index.select(is_one, b, a)


def elementwise(
    operands: Sequence[Tensor],
    element: ElementType,
    body: Callable[..., ir.Value],
    *,
    dims: Sequence[Dim] | None = None,
) -> Tensor:
    """Return ``body`` applied to broadcast ``operands``; ``element`` is the result's type."""
    return elementwise_many(operands, [element], body, dims=dims)[0]


def elementwise_many(
    operands: Sequence[Tensor],
    elements: Sequence[ElementType],
    body: Callable[..., ir.Value | Sequence[ir.Value]],
    *,
    dims: Sequence[Dim] | None = None,
) -> list[Tensor]:
    """Like :func:`elementwise` with one result per type in ``elements``."""
    dims = tuple(dims) if dims is not None else broadcast_dims([t.dims for t in operands])
    rank = len(dims)
    direct: list[Tensor] = []
    slow: dict[int, Tensor] = {}
    maps = []
    for place, operand in enumerate(operands):
        shift = rank - operand.rank
        if _provably_broadcasts(operand.dims, dims[shift:]):
            direct.append(operand)
            maps.append(
                affine_map(
                    rank,
                    [
                        None
                        if index.same(d, 1) and not index.same(dims[a + shift], 1)
                        else a + shift
                        for a, d in enumerate(operand.dims)
                    ],
                )
            )
        else:
            slow[place] = operand
    positions = {
        place: [_guarded_size(d, dims[a + rank - t.rank]) for a, d in enumerate(t.dims)]
        for place, t in slow.items()
    }

    def wrapped(*args: ir.Value) -> ir.Value | Sequence[ir.Value]:
        given = iter(args)
        values = [
            _extract_broadcast(slow[p], positions[p], rank) if p in slow else next(given)
            for p in range(len(operands))
        ]
        return body(*values)

    identity = affine_map(rank, list(range(rank)))
    results = generic(
        [t.value for t in direct],
        [empty(dims, e) for e in elements],
        [*maps, *[identity] * len(elements)],
        [False] * rank,
        wrapped,
    )
    return [Tensor(r, dims, e) for r, e in zip(results, elements, strict=True)]


def _provably_broadcasts(dims: Sequence[Dim], target: Sequence[Dim]) -> bool:
    return all(index.same(d, 1) or index.same(d, t) for d, t in zip(dims, target, strict=True))


def _guarded_size(dim: Dim, target: Dim) -> ir.Value | bool:
    """False: constant 0; True: the loop's position; a value: i1, set where the size is 1."""
    if index.same(dim, 1):
        return False
    if index.same(dim, target):
        return True
    is_one = index.compare(arith.CmpIPredicate.eq, dim, 1)
    if not _inside_dispatch():
        fits = arith.ori(is_one, index.compare(arith.CmpIPredicate.eq, dim, target))
        check = cf.AssertOp(fits, "Two sizes differ and neither is 1.")
        check.attributes[flow.CHECK] = ir.UnitAttr.get()
    return is_one


def _inside_dispatch() -> bool:
    """Tell whether what is built becomes part of a dispatch, where nothing can fail."""
    op = ir.InsertionPoint.current.block.owner
    while op is not None:
        if ATOMIC in op.attributes or op.operation.name.startswith("linalg."):
            return True
        op = op.operation.parent
    return False


def _extract_broadcast(source: Tensor, guards: Sequence[ir.Value | bool], rank: int) -> ir.Value:
    shift = rank - source.rank
    places = []
    zero = arith.constant(ir.IndexType.get(), 0)
    for axis, guard in enumerate(guards):
        place = linalg.IndexOp(axis + shift).result if guard is not False else zero
        if not isinstance(guard, bool):
            place = arith.select(guard, zero, place)
        places.append(place)
    return tensor.extract(source.value, places)


def computed(
    dims: Sequence[Dim],
    elements: Sequence[ElementType],
    body: Callable[..., ir.Value | Sequence[ir.Value]],
) -> list[Tensor]:
    """Return tensors whose elements ``body`` computes from the positions (index values)."""
    rank = len(dims)
    identity = affine_map(rank, list(range(rank)))
    results = generic(
        [],
        [empty(dims, e) for e in elements],
        [identity] * len(elements),
        [False] * rank,
        lambda *_: body(*[linalg.IndexOp(a).result for a in range(rank)]),
    )
    return [Tensor(r, tuple(dims), e) for r, e in zip(results, elements, strict=True)]


def broadcast_to(source: Tensor, dims: Sequence[Dim]) -> Tensor:
    """Return ``source`` repeated to ``dims`` (numpy's rules)."""
    if len(dims) == source.rank and all(map(index.same, source.dims, dims)):
        return source
    return elementwise([source], source.element, lambda x: x, dims=dims)


def convert(source: Tensor, element: ElementType) -> Tensor:
    """Return ``source`` cast to ``element`` (see :func:`scalars.convert`)."""
    if source.element == element:
        return source
    if source.element.mlir == element.mlir:
        return Tensor(source.value, source.dims, element)
    return elementwise([source], element, lambda x: scalars.convert(x, source.element, element))


def reduce(
    operands: Sequence[Tensor],
    axes: Sequence[int],
    initial: complex | float | int,
    element: ElementType,
    combine: Callable[..., ir.Value],
    *,
    keep_dims: bool = False,
) -> Tensor:
    """Return a reduction over ``axes``: ``combine(*scalars, accumulator)`` starting at ``initial``.

    ``element`` is the type of the accumulator and of the result. All operands have equal sizes.
    """
    rank = operands[0].rank
    dims = operands[0].dims
    kept = [a for a in range(rank) if a not in axes]
    out_dims: list[Dim] = (
        [1 if a in axes else dims[a] for a in range(rank)] if keep_dims else [dims[a] for a in kept]
    )
    out_map = [None if a in axes else a for a in range(rank)] if keep_dims else kept
    init = fill(out_dims, element, initial)
    identity = affine_map(rank, list(range(rank)))
    (result,) = generic(
        [t.value for t in operands],
        [init.value],
        [identity] * len(operands) + [affine_map(rank, out_map)],
        [a in axes for a in range(rank)],
        combine,
    )
    return Tensor(result, tuple(out_dims), element)


def contract(
    lhs: Tensor,
    lhs_labels: Sequence[str],
    rhs: Tensor,
    rhs_labels: Sequence[str],
    out_labels: Sequence[str],
    element: ElementType | None = None,
    *,
    initial: Tensor | None = None,
) -> Tensor:
    """Return the sum of products over the labels missing in ``out_labels`` (Einstein notation).

    One label per dimension; dimensions of size 1 broadcast against the other operand. Sums are
    kept in ``element`` (by default the operands' accumulator type: f32 for half precision).
    ``initial`` starts the sums and must have that type.
    """
    element = element or lhs.element.accumulator
    lhs, rhs, sizes = _agree(lhs, lhs_labels, rhs, rhs_labels, out_labels)
    loops = [
        *out_labels,
        *(x for x in dict.fromkeys([*lhs_labels, *rhs_labels]) if x not in out_labels),
    ]
    place = {label: loop for loop, label in enumerate(loops)}

    def operand_map(operand: Tensor, labels: Sequence[str]) -> ir.AffineMap:
        return affine_map(
            len(loops),
            [
                None if index.same(d, 1) and not index.same(sizes[x], 1) else place[x]
                for d, x in zip(operand.dims, labels, strict=True)
            ],
        )

    dims = tuple(sizes[label] for label in out_labels)
    init = initial or fill(dims, element, 0)

    def multiply_add(a: ir.Value, b: ir.Value, acc: ir.Value) -> ir.Value:
        a = scalars.convert(a, lhs.element, element)
        b = scalars.convert(b, rhs.element, element)
        return scalars.add(acc, scalars.mul(a, b, element), element)

    (result,) = generic(
        [lhs.value, rhs.value],
        [init.value],
        [
            operand_map(lhs, lhs_labels),
            operand_map(rhs, rhs_labels),
            affine_map(len(loops), list(range(len(out_labels)))),
        ],
        [label not in out_labels for label in loops],
        multiply_add,
    )
    return Tensor(result, dims, element)


def _agree(
    lhs: Tensor,
    lhs_labels: Sequence[str],
    rhs: Tensor,
    rhs_labels: Sequence[str],
    out_labels: Sequence[str],
) -> tuple[Tensor, Tensor, dict[str, Dim]]:
    """Give both operands provably equal sizes per label, the static one where one is.

    Summed labels never broadcast, so that their sizes are equal by definition.
    """
    sizes: dict[str, Dim] = {}
    for operand, labels in ((lhs, lhs_labels), (rhs, rhs_labels)):
        for dim, label in zip(operand.dims, labels, strict=True):
            if label in sizes and label not in out_labels and not index.same(dim, 1):
                sizes[label] = dim if isinstance(dim, int) else sizes[label]
            else:
                sizes[label] = _broadcast(sizes[label], dim) if label in sizes else dim

    def fit(operand: Tensor, labels: Sequence[str]) -> Tensor:
        pairs = list(zip(operand.dims, labels, strict=True))
        operand = with_dims(
            operand, [d if x in out_labels or index.same(d, 1) else sizes[x] for d, x in pairs]
        )
        target = [d if index.same(d, 1) else sizes[x] for d, x in pairs]
        return broadcast_to(operand, target)

    return fit(lhs, lhs_labels), fit(rhs, rhs_labels), sizes


def windowed(
    data: Tensor,
    kernel: Sequence[Dim],
    out_dims: Sequence[Dim],
    strides: Sequence[int],
    dilations: Sequence[int],
    initial: complex | float | int,
    element: ElementType,
    combine: Callable[[ir.Value, ir.Value], ir.Value],
) -> Tensor:
    """Return a pooling of ``data`` (batch, channel, spatial..., padded already).

    ``combine(scalar, accumulator)`` runs over the window; like ``linalg.pooling_*`` an empty
    tensor operand of the window's shape defines the reduction loops.
    """
    spatial = len(kernel)
    rank = 2 + 2 * spatial
    window = empty(kernel, element)
    source = _window_exprs(2, spatial, strides, dilations)
    init = fill(out_dims, element, initial)
    (result,) = generic(
        [data.value, window],
        [init.value],
        [
            affine_map(rank, [0, 1, *source]),
            affine_map(rank, list(range(2 + spatial, rank))),
            affine_map(rank, list(range(2 + spatial))),
        ],
        [False] * (2 + spatial) + [True] * spatial,
        lambda x, _, acc: combine(x, acc),
    )
    return Tensor(result, tuple(out_dims), element)


def _window_exprs(
    first: int,
    spatial: int,
    strides: Sequence[int],
    dilations: Sequence[int],
    window: int | None = None,
) -> list[ir.AffineExpr]:
    window = first + spatial if window is None else window
    return [
        ir.AffineDimExpr.get(first + a) * strides[a]
        + ir.AffineDimExpr.get(window + a) * dilations[a]
        for a in range(spatial)
    ]


def convolve(
    data: Tensor,
    weight: Tensor,
    out_dims: Sequence[Dim],
    strides: Sequence[int],
    dilations: Sequence[int],
    *,
    groups: int = 1,
    element: ElementType | None = None,
) -> Tensor:
    """Return the convolution of padded ``data`` [N, C, spatial...] with ``weight``
    [F, C / groups, window...].

    One generic: loops n, f, spatial, c, window; with groups an explicit group loop after n, and
    for depthwise convolutions (one input channel and one filter per group) no channel loop.
    """
    from iree_core.lowering.tensors import collapse, expand

    element = element or data.element.accumulator
    spatial = data.rank - 2
    filters, channels = weight.dims[0], weight.dims[1]
    tail = list(range(2, data.rank))

    def multiply_add(a: ir.Value, b: ir.Value, acc: ir.Value) -> ir.Value:
        a = scalars.convert(a, data.element, element)
        b = scalars.convert(b, weight.element, element)
        return scalars.add(acc, scalars.mul(a, b, element), element)

    def emit(
        x: Tensor,
        w: Tensor,
        dims: Sequence[Dim],
        x_map: list,
        w_map: list,
        parallel: int,
        rank: int,
    ) -> Tensor:
        init = fill(dims, element, 0)
        (result,) = generic(
            [x.value, w.value],
            [init.value],
            [
                affine_map(rank, x_map),
                affine_map(rank, w_map),
                affine_map(rank, list(range(parallel))),
            ],
            [False] * parallel + [True] * (rank - parallel),
            multiply_add,
        )
        return Tensor(result, tuple(dims), element)

    if groups == 1:
        # n f s.. | c w..
        rank = 3 + 2 * spatial
        channel, window = 2 + spatial, 3 + spatial
        source = _window_exprs(2, spatial, strides, dilations, window)
        windows = list(range(window, rank))
        return emit(
            data, weight, out_dims, [0, channel, *source], [1, channel, *windows], 2 + spatial, rank
        )
    if index.same(channels, 1) and index.same(filters, groups):
        # n c s.. | w..
        rank = 2 + 2 * spatial
        source = _window_exprs(2, spatial, strides, dilations)
        windows = list(range(2 + spatial, rank))
        flat = collapse(weight, [[0, 1], *[[t] for t in tail]])
        return emit(data, flat, out_dims, [0, 1, *source], [1, *windows], 2 + spatial, rank)
    # n g f s.. | c w..
    rank = 4 + 2 * spatial
    channel, window = 3 + spatial, 4 + spatial
    per_group = index.floordiv(filters, groups)
    split = [[0], [1, 2], *[[t + 1] for t in tail]]
    x = expand(data, split, [data.dims[0], groups, channels, *data.dims[2:]])
    w = expand(
        weight,
        [[0, 1], *[[t + 1] for t in range(1, data.rank)]],
        [groups, per_group, *weight.dims[1:]],
    )
    source = _window_exprs(3, spatial, strides, dilations, window)
    windows = list(range(window, rank))
    dims = [out_dims[0], groups, per_group, *out_dims[2:]]
    result = emit(
        x, w, dims, [0, 1, channel, *source], [1, 2, channel, *windows], 3 + spatial, rank
    )
    return collapse(result, split)


def loop_index(loop: int) -> ir.Value:
    """Inside a body: the position of a loop, as an index value."""
    return linalg.IndexOp(loop).result
