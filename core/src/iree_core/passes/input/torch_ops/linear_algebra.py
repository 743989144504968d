"""Factorisations and triangular systems."""

from __future__ import annotations

from iree_core.lowering import solve
from iree_core.lowering.element import I32
from iree_core.lowering.tensors import Tensor, fill
from iree_core.passes.input.torch_ops.registry import Node, register


@register("aten.linalg_cholesky_ex")
def cholesky(node: Node) -> list[Tensor]:
    """``linalg_cholesky_ex(a, upper, check_errors)``; the second result says that all is well."""
    source = node.tensor(0)
    factor = solve.cholesky(source, lower=not node.integer(1))
    return [factor, fill(source.dims[:-2], I32, 0)]


@register("aten.cholesky")
def plain_cholesky(node: Node) -> Tensor:
    """``cholesky(a, upper)``."""
    return solve.cholesky(node.tensor(0), lower=not node.integer(1))


@register("aten.linalg_solve_triangular")
def solve_triangular(node: Node) -> Tensor:
    """``linalg_solve_triangular(a, b, upper, left, unitriangular)`` for equal batches."""
    a, b = node.tensor(0), node.tensor(1)
    upper, left, unit = (bool(node.integer(n)) for n in (2, 3, 4))
    a, b = _same_batch(a, b)
    return solve.triangular_solve(a, b, left=left, lower=not upper, unit_diagonal=unit)


def _same_batch(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    from iree_core.lowering.structured import broadcast_dims, broadcast_to

    batch = broadcast_dims([a.dims[:-2], b.dims[:-2]])
    return broadcast_to(a, [*batch, *a.dims[-2:]]), broadcast_to(b, [*batch, *b.dims[-2:]])
