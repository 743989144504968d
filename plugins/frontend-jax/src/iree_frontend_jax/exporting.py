"""``export``: from a function of JAX to a compiled program, ready to be called or saved."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

import iree_core as iree
from iree_core.cache import ModuleCache, content_key, default_folder
from iree_core.errors import InvocationError, UsageError
from iree_core.runtime_api import LoadedModule
from iree_frontend_jax.arrays import from_host, to_host
from iree_frontend_jax.tracing import Traced, trace


class Caller:
    """Passes flat arguments of JAX to a loaded module and nests its results."""

    def __init__(self, traced: Traced, module: LoadedModule) -> None:
        self._main = module.main
        self._convert = [(n, to_host(traced.in_avals[n].dtype)) for n in traced.kept]
        self._wrap = [from_host(aval) for aval in traced.out_avals]
        self._out_tree = traced.out_tree

    def __call__(self, leaves: Sequence[Any]) -> Any:
        """Run the module.

        Raises:
            InvocationError: an argument has another type or shape.
        """
        found = self._main(*(convert(leaves[n]) for n, convert in self._convert))
        values = found if isinstance(found, tuple) else (found,)
        results = [wrap(value) for wrap, value in zip(self._wrap, values, strict=True)]
        return jax.tree_util.tree_unflatten(self._out_tree, results)


class CompiledProgram:
    """A compiled function of JAX; call it with arguments nested as when it was exported.

    Arrays go in and come out without copies where JAX runs on the CPU.

    Attributes:
        compiled: the module file and the report of its compilation.
    """

    def __init__(
        self,
        traced: Traced,
        compiled: iree.CompiledModule,
        device: str | None,
        threads: int | None,
    ) -> None:
        self.compiled = compiled
        self._traced, self._device, self._threads = traced, device, threads
        self._caller: Caller | None = None

    @property
    def in_avals(self) -> tuple[Any, ...]:
        """JAX's description of every argument, flat."""
        return self._traced.in_avals

    @property
    def out_avals(self) -> tuple[Any, ...]:
        """JAX's description of every result, flat."""
        return self._traced.out_avals

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program; returns what the function would.

        Raises:
            InvocationError: the arguments have another structure, type or shape.
        """
        leaves, tree = jax.tree_util.tree_flatten((args, kwargs))
        if tree != self._traced.in_tree:
            raise InvocationError(
                f"The arguments have the structure {tree}, the program was exported with "
                f"{self._traced.in_tree}.",
                hint="Leave out static arguments and keep the nesting.",
            )
        if self._caller is None:
            loaded = iree.load(
                self.compiled,
                device=self._device,
                threads=self._threads,
                host_functions=self._traced.host_functions,
            )
            self._caller = Caller(self._traced, loaded)
        return self._caller(leaves)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the module file, for ``iree run`` and ``iree_core.load``.

        Raises:
            CompileError: the file cannot be written.
        """
        return self.compiled.save(path)

    def __repr__(self) -> str:
        return f"<CompiledProgram {self.compiled.report.summary(name_fallbacks=False)}>"


def export(
    fun: Callable[..., Any],
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Sequence[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    target: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    **options: Any,
) -> Callable[..., CompiledProgram]:
    """Return a function of example arguments that compiles ``fun`` for them.

    Args:
        fun: a function of JAX, jitted or not.
        static_argnums, static_argnames: as for ``jax.jit``.
        output: where to write the module file; None for a temporary one.
        target: what to compile for, as for ``iree_core.compile``; None for this machine.
        device, threads: where calls run, as for ``iree_core.load``.
        options: further options of ``iree_core.compile``.

    The arguments of the function returned are arrays, numbers or ``jax.ShapeDtypeStruct``; the
    latter may have symbolic dimensions (``jax.export.symbolic_shape``), which make one module
    for all sizes. It raises

        UsageError: ``fun`` cannot be called.
        UnsupportedOperatorError: naming every operation that no route supports, where it is.
        IreeError: as ``iree_core.compile``.
        Exception: whatever JAX raises on a function it cannot trace.
    """
    if not callable(fun):
        raise UsageError(
            f"A {type(fun).__name__} cannot be exported.", hint="Give a function of JAX arrays."
        )
    jitted = fun
    if static_argnums is not None or static_argnames is not None or not hasattr(fun, "lower"):
        jitted = jax.jit(fun, static_argnums=static_argnums, static_argnames=static_argnames)

    def compile_for(*args: Any, **kwargs: Any) -> CompiledProgram:
        traced = trace(jitted, args, kwargs)
        compiled = iree.compile(
            traced.program.to_bytes(), frontend="jax", output=output, target=target, **options
        )
        return CompiledProgram(traced, compiled, device, threads)

    return compile_for


def compile_cached(traced: Traced, target: str | None, options: dict[str, Any]) -> Path:
    """Return the module file of a program, from the user's cache if it is there.

    Raises:
        IreeError: as ``iree_core.compile``.
    """
    data = traced.program.to_bytes()
    key = content_key({"jax": hashlib.sha256(data).hexdigest()}, target, options)

    def make(path: Path) -> None:
        iree.compile(data, frontend="jax", output=path, target=target, **options)

    return ModuleCache(default_folder()).get(key, make)[0]
