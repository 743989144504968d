"""From a model that was read to an imported module, or a report of all that is not supported."""

from __future__ import annotations

from iree_core.errors import ImportModelError, UnsupportedOperatorError
from iree_core.interfaces import ImportedModel, ImportOptions
from iree_core.ir import ir
from iree_core.params import ParameterStore
from iree_frontend_tf.tflite import registry
from iree_frontend_tf.tflite.file import Model, OperatorInfo, Signature
from iree_frontend_tf.tflite.importer import Problem, State, import_function
from iree_frontend_tf.tflite.initial import find_initial_values
from iree_frontend_tf.tflite.state import Variables


def import_loaded(
    model: Model, parameters: ParameterStore, context: ir.Context, options: ImportOptions
) -> ImportedModel:
    """Import every public graph of ``model``.

    Raises:
        ImportModelError: the model contradicts itself.
        UnsupportedOperatorError: naming every operator that is not supported.
    """
    registry.load()
    with context, ir.Location.unknown():
        module = ir.Module.create()
        state = State(model, module, parameters, Variables(module, parameters))
        find_initial_values(state)
        for signature in public_functions(model):
            options.progress(f"importing {signature.key}")
            import_function(state, signature)
    if state.problems:
        raise _report(list(state.problems.values()))
    try:
        module.operation.verify()
    except ir.MLIRError as error:
        raise ImportModelError(
            f"The imported program is inconsistent: {error.error_diagnostics[0].message}",
            where=str(error.error_diagnostics[0].location),
        ) from error
    return ImportedModel(module, parameters)


def public_functions(model: Model) -> list[Signature]:
    """Return the signatures of ``model``, and one for each graph that is in none and that no
    other graph calls; the first graph is called ``main`` where it has no name of its own."""
    found = list(model.signatures)
    called = {number for graph in model.graphs for op in graph.operators for number in _calls(op)}
    called |= {s.graph for s in found}
    taken = {s.key for s in found}
    for number, graph in enumerate(model.graphs):
        if number in called:
            continue
        key = "main" if number == 0 else graph.name or f"graph{number}"
        if key in taken:
            key = f"{key}.{number}"
        taken.add(key)
        inputs = tuple((graph.tensors[i].name, i) for i in graph.inputs)
        outputs = tuple((graph.tensors[i].name, i) for i in graph.outputs)
        found.append(Signature(key, number, inputs, outputs))
    return found


def _calls(op: OperatorInfo) -> list[int]:
    if op.name == "STABLEHLO_CASE" and op.options is not None:
        count = op.options.BranchSubgraphIndicesLength()
        return [op.options.BranchSubgraphIndices(place) for place in range(count)]
    fields = {
        "IF": ("ThenSubgraphIndex", "ElseSubgraphIndex"),
        "WHILE": ("CondSubgraphIndex", "BodySubgraphIndex"),
        "CALL_ONCE": ("InitSubgraphIndex",),
        "CALL": ("Subgraph",),
        "STABLEHLO_WHILE": ("CondSubgraphIndex", "BodySubgraphIndex"),
        "STABLEHLO_REDUCE": ("BodySubgraphIndex",),
        "STABLEHLO_REDUCE_WINDOW": ("BodySubgraphIndex",),
        "STABLEHLO_SORT": ("ComparatorSubgraphIndex",),
        "STABLEHLO_SCATTER": ("UpdateComputationSubgraphIndex",),
        "STABLEHLO_COMPOSITE": ("DecompositionSubgraphIndex",),
    }.get(op.name, ())
    return [getattr(op.options, f)() for f in fields] if op.options is not None else []


def _report(problems: list[Problem]) -> UnsupportedOperatorError:
    hints = list(dict.fromkeys(p.hint for p in problems if p.hint))
    count = len(problems)
    lines = [f"[{i}] {p.operator}: {p.reason}." for i, p in enumerate(problems, 1)]
    return UnsupportedOperatorError(
        f"{count} operator{'s' if count > 1 else ''} of the model cannot be imported. "
        + " ".join(lines),
        hint=" ".join(hints) or None,
    )
