"""Finds what no lowering supports before anything is compiled, all of it at once."""

from __future__ import annotations

from iree_core.errors import UnsupportedOperatorError
from iree_core.ir import ir
from iree_core.passes.input.stablehlo_calls import is_known_call
from iree_core.passes.input.stablehlo_simplify import is_alone
from iree_frontend_jax.callbacks import is_callback
from iree_frontend_jax.locations import describe

_COLLECTIVES = frozenset(
    f"stablehlo.{name}"
    for name in (
        "all_gather", "all_reduce", "all_to_all", "collective_broadcast", "collective_permute",
        "cross-replica-sum", "partition_id", "reduce_scatter", "replica_id",
    )
)  # fmt: skip
_CALL_BACK = (
    "Functions of Python are not part of a file: take pure_callback, io_callback and debug.print "
    "out, or run the function with iree_frontend_jax.jit."
)
_CHANNELS = frozenset(("stablehlo.infeed", "stablehlo.outfeed", "stablehlo.send", "stablehlo.recv"))


def check(module: ir.Module, *, callbacks: bool = False) -> None:
    """Look at every operation of ``module``.

    Args:
        module: StableHLO.
        callbacks: the functions of Python that it calls back are known.

    Raises:
        UnsupportedOperatorError: naming for each offender the operation and the user's line.
    """
    problems: dict[str, None] = {}
    hints: dict[str, None] = {}

    def visit(op: ir.OpView) -> ir.WalkResult:
        reason = _reason(op.operation, hints, callbacks)
        if reason is not None:
            problems[f"{describe(op.operation)}: {reason}"] = None
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    if problems:
        count = len(problems)
        raise UnsupportedOperatorError(
            f"{count} operation{'s' if count > 1 else ''} of the program cannot be compiled. "
            + " ".join(f"[{n}] {line}." for n, line in enumerate(problems, 1)),
            hint=" ".join(hints) or None,
        )


def _reason(op: ir.Operation, hints: dict[str, None], callbacks: bool) -> str | None:
    if op.name == "stablehlo.custom_call":
        target = ir.StringAttr(op.attributes["call_target_name"]).value
        if is_known_call(op):
            return None
        if is_callback(op):
            if callbacks:
                return None
            hints[_CALL_BACK] = None
            return "it calls back into Python"
        hints["Write that part with jax.numpy, or export it for another platform."] = None
        return f"there is no lowering of the library call {target!r}"
    if op.name in _COLLECTIVES and not is_alone(op):
        hints["Export the function for one device (without pmap, shard_map, axis names)."] = None
        return "it talks to other devices"
    if op.name in _CHANNELS:
        hints["Pass the data as arguments and results."] = None
        return "it talks to the host while it runs"
    return None
