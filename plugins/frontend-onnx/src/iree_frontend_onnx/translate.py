"""From a loaded ONNX model to an imported module: the table, then version conversion, then a
report of everything that is not supported."""

from __future__ import annotations

from pathlib import Path

import onnx

from iree_core.errors import ImportModelError, UnsupportedOperatorError
from iree_core.interfaces import ImportedModel
from iree_core.ir import ir
from iree_core.params import ParameterStore
from iree_frontend_onnx import registry
from iree_frontend_onnx.importer import Problem, State, import_main
from iree_frontend_onnx.model import Model

CONVERSION_TARGET = 21
"""Models older than this are converted to it where their own version is not supported."""


def import_proto(proto: onnx.ModelProto, context: ir.Context) -> ImportedModel:
    """Import a model that is in memory (see :func:`import_loaded`)."""
    parameters = ParameterStore()
    return import_loaded(Model(proto, parameters, Path()), parameters, context)


def import_loaded(model: Model, parameters: ParameterStore, context: ir.Context) -> ImportedModel:
    """Import ``model``; operators of old versions are converted where that helps.

    Raises:
        UnsupportedOperatorError: naming every node that is not supported.
    """
    registry.load()
    state = _import(model, parameters, context)
    if state.problems and model.opsets.get("", CONVERSION_TARGET) < CONVERSION_TARGET:
        converted = model.converted(CONVERSION_TARGET)
        if converted is not None:
            second = _import(converted, parameters, context)
            state = second if len(second.problems) < len(state.problems) else state
    if state.problems:
        raise _report(state.problems)
    try:
        state.module.operation.verify()
    except ir.MLIRError as error:
        raise ImportModelError(
            f"The imported program is inconsistent: {error.error_diagnostics[0].message}",
            where=str(error.error_diagnostics[0].location),
            hint="Check the model with onnx.checker.check_model(model, full_check=True).",
        ) from error
    return ImportedModel(state.module, parameters, state.fallbacks)


def _import(model: Model, parameters: ParameterStore, context: ir.Context) -> State:
    with context, ir.Location.unknown():
        state = State(model, ir.Module.create(), parameters)
        import_main(state)
    return state


def _report(problems: list[Problem]) -> UnsupportedOperatorError:
    lines = [f"{p.node}: {p.reason}" for p in problems]
    hints = list(dict.fromkeys(p.hint for p in problems if p.hint))
    count = len(problems)
    return UnsupportedOperatorError(
        f"{count} node{'s' if count > 1 else ''} of the model cannot be imported. "
        + " ".join(f"[{i}] {line}." for i, line in enumerate(lines, 1)),
        hint=" ".join(hints) or None,
    )
