"""First values of variables, from the graphs that ``CALL_ONCE`` names."""

from __future__ import annotations

from iree_frontend_tf.tflite.file import Graph, OperatorInfo
from iree_frontend_tf.tflite.importer import Problem, State


def find_initial_values(state: State) -> None:
    """Record what each graph run once assigns; anything but constants is a problem."""
    graphs = state.model.graphs
    numbers = {
        op.options.InitSubgraphIndex()
        for graph in graphs
        for op in graph.operators
        if op.name == "CALL_ONCE" and op.options is not None
    }
    for number in sorted(n for n in numbers if 0 <= n < len(graphs)):
        _read(state, number, graphs[number])


def variable_name(op: OperatorInfo) -> str:
    """Return the name of the variable that a ``VAR_HANDLE`` is for."""
    if op.options is None:
        return "variable"
    parts = [(p or b"").decode() for p in (op.options.Container(), op.options.SharedName())]
    return "/".join(p for p in parts if p) or "variable"


def _read(state: State, number: int, graph: Graph) -> None:
    handles: dict[int, str] = {}
    for place, op in enumerate(graph.operators):
        if op.name == "VAR_HANDLE":
            handles[op.outputs[0]] = variable_name(op)
            continue
        constant = None
        if op.name == "ASSIGN_VARIABLE" and op.inputs[0] in handles:
            constant = state.constant(graph.tensors[op.inputs[1]])
        if constant is None:
            state.problems[f"{number}.{place}"] = Problem(
                f"operator {place} of {graph.name!r} ({op.name})",
                "it runs once before the first call and assigns no constant to a variable",
                None,
            )
            continue
        state.variables.initial[handles[op.inputs[0]]] = constant
