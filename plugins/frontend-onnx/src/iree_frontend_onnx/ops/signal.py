"""Fourier transforms: DFT and STFT."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from iree_core.ir import arith, ir, scf, tensor
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import ElementType
from iree_core.lowering.fft import Parts, dft
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import computed, convert
from iree_core.lowering.tensors import Tensor
from iree_frontend_onnx.registry import Node, lowering


def _parts(node: Node, x: Tensor) -> Parts:
    """Take [..., 1 or 2] apart into real and imaginary part."""
    count = x.dims[-1]
    if not isinstance(count, int):
        node.unsupported("whether the signal is complex (its last size) must be static")

    def part(place: int) -> Tensor:
        sizes: list[Dim] = [*x.dims[:-1], 1]
        offsets: list[Dim] = [0] * (x.rank - 1) + [place]
        sliced = tensors.extract_slice(x, offsets, sizes, [1] * x.rank)
        return tensors.squeeze(sliced, [x.rank - 1])

    return Parts(part(0), part(1) if count == 2 else None)


def _joined(parts: Parts, element: ElementType) -> Tensor:
    """Put real and imaginary part together as a last dimension of 2."""
    im = parts.im or tensors.fill(parts.re.dims, parts.re.element, 0)
    both = [tensors.expand_dims(p, [p.rank]) for p in (parts.re, im)]
    return convert(tensors.concat(both, parts.re.rank), element)


def _each(parts: Parts, change: Callable[[Tensor], Tensor]) -> Parts:
    return Parts(change(parts.re), None if parts.im is None else change(parts.im))


def _first(x: Tensor, axis: int, count: Dim) -> Tensor:
    sizes = list(x.dims)
    sizes[axis] = count
    return tensors.extract_slice(x, [0] * x.rank, sizes, [1] * x.rank)


def _fitted(x: Tensor, axis: int, length: Dim) -> Tensor:
    """Cut or zero-pad one dimension."""
    if index.same(x.dims[axis], length):
        return x
    kept = _first(x, axis, index.minimum(x.dims[axis], length))
    high: list[Dim] = [0] * x.rank
    high[axis] = index.sub(length, kept.dims[axis])
    return tensors.pad(kept, [0] * x.rank, high, 0)


@lowering("DFT", since=17)
def dft_node(node: Node) -> Tensor:
    """Discrete Fourier transform along one axis."""
    x = node.tensor(0)
    if node.version < 20:
        return _transformed(node, x, node.normalize_axis(node.attr("axis", 1), x.rank))
    known = node.array(2) if node.has(2) else np.array(-2)
    if known is not None:
        return _transformed(node, x, node.normalize_axis(int(known.reshape(-1)[0]), x.rank))
    chosen = index.value(index.wrap_negative(node.items(2)[0], x.rank))
    dims = [ir.ShapedType.get_dynamic_size()] * (x.rank - 1)
    last = 1 if node.attr("inverse", 0) and node.attr("onesided", 0) else 2
    kind = ir.RankedTensorType.get([*dims, last], x.element.type)
    return Tensor.of(_by_axis(node, x, chosen, 0, kind), x.element)


def _by_axis(node: Node, x: Tensor, chosen: ir.Value, axis: int, kind: ir.Type) -> ir.Value:
    """Return the transform along the axis that is ``chosen`` at run time, ``axis`` or later."""
    if axis == x.rank - 2:
        return tensor.cast(kind, _transformed(node, x, axis).value)
    here = index.compare(arith.CmpIPredicate.eq, chosen, axis)
    op = scf.IfOp(here, [kind], has_else=True)
    with ir.InsertionPoint(op.then_block):
        scf.YieldOp([tensor.cast(kind, _transformed(node, x, axis).value)])
    with ir.InsertionPoint(op.else_block):
        scf.YieldOp([_by_axis(node, x, chosen, axis + 1, kind)])
    return op.results[0]


def _transformed(node: Node, x: Tensor, axis: int) -> Tensor:
    inverse, onesided = bool(node.attr("inverse", 0)), bool(node.attr("onesided", 0))
    parts = _parts(node, convert(x, x.element.accumulator))
    if inverse and onesided:
        length = node.items(1)[0] if node.has(1) else index.mul(index.sub(x.dims[axis], 1), 2)
        if length == 0:
            return tensors.fill([*x.dims[:axis], 0, *x.dims[axis + 1 : -1], 1], x.element, 0)
        whole = _hermitian(parts, axis, length)
        real = dft(whole, axis, inverse=True).re
        return convert(tensors.expand_dims(real, [real.rank]), x.element)
    if node.has(1):
        length = node.items(1)[0]
        parts = _each(parts, lambda p: _fitted(p, axis, length))
    made = dft(parts, axis, inverse=inverse)
    if onesided:
        half = index.add(index.floordiv(made.re.dims[axis], 2), 1)
        made = _each(made, lambda p: _first(p, axis, half))
    return _joined(made, x.element)


def _hermitian(parts: Parts, axis: int, length: Dim) -> Parts:
    """Complete a one-sided spectrum by its mirrored conjugate."""
    given = parts.re.dims[axis]
    dims = list(parts.re.dims)
    dims[axis] = length
    im = parts.im or tensors.fill(parts.re.dims, parts.re.element, 0)
    total, last = index.value(length), index.value(index.sub(given, 1))

    def body(*places: ir.Value) -> list[ir.Value]:
        here = places[axis]
        mirrored = arith.cmpi(arith.CmpIPredicate.sgt, here, last)
        at = list(places)
        at[axis] = arith.select(mirrored, arith.subi(total, here), here)
        re, im_ = tensor.extract(parts.re.value, at), tensor.extract(im.value, at)
        return [re, arith.select(mirrored, arith.negf(im_), im_)]

    re, im = computed(dims, [parts.re.element] * 2, body)
    return Parts(re, im)


@lowering("STFT")
def stft(node: Node) -> Tensor:
    """Windowed transforms of overlapping frames."""
    signal = node.tensor(0)
    if signal.rank == 2:
        signal = tensors.expand_dims(signal, [2])
    step = node.items(1)[0]
    window = node.optional(2)
    if node.has(3):
        length = node.items(3)[0]
    elif window is not None:
        length = window.dims[0]
    else:
        node.unsupported("either a window or a frame length is needed")
    e = signal.element
    count = index.add(index.floordiv(index.sub(signal.dims[1], length), step), 1)
    stride = index.value(step)
    parts = _parts(node, signal)

    def frames(x: Tensor | None) -> Tensor | None:
        if x is None:
            return None

        def body(b: ir.Value, f: ir.Value, t: ir.Value) -> ir.Value:
            v = tensor.extract(x.value, [b, arith.addi(arith.muli(f, stride), t)])
            if window is None:
                return v
            return scalars.mul(v, tensor.extract(window.value, [t]), e)

        made = computed([signal.dims[0], count, length], [e], body)[0]
        return convert(made, e.accumulator)

    re = frames(parts.re)
    assert re is not None
    made = dft(Parts(re, frames(parts.im)), 2)
    if node.attr("onesided", 1):
        half = index.add(index.floordiv(length, 2), 1)
        made = _each(made, lambda p: _first(p, 2, half))
    return _joined(made, e)
