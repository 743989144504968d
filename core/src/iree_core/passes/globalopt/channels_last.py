"""Channels-last activations for convolution networks, without transpositions in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iree_core.ir import arith, ir, tensor
from iree_core.passes.dispatch.structure import nested_operations
from iree_core.passes.globalopt.fold_transposes import groups_of, transpose
from iree_core.passes.globalopt.generics import (
    compound_loops,
    dim_positions,
    init_like,
    is_elementwise,
    is_splat_init,
    maps_of,
    order_loops,
    owner_of,
    parallel_loops,
    set_maps,
)
from iree_core.passes.state import CompilationState

Permutation = tuple[int, ...]
"""Which dimension of the tensor as it was each dimension of the tensor as it is stored is."""


@dataclass(frozen=True)
class ChannelsLast:
    """Store what convolutions and pools produce, and what is computed from it, channels last.

    Before::

        %c = linalg.generic {conv: (n, f, y, x, c, ky, kx) -> (n, f, y, x)} ins(%x, %w) ...
            -> tensor<1x64x56x56xf32>
        %r = linalg.generic {relu} ins(%c) -> tensor<1x64x56x56xf32>

    After::

        %c = linalg.generic {conv: (n, y, x, f, ky, kx, c) -> (n, y, x, f)} ins(%x, %w) ...
            -> tensor<1x56x56x64xf32>
        %r = linalg.generic {relu} ins(%c) -> tensor<1x56x56x64xf32>

    Types and indexing maps change in place; arguments and parameters keep their layout, since
    maps read them in any order. A transposition is inserted only where an operation that knows
    nothing of layouts (a return, a general reshape) uses such a tensor.
    """

    name: str = "channels-last"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Change the layout of every tensor that descends from a convolution or pool."""
        layouts = _Layouts(list(nested_operations(module.operation)))
        if layouts.permutations:
            layouts.apply()


