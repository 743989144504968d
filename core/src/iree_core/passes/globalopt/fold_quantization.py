"""Multiply quantised numbers as the integers they are; scales and zero points follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from iree_core.ir import arith, ir, linalg, tensor
from iree_core.params import ParameterStore
from iree_core.passes.dispatch.structure import Decoder, Kind, linalg_kind, read_body
from iree_core.passes.globalopt.evaluate_parameters import key_of
from iree_core.passes.globalopt.generics import (
    generics_of,
    is_elementwise,
    maps_of,
    owner_of,
)
from iree_core.passes.state import CompilationState

_EXTENSIONS = ("arith.extsi", "arith.extui")
_MOST_ZERO_POINTS = 1 << 16


@dataclass(frozen=True)
class FoldQuantization:
    """Turn contractions of dequantised operands into contractions of bytes.

    Before::

        %xf = linalg.generic {(ext %x - %xz) * %xs} ...   %wf = linalg.generic {ext %w * %ws} ...
        %y = linalg.generic {contraction in f32} ins(%xf, %wf) ...

    After::

        %n = linalg.generic {sum of (ext %x - %xz) * ext %w, in i32} ins(%x, %w) ...
        %y = linalg.generic {%n * (%xs * %ws)} ins(%n, %ws) ...

    The same for products of i32 operands that are centred bytes, which have no scales. Scales
    are the same for a whole operand or differ along a dimension of the result, zero points are
    the same for a whole operand; padding with zeros becomes padding with the zero point. The
    zero point of one operand is taken off behind the sum::

        sum (x - xz) * (w - wz) = sum (x - xz) * w - wz * sum (x - xz)

    (Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", 2018, section 2.3.)
    """

    name: str = "fold-quantization"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Rewrite every contraction of which both operands are quantised to bytes."""
        decoder = Decoder()
        for op in generics_of(module):
            if is_elementwise(op) or len(op.results) != 1 or len(op.operands) != 3:
                continue
            body = read_body(op)
            if body.operations not in _PRODUCTS:
                continue
            if linalg_kind(decoder.loops(op), body, 2) is not Kind.CONTRACTION:
                continue
            parts = [_quantised(op.operands[n], state.parameters) for n in range(2)]
            if parts[0] is not None and parts[1] is not None:
                _fold(op, parts[0], parts[1])


_PRODUCTS = (
    ("arith.muli", "arith.addi", "linalg.yield"),
    ("arith.mulf", "arith.addf", "linalg.yield"),
)


@dataclass(frozen=True)
class _Scale:
    """A factor: ``value`` is a scalar inside or outside of a body, or a tensor that ``map`` reads.

    Attributes:
        value: a float constant's value, or a tensor.
        map: how the dequantised tensor's coordinates index it; None for a constant.
    """

    value: ir.Value | float
    map: ir.AffineMap | None = None


@dataclass(frozen=True)
class _Quantised:
    """A tensor of which each element is ``(extend(bytes) - zero) * scale``.

    Attributes:
        bytes: the i8 tensor, before ``pad``.
        signed: how to extend it.
        zero: a number, or a tensor<i8>.
        scale: None where there is none.
        pad: the tensor.pad that follows, if any.
    """

    bytes: ir.Value
    signed: bool
    zero: int | ir.Value
    scale: _Scale | None
    pad: ir.Operation | None

    @property
    def is_centred(self) -> bool:
        """Whether the zero point is known to be 0."""
        return isinstance(self.zero, int) and self.zero == 0


def _quantised(value: ir.Value, parameters: ParameterStore) -> _Quantised | None:
    """Return the bytes behind a dequantised or centred tensor."""
    owner = owner_of(value)
    pad = None
    if owner is not None and owner.name == "tensor.pad":
        if _constant(list(owner.regions[0].blocks[0].operations)[-1].operands[0]) != 0:
            return None
        pad, owner = owner, owner_of(owner.operands[0])
    if owner is None or owner.name != "linalg.generic" or len(owner.results) != 1:
        return None
    if not is_elementwise(owner) or not _is_identity(maps_of(owner)[-1]):
        return None
    result = list(owner.regions[0].blocks[0].operations)[-1].operands[0]
    scale: _Scale | None = None
    op = owner_of(result)
    if op is not None and op.name == "arith.mulf":
        scale = _scale(owner, op.operands[1])
        if scale is None:
            return None
        result = op.operands[0]
        op = owner_of(result)
    if op is not None and op.name == "arith.sitofp":
        result = op.operands[0]
        op = owner_of(result)
    return None if op is None else _centred(owner, op, scale, pad, parameters)


def _centred(
    owner: ir.Operation,
    op: ir.Operation,
    scale: _Scale | None,
    pad: ir.Operation | None,
    parameters: ParameterStore,
) -> _Quantised | None:
    zero: int | ir.Value | None = 0
    if op.name == "arith.subi":
        extension = owner_of(op.operands[0])
        zero = _zero_point(owner, op.operands[1], parameters)
        op = extension if extension is not None else op
    if op.name not in _EXTENSIONS or zero is None:
        return None
    number = _input_number(owner, op.operands[0])
    byte = ir.IntegerType.get_signless(8)
    if number is None or op.operands[0].type != byte or not _is_identity(maps_of(owner)[number]):
        return None
    if op.results[0].type != ir.IntegerType.get_signless(32):
        return None
    signed = op.name == "arith.extsi"
    if isinstance(zero, int) and not (-128 if signed else 0) <= zero <= (127 if signed else 255):
        return None
    return _Quantised(owner.operands[number], signed, zero, scale, pad)


def _zero_point(
    owner: ir.Operation, value: ir.Value, parameters: ParameterStore
) -> int | ir.Value | None:
    """Return what is subtracted everywhere: a number or a tensor<i8>; None for anything else."""
    op = owner_of(value)
    signed = True
    if op is not None and op.name in _EXTENSIONS:
        signed = op.name == "arith.extsi"
        value = op.operands[0]
    number = _constant(value)
    if number is not None:
        return int(number) % 256 if not signed and number < 0 else int(number)
    position = _input_number(owner, value)
    if position is None:
        return None
    source = owner.operands[position]
    if not len(maps_of(owner)[position].results):
        return source if isinstance(source.type, ir.RankedTensorType) else None
    return _uniform_parameter(source, parameters)


def _uniform_parameter(source: ir.Value, parameters: ParameterStore) -> int | None:
    """Return the number that all elements of a small parameter are."""
    op = owner_of(source)
    while op is not None and op.name in ("tensor.expand_shape", "tensor.collapse_shape"):
        source = op.operands[0]
        op = owner_of(source)
    if op is None or op.name != "flow.parameter" or not source.type.has_static_shape:
        return None
    if prod(source.type.shape) > _MOST_ZERO_POINTS:
        return None
    numbers = np.unique(parameters.read(key_of(source)))
    return int(numbers[0]) if numbers.size == 1 else None


def _scale(owner: ir.Operation, value: ir.Value) -> _Scale | None:
    number = _constant(value)
    if number is not None:
        return _Scale(float(number))
    position = _input_number(owner, value)
    if position is None or not isinstance(value.type, ir.F32Type):
        return None
    return _Scale(owner.operands[position], maps_of(owner)[position])


def _constant(value: ir.Value) -> float | int | None:
    op = owner_of(value)
    if op is None or op.name != "arith.constant":
        return None
    attribute = op.attributes["value"]
    if isinstance(attribute, ir.FloatAttr | ir.IntegerAttr):
        return attribute.value
    return None


def _input_number(owner: ir.Operation, value: ir.Value) -> int | None:
    arguments = list(owner.regions[0].blocks[0].arguments)[: len(owner.operands) - 1]
    return arguments.index(value) if value in arguments else None


def _is_identity(affine_map: ir.AffineMap) -> bool:
    return affine_map == ir.AffineMap.get_identity(affine_map.n_dims)


def _fold(op: ir.Operation, first: _Quantised, second: _Quantised) -> None:
    """Replace a contraction of two quantised operands if its form allows."""
    floats = isinstance(op.results[0].type.element_type, ir.FloatType)
    integer = ir.IntegerType.get_signless(32)
    if op.results[0].type.element_type != (ir.F32Type.get() if floats else integer):
        return
    parts = [first, second]
    scales = [_moved_scale(op, n, p.scale) for n, p in enumerate(parts) if p.scale is not None]
    init = owner_of(op.operands[2])
    zero = init is not None and init.name == "linalg.fill" and _constant(init.operands[0]) == 0
    if None in scales or (floats and not zero) or init is None:
        return
    with ir.InsertionPoint(op), op.location:
        start = op.operands[2]
        if floats:
            sizes = [_size(start, d) for d in range(ir.RankedTensorType(start.type).rank)]
            empty = tensor.EmptyOp(sizes, integer).result
            start = linalg.fill(arith.ConstantOp(integer, 0).result, outs=[empty])
        total = _integer_contraction(op, parts, start)
        if floats:
            total = _scaled(total, init.operands[1], [s for s in scales if s is not None])
    op.results[0].replace_all_uses_with(total)
    op.erase()


def _empty_like(value: ir.Value) -> ir.Value:
    """Emit an empty tensor of the type and sizes of ``value``."""
    kind = ir.RankedTensorType(value.type)
    return tensor.EmptyOp([_size(value, d) for d in range(kind.rank)], kind.element_type).result


def _size(value: ir.Value, dim: int) -> ir.Value | int:
    kind = ir.RankedTensorType(value.type)
    if not kind.is_dynamic_dim(dim):
        return int(kind.shape[dim])
    return tensor.DimOp(value, arith.ConstantOp(ir.IndexType.get(), dim).result).result


def _moved_scale(op: ir.Operation, number: int, scale: _Scale) -> _Scale | None:
    """Return a scale of an operand as one of the result, indexed by its coordinates."""
    if scale.map is None or isinstance(scale.value, float):
        return scale
    operand, result = maps_of(op)[number], maps_of(op)[-1]
    places = {r.position: n for n, r in enumerate(result.results)}
    moved: list[ir.AffineExpr] = []
    for expression, size in zip(scale.map.results, scale.value.type.shape, strict=True):
        if size == 1:
            moved.append(ir.AffineConstantExpr.get(0))
            continue
        loop = operand.results[expression.position]
        if not isinstance(loop, ir.AffineDimExpr) or loop.position not in places:
            return None
        moved.append(ir.AffineDimExpr.get(places[loop.position]))
    return _Scale(scale.value, ir.AffineMap.get(len(result.results), 0, moved))


def _padded(part: _Quantised) -> ir.Value:
    """Return the bytes, padded with the zero point where the centred numbers were with 0."""
    if part.pad is None:
        return part.bytes
    byte = ir.IntegerType.get_signless(8)
    if isinstance(part.zero, int):
        filler = arith.ConstantOp(byte, (part.zero + 128) % 256 - 128).result
    else:
        filler = tensor.ExtractOp(part.zero, []).result
    kind = ir.RankedTensorType.get(part.pad.results[0].type.shape, byte)
    attributes = {name: part.pad.attributes[name] for name in part.pad.attributes}
    made = ir.Operation.create(
        "tensor.pad",
        [kind],
        [part.bytes, *list(part.pad.operands)[1:]],
        attributes,
        regions=1,
    )
    index = ir.IndexType.get()
    block = made.regions[0].blocks.append(*[index] * kind.rank)
    with ir.InsertionPoint(block):
        tensor.YieldOp(filler)
    return made.results[0]


def _integer_contraction(op: ir.Operation, parts: list[_Quantised], start: ir.Value) -> ir.Value:
    """Emit the contraction in i32; the second zero point is taken off behind it if possible."""
    maps = maps_of(op)
    sources = [_source(part, _padded(part)) for part in parts]
    if sources[1].zero == 0 or not _reduces_plainly(op):
        return _sum(op, sources, maps[:2], maps[2], start)
    centred = sources[0]
    sources[1] = _Source(sources[1].bytes, sources[1].signed, 0)
    total = _sum(op, sources, maps[:2], maps[2], start)
    kept = [r.position for r in maps[2].results]
    seen = {e.position for e in maps[0].results}
    rows = [loop for loop in kept if loop in seen]
    row_map = ir.AffineMap.get(maps[0].n_dims, 0, [ir.AffineDimExpr.get(d) for d in rows])
    sums = _sum_of_first(op, centred, row_map)
    places = ir.AffineMap.get(
        len(kept), 0, [ir.AffineDimExpr.get(kept.index(loop)) for loop in rows]
    )
    return _without_zero(total, sums, places, _source(parts[1], parts[1].bytes))


@dataclass(frozen=True)
class _Source:
    """An operand of the integer contraction: bytes, how to extend them, what to subtract."""

    bytes: ir.Value
    signed: bool
    zero: int | ir.Value

    def extended(self, value: ir.Value) -> ir.Value:
        """Inside a body: return a byte as i32."""
        i32 = ir.IntegerType.get_signless(32)
        return arith.extsi(i32, value) if self.signed else arith.extui(i32, value)

    def zero_value(self, argument: ir.Value | None) -> ir.Value:
        """Inside a body: return the zero point, which ``argument`` is if it is a tensor's."""
        if argument is not None:
            return self.extended(argument)
        i32 = ir.IntegerType.get_signless(32)
        return arith.ConstantOp(i32, ir.IntegerAttr.get(i32, self.zero)).result

    def centred(self, value: ir.Value, argument: ir.Value | None) -> ir.Value:
        """Inside a body: return a byte without the zero point, as i32."""
        wide = self.extended(value)
        if isinstance(self.zero, int) and self.zero == 0:
            return wide
        return arith.subi(wide, self.zero_value(argument))


def _source(part: _Quantised, padded: ir.Value) -> _Source:
    """Return an operand; unsigned bytes around 128 become signed ones around 0."""
    if part.signed or part.pad is not None or part.zero != 128:
        return _Source(padded, part.signed, part.zero)
    kind = ir.RankedTensorType(padded.type)
    owner = owner_of(padded)
    if owner is None or owner.name != "flow.parameter":
        return _Source(padded, part.signed, part.zero)
    identity = ir.AffineMapAttr.get(ir.AffineMap.get_identity(kind.rank))
    flipped = linalg.GenericOp(
        [kind],
        [padded],
        [tensor.EmptyOp(list(kind.shape), kind.element_type).result],
        ir.ArrayAttr.get([identity, identity]),
        _iterators([True] * kind.rank),
    )
    block = flipped.regions[0].blocks.append(kind.element_type, kind.element_type)
    with ir.InsertionPoint(block):
        top = arith.ConstantOp(kind.element_type, -128).result
        linalg.YieldOp([arith.xori(block.arguments[0], top)])
    return _Source(flipped.results[0], True, 0)


def _reduces_plainly(op: ir.Operation) -> bool:
    """Whether the first operand alone gives the sizes of all reduction loops."""
    first = maps_of(op)[0].results
    reduced = [n for n, kind in enumerate(op.attributes["iterator_types"]) if "red" in str(kind)]
    plain = all(isinstance(r, ir.AffineDimExpr) for r in first)
    return plain and set(reduced) <= {r.position for r in first}


def _iterators(parallel: Sequence[bool]) -> ir.ArrayAttr:
    kinds = [f"#linalg.iterator_type<{'parallel' if p else 'reduction'}>" for p in parallel]
    return ir.ArrayAttr.get([ir.Attribute.parse(kind) for kind in kinds])


def _sum(
    op: ir.Operation,
    sources: Sequence[_Source],
    maps: Sequence[ir.AffineMap],
    result: ir.AffineMap,
    start: ir.Value,
) -> ir.Value:
    """Emit the sum of products of centred operands over the loops of ``op``."""
    zeros = [s.zero for s in sources if isinstance(s.zero, ir.Value)]
    nothing = ir.AffineMap.get(result.n_dims, 0, [])
    every = [*maps, *[nothing] * len(zeros), result]
    made = linalg.GenericOp(
        [start.type],
        [*(s.bytes for s in sources), *zeros],
        [start],
        ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in every]),
        op.attributes["iterator_types"],
    )
    byte, i32 = ir.IntegerType.get_signless(8), ir.IntegerType.get_signless(32)
    block = made.regions[0].blocks.append(*[byte] * (len(sources) + len(zeros)), i32)
    arguments = list(block.arguments)
    rest = iter(arguments[len(sources) :])
    with ir.InsertionPoint(block):
        factors = [
            s.centred(a, next(rest) if isinstance(s.zero, ir.Value) else None)
            for s, a in zip(sources, arguments, strict=False)
        ]
        term = factors[0] if len(factors) == 1 else arith.muli(*factors)
        linalg.YieldOp([arith.addi(arguments[-1], term)])
    return made.results[0]


