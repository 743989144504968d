"""``jit``: a look-alike of ``jax.jit`` that runs functions compiled by iree."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import numpy as np

import iree_core as iree
from iree_core.errors import UsageError
from iree_frontend_jax.exporting import Caller, compile_cached
from iree_frontend_jax.tracing import trace

Numbers = int | Sequence[int] | None
Names = str | Sequence[str] | None


def jit(
    fun: Callable[..., Any] | None = None,
    *,
    static_argnums: Numbers = None,
    static_argnames: Names = None,
    donate_argnums: Numbers = None,
    donate_argnames: Names = None,
    target: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    **options: Any,
) -> Any:
    """Return ``fun`` compiled for each signature it is called with; also a decorator.

    Args:
        fun: a function of arrays in nested containers (pytrees).
        static_argnums, static_argnames: arguments that are part of the signature, as for
            ``jax.jit``.
        donate_argnums, donate_argnames: arguments that are deleted by the call.
        target: what to compile for, as for ``iree_core.compile``; None for this machine.
        device, threads: where calls run, as for ``iree_core.load``.
        options: further options of ``iree_core.compile``.

    Calls take and return what ``jax.jit(fun)`` would, dtypes and weak types included. Inside a
    transformation of JAX (``grad``, ``vmap``, ``jax.jit``) the function is traced by JAX.

    Raises:
        UsageError: ``fun`` cannot be called, or an option does not exist.
    """
    if fun is None:
        return functools.partial(
            jit,
            static_argnums=static_argnums,
            static_argnames=static_argnames,
            donate_argnums=donate_argnums,
            donate_argnames=donate_argnames,
            target=target,
            device=device,
            threads=threads,
            **options,
        )
    if not callable(fun):
        raise UsageError(f"A {type(fun).__name__} cannot be compiled.", hint="Give a function.")
    unknown = sorted(set(options) - set(inspect.signature(iree.compile).parameters))
    if unknown:
        raise UsageError(
            f"jit has no option {', '.join(unknown)}.",
            hint="It takes static and donated arguments as jax.jit does, target, device, threads, "
            "and the options of iree_core.compile.",
        )
    static = _Selection(fun, static_argnums, static_argnames)
    donated = _Selection(fun, donate_argnums, donate_argnames)
    return JittedFunction(fun, static, donated, target, device, threads, options)


class _Selection:
    """Arguments chosen by number and name; a positional parameter is found by both."""

    def __init__(self, fun: Callable[..., Any], numbers: Numbers, names: Names) -> None:
        positional, count = _positional(fun)
        chosen = (numbers,) if isinstance(numbers, int) else tuple(numbers or ())
        self.numbers = {n % count if n < 0 and count else n for n in chosen}
        self.names = {names} if isinstance(names, str) else set(names or ())
        self.names |= {positional[n] for n in self.numbers if n < len(positional)}
        self.numbers |= {n for n, name in enumerate(positional) if name in self.names}

    def __bool__(self) -> bool:
        return bool(self.numbers or self.names)

    def split(self, args: tuple, kwargs: dict[str, Any]) -> tuple[list, dict, list, dict]:
        """Return chosen and other positional arguments, chosen and other named ones."""
        return (
            [(n, a) for n, a in enumerate(args) if n in self.numbers],
            {name: a for name, a in kwargs.items() if name in self.names},
            [a for n, a in enumerate(args) if n not in self.numbers],
            {name: a for name, a in kwargs.items() if name not in self.names},
        )


def _positional(fun: Callable[..., Any]) -> tuple[list[str], int]:
    try:
        parameters = list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):
        return [], 0
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return names, len(names)


class JittedFunction:
    """A function compiled by iree when it is called; :func:`jit` makes these."""

    def __init__(
        self,
        fun: Callable[..., Any],
        static: _Selection,
        donated: _Selection,
        target: str | None,
        device: str | None,
        threads: int | None,
        options: dict[str, Any],
    ) -> None:
        self._static, self._donated = static, donated
        self._target, self._device, self._threads = target, device, threads
        self._options = options
        self._callers: dict[Hashable, Caller] = {}
        self._jitted = jax.jit(
            fun,
            static_argnums=tuple(sorted(static.numbers)),
            static_argnames=tuple(sorted(static.names)),
        )
        # What a transformation of another such function carries is that function's own.
        functools.update_wrapper(self, fun, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function, compiling it first where the signature was not met before.

        Raises:
            UsageError: a static argument is not hashable.
            UnsupportedOperatorError: naming every operation that no route supports.
            IreeError: as ``iree_core.compile``.
            Exception: whatever JAX raises on a function it cannot trace.
        """
        if self._static:
            chosen, named, rest, others = self._static.split(args, kwargs)
            leaves, tree = jax.tree_util.tree_flatten((tuple(rest), others))
            fixed: Hashable = _hashable(chosen, named)
        else:
            leaves, tree = jax.tree_util.tree_flatten((args, kwargs))
            fixed = ()
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return self._jitted(*args, **kwargs)
        key = (tree, fixed, tuple(map(_describe, leaves)), _settings())
        caller = self._callers.get(key)
        if caller is None:
            caller = self._callers[key] = self._compile(args, kwargs)
        result = caller(leaves)
        if self._donated:
            self._delete_donated(args, kwargs, result)
        return result

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """Return JAX's own lowering, as ``jax.jit(f).lower`` does."""
        return self._jitted.lower(*args, **kwargs)

    def trace(self, *args: Any, **kwargs: Any) -> Any:
        """Return JAX's own trace, as ``jax.jit(f).trace`` does."""
        return self._jitted.trace(*args, **kwargs)

    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """Return the types of the results without running anything."""
        return self._jitted.eval_shape(*args, **kwargs)

    def clear_cache(self) -> None:
        """Forget all compiled signatures of this function."""
        self._callers.clear()
        self._jitted.clear_cache()

    def _compile(self, args: tuple, kwargs: dict[str, Any]) -> Caller:
        traced = trace(self._jitted, args, kwargs)
        path = compile_cached(traced, self._target, self._options)
        loaded = iree.load(
            path,
            device=self._device,
            threads=self._threads,
            host_functions=traced.host_functions,
        )
        return Caller(traced, loaded)

    def _delete_donated(self, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
        given, named, _, _ = self._donated.split(args, kwargs)
        kept = {id(leaf) for leaf in jax.tree_util.tree_leaves(result)}
        for leaf in jax.tree_util.tree_leaves(([value for _, value in given], named)):
            if isinstance(leaf, jax.Array) and id(leaf) not in kept:
                leaf.delete()

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __repr__(self) -> str:
        return f"<iree_frontend_jax.jit of {self.__wrapped__!r}>"  # type: ignore[attr-defined]


def _hashable(chosen: list[tuple[int, Any]], named: dict[str, Any]) -> Hashable:
    """Return static arguments as a key.

    Raises:
        UsageError: naming one that is not hashable.
    """
    for place, value in [*chosen, *named.items()]:
        try:
            hash(value)
        except TypeError as error:
            raise UsageError(
                f"The static argument {place} is not hashable: {error}.",
                hint="Give a tuple for a list, or pass it as an argument that is not static.",
            ) from None
    return tuple(chosen), tuple(sorted(named.items()))


def _settings() -> Hashable:
    """Return the settings of JAX that change what a function computes."""
    config = jax.config
    return (
        config.jax_enable_x64,
        config.jax_numpy_dtype_promotion,
        config.jax_default_prng_impl,
        config.jax_threefry_partitionable,
    )


def _describe(leaf: Any) -> Hashable:
    """Return the part of an argument that decides which program runs."""
    if isinstance(leaf, jax.Array):
        return leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)
    if isinstance(leaf, np.ndarray | np.generic):
        return leaf.shape, leaf.dtype, False
    return (type(leaf),)