class _Layouts:
    """Which values are stored channels last, and the change itself."""

    def __init__(self, operations: list[ir.Operation]) -> None:
        self._operations = operations
        self.permutations: dict[ir.Value, Permutation] = {}
        windows = [op for op in operations if _is_window(op)]
        pending = [op.results[0] for op in windows if self._add(op.results[0], _is_grouped(op))]
        # Dot products take neighbouring channels: what is quantised for them is stored so.
        sources = [_quantised_data(op) for op in windows if not _is_grouped(op)]
        pending += [value for value in sources if value is not None and self._add(value, False)]
        while pending:
            for use in list(pending.pop().uses):
                pending.extend(self._spread(use.owner.operation))

    def _add(self, value: ir.Value, grouped: bool) -> bool:
        kind = ir.RankedTensorType(value.type)
        channels = (1, 2) if grouped else (1,)
        if value in self.permutations or kind.rank <= len(channels) + 1:
            return False
        if any(kind.is_dynamic_dim(d) for d in channels):
            return False
        spatial = range(len(channels) + 1, kind.rank)
        self.permutations[value] = (0, *spatial, *channels)
        return True

    def _is_grouped(self, value: ir.Value) -> bool:
        return self.permutations[value][-2:] == (1, 2)

    def _spread(self, op: ir.Operation) -> list[ir.Value]:
        """Add the results of ``op`` that take the layout of its operands; return them."""
        if not op.results:
            return []
        if op.name == "tensor.extract":  # inside the body of a gather
            owner = op.parent
            if owner is None or owner.operation.name != "linalg.generic":
                return []
            source, op = op.operands[0], owner.operation
            if not is_elementwise(op) or op.results[0].type.rank != source.type.rank:
                return []
        else:
            sources = [v for v in op.operands if v in self.permutations]
            if not sources or not self._passes_layout(op, sources[0]):
                return []
            source = sources[0]
        if op.name in ("tensor.expand_shape", "tensor.collapse_shape"):
            grouped = op.name == "tensor.expand_shape"
        else:
            grouped = self._is_grouped(source)
        return [r for r in op.results if self._add(r, grouped)]

    def _passes_layout(self, op: ir.Operation, source: ir.Value) -> bool:
        if op.name == "linalg.generic":
            if not is_elementwise(op):
                return False
            maps = maps_of(op)
            output = maps[-1]
            return (
                all(m == output for m in maps[len(op.operands) - len(op.results) :])
                and None not in dim_positions(output)
                and maps[list(op.operands).index(source)] == output
            )
        rank = source.type.rank
        if op.name == "tensor.pad":
            static = _static(op, "static_low")[1] >= 0 and _static(op, "static_high")[1] >= 0
            return static and len(list(op.regions[0].blocks[0].operations)) == 1
        if op.name == "tensor.concat":
            return True
        if op.name == "tensor.extract_slice":
            names = ("static_offsets", "static_sizes", "static_strides")
            return op.results[0].type.rank == rank and all(_static(op, n)[1] >= 0 for n in names)
        if op.name in ("tensor.expand_shape", "tensor.collapse_shape"):
            wide = op.name == "tensor.expand_shape"
            groups = groups_of(op)
            split = len(groups) > 2 and groups[0] == [0] and groups[1] == [1, 2]
            return (
                split and all(len(g) == 1 for g in groups[2:]) and self._is_grouped(source) != wide
            )
        return False

    def apply(self) -> None:
        """Permute the types of all values found and adapt every user."""
        for value in list(self.permutations):
            self._guard_foreign_uses(value)
        for value, permutation in self.permutations.items():
            value.set_type(_permuted(ir.RankedTensorType(value.type), permutation))
        for op in self._operations:
            touched = any(v in self.permutations for v in (*op.operands, *op.results))
            if touched:
                with ir.InsertionPoint(op), op.location:
                    self._adapt(op)

    def _guard_foreign_uses(self, value: ir.Value) -> None:
        """Give users that know nothing of layouts a transposed copy."""
        foreign = [use for use in value.uses if not self._understands(use.owner.operation, value)]
        if not foreign:
            return
        op = value.owner.operation
        permutation = self.permutations[value]
        kind = value.type
        value.set_type(_permuted(ir.RankedTensorType(kind), permutation))
        with ir.InsertionPoint.after(op), op.location:
            copy = transpose(value, [permutation.index(d) for d in range(len(permutation))])
        value.set_type(kind)
        self.permutations[value] = permutation
        for use in foreign:
            use.owner.operation.operands[use.operand_number] = copy.results[0]

    def _understands(self, op: ir.Operation, value: ir.Value) -> bool:
        if op.name in ("linalg.generic", "tensor.extract", "tensor.dim"):
            return op.name != "tensor.dim" or _constant(op.operands[1]) is not None
        return any(r in self.permutations for r in op.results)

    def _adapt(self, op: ir.Operation) -> None:
        if op.name == "linalg.generic":
            self._adapt_generic(op)
        elif op.name == "tensor.extract":
            permutation = self.permutations[op.operands[0]]
            places = list(op.operands)[1:]
            for number, d in enumerate(permutation):
                op.operands[number + 1] = places[d]
        elif op.name == "tensor.dim":
            place = self.permutations[op.operands[0]].index(_constant(op.operands[1]))
            op.operands[1] = arith.constant(ir.IndexType.get(), place)
        elif op.name == "tensor.pad":
            self._permute_attributes(op, ("static_low", "static_high"))
        elif op.name == "tensor.extract_slice":
            self._permute_attributes(op, ("static_offsets", "static_sizes", "static_strides"))
        elif op.name == "tensor.concat":
            self._adapt_concat(op)
        elif op.name in ("tensor.expand_shape", "tensor.collapse_shape"):
            _adapt_split(op)

    def _permute_attributes(self, op: ir.Operation, names: Sequence[str]) -> None:
        permutation = self.permutations[op.results[0]]
        for name in names:
            values = _static(op, name)
            op.attributes[name] = ir.DenseI64ArrayAttr.get([values[d] for d in permutation])

    def _adapt_concat(self, op: ir.Operation) -> None:
        permutation = self.permutations[op.results[0]]
        dim = ir.IntegerAttr(op.attributes["dim"])
        op.attributes["dim"] = ir.IntegerAttr.get(dim.type, permutation.index(dim.value))
        for number, value in enumerate(list(op.operands)):
            if value not in self.permutations:
                op.operands[number] = transpose(value, list(permutation)).results[0]

    def _adapt_generic(self, op: ir.Operation) -> None:
        maps = maps_of(op)
        inputs = len(op.operands) - len(op.results)
        for number, value in enumerate(list(op.operands)[: len(maps)]):
            result = op.results[number - inputs] if number >= inputs else None
            permutation = self.permutations.get(value if result is None else result)
            if permutation is None:
                continue
            results = maps[number].results
            maps[number] = ir.AffineMap.get(
                maps[number].n_dims, 0, [results[d] for d in permutation]
            )
            if result is not None and value not in self.permutations:
                op.operands[number] = self._permuted_init(value, permutation)
        set_maps(op, maps)
        order_loops(op)

    def _permuted_init(self, value: ir.Value, permutation: Permutation) -> ir.Value:
        if not is_splat_init(value):
            return transpose(value, list(permutation)).results[0]
        op = owner_of(value)
        empty = op if op is None or op.name == "tensor.empty" else owner_of(op.operands[1])
        kind = _permuted(ir.RankedTensorType(value.type), permutation)
        if empty is not None and empty.name == "tensor.empty":
            sizes = iter(list(empty.operands))  # the channels are static: the order is the same
            dims = [
                next(sizes) if kind.is_dynamic_dim(d) else kind.shape[d] for d in range(kind.rank)
            ]
        else:
            dims = [
                tensor.dim(value, arith.constant(ir.IndexType.get(), d))
                if value.type.is_dynamic_dim(d)
                else value.type.shape[d]
                for d in permutation
            ]
        return init_like(value, tensor.EmptyOp(dims, kind.element_type).result)


