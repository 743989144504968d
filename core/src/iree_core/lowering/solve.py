"""Triangular systems and the Cholesky factorisation, by the textbook loops.

Matrices are the last two dimensions; all before them are a batch, done in parallel. (Golub and
Van Loan, Matrix Computations, 3.1 and 4.2.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iree_core.ir import arith, complex, ir, math, scf, tensor
from iree_core.lowering import index, scalars
from iree_core.lowering.element import F32, F64, ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import Values, atomic, for_loop, load, store
from iree_core.lowering.tensors import Tensor, empty, split_dims, tensor_type


def triangular_solve(
    a: Tensor,
    b: Tensor,
    *,
    left: bool = True,
    lower: bool = True,
    transpose: bool = False,
    unit_diagonal: bool = False,
) -> Tensor:
    """Return x with ``op(a) x = b``, or ``x op(a) = b`` if not ``left``.

    Args:
        a: [..., n, n]; only the triangle named by ``lower`` is read.
        b: [..., n, m] ([..., m, n] if not ``left``).
        transpose: op(a) is the transpose of a, else a.
        unit_diagonal: take the diagonal as ones.
    """
    element = b.element
    size, count = (b.dims[-2], b.dims[-1]) if left else (b.dims[-1], b.dims[-2])
    # x op(a) = b is op(a)^T x^T = b^T.
    flip = transpose if left else not transpose
    forward = lower != flip

    def coefficient(matrix: ir.Value, i: Dim, j: Dim) -> ir.Value:
        return load(matrix, j, i) if flip else load(matrix, i, j)

    def at(i: Dim, column: Dim) -> tuple[Dim, Dim]:
        return (i, column) if left else (column, i)

    def solve(matrices: list[ir.Value], into: ir.Value) -> ir.Value:
        matrix, right = matrices

        def row(step: ir.Value, state: list[ir.Value]) -> Values:
            i: Dim = step if forward else index.sub(index.sub(size, 1), step)
            first, last = (0, i) if forward else (index.add(i, 1), size)

            def column(c: ir.Value, state: list[ir.Value]) -> Values:
                (x,) = state

                def subtract(j: ir.Value, rest: list[ir.Value]) -> Values:
                    product = scalars.mul(coefficient(matrix, i, j), load(x, *at(j, c)), element)
                    return [scalars.sub(rest[0], product, element)]

                (rest,) = for_loop(first, last, [load(right, *at(i, c))], subtract)
                if not unit_diagonal:
                    rest = scalars.div(rest, coefficient(matrix, i, i), element)
                return [store(rest, x, *at(i, c))]

            return for_loop(0, count, state, column)

        return for_loop(0, size, [into], row)[0]

    return _per_matrix([a, b], b.dims, element, solve)


def cholesky(a: Tensor, *, lower: bool = True) -> Tensor:
    """Return l with ``l l^H = a`` (or u with ``u^H u = a``); the other triangle is zero.

    Only the named triangle of ``a`` [..., n, n] is read. A matrix that is not positive definite
    gives NaNs.
    """
    element = a.element
    size = a.dims[-1]

    def at(i: Dim, j: Dim) -> tuple[Dim, Dim]:
        return (i, j) if lower else (j, i)

    def factor(matrices: list[ir.Value], into: ir.Value) -> ir.Value:
        (matrix,) = matrices

        def row(i: ir.Value, state: list[ir.Value]) -> Values:
            def entry(j: ir.Value, state: list[ir.Value]) -> Values:
                (x,) = state

                def subtract(k: ir.Value, rest: list[ir.Value]) -> Values:
                    left, right = load(x, *at(i, k)), load(x, *at(j, k))
                    if element.kind == "complex":
                        right = complex.conj(right)
                    product = scalars.mul(left, right, element)
                    return [scalars.sub(rest[0], product, element)]

                (rest,) = for_loop(0, j, [load(matrix, *at(i, j))], subtract)
                diagonal = index.compare(arith.CmpIPredicate.eq, i, j)
                return [store(_pivot(rest, x, at(j, j), diagonal, element), x, *at(i, j))]

            def clear(j: ir.Value, state: list[ir.Value]) -> Values:
                return [store(scalars.constant(0, element), state[0], *at(i, j))]

            state = for_loop(0, index.add(i, 1), state, entry)
            return for_loop(index.add(i, 1), size, state, clear)

        return for_loop(0, size, [into], row)[0]

    return _per_matrix([a], a.dims, element, factor)


def _pivot(
    rest: ir.Value, x: ir.Value, place: tuple[Dim, Dim], diagonal: ir.Value, element: ElementType
) -> ir.Value:
    """Return the square root of ``rest`` on the diagonal, else ``rest`` over the diagonal."""
    op = scf.IfOp(diagonal, [element.type], has_else=True)
    with ir.InsertionPoint(op.then_block):
        scf.YieldOp([_square_root(rest, element)])
    with ir.InsertionPoint(op.else_block):
        scf.YieldOp([scalars.div(rest, load(x, *place), element)])
    return op.results[0]


def _square_root(value: ir.Value, element: ElementType) -> ir.Value:
    if element.kind != "complex":
        return math.sqrt(value)
    # The diagonal of a Hermitian matrix is real.
    half = F32 if element.bits == 64 else F64
    root = math.sqrt(complex.re(value))
    return complex.create_(element.type, root, scalars.constant(0.0, half))


def _per_matrix(
    inputs: Sequence[Tensor],
    dims: Sequence[Dim],
    element: ElementType,
    body: Callable[[list[ir.Value], ir.Value], ir.Value],
) -> Tensor:
    """Apply ``body`` to the matrices in the last two dimensions, the others in parallel."""
    batch = list(dims[:-2])
    return per_matrix(
        inputs,
        batch,
        [(dims[-2:], element)],
        lambda matrices, into: [body(matrices, into[0])],
    )[0]


def per_matrix(
    inputs: Sequence[Tensor],
    batch: Sequence[Dim],
    outputs: Sequence[tuple[Sequence[Dim], ElementType]],
    body: Callable[[list[ir.Value], list[ir.Value]], Values],
) -> list[Tensor]:
    """Apply ``body`` to what the inputs hold for each position of the batch, in parallel.

    Args:
        inputs: tensors whose first dimensions are the batch.
        batch: its sizes.
        outputs: sizes after the batch, and element type, of each result.
        body: gets the parts of the inputs and tensors to write into; returns the latter,
            written.
    """
    whole = [((*batch, *dims), element) for dims, element in outputs]
    if all(0 in dims for dims, _ in whole):
        return [Tensor(empty(dims, element), dims, element) for dims, element in whole]
    count = len(batch)
    full = [n for n, (dims, _) in enumerate(whole) if 0 not in dims]

    def build() -> Values:
        into = [empty(dims, element) for dims, element in whole]
        if not batch:
            return body([i.value for i in inputs], into)
        op = scf.ForallOp([0] * count, list(batch), [1] * count, [into[n] for n in full])
        with ir.InsertionPoint(op.body):
            at = list(op.induction_variables)
            targets = dict(zip(full, op.inner_iter_args, strict=True))
            made = body(
                [_part(i.value, at, i.dims[count:], i.element) for i in inputs],
                [
                    _part(targets.get(n, into[n]), at, dims, element)
                    for n, (dims, element) in enumerate(outputs)
                ],
            )
            done = scf.InParallelOp()
        with ir.InsertionPoint(done.block):
            for n, target in targets.items():
                do, so, dn, sn, ss = _part_slice(at, outputs[n][0])
                tensor.ParallelInsertSliceOp(made[n], target, do, dn, [], so, sn, ss)
        results = dict(zip(full, op.results, strict=True))
        return [results.get(n, value) for n, value in enumerate(into)]

    return atomic(whole, build)


def _part_slice(at: Sequence[ir.Value], sizes: Sequence[Dim]) -> tuple:
    do, so = split_dims([*at, *([0] * len(sizes))])
    dn, sn = split_dims([*([1] * len(at)), *sizes])
    return do, so, dn, sn, [1] * (len(at) + len(sizes))


def _part(
    source: ir.Value, at: Sequence[ir.Value], sizes: Sequence[Dim], element: ElementType
) -> ir.Value:
    if 0 in sizes:
        return empty(sizes, element)
    do, so, dn, sn, ss = _part_slice(at, sizes)
    return tensor.ExtractSliceOp(tensor_type(sizes, element), source, do, dn, [], so, sn, ss).result
