"""StableHLO operations that are sequential programs: sort, top_k, scatter, fft, solves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from iree_core.ir import arith, ir, stablehlo, tensor
from iree_core.lowering import fft, index, scalars, scan, scatter, solve, sort, tensors
from iree_core.lowering.element import BOOL, I32
from iree_core.lowering.loops import atomic, branch, load, nest, store
from iree_core.lowering.tensors import Tensor
from iree_core.passes.input import stablehlo_dynamic, stablehlo_random
from iree_core.passes.input.stablehlo_calls import conjugate, lower_call
from iree_core.passes.input.stablehlo_regions import (
    as_tensor,
    element_of,
    inline_region,
    retype,
)
from iree_core.passes.input.support import before, integer_attribute, integers, operations, replace
from iree_core.passes.state import CompilationState

TOP_K = "chlo.top_k"


@dataclass(frozen=True)
class StablehloPrograms:
    """Emits sorts, scatters, Fourier transforms and solves as atomic loops over tensors.

    Before::

        %y = "stablehlo.sort"(%x) <{dimension = 1}> ({ ... }) : (tensor<4x?xf32>) -> ...

    After::

        %y = scf.execute_region -> tensor<4x?xf32> no_inline { ... } {flow.atomic}

    Attributes:
        only: names of the operations to convert; all that are known where None.
    """

    only: frozenset[str] | None = None
    name: str = "stablehlo-programs"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Convert every such operation (of those in ``only``, where given)."""
        for op in operations(module, self.only or _CONVERSIONS):
            with before(op):
                made = _CONVERSIONS[op.name](op)
                if made is None:
                    continue
                values = [
                    _as_result(value, result.type)
                    for value, result in zip(made, op.results, strict=True)
                ]
            replace(op, values)


def _as_result(value: Tensor, kind: ir.Type) -> ir.Value:
    """Return a signless tensor as the type of a StableHLO result."""
    result = ir.RankedTensorType(kind)
    signless = ir.RankedTensorType.get(result.shape, value.element.type)
    plain = value.value if value.type == signless else tensor.cast(signless, value.value)
    return retype(plain, kind)


def _sort(op: ir.Operation) -> list[Tensor]:
    operands = [as_tensor(v) for v in op.operands]
    axis = integer_attribute(op, "dimension", -1)
    comparator = op.regions[0].blocks[0]

    def before_(left: Sequence[ir.Value], right: Sequence[ir.Value]) -> ir.Value:
        pairs = [v for pair in zip(left, right, strict=True) for v in pair]
        return inline_region(comparator, pairs)[0]

    return sort.sort(operands, axis, before_)


def _top_k(op: ir.Operation) -> list[Tensor]:
    operand = as_tensor(op.operands[0])
    order = sort.ordering(operand.element, descending=True, nan="first")
    return list(sort.top_k(operand, integer_attribute(op, "k"), -1, order, I32))


def _scatter(op: ir.Operation) -> list[Tensor]:
    count = (len(op.operands) - 1) // 2
    operands = [as_tensor(v) for v in op.operands]
    inputs, indices, updates = operands[:count], operands[count], operands[count + 1 :]
    numbers = stablehlo.ScatterDimensionNumbers(op.attributes["scatter_dimension_numbers"])
    update_window = list(numbers.update_window_dims)
    batch = list(numbers.input_batching_dims)
    skipped = {*numbers.inserted_window_dims, *batch}
    operand_window = [d for d in range(inputs[0].rank) if d not in skipped]
    points = [d for d in range(updates[0].rank) if d not in update_window]
    vector_dim = numbers.index_vector_dim

    def start(at: Sequence[ir.Value]) -> dict[int, ir.Value]:
        found = {}
        for place, dim in enumerate(numbers.scattered_dims_to_operand_dims):
            position: list[index.Dim] = list(at)
            if vector_dim < indices.rank:
                position.insert(vector_dim, place)
            found[dim] = scatter.read_index(indices, position)
        for dim, index_dim in zip(batch, numbers.scatter_indices_batching_dims, strict=True):
            found[dim] = at[index_dim - (index_dim > vector_dim)]
        return found

    def combine(old: Sequence[ir.Value], new: Sequence[ir.Value]) -> list[ir.Value]:
        return inline_region(op.regions[0].blocks[0], [*old, *new])

    window = dict(zip(update_window, operand_window, strict=True))
    return scatter.scatter(inputs, updates, points, window, start, combine)


def _reduce_window(op: ir.Operation) -> list[Tensor] | None:
    """Scans, windows that fit nowhere or lie over dimensions of run-time size.

    None for all others, which the stock conversion handles.
    """
    kinds = [ir.RankedTensorType(result.type) for result in op.results]
    if kinds[0].has_static_shape and 0 in kinds[0].shape:
        return [
            tensors.fill(kind.shape, element_of(result), 0)
            for kind, result in zip(kinds, op.results, strict=True)
        ]
    return _running_reduction(op) or stablehlo_dynamic.reduce_window(op)


