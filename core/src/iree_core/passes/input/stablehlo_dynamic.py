"""StableHLO operations whose parameters are run-time values: gather, pad, windows, convolution.

The stock conversion wants constants there. Operations whose parameters are constants have been
replaced by the static ones before.
"""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.ir import arith, ir, stablehlo
from iree_core.lowering import index, scatter, sort, tensors, window
from iree_core.lowering.element import I32
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import load
from iree_core.lowering.structured import computed, convert, convolve
from iree_core.lowering.tensors import Tensor
from iree_core.passes.input.stablehlo_regions import as_tensor, element_of, inline_region
from iree_core.passes.input.support import create, integer_attribute, integers


def static_entry(value: ir.Value, place: int) -> int | None:
    """Return one element of a 1-D integer tensor if it is a constant."""
    op = value.owner
    if isinstance(op, ir.Block):
        return None
    if op.name == "stablehlo.constant":
        return int(list(ir.DenseIntElementsAttr(op.attributes["value"]))[place])
    if op.name == "builtin.unrealized_conversion_cast":
        return static_entry(op.operands[0], place)
    if op.name == "tensor.from_elements":
        item = op.operands[place].owner
        if isinstance(item, ir.Block) or item.name != "arith.constant":
            return None
        return ir.IntegerAttr(item.attributes["value"]).value
    if op.name in ("stablehlo.reshape", "stablehlo.broadcast_in_dim", "stablehlo.convert"):
        source = ir.RankedTensorType(op.operands[0].type)
        if source.rank <= 1:
            return static_entry(op.operands[0], place if source.rank else 0)
    if op.name == "stablehlo.concatenate":
        for part in op.operands:
            size = ir.RankedTensorType(part.type).get_dim_size(0)
            if place < size:
                return static_entry(part, place)
            place -= size
    return None


def entry(value: ir.Value, *place: int) -> Dim:
    """Return one element of an integer tensor as a size, an int where it is a constant."""
    if len(place) == 1:
        known = static_entry(value, place[0])
        if known is not None:
            return known
    if isinstance(ir.RankedTensorType(value.type).element_type, ir.IndexType):
        made = value.owner
        if not isinstance(made, ir.Block) and made.name == "tensor.from_elements":
            return made.operands[place[0]]
        return load(value, *place)
    return arith.index_cast(ir.IndexType.get(), load(as_tensor(value).value, *place))


def _result_dims(op: ir.Operation, dims: Sequence[Dim], number: int = 0) -> list[Dim]:
    """Return ``dims`` with the sizes that the type of a result knows."""
    kind = ir.RankedTensorType(op.results[number].type)
    return [dim if kind.is_dynamic_dim(d) else kind.get_dim_size(d) for d, dim in enumerate(dims)]


def dynamic_gather(op: ir.Operation) -> list[Tensor]:
    """``stablehlo.dynamic_gather``: slice sizes are an operand."""
    operand, indices = (as_tensor(v) for v in op.operands[:2])
    numbers = stablehlo.GatherDimensionNumbers(op.attributes["dimension_numbers"])
    sizes = [entry(op.operands[2], d) for d in range(operand.rank)]
    offsets = list(numbers.offset_dims)
    batching = list(numbers.operand_batching_dims)
    skipped = {*numbers.collapsed_slice_dims, *batching}
    inner = [d for d in range(operand.rank) if d not in skipped]
    vector_dim = numbers.index_vector_dim
    points = [n for d, n in enumerate(indices.dims) if d != vector_dim]
    rank = ir.RankedTensorType(op.results[0].type).rank
    at_points, at_inner = iter(points), iter(inner)
    dims = [sizes[next(at_inner)] if d in offsets else next(at_points) for d in range(rank)]

    def body(*at: ir.Value) -> ir.Value:
        here = [at[d] for d in range(rank) if d not in offsets]
        place: dict[int, Dim] = {}
        for position, d in enumerate(numbers.start_index_map):
            where: list[Dim] = list(here)
            if vector_dim < indices.rank:
                where.insert(vector_dim, position)
            start = scatter.read_index(indices, where)
            last = index.sub(operand.dims[d], sizes[d])
            place[d] = index.maximum(index.minimum(start, last), 0)
        for d, other in zip(batching, numbers.start_indices_batching_dims, strict=True):
            place[d] = here[other - (other > vector_dim)]
        for d, result_dim in zip(inner, offsets, strict=True):
            place[d] = index.add(place.get(d, 0), at[result_dim])
        return load(operand.value, *(place.get(d, 0) for d in range(operand.rank)))

    return computed(_result_dims(op, dims), [operand.element], body)


