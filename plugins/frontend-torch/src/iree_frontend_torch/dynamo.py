"""The backend of ``torch.compile(model, backend="iree")``.

TorchDynamo hands over the graph of a piece of a Python function, AOTAutograd makes functional
graphs of it, forward and backward, and each is compiled here. Parameters are arguments of the
graphs, so that they are shared with the module, not copied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from functorch.compile import make_boxed_func
from torch import fx
from torch._dynamo.backends.common import aot_autograd

import iree_core as iree
from iree_core.cache import ModuleCache, content_key, default_folder
from iree_core.errors import UsageError
from iree_core.ir import ir
from iree_frontend_torch import importer
from iree_frontend_torch.decompositions import table
from iree_frontend_torch.exporting import compile_module, context
from iree_frontend_torch.program import Input, Output, Program, simplify
from iree_frontend_torch.tensors import from_result, to_numpy

_OPTIONS = frozenset({"target", "opt_level", "device", "threads"})


def backend(
    module: fx.GraphModule,
    example: Sequence[Any],
    *,
    options: Mapping[str, Any] | None = None,
    **_: Any,
) -> Callable[..., Any]:
    """Compile a graph of TorchDynamo (the protocol of ``torch._dynamo`` backends).

    Args:
        module: the graph.
        example: fake or real arguments.
        options: ``torch.compile(..., options={...})``: ``target`` and ``opt_level`` as for
            ``iree_core.compile``, ``device`` and ``threads`` as for ``iree_core.load``.

    Raises:
        UsageError: an unknown option.
        UnsupportedOperatorError: naming every operator that no route supports, where it is.
    """
    options = dict(options or {})
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise UsageError(
            f"The backend iree has no option {', '.join(map(repr, unknown))}.",
            hint=f"Options: {', '.join(sorted(_OPTIONS))}.",
        )

    def compiler(graph: fx.GraphModule, _: Sequence[Any]) -> Callable[..., Any]:
        return make_boxed_func(_compile(graph, options))

    compile_joint = aot_autograd(fw_compiler=compiler, bw_compiler=compiler, decompositions=table())
    return compile_joint(module, example)


def _compile(graph: fx.GraphModule, options: Mapping[str, Any]) -> Callable[..., Any]:
    """Return a function of the graph's flat arguments that gives the list of its results."""
    simplify(graph)
    inputs = [Input("user", node.name) for node in graph.graph.nodes if node.op == "placeholder"]
    output = graph.graph.output_node()
    results = list(output.args[0])
    computed = [n for n, value in enumerate(results) if _is_computed(value)]
    output.args = (tuple(results[n] for n in computed),)
    kinds = [_kind(node) for node in output.args[0]]
    if not computed:
        return lambda *_: results
    outputs = [Output("user", f"output{n}") for n in computed]
    program = Program(graph, inputs, outputs)
    loaded = _load(program, options)
    main = loaded.main

    def call(*args: Any) -> list[Any]:
        found = main(*map(_argument, args))
        values = found if isinstance(found, tuple) else (found,)
        made = list(results)
        for place, kind, value in zip(computed, kinds, values, strict=True):
            tensor = from_result(value)
            made[place] = tensor if kind is torch.Tensor else kind(tensor.item())
        return made

    return call


def _is_computed(value: Any) -> bool:
    return isinstance(value, fx.Node)


def _kind(node: fx.Node) -> type:
    """Return what the caller expects of an output: a tensor or a number of Python."""
    value = node.meta["val"]
    if isinstance(value, torch.Tensor):
        return torch.Tensor
    numbers = {torch.SymInt: int, torch.SymFloat: float, torch.SymBool: bool}
    return numbers.get(type(value), type(value))


def _argument(value: Any) -> Any:
    return to_numpy(value) if isinstance(value, torch.Tensor) else value


def _load(program: Program, options: Mapping[str, Any]) -> Any:
    """Return the loaded module of a graph; equal graphs share one file of the user's cache."""
    module, weights = importer.import_program(program, context())
    settings = {key: options[key] for key in ("target", "opt_level") if key in options}
    key = content_key(_digests(module, weights), options.get("target"), settings)

    def make(path: Path) -> None:
        compile_module(module, weights, output=path, **settings)

    path, _ = ModuleCache(default_folder()).get(key, make)
    return iree.load(path, device=options.get("device"), threads=options.get("threads"))


def _digests(module: ir.Module, weights: importer.Weights) -> dict[str, Any]:
    """Return what identifies a graph: its operations without their locations, and its weights."""
    text = module.operation.get_asm(binary=True, enable_debug_info=False)
    arrays = {
        key: hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()
        for key, array in weights.arrays.items()
    }
    return {"graph": hashlib.sha256(text).hexdigest(), "weights": arrays}
