"""Fourier transforms: torch's three primitives, which all others are decomposed to."""

from __future__ import annotations

from math import prod

from iree_core.ir import arith
from iree_core.lowering import fft, scalars
from iree_core.lowering.fft import Parts
from iree_core.lowering.structured import elementwise
from iree_core.lowering.tensors import Tensor, extract_slice
from iree_core.passes.input.torch_ops.registry import Declined, Node, register


@register("aten._fft_c2c")
def complex_to_complex(node: Node) -> Tensor:
    """``_fft_c2c(x, dim, normalization, forward)``."""
    source = node.tensor(0)
    axes = [a % source.rank for a in node.integers(1)]
    return fft.join(
        _transform(fft.split(source), axes, node.integer(2), inverse=not node.integer(3))
    )


@register("aten._fft_r2c")
def real_to_complex(node: Node) -> Tensor:
    """``_fft_r2c(x, dim, normalization, onesided)``; the last dimension is the halved one."""
    source = node.tensor(0)
    axes = [a % source.rank for a in node.integers(1)]
    parts = _transform(Parts(source, None), axes, node.integer(2), inverse=False)
    if node.integer(3) and parts.im is not None:
        kept = _length(source, axes[-1]) // 2 + 1
        parts = Parts(_first(parts.re, axes[-1], kept), _first(parts.im, axes[-1], kept))
    return fft.join(parts)


@register("aten._fft_c2r")
def complex_to_real(node: Node) -> Tensor:
    """``_fft_c2r(x, dim, normalization, last_dim_size)``."""
    source = node.tensor(0)
    axes = [a % source.rank for a in node.integers(1)]
    length = node.integer(3)
    parts = fft.split(source)
    lengths = [_length(source, a) for a in axes[:-1]] + [length]
    for axis in axes[:-1]:
        parts = fft.dft(parts, axis, inverse=True)
    last = axes[-1]
    if source.dims[last] != length // 2 + 1:
        raise Declined
    whole = fft.dft(fft.mirror(parts, last, length), last, inverse=True).re
    # dft divides by the number of elements; torch's factor is 1, 1/sqrt(n) or 1/n.
    return _scaled(whole, _factor(prod(lengths), node.integer(2)) * prod(lengths))


def _transform(parts: Parts, axes: list[int], normalization: int, *, inverse: bool) -> Parts:
    count = prod(_length(parts.re, a) for a in axes)
    for axis in axes:
        parts = fft.dft(parts, axis, inverse=inverse)
    factor = _factor(count, normalization) * (count if inverse else 1)
    im = parts.im
    return Parts(_scaled(parts.re, factor), None if im is None else _scaled(im, factor))


def _factor(count: int, normalization: int) -> float:
    """Return what ``torch._prims_common`` calls none (0), by_root_n (1) and by_n (2)."""
    return [1.0, count**-0.5, 1.0 / count][normalization]


def _scaled(tensor: Tensor, factor: float) -> Tensor:
    if factor == 1.0:
        return tensor
    element = tensor.element
    number = scalars.constant(factor, element)
    return elementwise([tensor], element, lambda x: arith.mulf(x, number))


def _length(tensor: Tensor, axis: int) -> int:
    size = tensor.dims[axis]
    if not isinstance(size, int) or not size:
        raise Declined
    return size


def _first(tensor: Tensor, axis: int, count: int) -> Tensor:
    sizes = [count if d == axis else n for d, n in enumerate(tensor.dims)]
    return extract_slice(tensor, [0] * tensor.rank, sizes, [1] * tensor.rank)
