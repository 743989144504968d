"""Running products, selections and functions that are lowered to the core's programs at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iree_core.ir import arith, ir, math
from iree_core.lowering import scalars, scan, sort, structured
from iree_core.lowering.loops import Values
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.programs.call import Call


def cumprod(call: Call) -> list[Tensor]:
    """``Cumprod(x, axis)``, ``exclusive``, ``reverse``."""
    return [scan.cumulative(call.tensor(0), _axis(call), "mul", **_direction(call))]


def cumulative_logsumexp(call: Call) -> list[Tensor]:
    """``CumulativeLogsumexp(x, axis)``, ``exclusive``, ``reverse``."""
    x = call.tensor(0)
    element = x.element

    def initial() -> Values:
        return [scalars.constant(scalars.lowest(element), element)]

    def combine(totals: Sequence[ir.Value], items: Sequence[ir.Value]) -> list[ir.Value]:
        a, b = totals[0], items[0]
        larger = scalars.maximum(a, b, element)
        apart = math.absf(arith.subf(a, b))
        return [arith.addf(larger, math.log1p(math.exp(arith.negf(apart))))]

    exclusive, reverse = _direction(call).values()
    return scan.scan([x], _axis(call), initial, combine, exclusive=exclusive, reverse=reverse)


def _axis(call: Call) -> int:
    return int(call.known(1, "the axis").reshape(()))


def _direction(call: Call) -> dict[str, bool]:
    return {name: call.option(name, False) for name in ("exclusive", "reverse")}


def top_k(call: Call) -> list[Tensor]:
    """``TopKV2(input, k)``: the largest of each row, and where they were."""
    x = call.tensor(0)
    before = sort.ordering(x.element, descending=True)
    return list(sort.top_k(x, call.size(1), -1, before, call.element(1)))


def approximate_top_k(call: Call) -> list[Tensor]:
    """``ApproxTopK(input)``, ``k``, ``reduction_dimension``, ``is_max_k``: the exact ones."""
    x = call.tensor(0)
    before = sort.ordering(x.element, descending=call.option("is_max_k", True))
    axis = call.option("reduction_dimension", -1)
    return list(sort.top_k(x, call.attributes["k"], axis, before, call.element(1)))


def population_count(call: Call) -> list[Tensor]:
    """``PopulationCount(x)``."""
    x, element = call.tensor(0), call.element(0)
    return [
        structured.elementwise(
            [x], element, lambda v: scalars.convert(math.ctpop(v), x.element, element)
        )
    ]


def of_any_size(call: Call) -> list[Tensor]:
    """What the exporter puts around a list that grows: the list."""
    return [call.tensor(0)]


def _by(name: str) -> Callable[[Call], list[Tensor]]:
    """Return the rule for an operation that CHLO has, of operands that broadcast."""

    def apply(call: Call) -> list[Tensor]:
        operands = [call.tensor(n) for n in range(len(call.values))]
        made = ir.Operation.create(
            name, results=[call.types[0]], operands=[operand.value for operand in operands]
        )
        return [Tensor.of(made.result, call.element(0))]

    return apply


RULES: dict[str, Callable[[Call], list[Tensor]]] = {
    "ApproxTopK": approximate_top_k,
    "BesselI1e": _by("chlo.bessel_i1e"),
    "Cumprod": cumprod,
    "CumulativeLogsumexp": cumulative_logsumexp,
    "Erfinv": _by("chlo.erf_inv"),
    "OfAnySize": of_any_size,
    "PopulationCount": population_count,
    "TopKV2": top_k,
    "TruncateMod": _by("chlo.broadcast_remainder"),
}