def dynamic_update_slice(op: ir.Operation) -> list[Tensor] | None:
    """``stablehlo.dynamic_update_slice`` into run-time sizes; the start is clamped."""
    operand, update = (as_tensor(v) for v in op.operands[:2])
    if operand.type.has_static_shape and update.type.has_static_shape:
        return None  # the stock conversion knows these
    starts = [scatter.read_index(as_tensor(position), []) for position in list(op.operands)[2:]]
    last = [index.sub(n, m) for n, m in zip(operand.dims, update.dims, strict=True)]
    offsets = [
        index.maximum(index.minimum(start, limit), 0)
        for start, limit in zip(starts, last, strict=True)
    ]
    return [tensors.insert_slice(update, operand, offsets)]


def reverse(op: ir.Operation) -> list[Tensor] | None:
    """``stablehlo.reverse`` of run-time sizes; None for those the stock conversion knows."""
    operand = as_tensor(op.operands[0])
    if operand.type.has_static_shape:
        return None
    flipped = integers(op, "dimensions", [])

    def body(*at: ir.Value) -> ir.Value:
        place: list[Dim] = [
            index.sub(index.sub(n, 1), at[d]) if d in flipped else at[d]
            for d, n in enumerate(operand.dims)
        ]
        return load(operand.value, *place)

    return computed(operand.dims, [operand.element], body)


def dynamic_pad(op: ir.Operation) -> list[Tensor]:
    """``stablehlo.dynamic_pad``: padding, which may be negative, is an operand."""
    rank = ir.RankedTensorType(op.operands[0].type).rank
    low, high, between = ([entry(v, d) for d in range(rank)] for v in op.operands[2:5])
    return _computed_pad(op, low, high, between)


def pad(op: ir.Operation) -> list[Tensor]:
    """``stablehlo.pad`` around elements that the host cannot read, such as complex numbers."""
    edges = ("edge_padding_low", "edge_padding_high", "interior_padding")
    return _computed_pad(op, *(integers(op, name, []) for name in edges))


def _computed_pad(
    op: ir.Operation, low: Sequence[Dim], high: Sequence[Dim], between: Sequence[Dim]
) -> list[Tensor]:
    operand, padding = (as_tensor(v) for v in op.operands[:2])
    steps = [index.add(inner, 1) for inner in between]
    dims = [
        index.add(
            index.add(low[d], high[d]),
            index.maximum(index.add(index.mul(index.sub(n, 1), steps[d]), 1), 0),
        )
        for d, n in enumerate(operand.dims)
    ]

    def body(*at: ir.Value) -> ir.Value:
        inside: ir.Value | None = None
        place: list[Dim] = []
        for d, n in enumerate(operand.dims):
            position = index.sub(at[d], low[d])
            quotient = index.floordiv(position, steps[d])
            whole = index.compare(arith.CmpIPredicate.eq, index.mul(quotient, steps[d]), position)
            both = arith.andi(whole, index.compare(arith.CmpIPredicate.ult, quotient, n))
            inside = both if inside is None else arith.andi(inside, both)
            place.append(index.maximum(index.minimum(quotient, index.sub(n, 1)), 0))
        value = load(operand.value, *place)
        return value if inside is None else arith.select(inside, value, load(padding.value))

    return computed(_result_dims(op, dims), [operand.element], body)


