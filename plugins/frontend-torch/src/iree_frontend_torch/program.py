"""A functional FX graph with what each of its inputs and outputs is to the user.

Everything that enters the compiler has this form: exported programs, graphs of torch.compile
and training steps. Not for MLIR; ``importer`` makes that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from iree_core.errors import ImportModelError
from iree_frontend_torch import effects, numbers
from iree_frontend_torch.decompositions import table


@dataclass(frozen=True)
class Input:
    """One placeholder of the graph.

    Attributes:
        kind: ``user`` (an argument of the call), ``weight`` (never changes) or ``state``
            (survives calls).
        name: of the argument, or qualified name of the parameter or buffer.
        tensor: the value of a weight; the first value of a state.
    """

    kind: Literal["user", "weight", "state"]
    name: str
    tensor: torch.Tensor | None = None


@dataclass(frozen=True)
class Output:
    """One output of the graph.

    Attributes:
        kind: ``user`` (a result), ``state`` (what the state ``name`` becomes) or ``mutated``
            (what the user's argument ``name`` becomes; a result as well).
        name: of the result, the state or the argument.
    """

    kind: Literal["user", "state", "mutated"]
    name: str


@dataclass
class Program:
    """A graph without side effects, and its surroundings.

    Attributes:
        module: owns the graph; submodules are the bodies of control flow.
        inputs: one per placeholder.
        outputs: one per output of the graph.
        dims: names the user gave to symbolic sizes, by the symbol's name.
    """

    module: fx.GraphModule
    inputs: list[Input]
    outputs: list[Output]
    dims: dict[str, str] = field(default_factory=dict)


def decompose(program: ExportedProgram) -> ExportedProgram:
    """Return an exported program without side effects, of operators that the compiler knows."""
    for child in program.graph_module.modules():
        if isinstance(child, fx.GraphModule):
            for node in child.graph.nodes:
                if node.op == "call_function" and node.target in _VIEWS:
                    node.target, node.args = _VIEWS[node.target](*node.args)
                elif node.op == "call_function" and node.target in _RANGES:
                    _count_into(node)
    return program.run_decompositions(table())


_VIEWS: dict[Any, Callable[..., tuple[Any, tuple[Any, ...]]]] = {
    torch.ops.prims.squeeze.default: lambda x, dims: (torch.ops.aten.squeeze.dims, (x, dims)),
    torch.ops.prims.view_of.default: lambda x: (torch.ops.aten.alias.default, (x,)),
    torch.ops.prims.split_dim.default: lambda x, dim, outer: (
        torch.ops.aten.unflatten.int, (x, dim, [outer, -1])
    ),
}  # fmt: skip
"""By views that torch refuses to make functional: the operator that is the same to it."""


_RANGES = {
    torch.ops.aten.arange.out: torch.ops.aten.arange.default,
    torch.ops.aten.arange.start_out: torch.ops.aten.arange.start_step,
}


def _count_into(node: fx.Node) -> None:
    """Let ``arange(..., out=x)`` keep the shape of x where the number of elements agrees."""
    out = node.kwargs["out"]
    given = out.meta["val"]
    if given.dim() == 1 or given.numel() != node.meta["val"].numel():
        return
    with node.graph.inserting_before(node):
        made = node.graph.call_function(_RANGES[node.target], node.args, {"dtype": given.dtype})
        shaped = node.graph.call_function(torch.ops.aten.reshape.default, (made, list(given.shape)))
    node.target, node.args, node.kwargs = torch.ops.aten.copy_.default, (out, shaped), {}


def from_decomposed(program: ExportedProgram) -> Program:
    """Return what :func:`decompose` returned as a program; its graph is changed.

    Raises:
        ImportModelError: it has inputs or outputs that are no tensors or numbers.
    """
    simplify(program.graph_module)
    signature = program.graph_signature
    outputs = _outputs(program)
    changed = {s.target for s in signature.output_specs if s.kind == OutputKind.BUFFER_MUTATION}
    placeholders = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
    inputs: list[Input] = []
    for spec in signature.input_specs:
        node = placeholders[spec.arg.name]
        found = _input(program, spec, changed)
        if found is None:
            if spec.kind == InputKind.USER_INPUT:
                node.replace_all_uses_with(spec.arg.value)
            program.graph.erase_node(node)
        else:
            inputs.append(found)
    dims = dimension_names(program.graph_module)
    return Program(program.graph_module, inputs, outputs, dims)


def simplify(module: fx.GraphModule) -> None:
    """Bring a graph, from wherever it comes, into the form that the importer knows."""
    effects.remove(module)
    numbers.rewrite(module)


def _input(program: ExportedProgram, spec: Any, changed: set[str]) -> Input | None:
    """Return what a placeholder is; None for a constant argument or an effect token."""
    if spec.kind == InputKind.USER_INPUT:
        return None if hasattr(spec.arg, "value") else Input("user", spec.arg.name)
    if spec.kind == InputKind.TOKEN:
        return None
    if spec.kind == InputKind.CUSTOM_OBJ:
        raise ImportModelError(
            f"The program uses the custom object {spec.target!r}; only tensors are supported.",
            hint="Pass the object's tensors to the module instead.",
        )
    tensor = program.state_dict.get(spec.target)
    if tensor is None:
        tensor = program.constants[spec.target]
    kind: Literal["weight", "state"] = "state" if spec.target in changed else "weight"
    return Input(kind, spec.target, tensor)


def _outputs(program: ExportedProgram) -> list[Output]:
    """Classify the outputs, and drop from the graph those that are constants or tokens."""
    names = iter(result_names(program.call_spec.out_spec))
    output = program.graph.output_node()
    kept, found = [], []
    for node, spec in zip(output.args[0], program.graph_signature.output_specs, strict=True):
        if spec.kind == OutputKind.USER_OUTPUT:
            name = next(names)
            if isinstance(node, fx.Node):
                kept.append(node)
                found.append(Output("user", name))
        elif spec.kind == OutputKind.BUFFER_MUTATION:
            kept.append(node)
            found.append(Output("state", spec.target))
        elif spec.kind == OutputKind.USER_INPUT_MUTATION:
            kept.append(node)
            found.append(Output("mutated", spec.target))
        elif spec.kind != OutputKind.TOKEN:
            raise ImportModelError(f"Outputs of kind {spec.kind.name} are not supported.")
    output.args = (tuple(kept),)
    program.graph.eliminate_dead_code()
    return found


def result_names(spec: pytree.TreeSpec | None) -> list[str]:
    """Return a name per leaf of a result: the path of keys to it, ``output`` for a single one."""
    if spec is None:
        return []
    tree = pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    paths, _ = pytree.tree_flatten_with_path(tree)
    names = []
    for path, number in paths:
        words = re.findall(r"[A-Za-z_]\w*|\d+", pytree.keystr(path))
        name = "_".join(words)
        if not name or name.isdigit():
            name = f"output{number}" if spec.num_leaves > 1 else "output"
        names.append(name)
    return names


def dimension_names(module: fx.GraphModule) -> dict[str, str]:
    """Return the names of ``torch.export.Dim`` objects by the symbol that stands for them.

    They are kept by the environment that the symbols live in; a file does not hold them.
    """
    names: dict[str, str] = {}
    for environment in _environments(module):
        given = getattr(environment, "source_name_to_debug_name", {})
        symbols = getattr(environment, "source_to_var", {})
        for source, name in given.items():
            symbol = symbols.get(source)
            symbol = environment.replacements.get(symbol, symbol)
            if symbol is not None and symbol.is_symbol and name.isidentifier():
                names.setdefault(str(symbol), name)
    return names


def _environments(module: fx.GraphModule) -> list[Any]:
    """Return the environment of the first symbolic size among the arguments, if there is one."""
    for node in module.graph.nodes:
        value = node.meta.get("val") if node.op == "placeholder" else None
        sizes = value.shape if isinstance(value, torch.Tensor) else [value]
        for size in sizes:
            if isinstance(size, torch.SymInt):
                return [size.node.shape_env]
    return []
