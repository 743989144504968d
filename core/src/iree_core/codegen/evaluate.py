"""Pull-based evaluation of a dispatch: the value of any tensor at any position.

Asked for a tensor at a position, the evaluator walks the producers back to the operands and
emits just the scalar or vector code for that position. Elementwise producers, transpositions,
slices, padding, reshapes, broadcasts and gathers therefore fuse into their consumer without any
intermediate tensor. A schedule decides loops and order; it supplies values it has computed
itself (accumulators, rows kept in scratch memory) through :meth:`Evaluator.bind`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from iree_core.codegen import reduction
from iree_core.codegen.body import BodyEmitter
from iree_core.codegen.builder import Buffer, Index, KernelBuilder, Lane, NotScheduled, Scalar
from iree_core.codegen.dispatch import Dispatch
from iree_core.codegen.producers import PRODUCERS
from iree_core.codegen.reshapes import dropped_dims, groups
from iree_core.ir import arith, ir

Supplier = Callable[[Sequence[Index], Lane | None], ir.Value]
_DYNAMIC = ir.ShapedType.get_dynamic_size()


class Evaluator:
    """Evaluates tensors of one dispatch inside its kernel.

    Args:
        builder: where operations go.
        dispatch: the program.
        buffers: the kernel's memory for each tensor argument, in order.
        scalars: the kernel's ``index`` arguments, in the order of ``dispatch.scalars``.
    """

    def __init__(
        self,
        builder: KernelBuilder,
        dispatch: Dispatch,
        buffers: Sequence[Buffer],
        scalars: Sequence[ir.Value],
    ) -> None:
        self.builder = builder
        self.buffers: dict[ir.Value, Buffer] = dict(zip(dispatch.tensors, buffers, strict=True))
        self.outer: dict[ir.Value, Scalar | ir.Value] = dict(
            zip(dispatch.scalars, scalars, strict=True)
        )
        self.bound: dict[ir.Value, Supplier] = {}
        self.memo: list[dict[tuple, ir.Value]] = [{}]
        # Scalars of the dispatch are emitted here, ahead of every loop.
        self.entry = builder.value(0).owner

    # What schedules use.

    def bind(self, tensor: ir.Value, supplier: Supplier) -> None:
        """Let ``supplier(position, lane)`` give the value of ``tensor`` from now on."""
        self.bound[tensor] = supplier

    def bind_buffer(self, tensor: ir.Value, buffer: Buffer) -> None:
        """Read ``tensor`` from memory from now on."""
        self.buffers[tensor] = buffer

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Forget, on leaving, the values emitted inside (they do not dominate what follows)."""
        self.memo.append({})
        try:
            yield
        finally:
            self.memo.pop()

    def shape(self, tensor: ir.Value) -> tuple[Scalar, ...]:
        """Return the sizes of a tensor of the dispatch."""
        buffer = self.buffers.get(tensor)
        if buffer is not None:
            return buffer.shape
        kind = tensor.type
        if kind.has_static_shape:
            return tuple(kind.shape)
        owner = tensor.owner
        name = owner.operation.name
        if name in ("tensor.empty", "tensor.splat", "tensor.generate"):
            operands = list(owner.operands)
            sizes = iter(operands[1:] if name == "tensor.splat" else operands)
            return self._fill_dynamic(kind, sizes)
        if name == "tensor.extract_slice":
            return self._slice_sizes(owner)
        if name == "tensor.cast":
            return self.shape(owner.operands[0])
        if name == "tensor.expand_shape":
            return self._fill_dynamic(kind, iter(list(owner.operands)[1:]))
        if name == "tensor.collapse_shape":
            source = self.shape(owner.operands[0])
            return tuple(self.builder.product([source[d] for d in g]) for g in groups(owner))
        if name == "tensor.pad":
            return self._padded_sizes(owner)
        if name == "tensor.insert_slice":
            return self.shape(owner.operands[1])
        if name == "tensor.concat":
            axis = ir.IntegerAttr(owner.attributes["dim"]).value
            parts = [self.shape(o) for o in owner.operands]
            total: Scalar = 0
            for part in parts:
                total = self.builder.add(total, part[axis])
            return (*parts[0][:axis], total, *parts[0][axis + 1 :])
        if name == "linalg.fill":
            return self.shape(owner.operands[1])
        if name == "linalg.generic":
            number = list(owner.results).index(tensor)
            return self.shape(list(owner.outputs)[number])
        raise NotScheduled(f"the size of the result of {name}")

    def scalar(self, value: ir.Value) -> ir.Value:
        """Return a scalar SSA value of the dispatch inside the kernel."""
        found = self.outer.get(value)
        if found is None:
            with ir.InsertionPoint(self.entry), self.scope():
                found = self._emit_outer(value)
            self.outer[value] = found
        return self.builder.value(found) if isinstance(found, int) else found

    def value(self, tensor: ir.Value, position: Sequence[Index], lane: Lane | None) -> ir.Value:
        """Return ``tensor`` at ``position``: a scalar, or a vector if it differs by lane.

        Raises:
            NotScheduled: an operation on the way has no pull form.
        """
        if lane is not None and not any(i.varies for i in position):
            # The same for all lanes: evaluated once; a mask only limits which lanes are used.
            lane = None
        key = (tensor, tuple(position), lane)
        for scope in self.memo:
            if key in scope:
                return scope[key]
        result = self._evaluate(tensor, position, lane)
        self.memo[-1][key] = result
        return result

    def loop_sizes(self, generic: ir.OpView) -> list[Scalar]:
        """Return the trip count of every loop of a ``linalg.generic``."""
        maps = [a.value for a in generic.indexing_maps]
        sizes: list[Scalar | None] = [None] * maps[0].n_dims
        operands = [*generic.inputs, *generic.outputs]
        for operand, map_ in zip(operands, maps, strict=True):
            if not isinstance(operand.type, ir.RankedTensorType):
                continue
            for position, result in enumerate(map_.results):
                if not isinstance(result, ir.AffineDimExpr):
                    continue
                known = sizes[result.position]
                if known is None or (
                    not isinstance(known, int) and not operand.type.is_dynamic_dim(position)
                ):
                    sizes[result.position] = self.shape(operand)[position]
        if any(size is None for size in sizes):
            raise NotScheduled("a loop without a size of its own")
        return [size for size in sizes if size is not None]

    def generic_operand(
        self, operand: ir.Value, map_: ir.AffineMap, loops: Sequence[Index], lane: Lane | None
    ) -> ir.Value:
        """Return an operand of a ``linalg.generic`` where its loops are at ``loops``."""
        if not isinstance(operand.type, ir.RankedTensorType):
            return self.scalar(operand)
        width = lane.width if lane else 1
        return self.value(operand, [self.affine(e, loops, width) for e in map_.results], lane)

    def affine(self, expression: ir.AffineExpr, loops: Sequence[Index], width: int) -> Index:
        """Return an affine expression of loop coordinates as a coordinate."""
        builder = self.builder
        if isinstance(expression, ir.AffineDimExpr):
            return loops[expression.position]
        if isinstance(expression, ir.AffineConstantExpr):
            return Index(expression.value)
        if isinstance(expression, ir.AffineAddExpr | ir.AffineMulExpr):
            left = self.affine(expression.lhs, loops, width)
            right = self.affine(expression.rhs, loops, width)
            if isinstance(expression, ir.AffineAddExpr):
                return builder.index_add(left, right, width)
            if left.varies:
                return builder.index_mul(left, right.base, width)
            return builder.index_mul(right, left.base, width)
        if isinstance(expression, ir.AffineFloorDivExpr | ir.AffineModExpr):
            left = self.affine(expression.lhs, loops, width)
            size = self.affine(expression.rhs, loops, width).base
            quotient, remainder = builder.index_split(left, size, width)
            return quotient if isinstance(expression, ir.AffineFloorDivExpr) else remainder
        raise NotScheduled(f"the affine expression {expression}")

    def body(
        self,
        generic: ir.OpView,
        loops: Sequence[Index],
        operands: Sequence[ir.Value],
        lane: Lane | None,
    ) -> list[ir.Value]:
        """Emit the region of a ``linalg.generic`` for operand values and loop coordinates."""
        emitter = BodyEmitter(
            self.builder, lane, loops, lambda t, p: self.value(t, p, lane), self.scalar
        )
        return emitter.run(generic.regions[0].blocks[0], operands)

    # One producer each.

    def _evaluate(self, tensor: ir.Value, position: Sequence[Index], lane: Lane | None) -> ir.Value:
        supplier = self.bound.get(tensor)
        if supplier is not None:
            return supplier(position, lane)
        buffer = self.buffers.get(tensor)
        if buffer is not None:
            return self.builder.load(buffer, position, lane)
        owner = tensor.owner
        if isinstance(owner, ir.Block):
            raise NotScheduled("a tensor carried by a loop")
        if owner.operation.name == "linalg.generic":
            return self._generic(tensor, owner, position, lane)
        producer = PRODUCERS.get(owner.operation.name)
        if producer is None:
            raise NotScheduled(f"{owner.operation.name} has no pull form")
        return producer(self, tensor, owner, position, lane)

    def _generic(
        self, tensor: ir.Value, op: ir.OpView, position: Sequence[Index], lane: Lane | None
    ) -> ir.Value:
        number = list(op.results).index(tensor)
        if reduction.is_reduction(op):
            results = reduction.emit_inline(self, op, number, position, lane)
        else:
            loops = self.loops_at(op, number, position)
            maps = [a.value for a in op.indexing_maps]
            operands = self.operand_values(op, maps, loops, lane)
            results = self.body(op, loops, operands, lane)
        for other, result in zip(op.results, results, strict=True):
            same = maps_equal(op, number, list(op.results).index(other))
            if same:
                self.memo[-1][(other, tuple(position), lane)] = result
        return results[number]

    def operand_values(
        self,
        op: ir.OpView,
        maps: Sequence[ir.AffineMap],
        loops: Sequence[Index],
        lane: Lane | None,
    ) -> list[ir.Value]:
        """Return the values of all operands that the body of an elementwise op reads."""
        block = op.regions[0].blocks[0]
        values = []
        operands = [*op.inputs, *op.outputs]
        for operand, map_, argument in zip(operands, maps, block.arguments, strict=True):
            if len(list(argument.uses)):
                values.append(self.generic_operand(operand, map_, loops, lane))
            else:
                values.append(self.builder.constant(self.builder.i1, 0))  # never read
        return values

    def loops_at(self, op: ir.OpView, number: int, position: Sequence[Index]) -> list[Index]:
        """Return the loop coordinates at which result ``number`` is written at ``position``."""
        count = len(list(op.inputs))
        maps = [a.value for a in op.indexing_maps]
        loops: list[Index | None] = [None] * maps[0].n_dims
        for index, expression in zip(position, maps[count + number].results, strict=True):
            if isinstance(expression, ir.AffineDimExpr):
                loops[expression.position] = index
            elif not isinstance(expression, ir.AffineConstantExpr):
                raise NotScheduled(f"a result written through {expression}")
        if any(index is None for index in loops):
            raise NotScheduled("a result that does not depend on every parallel loop")
        return [index for index in loops if index is not None]

    # Shared pieces.

    def inside(
        self, position: Sequence[Index], sizes: Sequence[Scalar], lane: Lane | None
    ) -> tuple[ir.Value | None, ir.Value | None]:
        """Return whether every coordinate is in 0..size.

        The first result is the condition on coordinates that are equal for all lanes, an i1;
        the second that on the coordinate that varies, a mask. None means always.
        """
        builder = self.builder
        same: ir.Value | None = None
        mask: ir.Value | None = None
        for index, size in zip(position, sizes, strict=True):
            # One unsigned comparison checks both ends.
            less = arith.CmpIPredicate.ult
            if index.varies:
                assert lane is not None
                bound = builder.splat(builder.value(size), lane.width)
                here = arith.CmpIOp(less, builder.lanes(index, lane.width), bound).result
                mask = here if mask is None else arith.AndIOp(mask, here).result
            elif isinstance(index.base, int) and isinstance(size, int) and 0 <= index.base < size:
                continue
            else:
                here = arith.CmpIOp(less, builder.value(index.base), builder.value(size)).result
                same = here if same is None else arith.AndIOp(same, here).result
        return same, mask

    def guarded(
        self,
        conditions: tuple[ir.Value | None, ir.Value | None],
        lane: Lane | None,
        element: ir.Type,
        otherwise: ir.Value,
        inner: Callable[[Lane | None], ir.Value],
    ) -> ir.Value:
        """Return ``inner`` where both conditions hold, else ``otherwise``; never reads outside."""
        same, mask = conditions
        if same is not None:
            kind = element if lane is None else ir.VectorType.get([lane.width], element)

            def widened(value: ir.Value) -> ir.Value:
                return value if lane is None else self.builder.splat(value, lane.width)

            def then() -> list[ir.Value]:
                with self.scope():
                    rest = (None, mask)
                    return [widened(self.guarded(rest, lane, element, otherwise, inner))]

            return self.builder.select_branch(same, [kind], then, lambda: [widened(otherwise)])[0]
        if mask is None or lane is None:
            return inner(lane)
        active = mask if lane.mask is None else arith.AndIOp(mask, lane.mask).result
        value = self.builder.splat(inner(Lane(lane.width, active)), lane.width)
        return arith.SelectOp(mask, value, self.builder.splat(otherwise, lane.width)).result

    def slice_geometry(self, op: ir.OpView) -> tuple[list[Scalar], list[Scalar], list[Scalar]]:
        """Return offsets, sizes and strides of an extract_slice or insert_slice."""
        return (
            self._mixed(op.static_offsets, op.offsets),
            self._mixed(op.static_sizes, op.sizes),
            self._mixed(op.static_strides, op.strides),
        )

    def pad_geometry(self, op: ir.OpView) -> tuple[list[Scalar], list[Scalar]]:
        """Return the low and high padding of a ``tensor.pad``."""
        return self._mixed(op.static_low, op.low), self._mixed(op.static_high, op.high)

    def _mixed(self, static: Sequence[int], dynamic: Sequence[ir.Value]) -> list[Scalar]:
        values = iter(dynamic)
        return [self.number(next(values)) if s == _DYNAMIC else s for s in static]

    def number(self, value: ir.Value) -> Scalar:
        """Return a scalar of the dispatch, as a number where it is a constant."""
        found = self.scalar(value)
        owner = found.owner
        if not isinstance(owner, ir.Block) and owner.operation.name == "arith.constant":
            return int(ir.IntegerAttr(owner.attributes["value"]).value)
        return found

    def _fill_dynamic(self, kind: ir.Type, sizes: Iterator[ir.Value]) -> tuple[Scalar, ...]:
        return tuple(
            self.number(next(sizes)) if kind.is_dynamic_dim(d) else n
            for d, n in enumerate(kind.shape)
        )

    def _slice_sizes(self, op: ir.OpView) -> tuple[Scalar, ...]:
        _, sizes, _ = self.slice_geometry(op)
        dropped = dropped_dims(op.result.type, list(op.static_sizes))
        return tuple(s for d, s in enumerate(sizes) if d not in dropped)

    def _padded_sizes(self, op: ir.OpView) -> tuple[Scalar, ...]:
        low, high = self.pad_geometry(op)
        source = self.shape(op.operands[0])
        add = self.builder.add
        return tuple(add(add(s, a), b) for s, a, b in zip(source, low, high, strict=True))

    def _emit_outer(self, value: ir.Value) -> Scalar | ir.Value:
        owner = value.owner
        if isinstance(owner, ir.Block):
            raise NotScheduled("a scalar carried by a loop")
        name = owner.operation.name
        if name == "tensor.dim":
            number = self.number(owner.operands[1])
            if isinstance(number, int):
                return self.shape(owner.operands[0])[number]
        if name == "tensor.extract":
            source, *position = owner.operands
            return self.value(source, [Index(self.number(p)) for p in position], None)
        if len(owner.regions) or len(owner.results) != 1:
            raise NotScheduled(f"a scalar computed by {name}")
        operands = [self.scalar(o) for o in owner.operands]
        attributes = {a: owner.attributes[a] for a in owner.attributes}
        kinds = [r.type for r in owner.results]
        return ir.Operation.create(
            name, results=kinds, operands=operands, attributes=attributes
        ).result


def maps_equal(op: ir.OpView, first: int, second: int) -> bool:
    """Whether two results of a ``linalg.generic`` are written through the same map."""
    count = len(list(op.inputs))
    maps = list(op.indexing_maps)
    return bool(maps[count + first] == maps[count + second])
