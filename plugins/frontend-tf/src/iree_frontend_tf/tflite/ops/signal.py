"""Complex numbers and Fourier transforms."""

from __future__ import annotations

from iree_core.ir import complex as complex_
from iree_core.lowering import index, tensors
from iree_core.lowering.element import COMPLEX64, F32, F64, ElementType
from iree_core.lowering.fft import fft
from iree_core.lowering.structured import elementwise
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite.registry import Node, lowering


def _half(x: Tensor) -> ElementType:
    return F32 if x.element == COMPLEX64 else F64


@lowering("REAL")
def real(node: Node) -> Tensor:
    """The real part."""
    x = node.tensor(0)
    return elementwise([x], _half(x), complex_.re)


@lowering("IMAG")
def imag(node: Node) -> Tensor:
    """The imaginary part."""
    x = node.tensor(0)
    return elementwise([x], _half(x), complex_.im)


@lowering("COMPLEX_ABS")
def complex_abs(node: Node) -> Tensor:
    """The magnitude."""
    x = node.tensor(0)
    return elementwise([x], _half(x), complex_.abs)


@lowering("RFFT2D")
def rfft2d(node: Node) -> Tensor:
    """Fourier transform of real images, cut or filled up with zeros to a length."""
    x = node.tensor(0)
    lengths = node.ints(1, "the transform length")
    sizes = [
        *x.dims[:-2],
        *[index.minimum(d, n) for d, n in zip(x.dims[-2:], lengths, strict=True)],
    ]
    part = tensors.extract_slice(x, [0] * x.rank, sizes, [1] * x.rank)
    lead = [0] * (x.rank - 2)
    high = [*lead, *[index.sub(n, d) for n, d in zip(lengths, sizes[-2:], strict=True)]]
    return fft(tensors.pad(part, [0] * x.rank, high, 0), lengths, "RFFT")