def _running_reduction(op: ir.Operation) -> list[Tensor] | None:
    """A window that reaches from one end to each element: a scan. None for other windows."""
    count = len(op.results)
    operands = [as_tensor(v) for v in list(op.operands)[:count]]
    rank = operands[0].rank
    ones = [1] * rank
    sizes = integers(op, "window_dimensions", ones)
    padding = integers(op, "padding", [0] * (2 * rank))
    steps = ("window_strides", "base_dilations", "window_dilations")
    axes = [d for d, size in enumerate(sizes) if size != 1]
    if len(axes) != 1 or any(integers(op, name, ones) != ones for name in steps):
        return None
    (axis,) = axes
    rest = [n for d in range(rank) if d != axis for n in padding[2 * d : 2 * d + 2]]
    ends, reach = padding[2 * axis : 2 * axis + 2], sizes[axis] - 1
    if operands[0].dims[axis] != sizes[axis] or any(rest) or ends not in ([reach, 0], [0, reach]):
        return None
    initial = [as_tensor(v).value for v in list(op.operands)[count:]]

    def combine(totals: Sequence[ir.Value], items: Sequence[ir.Value]) -> list[ir.Value]:
        return inline_region(op.regions[0].blocks[0], [*totals, *items])

    return scan.scan(
        operands, axis, lambda: [load(v) for v in initial], combine, reverse=ends == [0, reach]
    )


def _select_and_scatter(op: ir.Operation) -> list[Tensor]:
    """Each window passes its source element to the position that the selection prefers."""
    operand, source, initial = (as_tensor(v) for v in op.operands)
    ones = [1] * operand.rank
    sizes = integers(op, "window_dimensions", ones)
    strides = integers(op, "window_strides", ones)
    padding = integers(op, "padding", [0] * (2 * operand.rank))
    low = padding[::2]
    select, combine = (region.blocks[0] for region in op.regions)

    def inside(place: Sequence[index.Dim]) -> ir.Value:
        result = scalars.constant(True, BOOL)
        for position, size in zip(place, operand.dims, strict=True):
            fits = index.compare(arith.CmpIPredicate.ult, position, size)
            result = arith.andi(result, fits)
        return result

    def window(at: list[ir.Value], carried: list[ir.Value]) -> Sequence[ir.Value]:
        corner = [index.sub(index.mul(a, s), p) for a, s, p in zip(at, strides, low, strict=True)]
        first = [index.value(0)] * operand.rank
        none, nothing = scalars.constant(False, BOOL), scalars.constant(0, operand.element)

        def visit(offsets: list[ir.Value], best: list[ir.Value]) -> Sequence[ir.Value]:
            place = [index.value(index.add(c, o)) for c, o in zip(corner, offsets, strict=True)]

            def compare() -> Sequence[ir.Value]:
                value = load(operand.value, *place)
                found, kept = best[0], best[1]
                stays = arith.andi(found, inline_region(select, [kept, value])[0])
                pairs = zip([kept, *best[2:]], [value, *place], strict=True)
                chosen = [arith.select(stays, old, new) for old, new in pairs]
                return [scalars.constant(True, BOOL), *chosen]

            return branch(inside(place), compare, best)

        found, _, *place = nest(sizes, [none, nothing, *first], visit)

        def add() -> Sequence[ir.Value]:
            old = load(carried[0], *place)
            joined = inline_region(combine, [old, load(source.value, *at)])[0]
            return [store(joined, carried[0], *place)]

        return branch(found, add, carried)

    def build() -> Sequence[ir.Value]:
        into = tensors.fill(operand.dims, operand.element, load(initial.value))
        return nest(source.dims, [into.value], window)

    return atomic([(operand.dims, operand.element)], build)


def _fft(op: ir.Operation) -> list[Tensor]:
    operand = as_tensor(op.operands[0])
    kind = str(op.attributes["fft_type"])
    lengths = integers(op, "fft_length", [])
    modes: tuple[fft.Mode, ...] = ("IRFFT", "RFFT", "IFFT", "FFT")
    mode = next(m for m in modes if m in kind)
    return [fft.fft(operand, lengths, mode)]


def _cholesky(op: ir.Operation) -> list[Tensor]:
    return [solve.cholesky(as_tensor(op.operands[0]), lower=_flag(op, "lower"))]


def _triangular_solve(op: ir.Operation) -> list[Tensor]:
    transpose = str(op.attributes["transpose_a"])
    mode = next(k for k in ("NO_TRANSPOSE", "ADJOINT", "TRANSPOSE") if k in transpose)
    a, b = (as_tensor(v) for v in op.operands)
    if mode == "ADJOINT":
        a = conjugate(a)
    return [
        solve.triangular_solve(
            a,
            b,
            left=_flag(op, "left_side"),
            lower=_flag(op, "lower"),
            transpose=mode != "NO_TRANSPOSE",
            unit_diagonal=_flag(op, "unit_diagonal"),
        )
    ]


def _flag(op: ir.Operation, name: str) -> bool:
    return name in op.attributes and ir.BoolAttr(op.attributes[name]).value


_CONVERSIONS: dict[str, Callable[[ir.Operation], list[Tensor] | None]] = {
    "stablehlo.convolution": stablehlo_dynamic.convolution,
    "stablehlo.custom_call": lower_call,
    "stablehlo.dynamic_conv": stablehlo_dynamic.convolution,
    "stablehlo.dynamic_gather": stablehlo_dynamic.dynamic_gather,
    "stablehlo.dynamic_pad": stablehlo_dynamic.dynamic_pad,
    "stablehlo.dynamic_update_slice": stablehlo_dynamic.dynamic_update_slice,
    "stablehlo.reduce_window": _reduce_window,
    "stablehlo.reverse": stablehlo_dynamic.reverse,
    "stablehlo.rng_bit_generator": stablehlo_random.rng_bit_generator,
    "stablehlo.sort": _sort,
    TOP_K: _top_k,
    "stablehlo.scatter": _scatter,
    "stablehlo.fft": _fft,
    "stablehlo.select_and_scatter": _select_and_scatter,
    "stablehlo.cholesky": _cholesky,
    "stablehlo.triangular_solve": _triangular_solve,
}
