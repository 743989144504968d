"""Matrix products and determinants: MatMul, Gemm, Einsum, Det."""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.ir import arith, ir
from iree_core.lowering import scalars, tensors
from iree_core.lowering.determinant import determinant
from iree_core.lowering.element import I32, ElementType
from iree_core.lowering.structured import affine_map, contract, convert, elementwise, generic
from iree_core.lowering.tensors import Tensor
from iree_frontend_onnx.registry import Node, lowering


@lowering("MatMul")
def matmul_node(node: Node) -> Tensor:
    """numpy.matmul."""
    a, b = node.tensor(0), node.tensor(1)
    return convert(matmul(a, b), a.element)


def matmul(a: Tensor, b: Tensor, element: ElementType | None = None) -> Tensor:
    """Return numpy.matmul(a, b) in the accumulator type; batch sizes broadcast."""
    squeezed = []
    if a.rank == 1:
        a, squeezed = tensors.expand_dims(a, [0]), ["m"]
    if b.rank == 1:
        b, squeezed = tensors.expand_dims(b, [1]), [*squeezed, "n"]
    batch = [f"b{i}" for i in range(max(a.rank, b.rank) - 2)]
    a_batch, b_batch = batch[len(batch) - a.rank + 2 :], batch[len(batch) - b.rank + 2 :]
    result = contract(a, [*a_batch, "m", "k"], b, [*b_batch, "k", "n"], [*batch, "m", "n"], element)
    axes = [len(batch) + (label == "n") for label in squeezed]
    return tensors.squeeze(result, axes) if axes else result


@lowering("Gemm")
def gemm(node: Node) -> Tensor:
    """alpha * A' * B' + beta * C."""
    a, b = node.tensor(0), node.tensor(1)
    alpha, beta = node.attr("alpha", 1.0), node.attr("beta", 1.0)
    a_labels = ["k", "m"] if node.attr("transA", 0) else ["m", "k"]
    b_labels = ["n", "k"] if node.attr("transB", 0) else ["k", "n"]
    product = contract(a, a_labels, b, b_labels, ["m", "n"])
    wide = product.element

    def scale(v: ir.Value, factor: float) -> ir.Value:
        return v if factor == 1.0 else scalars.mul(v, scalars.constant(factor, wide), wide)

    if not node.has(2) or beta == 0.0:
        if alpha == 1.0:
            return convert(product, a.element)
        return elementwise(
            [product], a.element, lambda v: scalars.convert(scale(v, alpha), wide, a.element)
        )
    c = node.tensor(2)

    def body(v: ir.Value, bias: ir.Value) -> ir.Value:
        bias = scale(scalars.convert(bias, c.element, wide), beta)
        return scalars.convert(scalars.add(scale(v, alpha), bias, wide), wide, a.element)

    return elementwise([product, c], a.element, body, dims=product.dims)


@lowering("FusedMatMul", domain="com.microsoft")
def fused_matmul(node: Node) -> Tensor:
    """MatMul with transposed operands and a factor."""
    a, b = node.tensor(0), node.tensor(1)
    batch = [f"b{i}" for i in range(max(a.rank, b.rank) - 2)]
    a_labels = [*batch[len(batch) - a.rank + 2 :], *("km" if node.attr("transA", 0) else "mk")]
    b_labels = [*batch[len(batch) - b.rank + 2 :], *("nk" if node.attr("transB", 0) else "kn")]
    product = contract(a, a_labels, b, b_labels, [*batch, "m", "n"])
    alpha, wide = node.attr("alpha", 1.0), product.element

    def body(v: ir.Value) -> ir.Value:
        v = scalars.mul(v, scalars.constant(alpha, wide), wide)
        return scalars.convert(v, wide, a.element)

    return elementwise([product], a.element, body)