def _is_window(op: ir.Operation) -> bool:
    """Whether ``op`` slides windows over the dimensions behind batch and channels."""
    if op.name != "linalg.generic" or len(op.results) != 1 or is_elementwise(op):
        return False
    maps = maps_of(op)
    output = dim_positions(maps[-1])
    parallel = parallel_loops(op)
    if len(op.operands) < 3 or None in output or len(maps[0].results) != len(output):
        return False
    data = dim_positions(maps[0])
    slides = compound_loops(maps[:1])
    return (
        bool(slides)
        and len(output) >= 3
        and data[0] == output[0]
        and data[1] is not None
        and output[-1] in slides
        and output[1] not in slides
        and not all(parallel)
    )


def _quantised_data(op: ir.Operation) -> ir.Value | None:
    """Return the bytes that a window reads, before padding, if elementwise code made them."""
    value = op.operands[0]
    owner = owner_of(value)
    if owner is not None and owner.name == "tensor.pad":
        value = owner.operands[0]
        owner = owner_of(value)
    if owner is None or owner.name != "linalg.generic" or not is_elementwise(owner):
        return None
    bytes_ = value.type.element_type == ir.IntegerType.get_signless(8)
    return value if bytes_ and len(owner.results) == 1 else None


def _is_grouped(op: ir.Operation) -> bool:
    """Whether a window operation has a loop over groups of channels behind the batch."""
    maps = maps_of(op)
    data, output = dim_positions(maps[0]), dim_positions(maps[-1])
    slides = compound_loops(maps[:1])
    return len(data) > 3 and data[2] is not None and output[2] not in slides


def _adapt_split(op: ir.Operation) -> None:
    """Let a reshape that splits or joins the channels do so at the end."""
    wide = op.results[0] if op.name == "tensor.expand_shape" else op.operands[0]
    rank = wide.type.rank
    groups = [[d] for d in range(rank - 2)] + [[rank - 2, rank - 1]]
    i64 = ir.IntegerType.get_signless(64)
    op.attributes["reassociation"] = ir.ArrayAttr.get(
        [ir.ArrayAttr.get([ir.IntegerAttr.get(i64, d) for d in g]) for g in groups]
    )
    if op.name == "tensor.expand_shape":
        op.attributes["static_output_shape"] = ir.DenseI64ArrayAttr.get(list(wide.type.shape))


def _permuted(kind: ir.RankedTensorType, permutation: Permutation) -> ir.RankedTensorType:
    return ir.RankedTensorType.get([kind.shape[d] for d in permutation], kind.element_type)


def _static(op: ir.Operation, name: str) -> list[int]:
    return list(ir.DenseI64ArrayAttr(op.attributes[name]))


def _constant(value: ir.Value) -> int | None:
    op = owner_of(value)
    if op is None or op.name != "arith.constant":
        return None
    return ir.IntegerAttr(op.attributes["value"]).value
