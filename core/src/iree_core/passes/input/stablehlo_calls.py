"""Library calls inside StableHLO (``custom_call``): which are known, and how they are lowered.

JAX calls LAPACK on CPU (``jaxlib/cpu/lapack_kernels.h`` lists the attributes) and a few
functions of XLA; each becomes a program of our own. Markers of placement are handled by
:mod:`iree_core.passes.input.stablehlo_simplify`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from iree_core.ir import arith, complex, ir
from iree_core.lowering import (
    eigen,
    eigenvectors,
    factor,
    index,
    scalars,
    schur,
    solve,
    sort,
    tridiagonal,
)
from iree_core.lowering.element import I32
from iree_core.lowering.imperative import real_of
from iree_core.lowering.loops import load
from iree_core.lowering.real_schur import real_schur
from iree_core.lowering.structured import computed, elementwise
from iree_core.lowering.tensors import Tensor, extract_slice, fill
from iree_core.passes.input import stablehlo_dynamic
from iree_core.passes.input.stablehlo_regions import as_tensor, element_of, inline_region
from iree_core.passes.input.support import create

# Custom calls that only say how values lie on devices.
MARKERS = frozenset({
    "Sharding", "annotate_device_placement", "LayoutConstraint", "SPMDFullToShardShape",
    "SPMDShardToFullShape",
})  # fmt: skip
SHAPE_ASSERTION = "shape_assertion"
# Calls the function of Python that its configuration names as ``callee``.
CALL_HOST = "iree.call_host"

_LAPACK = re.compile(r"lapack_[sdcz](\w+)_ffi")


def call_target(op: ir.Operation) -> str:
    """Return the name of what ``op`` calls."""
    return ir.StringAttr(op.attributes["call_target_name"]).value


def is_known_call(op: ir.Operation) -> bool:
    """Tell whether a ``stablehlo.custom_call`` is a marker or has a lowering."""
    target = call_target(op)
    return target in MARKERS or target == SHAPE_ASSERTION or _lowering(target) is not None


def lower_call(op: ir.Operation) -> list[Tensor] | None:
    """Emit what ``op`` computes; None where nothing is known of it."""
    lowering = _lowering(call_target(op))
    return None if lowering is None else lowering(op)


def _lowering(target: str) -> Callable[[ir.Operation], list[Tensor] | None] | None:
    match = _LAPACK.fullmatch(target)
    if match is None:
        return _CALLS.get(target)
    return _LAPACK_CALLS.get(match.group(1))


def _code(op: ir.Operation, name: str) -> str:
    """Return an attribute of the call that is a letter (``uplo``, ``side``, ``mode``)."""
    config = ir.DictAttr(op.attributes["mhlo.backend_config"])
    return chr(ir.IntegerAttr(config[name]).value)


def _potrf(op: ir.Operation) -> list[Tensor]:
    (a,) = _operands(op)
    lower = solve.cholesky(a, lower=_code(op, "uplo") == "L")
    return [lower, _not_positive(lower)]


def _not_positive(matrix: Tensor) -> Tensor:
    """Return 0, or 1 where a factorisation met a pivot that is not positive.

    Everything after such a pivot is NaN, the last one included.
    """
    size, element = matrix.dims[-1], matrix.element
    if size == 0:
        return fill(matrix.dims[:-2], I32, 0)

    def body(*at: ir.Value) -> ir.Value:
        one, zero = (scalars.constant(n, I32) for n in (1, 0))
        last = load(matrix.value, *at, index.sub(size, 1), index.sub(size, 1))
        if element.kind == "complex":
            last = complex.re(last)
        real = real_of(element)
        positive = scalars.compare("gt", last, scalars.constant(0, real), real)
        return arith.select(positive, zero, one)

    return computed(matrix.dims[:-2], [I32], body)[0]


def _trsm(op: ir.Operation) -> list[Tensor]:
    a, b = _operands(op)
    transpose = _code(op, "trans_x")
    if transpose == "C":
        a = conjugate(a)
    return [
        solve.triangular_solve(
            a,
            b,
            left=_code(op, "side") == "L",
            lower=_code(op, "uplo") == "L",
            transpose=transpose != "N",
            unit_diagonal=_code(op, "diag") == "U",
        )
    ]


def conjugate(a: Tensor) -> Tensor:
    """Return the complex conjugate; a real tensor itself."""
    if a.element.kind != "complex":
        return a
    return elementwise([a], a.element, complex.conj)


def _getrf(op: ir.Operation) -> list[Tensor]:
    return factor.lu(*_operands(op))


def _geqrf(op: ir.Operation) -> list[Tensor]:
    return factor.qr(*_operands(op))


def _orgqr(op: ir.Operation) -> list[Tensor]:
    return [factor.householder_product(*_operands(op))]


def _ormqr(op: ir.Operation) -> list[Tensor]:
    left, adjoint = (ir.BoolAttr(_config(op)[name]).value for name in ("left", "transpose"))
    return [factor.apply_q(*_operands(op), left=left, adjoint=adjoint)]


def _gehrd(op: ir.Operation) -> list[Tensor]:
    (a,) = _operands(op)
    return [*factor.hessenberg(a), fill(a.dims[:-2], I32, 0)]


def _sytrd(op: ir.Operation) -> list[Tensor]:
    (a,) = _operands(op)
    reduced = tridiagonal.reduce_hermitian(a, lower=_code(op, "uplo") == "L")
    return [*reduced, fill(a.dims[:-2], I32, 0)]


def _gtsv(op: ir.Operation) -> list[Tensor]:
    return factor.tridiagonal_solve(*_operands(op))


def _syevd(op: ir.Operation) -> list[Tensor]:
    return eigen.eigh(*_operands(op), lower=_code(op, "uplo") == "L")


def _gesdd(op: ir.Operation) -> list[Tensor]:
    (a,) = _operands(op)
    mode = _code(op, "mode")
    # Where no vectors are asked for, only the types say how many there would be.
    left_type, right_type = (ir.RankedTensorType(op.results[n].type).shape for n in (2, 3))
    full = mode == "A" or (
        mode == "N"
        and (left_type[-1], right_type[-2]) == tuple(ir.RankedTensorType(a.type).shape[-2:])
    )
    s, left, right, info = eigen.svd(a, full=full)
    return [a, s, left, right, info]


def _geev(op: ir.Operation) -> list[Tensor]:
    (a,) = _operands(op)
    values, left, right, info = eigenvectors.eig(
        a, left=_code(op, "compute_left") == "V", right=_code(op, "compute_right") == "V"
    )
    if a.element.kind == "complex":
        return [values, left, right, info]
    real = real_of(values.element)
    parts = [elementwise([values], real, part) for part in (complex.re, complex.im)]
    return [*parts, left, right, info]


def _gees(op: ir.Operation) -> list[Tensor]:
    (a,) = _operands(op)
    *results, info = schur.schur(a) if a.element.kind == "complex" else real_schur(a)
    return [*results, fill(a.dims[:-2], I32, 0), info]


def _geqp3(op: ir.Operation) -> list[Tensor]:
    return factor.pivoted_qr(*_operands(op))


_LAPACK_CALLS: dict[str, Callable[[ir.Operation], list[Tensor]]] = {
    "gees": _gees,
    "geev": _geev,
    "gehrd": _gehrd,
    "geqp3": _geqp3,
    "geqrf": _geqrf,
    "gesdd": _gesdd,
    "gesvd": _gesdd,
    "getrf": _getrf,
    "gtsv": _gtsv,
    "heevd": _syevd,
    "orgqr": _orgqr,
    "ormqr": _ormqr,
    "potrf": _potrf,
    "hetrd": _sytrd,
    "syevd": _syevd,
    "sytrd": _sytrd,
    "trsm": _trsm,
    "ungqr": _orgqr,
    "unmqr": _ormqr,
}


def _approx_top_k(op: ir.Operation) -> list[Tensor]:
    """Return the exact first elements, the best an approximation may give."""
    operands = _operands(op)
    axis = ir.IntegerAttr(_config(op)["reduction_dim"]).value
    count = ir.RankedTensorType(op.results[0].type).get_dim_size(axis)
    comparator = stablehlo_dynamic.called_function(op).regions[0].blocks[0]

    def before(left: Sequence[ir.Value], right: Sequence[ir.Value]) -> ir.Value:
        pairs = [v for pair in zip(left, right, strict=True) for v in pair]
        return inline_region(comparator, pairs)[0]

    results = sort.sort(operands[: len(op.results)], axis, before)
    dims = [count if d == axis else n for d, n in enumerate(operands[0].dims)]
    start, step = [0] * len(dims), [1] * len(dims)
    return [extract_slice(result, start, dims, step) for result in results]


def _call_host(op: ir.Operation) -> list[Tensor]:
    """Call a function of Python, whose name is ``callee`` of the configuration."""
    operands = _operands(op)
    kinds = [ir.RankedTensorType(result.type) for result in op.results]
    elements = [element_of(result) for result in op.results]
    types = [
        ir.RankedTensorType.get(kind.shape, element.type)
        for kind, element in zip(kinds, elements, strict=True)
    ]
    names = [*(operand.element.name for operand in operands), *(e.name for e in elements)]
    values = [operand.value for operand in operands]
    function = create(
        "flow.host_function",
        [ir.FunctionType.get([value.type for value in values], types)],
        [],
        {
            "callee": _config(op)["callee"],
            "dtypes": ir.ArrayAttr.get([ir.StringAttr.get(name) for name in names]),
        },
    )
    call = create("func.call_indirect", types, [function.result, *values])
    return [Tensor.of(*pair) for pair in zip(call.results, elements, strict=True)]


_CALLS: dict[str, Callable[[ir.Operation], list[Tensor] | None]] = {
    "ApproxTopK": _approx_top_k,
    CALL_HOST: _call_host,
    "stablehlo.dynamic_reduce_window": stablehlo_dynamic.dynamic_reduce_window,
    "stablehlo.dynamic_top_k": stablehlo_dynamic.dynamic_top_k,
}


def _config(op: ir.Operation) -> ir.DictAttr:
    return ir.DictAttr(op.attributes["mhlo.backend_config"])


def _operands(op: ir.Operation) -> list[Tensor]:
    """Return the arrays a library call gets, without the sizes of results that follow them."""
    count = len(op.operands)
    if "indices_of_shape_operands" in op.attributes:
        attribute = ir.DenseIntElementsAttr(op.attributes["indices_of_shape_operands"])
        count -= len(list(attribute))
    return [as_tensor(value) for value in list(op.operands)[:count]]