def _sum_of_first(op: ir.Operation, first: _Source, rows: ir.AffineMap) -> ir.Value:
    """Emit the sums of the first operand over the reduction loops."""
    used = maps_of(op)[0]
    dims = sorted({r.position for r in used.results})
    compact = [
        ir.AffineMap.get(
            len(dims), 0, [ir.AffineDimExpr.get(dims.index(r.position)) for r in each.results]
        )
        for each in (used, rows)
    ]
    kinds = list(op.attributes["iterator_types"])
    i32 = ir.IntegerType.get_signless(32)
    sizes = []
    for expression in rows.results:
        position = next(n for n, r in enumerate(used.results) if r.position == expression.position)
        sizes.append(_size(first.bytes, position))
    start = linalg.fill(arith.ConstantOp(i32, 0).result, outs=[tensor.EmptyOp(sizes, i32).result])
    zero = [first.zero] if isinstance(first.zero, ir.Value) else []
    nothing = ir.AffineMap.get(len(dims), 0, [])
    maps = [compact[0], *[nothing] * len(zero), compact[1]]
    made = linalg.GenericOp(
        [start.type],
        [first.bytes, *zero],
        [start],
        ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in maps]),
        ir.ArrayAttr.get([kinds[d] for d in dims]),
    )
    byte = ir.IntegerType.get_signless(8)
    block = made.regions[0].blocks.append(*[byte] * (1 + len(zero)), i32)
    arguments = list(block.arguments)
    with ir.InsertionPoint(block):
        term = first.centred(arguments[0], arguments[1] if zero else None)
        linalg.YieldOp([arith.addi(arguments[-1], term)])
    return made.results[0]