def dynamic_reduce_window(op: ir.Operation) -> list[Tensor] | None:
    """The call by which JAX reduces over windows of run-time sizes or padding."""
    count = len(op.results)
    operands = [as_tensor(v) for v in op.operands[:count]]
    initial = [load(as_tensor(v).value) for v in op.operands[count : 2 * count]]
    sizes, strides, base, dilations, padding = op.operands[2 * count : 2 * count + 5]
    windows = []
    for d in range(operands[0].rank):
        stride, spread = static_entry(strides, d), static_entry(dilations, d)
        if stride is None or spread is None or static_entry(base, d) != 1:
            return None
        low, high = entry(padding, d, 0), entry(padding, d, 1)
        windows.append(window.Window(entry(sizes, d), stride, spread, low, high))
    reducer = called_function(op)

    def combine(totals: Sequence[ir.Value], items: Sequence[ir.Value]) -> list[ir.Value]:
        return inline_region(reducer.regions[0].blocks[0], [*totals, *items])

    made = window.reduce_window(operands, windows, initial, combine)
    return [tensors.with_dims(t, _result_dims(op, t.dims, n)) for n, t in enumerate(made)]


def reduce_window(op: ir.Operation) -> list[Tensor] | None:
    """Windows over dimensions of run-time size; None where all sizes are known."""
    count = len(op.results)
    rank = ir.RankedTensorType(op.operands[0].type).rank
    ones, zeros = [1] * rank, [0] * rank
    if not any(ir.RankedTensorType(op.operands[0].type).is_dynamic_dim(d) for d in range(rank)):
        return None
    sizes = integers(op, "window_dimensions", ones)
    strides = integers(op, "window_strides", ones)
    spread = integers(op, "window_dilations", ones)
    base = integers(op, "base_dilations", ones)
    padding = integers(op, "padding", [0] * (2 * rank))
    low, high = padding[::2], padding[1::2]
    values, starts = list(op.operands)[:count], list(op.operands)[count:]
    if base != ones or min(padding, default=0) < 0:
        gaps = [step - 1 for step in base]
        values = [_spread(v, s, low, high, gaps) for v, s in zip(values, starts, strict=True)]
        low = high = zeros
    windows = [window.Window(*each) for each in zip(sizes, strides, spread, low, high, strict=True)]
    initial = [load(as_tensor(v).value) for v in starts]

    def combine(totals: Sequence[ir.Value], items: Sequence[ir.Value]) -> list[ir.Value]:
        return inline_region(op.regions[0].blocks[0], [*totals, *items])

    made = window.reduce_window([as_tensor(v) for v in values], windows, initial, combine)
    return [tensors.with_dims(t, _result_dims(op, t.dims, n)) for n, t in enumerate(made)]


def _spread(
    value: ir.Value, start: ir.Value, low: list[int], high: list[int], gaps: list[int]
) -> ir.Value:
    """Emit a pad, which the stock conversion takes, for gaps and negative padding."""
    kind = ir.RankedTensorType(value.type)
    shape = [
        kind.shape[d]
        if kind.is_dynamic_dim(d)
        else low[d] + kind.shape[d] + max(kind.shape[d] - 1, 0) * gaps[d] + high[d]
        for d in range(kind.rank)
    ]
    names = ("edge_padding_low", "edge_padding_high", "interior_padding")
    attributes = {
        name: ir.DenseI64ArrayAttr.get(numbers)
        for name, numbers in zip(names, (low, high, gaps), strict=True)
    }
    result = ir.RankedTensorType.get(shape, kind.element_type)
    return create("stablehlo.pad", [result], [value, start], attributes).results[0]


def called_function(op: ir.Operation) -> ir.Operation:
    """Return the function that a call names as its computation; it becomes private."""
    (symbol,) = ir.ArrayAttr(op.attributes["called_computations"])
    name = ir.FlatSymbolRefAttr(symbol).value
    module = op.parent
    while module.operation.name != "builtin.module":
        module = module.operation.parent
    for candidate in module.operation.regions[0].blocks[0].operations:
        if candidate.operation.name == "func.func" and candidate.name.value == name:
            candidate.operation.attributes["sym_visibility"] = ir.StringAttr.get("private")
            return candidate.operation
    raise ValueError(f"there is no function {name}")


def dynamic_top_k(op: ir.Operation) -> list[Tensor]:
    """The call by which JAX takes the first k elements for a run-time k."""
    operand = as_tensor(op.operands[0])
    order = sort.ordering(operand.element, descending=True, nan="first")
    k = arith.index_cast(ir.IndexType.get(), load(as_tensor(op.operands[1]).value))
    known = ir.RankedTensorType(op.results[0].type)
    size: Dim = k if known.is_dynamic_dim(known.rank - 1) else known.get_dim_size(known.rank - 1)
    return list(sort.top_k(operand, size, -1, order, I32))


