"""From a function of JAX and arguments to an exported program. JAX runs here, MLIR of ours not."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax import export as jax_export

from iree_core.dtypes import from_numpy
from iree_frontend_jax import partitioner
from iree_frontend_jax.arrays import is_key
from iree_frontend_jax.program import Program, Value

_PLATFORM = "cpu"
_CALL = re.compile(r'custom_call @"?([\w.$:-]+)|call_target_name = "([^"]+)"')


@dataclass(frozen=True)
class Traced:
    """An exported function and how its arguments and results are nested.

    Attributes:
        program: what is compiled; it takes the arguments in ``kept``.
        in_tree, out_tree: of (args, kwargs) without static arguments, and of the result.
        in_avals, out_avals: JAX's description of every leaf.
        kept: positions of the leaves that are passed.
        callbacks: the functions of Python that the program calls back, in order.
    """

    program: Program
    in_tree: Any
    out_tree: Any
    in_avals: tuple[Any, ...]
    out_avals: tuple[Any, ...]
    kept: tuple[int, ...]
    callbacks: tuple[Callable[..., Any], ...] = ()

    @property
    def host_functions(self) -> dict[str, Callable[..., Any]]:
        """What the compiled module calls, by name."""
        return {f"callback_{n}": function for n, function in enumerate(self.callbacks)}


def trace(jitted: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Traced:
    """Export what ``jax.jit`` returned, for arguments or descriptions of them.

    Raises:
        Exception: whatever JAX raises on a function it cannot trace.
    """
    try:
        exported = _export(jitted, args, kwargs)
    except NotImplementedError as error:
        if "callback" not in str(error):
            raise
        return _with_callbacks(jitted, args, kwargs)
    artifact = exported.mlir_module_serialized
    if partitioner.has_annotations(artifact):
        artifact = partitioner.remove(artifact)
    inputs = _values(exported.in_avals, _names(exported.in_tree, _argument_name))
    kept = tuple(exported.module_kept_var_idx)
    program = Program(
        name=exported.fun_name,
        artifact=artifact,
        # Arguments that are not needed are not passed to the module.
        inputs=tuple(inputs[n] for n in kept),
        outputs=_values(exported.out_avals, _names(exported.out_tree, _result_name)),
        kept=tuple(range(len(kept))),
        platforms=tuple(exported.platforms),
    )
    return Traced(
        program,
        exported.in_tree,
        exported.out_tree,
        tuple(exported.in_avals),
        tuple(exported.out_avals),
        kept,
    )


def _export(
    jitted: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> jax_export.Exported:
    """Export for the CPU; the compiler says which library calls it has no lowering for."""
    try:
        return jax_export.export(jitted, platforms=[_PLATFORM])(*args, **kwargs)
    except ValueError as error:
        targets = {a or b for a, b in _CALL.findall(str(error))}
        if "custom call" not in str(error) or not targets:
            raise
    allowed = [jax_export.DisabledSafetyCheck.custom_call(name) for name in sorted(targets)]
    return jax_export.export(jitted, platforms=[_PLATFORM], disabled_checks=allowed)(
        *args, **kwargs
    )


def _with_callbacks(
    jitted: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> Traced:
    """Return a program that calls back into Python, which JAX does not export."""
    lowered = jitted.lower(*args, **kwargs)  # type: ignore[attr-defined]
    # JAX tells nobody else which functions it numbered, and which arguments it kept.
    details = lowered._lowering.compile_args
    functions = tuple(details["host_callbacks"])
    in_avals = tuple(jax.tree_util.tree_leaves(lowered.in_avals))
    kept = tuple(sorted(details["kept_var_idx"]))
    inputs = _values(in_avals, _names(lowered.in_tree, _argument_name))
    out_avals = tuple(details["global_out_avals"])
    program = Program(
        name=getattr(jitted, "__name__", "function"),
        artifact=partitioner.serialize(lowered.compiler_ir("stablehlo")),
        inputs=tuple(inputs[n] for n in kept),
        outputs=_values(out_avals, _names(lowered.out_tree, _result_name)),
        kept=tuple(range(len(kept))),
        callbacks=len(functions),
    )
    return Traced(program, lowered.in_tree, lowered.out_tree, in_avals, out_avals, kept, functions)


def _names(tree: Any, name: Callable[[tuple], str]) -> list[str]:
    numbered = jax.tree_util.tree_unflatten(tree, list(range(tree.num_leaves)))
    return [name(path) for path, _ in jax.tree_util.tree_leaves_with_path(numbered)]


def _argument_name(path: tuple) -> str:
    kind, argument, *rest = path
    if kind.idx == 0:
        return f"arg{argument.idx}{jax.tree_util.keystr(tuple(rest))}"
    return f"{argument.key}{jax.tree_util.keystr(tuple(rest))}"


def _result_name(path: tuple) -> str:
    return f"result{jax.tree_util.keystr(path)}"


def _values(avals: Sequence[Any], names: Sequence[str]) -> tuple[Value, ...]:
    return tuple(_value(aval, name) for aval, name in zip(avals, names, strict=True))


def _value(aval: Any, name: str) -> Value:
    dims = tuple(str(dim).replace(" ", "") for dim in aval.shape)
    if is_key(aval.dtype):
        words = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct((), aval.dtype)).shape
        return Value(name, dims + tuple(map(str, words)), "ui32")
    if aval.dtype == jax.dtypes.float0:
        return Value(name, dims, "i1")
    return Value(name, dims, from_numpy(aval.dtype) or str(aval.dtype))