def _without_zero(
    total: ir.Value, sums: ir.Value, places: ir.AffineMap, second: _Source
) -> ir.Value:
    """Emit ``total - zero * sums``."""
    kind = ir.RankedTensorType(total.type)
    zero = [second.zero] if isinstance(second.zero, ir.Value) else []
    identity, nothing = ir.AffineMap.get_identity(kind.rank), ir.AffineMap.get(kind.rank, 0, [])
    maps = [identity, places, *[nothing] * len(zero), identity]
    i32, byte = kind.element_type, ir.IntegerType.get_signless(8)
    made = linalg.GenericOp(
        [kind],
        [total, sums, *zero],
        [_empty_like(total)],
        ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in maps]),
        _iterators([True] * kind.rank),
    )
    block = made.regions[0].blocks.append(i32, i32, *[byte] * len(zero), i32)
    arguments = list(block.arguments)
    with ir.InsertionPoint(block):
        number = second.zero_value(arguments[2] if zero else None)
        linalg.YieldOp([arith.subi(arguments[0], arith.muli(number, arguments[1]))])
    return made.results[0]


def _scaled(total: ir.Value, empty: ir.Value, scales: Sequence[_Scale]) -> ir.Value:
    """Emit ``total`` as float32, times all scales."""
    kind = ir.RankedTensorType(empty.type)
    tensors = [s for s in scales if s.map is not None]
    identity = ir.AffineMap.get_identity(kind.rank)
    maps = [identity, *(s.map for s in tensors), identity]
    made = linalg.GenericOp(
        [kind],
        [total, *(s.value for s in tensors)],
        [empty],
        ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in maps]),
        _iterators([True] * kind.rank),
    )
    f32 = kind.element_type
    integer = ir.RankedTensorType(total.type).element_type
    block = made.regions[0].blocks.append(integer, *[f32] * len(tensors), f32)
    arguments = list(block.arguments)
    with ir.InsertionPoint(block):
        factors = arguments[1:-1]
        numbers = [s.value for s in scales if s.map is None]
        if numbers:
            factors.append(
                arith.ConstantOp(f32, float(prod(np.float32(n) for n in numbers))).result
            )
        factor = factors[0]
        for other in factors[1:]:
            factor = arith.mulf(factor, other)
        linalg.YieldOp([arith.mulf(arith.sitofp(f32, arguments[0]), factor)])
    return made.results[0]