def convolution(op: ir.Operation) -> list[Tensor] | None:
    """Convolutions with run-time sizes or padding; None for those the stock conversion knows."""
    dynamic_padding = op.name == "stablehlo.dynamic_conv"
    kinds = [ir.RankedTensorType(v.type) for v in op.operands[:2]]
    if not dynamic_padding and all(kind.has_static_shape for kind in kinds):
        return None
    groups = integer_attribute(op, "feature_group_count", 1)
    if integer_attribute(op, "batch_group_count", 1) != 1 or _reversed(op):
        return None
    numbers = stablehlo.ConvDimensionNumbers(op.attributes["dimension_numbers"])
    spatial = len(numbers.input_spatial_dimensions)
    ones = [1] * spatial
    strides = integers(op, "window_strides", ones)
    base = integers(op, "lhs_dilation", ones)
    dilations = integers(op, "rhs_dilation", ones)
    data, weight = (as_tensor(v) for v in op.operands[:2])
    element = element_of(op.results[0])
    if any(step != 1 for step in base) or element.kind == "complex":
        return None
    data = tensors.transpose(data, [
        numbers.input_batch_dimension, numbers.input_feature_dimension,
        *numbers.input_spatial_dimensions,
    ])  # fmt: skip
    weight = tensors.transpose(weight, [
        numbers.kernel_output_feature_dimension, numbers.kernel_input_feature_dimension,
        *numbers.kernel_spatial_dimensions,
    ])  # fmt: skip
    pads = _padding(op, spatial)
    data = _padded(data, pads)
    dims: list[Dim] = [data.dims[0], weight.dims[0]]
    for d in range(spatial):
        lengths = window.Window(weight.dims[2 + d], strides[d], dilations[d])
        dims.append(lengths.count(data.dims[2 + d]))
    order = [
        numbers.output_batch_dimension, numbers.output_feature_dimension,
        *numbers.output_spatial_dimensions,
    ]  # fmt: skip
    kind = ir.RankedTensorType(op.results[0].type)
    dims = [
        dims[n] if kind.is_dynamic_dim(d) else kind.get_dim_size(d) for n, d in enumerate(order)
    ]
    made = convolve(data, weight, dims, strides, dilations, groups=groups)
    made = convert(made, element)
    return [tensors.transpose(made, [order.index(d) for d in range(len(order))])]


def _reversed(op: ir.Operation) -> bool:
    return "window_reversal" in op.attributes and "true" in str(op.attributes["window_reversal"])


def _padding(op: ir.Operation, spatial: int) -> list[tuple[Dim, Dim]]:
    if op.name == "stablehlo.dynamic_conv":
        return [(entry(op.operands[2], d, 0), entry(op.operands[2], d, 1)) for d in range(spatial)]
    flat = integers(op, "padding", [0] * (2 * spatial))
    return [(flat[2 * d], flat[2 * d + 1]) for d in range(spatial)]


def _padded(data: Tensor, pads: Sequence[tuple[Dim, Dim]]) -> Tensor:
    """Add zeros around the spatial dimensions; negative padding takes elements away."""
    low: list[Dim] = [0, 0, *(index.maximum(pair[0], 0) for pair in pads)]
    high: list[Dim] = [0, 0, *(index.maximum(pair[1], 0) for pair in pads)]
    padded = tensors.pad(data, low, high, 0)
    if all(isinstance(n, int) and n >= 0 for pair in pads for n in pair):
        return padded
    cut = [(index.minimum(a, 0), index.minimum(b, 0)) for a, b in pads]
    offsets: list[Dim] = [0, 0, *(index.sub(0, a) for a, _ in cut)]
    sizes = [
        *padded.dims[:2],
        *(index.add(index.add(n, a), b) for n, (a, b) in zip(padded.dims[2:], cut, strict=True)),
    ]
    return tensors.extract_slice(padded, offsets, sizes, [1] * padded.rank)