@lowering("Einsum")
def einsum(node: Node) -> Tensor:
    """Einstein summation over any number of operands, contracted from left to right."""
    equation = node.attr("equation").replace(" ", "")
    operands = node.tensors()
    left, arrow, right = equation.partition("->")
    terms = _expand_ellipsis(node, left.split(","), operands)
    if arrow:
        longest = max((t for t in terms), key=lambda t: sum(x.startswith("...") for x in t))
        dots = [x for x in longest if x.startswith("...")]
        out = _labels(right, dots)
    else:
        flat = [x for term in terms for x in term]
        dots = sorted({x for x in flat if x.startswith("...")})
        out = dots + sorted(x for x in set(flat) if flat.count(x) == 1 and x not in dots)
    element = operands[0].element
    pairs = [_diagonal(t, labels) for t, labels in zip(operands, terms, strict=True)]
    current, labels = pairs[0]
    for place, (other, other_labels) in enumerate(pairs[1:], 1):
        later = {x for _, ls in pairs[place + 1 :] for x in ls} | set(out)
        kept = [x for x in dict.fromkeys([*labels, *other_labels]) if x in later]
        final = [x for x in out if x in kept] if place == len(pairs) - 1 else kept
        current = convert(contract(current, labels, other, other_labels, final), element)
        labels = final
    return _sum_to(current, labels, out)


def _expand_ellipsis(
    node: Node, terms: Sequence[str], operands: Sequence[Tensor]
) -> list[list[str]]:
    if len(terms) != len(operands):
        node.unsupported(f"the equation names {len(terms)} operands, not {len(operands)}")
    result = []
    for term, operand in zip(terms, operands, strict=True):
        count = operand.rank - len(term.replace("...", ""))
        dots = [f"...{i}" for i in range(9 - count, 9)]
        result.append(_labels(term, dots))
    return result


def _labels(term: str, dots: Sequence[str]) -> list[str]:
    before, found, after = term.partition("...")
    return [*before, *(dots if found else ()), *after]


def _diagonal(operand: Tensor, labels: list[str]) -> tuple[Tensor, list[str]]:
    """Reduce repeated labels of one operand to one, by indexing its diagonal."""
    unique = list(dict.fromkeys(labels))
    if len(unique) == len(labels):
        return operand, labels
    sizes = dict(zip(labels, operand.dims, strict=True))
    dims = [sizes[x] for x in unique]
    (result,) = generic(
        [operand.value],
        [tensors.empty(dims, operand.element)],
        [
            affine_map(len(unique), [unique.index(x) for x in labels]),
            affine_map(len(unique), list(range(len(unique)))),
        ],
        [False] * len(unique),
        lambda v, _: v,
    )
    return Tensor(result, tuple(dims), operand.element), unique


def _sum_to(operand: Tensor, labels: list[str], out: list[str]) -> Tensor:
    from iree_core.lowering.structured import reduce

    axes = [a for a, x in enumerate(labels) if x not in out]
    if axes:
        wide = operand.element.accumulator

        def combine(v: ir.Value, acc: ir.Value) -> ir.Value:
            return scalars.add(acc, scalars.convert(v, operand.element, wide), wide)

        summed = reduce([operand], axes, 0, wide, combine)
        operand = convert(summed, operand.element)
        labels = [x for x in labels if x in out]
    return tensors.transpose(operand, [labels.index(x) for x in out])


def integer_matmul(a: Tensor, b: Tensor, a_zero: Tensor | None, b_zero: Tensor | None) -> Tensor:
    """Return the i32 product of (a - a_zero) and (b - b_zero), zero points broadcast."""

    def centred(x: Tensor, zero: Tensor | None) -> Tensor:
        if zero is None:
            return convert(x, I32)

        def body(v: ir.Value, z: ir.Value) -> ir.Value:
            return arith.subi(
                scalars.convert(v, x.element, I32), scalars.convert(z, zero.element, I32)
            )

        return elementwise([x, zero], I32, body)

    return matmul(centred(a, a_zero), centred(b, b_zero), I32)


@lowering("Det", since=11)
def det_node(node: Node) -> Tensor:
    """Determinants of the matrices in the last two dimensions."""
    x = node.tensor(0)
    return convert(determinant(convert(x, x.element.accumulator)), x.element)
