"""``export``: from an object of the user's program to a compiled model that is called like it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import iree_core as iree
from iree_core.errors import ImportModelError, InvocationError, IreeError, UsageError
from iree_core.runtime_api import LoadedModule

try:
    import tensorflow as tf
except ImportError as error:
    raise UsageError(
        f"Exporting takes TensorFlow, which cannot be imported: {error}.",
        hint="`pip install 'iree-frontend-tf[tensorflow]'`.",
    ) from error

from iree_frontend_tf.programs.process import ERRORS, program_folder
from iree_frontend_tf.programs.worker.errors import ExportError
from iree_frontend_tf.programs.worker.program import write_program
from iree_frontend_tf.programs.worker.signature import user_inputs
from iree_frontend_tf.programs.worker.sources import Function, from_object, load


class CompiledFunction:
    """One function of a compiled model; takes and returns what the traced one does."""

    def __init__(self, function: Function, invoke: Callable[..., Any]) -> None:
        concrete = function.concrete
        self._name, self._invoke = function.name, invoke
        self._signature = concrete.structured_input_signature
        self._parameters = list(concrete.function_type.parameters)
        self._dtypes = [tensor.dtype for tensor in user_inputs(concrete)]
        self._outputs = concrete.structured_outputs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function; numpy arrays and tensors go in, tensors come out.

        Raises:
            InvocationError: the arguments have another structure, type or shape.
        """
        found = self._invoke(*self._flat(args, kwargs))
        values = () if found is None else found if isinstance(found, tuple) else (found,)
        tensors = iter([tf.convert_to_tensor(value) for value in values])
        return tf.nest.map_structure(
            lambda value: None if value is None else next(tensors), self._outputs
        )

    def _flat(self, args: tuple, kwargs: dict[str, Any]) -> list[Any]:
        positional, named = self._signature
        names = [n for n in self._parameters if n not in named][-len(positional) :]
        later = [kwargs[n] for n in names[len(args) : len(positional)] if n in kwargs]
        left = [n for n in named if n not in kwargs]
        if len(args) > len(positional) + len(left):
            raise InvocationError(
                f"{self._name!r} takes {len(positional) + len(left)} arguments here, "
                f"not {len(args)}."
            )
        given = (
            (*args[: len(positional)], *later),
            dict(zip(left, args[len(positional) :], strict=False))
            | {n: value for n, value in kwargs.items() if n not in names},
        )
        try:
            tf.nest.assert_same_structure((positional, dict(named)), given)
        except (TypeError, ValueError) as error:
            raise InvocationError(
                f"The arguments of {self._name!r} are not nested as when it was traced: "
                f"{str(error).splitlines()[0]}"
            ) from error
        flat = tf.nest.flatten(given)
        return [
            tf.convert_to_tensor(value, dtype).numpy()
            for value, dtype in zip(flat, self._dtypes, strict=True)
        ]


class CompiledModel:
    """A compiled model: call it like the Keras model or function that it was made of.

    The other functions of a ``tf.Module`` are attributes. Variables that functions assign are
    the model's own from here on: they start with the values they had when it was exported.

    Attributes:
        compiled: the module file and the report of its compilation.
    """

    def __init__(
        self,
        functions: list[Function],
        compiled: iree.CompiledModule,
        device: str | None,
        threads: int | None,
    ) -> None:
        self.compiled = compiled
        self._functions = {function.name: function for function in functions}
        self._device, self._threads = device, threads
        self._loaded: LoadedModule | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function ``main``, or the only one.

        Raises:
            InvocationError: there is no such function, or the arguments do not fit it.
        """
        names = list(self._functions)
        if "main" not in names and len(names) > 1:
            raise InvocationError(f"Which function? The model has {', '.join(names)}.")
        return self.function("main" if "main" in names else names[0])(*args, **kwargs)

    def function(self, name: str) -> CompiledFunction:
        """Return a function by name.

        Raises:
            InvocationError: there is none of that name.
        """
        if name not in self._functions:
            known = ", ".join(self._functions)
            raise InvocationError(f"The model has no function {name!r}; it has {known}.")
        if self._loaded is None:
            self._loaded = iree.load(self.compiled, device=self._device, threads=self._threads)
        return CompiledFunction(self._functions[name], getattr(self._loaded, name))

    def __getattr__(self, name: str) -> CompiledFunction:
        if name.startswith("_") or name not in self._functions:
            raise AttributeError(f"the model has no function {name!r}")
        return self.function(name)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the module file, for ``iree run`` and ``iree_core.load``.

        Raises:
            CompileError: the file cannot be written.
        """
        return self.compiled.save(path)

    def __repr__(self) -> str:
        return f"<CompiledModel {self.compiled.report.summary(name_fallbacks=False)}>"


def export(
    model: Any,
    *args: Any,
    output: str | os.PathLike[str] | None = None,
    target: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> CompiledModel:
    """Compile a model of TensorFlow or Keras.

    Args:
        model: a Keras model, a ``tf.function``, a ``tf.Module`` with such functions, a mapping of
            names to functions, or the path of a SavedModel or ``.keras`` file.
        args, kwargs: tensors, arrays or ``tf.TensorSpec`` to trace a function for (dimensions
            ``None`` are dynamic); not needed where a signature is known.
        output: where to write the module file; None for a temporary one.
        target: what to compile for, as for ``iree_core.compile``; None for this machine.
        device, threads: where calls run, as for ``iree_core.load``.
        options: further options of ``iree_core.compile``.

    TensorFlow only traces in this process; its compiler passes and ours run in others.

    Raises:
        ImportModelError: no function has a known signature, or the file cannot be loaded.
        UnsupportedOperatorError: naming every operation that no route supports, where it is.
        IreeError: as ``iree_core.compile``.
        Exception: whatever tracing raises.
    """
    try:
        if isinstance(model, str | os.PathLike):
            functions = load(Path(model))
        else:
            functions = from_object(model, args, kwargs)
        with program_folder(0) as folder:
            write_program(folder, functions)
            compiled = iree.compile(
                folder, frontend="tensorflow", output=output, target=target, **(options or {})
            )
    except ExportError as error:
        kind: type[IreeError] = ERRORS.get(error.kind, ImportModelError)
        raise kind(error.what, where=error.where, hint=error.hint) from error
    return CompiledModel(functions, compiled, device, threads)
