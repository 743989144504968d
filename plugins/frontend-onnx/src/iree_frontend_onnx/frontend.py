"""The ONNX frontend: from a ``.onnx`` file to linalg on tensors."""

from __future__ import annotations

from pathlib import Path

import onnx

from iree_core.errors import UnsupportedOperatorError
from iree_core.interfaces import Frontend, ImportedModel, ImportOptions
from iree_core.ir import ir
from iree_core.params import ParameterStore
from iree_frontend_onnx import registry
from iree_frontend_onnx.importer import Problem, State, import_main
from iree_frontend_onnx.model import Model, load

CONVERSION_TARGET = 21
"""Models older than this are converted to it where their own version is not supported."""


class OnnxFrontend(Frontend):
    """Reads ONNX models (one graph, all standard operator sets)."""

    name = "onnx"
    suffixes = (".onnx",)

    def matches(self, path: Path) -> bool:
        """Tell whether ``path`` starts like a serialised ModelProto.

        The first field is ``ir_version`` (tag 8, a small number) in every file that the
        reference library writes; others are only recognised by their suffix.
        """
        with path.open("rb") as file:
            head = file.read(2)
        return len(head) == 2 and head[0] == 0x08 and 0 < head[1] < 64

    def import_model(
        self, path: Path, context: ir.Context, options: ImportOptions
    ) -> ImportedModel:
        """Read the model at ``path``.

        Raises:
            ImportModelError: the file is damaged or a part of it is missing.
            UnsupportedOperatorError: naming every node that is not supported.
        """
        options.progress(f"reading {path.name}")
        parameters = ParameterStore()
        return import_loaded(load(path, parameters), parameters, context, options)


def import_proto(
    proto: onnx.ModelProto, context: ir.Context, options: ImportOptions | None = None
) -> ImportedModel:
    """Import a model that is in memory (see :meth:`OnnxFrontend.import_model`)."""
    parameters = ParameterStore()
    model = Model(proto, parameters, Path())
    return import_loaded(model, parameters, context, options or ImportOptions())


def import_loaded(
    model: Model, parameters: ParameterStore, context: ir.Context, options: ImportOptions
) -> ImportedModel:
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
    for line in state.fallbacks:
        options.progress(f"fallback: {line}")
    state.module.operation.verify()
    return ImportedModel(state.module, parameters)


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
