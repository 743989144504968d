"""``export``: from a module, function or exported program to a compiled one, ready to be called."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

import iree_core as iree
from iree_core.errors import InvocationError, UsageError
from iree_core.ir import ir, make_context
from iree_core.runtime_api import LoadedModule
from iree_frontend_torch import bundle, importer
from iree_frontend_torch.program import Program, decompose, from_decomposed
from iree_frontend_torch.tensors import from_result, to_numpy
from iree_frontend_torch.traceable import trace


@cache
def context() -> ir.Context:
    """Return the context that programs of this process are imported in."""
    return make_context()


def compile_program(program: Program, **options: Any) -> iree.CompiledModule:
    """Compile a program in the compiler's process; ``options`` are those of ``iree.compile``.

    Raises:
        IreeError: as ``iree.compile``.
    """
    return compile_module(*importer.import_program(program, context()), **options)


def compile_module(
    module: ir.Module, weights: importer.Weights, **options: Any
) -> iree.CompiledModule:
    """Compile what ``import_program`` returned, like :func:`compile_program`."""
    with bundle.written(module, weights.arrays) as path:
        return iree.compile(path, frontend="torch", **options)


class CompiledProgram:
    """A compiled PyTorch program; call it as the module it was made from.

    Tensors go in and come out without copies. Buffers that ``forward`` changes are the
    program's own state, which survives calls; arguments that it changes are changed.

    Attributes:
        compiled: the module file and the report of its compilation.
    """

    def __init__(
        self,
        compiled: iree.CompiledModule,
        calling: Calling,
        device: str | None,
        threads: int | None,
    ) -> None:
        self.compiled = compiled
        self._calling, self._device, self._threads = calling, device, threads
        self._loaded: LoadedModule | None = None

    @property
    def loaded(self) -> LoadedModule:
        """The module on its device, loaded when it is first used."""
        if self._loaded is None:
            self._loaded = iree.load(self.compiled, device=self._device, threads=self._threads)
        return self._loaded

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program on tensors; returns what the module would.

        Raises:
            InvocationError: the arguments have another structure, type or shape.
        """
        return self._calling.call(self.loaded.main, args, kwargs)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the module file, for ``iree run`` and ``iree_core.load``.

        Raises:
            CompileError: the file cannot be written.
        """
        return self.compiled.save(path)

    def reset(self) -> None:
        """Set buffers to what they were when the program was exported."""
        self.loaded.reset()

    def __repr__(self) -> str:
        return f"<CompiledProgram {self.compiled.report.summary(name_fallbacks=False)}>"


class Calling:
    """The structure of arguments and results of an exported program."""

    def __init__(self, program: ExportedProgram) -> None:
        self._in_spec: pytree.TreeSpec = program.call_spec.in_spec
        self._out_spec: pytree.TreeSpec = program.call_spec.out_spec
        signature = program.graph_signature
        user = [s for s in signature.input_specs if s.kind == InputKind.USER_INPUT]
        self._tensors = [n for n, s in enumerate(user) if not hasattr(s.arg, "value")]
        places = {s.arg.name: n for n, s in enumerate(user)}
        self._results: list[tuple[str, Any]] = []
        for spec in signature.output_specs:
            if spec.kind == OutputKind.USER_INPUT_MUTATION:
                self._results.append(("mutated", places[spec.target]))
            elif spec.kind == OutputKind.USER_OUTPUT:
                constant = hasattr(spec.arg, "value")
                self._results.append(
                    ("constant", spec.arg.value) if constant else (type(spec.arg).__name__, None)
                )

    def call(self, function: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        leaves, spec = pytree.tree_flatten((args, self._ordered(kwargs)))
        if spec != self._in_spec:
            raise InvocationError(
                f"The arguments have the structure {spec}, the program was exported with "
                f"{self._in_spec}.",
                hint="Pass the same nesting of tuples, lists and dictionaries.",
            )
        found = function(*(_argument(leaves[n]) for n in self._tensors))
        values = iter(found if isinstance(found, tuple) else (found,))
        results = []
        for kind, detail in self._results:
            if kind == "constant":
                results.append(detail)
                continue
            result = from_result(next(values))
            if kind == "mutated":
                if leaves[detail].shape != result.shape:  # an ``out`` argument
                    leaves[detail].resize_(result.shape)
                leaves[detail].copy_(result)
            else:
                results.append(result if kind == "TensorArgument" else result.item())
        return pytree.tree_unflatten(results, self._out_spec)

    def _ordered(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        expected = self._in_spec.children()[1].context
        if list(kwargs) == list(expected or ()) or set(kwargs) != set(expected or ()):
            return kwargs
        return {name: kwargs[name] for name in expected}


def _argument(value: Any) -> Any:
    return to_numpy(value) if isinstance(value, torch.Tensor) else value


def export(
    model: torch.nn.Module | ExportedProgram | Callable[..., Any],
    *args: Any,
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    output: str | os.PathLike[str] | None = None,
    target: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    strict: bool = False,
    **options: Any,
) -> CompiledProgram:
    """Compile a PyTorch program ahead of time.

    Args:
        model: a module in the mode (``eval`` or ``train``) it is to run in, a function of
            tensors, or what ``torch.export.export`` returned.
        args, kwargs: example arguments; none with an exported program.
        dynamic_shapes: as for ``torch.export.export``; the names of ``torch.export.Dim`` become
            those of the signature.
        output: where to write the module file; None for a temporary one.
        target: what to compile for, as for ``iree_core.compile``; None for this machine.
        device, threads: where calls run, as for ``iree_core.load``.
        strict: trace with TorchDynamo's analysis of the bytecode instead of by running the
            model once.
        options: further options of ``iree_core.compile``.

    Raises:
        UsageError: arguments with an exported program, or something that is none of these.
        UnsupportedOperatorError: naming every operator that no route supports, where it is.
        IreeError: as ``iree_core.compile``.
        Exception: whatever ``torch.export.export`` raises on a program it cannot trace.
    """
    if isinstance(model, ExportedProgram):
        if args or kwargs:
            raise UsageError("An exported program has its example arguments already.")
        exported = model
    else:
        exported = trace(
            _as_module(model), args, dict(kwargs or {}),
            dynamic_shapes=dynamic_shapes, strict=strict,
        )  # fmt: skip
    decomposed = decompose(exported)
    calling = Calling(decomposed)
    program = from_decomposed(decomposed)
    compiled = compile_program(program, output=output, target=target, **options)
    return CompiledProgram(compiled, calling, device, threads)


def _as_module(model: Any) -> torch.nn.Module:
    if isinstance(model, torch.nn.Module):
        return model
    if not callable(model):
        raise UsageError(
            f"A {type(model).__name__} cannot be exported.",
            hint="Give a torch.nn.Module, a function of tensors or an ExportedProgram.",
        )

    class Function(torch.nn.Module):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return model(*args, **kwargs)

    return Function()
