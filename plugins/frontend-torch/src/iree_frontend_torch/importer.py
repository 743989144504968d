"""From a :class:`Program` to the torch dialect: one public function, weights as parameters,
state as globals.

Not here: choosing and decomposing operators (``program``), or lowering them (the core's input
phase).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import fx
from torch_mlir.extras.fx_importer import FxImporter, FxImporterHooks, GraphNodeImporter

from iree_core.interfaces import ImportedModel
from iree_core.ir import func, ir
from iree_core.lowering import element, tensors
from iree_core.params import ParameterStore
from iree_frontend_torch.control_flow import ControlFlowImporter
from iree_frontend_torch.locations import Locations
from iree_frontend_torch.program import Input, Output, Program
from iree_frontend_torch.tensors import identity, to_numpy

_INLINE_ELEMENTS = 16
"""Tensor constants of at most so many elements stay in the IR, where conversions see them."""


class Weights:
    """The weights of one program by key; tensors on the same memory share one."""

    def __init__(self) -> None:
        self.arrays: dict[str, NDArray] = {}
        self._keys: dict[tuple, str] = {}
        self._alive: list[torch.Tensor] = []

    def key(self, tensor: torch.Tensor, name: str) -> str:
        """Register ``tensor`` (kept, not copied) under ``name`` unless it is known."""
        found = self._keys.get(identity(tensor))
        if found is not None and tensor.numel():
            return found
        key = name
        while key in self.arrays:
            key += "_"
        self._keys[identity(tensor)] = key
        self._alive.append(tensor)  # an address identifies a tensor only while it exists
        self.arrays[key] = to_numpy(tensor)
        return key

    def load(self, tensor: torch.Tensor, name: str) -> ir.Value:
        """Emit the parameter that holds ``tensor``, as a builtin tensor."""
        key = self.key(tensor, name)
        array = self.arrays[key]
        kind = element.from_numpy(array.dtype)
        return ir.Operation.create(
            "flow.parameter",
            results=[ir.RankedTensorType.get(list(array.shape), kind.type)],
            attributes={"key": ir.StringAttr.get(key)},
        ).result


class _Hooks(FxImporterHooks):
    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def resolve_literal(
        self, gni: GraphNodeImporter, literal: Any, info: Any = None
    ) -> ir.Value | None:
        if not isinstance(literal, torch.Tensor):
            return None
        from torch._subclasses.fake_tensor import unset_fake_temporarily

        with unset_fake_temporarily():
            literal = literal.detach().contiguous()
            if literal.numel() > _INLINE_ELEMENTS:
                value = self._weights.load(literal, "constant")
            else:
                value = tensors.constant(to_numpy(literal)).value
        return _to_torch(value, gni._cc.tensor_to_vtensor_type(literal))


def import_program(program: Program, context: ir.Context) -> tuple[ir.Module, Weights]:
    """Return a module with the public function ``main``, and its weights.

    Raises:
        UnsupportedOperatorError: naming every operator that the torch dialect cannot represent.
    """
    from iree_frontend_torch.unsupported import check

    check(program.module)
    weights = Weights()
    with context, ir.Location.unknown():
        importer = FxImporter(
            context=context,
            hooks=_Hooks(weights),
            config_check=False,
            graph_node_importer_cls=ControlFlowImporter,
        )
        importer._cc = Locations(context, py_attr_tracker=importer._py_attr_tracker)
        importer.import_graph_module(program.module, func_name="main")
        module = importer.module
        for op in module.body.operations:
            op.attributes["torch.assume_strict_symbolic_shapes"] = ir.UnitAttr.get()
        main = next(op for op in module.body.operations if op.name.value == "main")
        _Signature(program, module, main, weights).rewrite()
    module.operation.verify()
    return module, weights


def import_in_process(program: Program, context: ir.Context) -> ImportedModel:
    """Return a program with its weights where they are, for the compiler in this process."""
    module, weights = import_program(program, context)
    store = ParameterStore()
    for key, array in weights.arrays.items():
        store.add(key, array)
    return ImportedModel(module, store)


class _Signature:
    """Gives ``main`` its public signature: only the user's arguments and results are left."""

    def __init__(
        self, program: Program, module: ir.Module, main: func.FuncOp, weights: Weights
    ) -> None:
        self._program, self._module, self._main = program, module, main
        self._weights = weights
        self._block = main.regions[0].blocks[0]
        self._globals: dict[str, tuple[str, ir.Type]] = {}

    def rewrite(self) -> None:
        """Replace weights by parameters and state by globals, and name the rest."""
        placeholders = [n for n in self._program.module.graph.nodes if n.op == "placeholder"]
        output = self._program.module.graph.output_node().args[0]
        results = list(output) if isinstance(output, list | tuple) else [output]
        self._store_state()
        kept = self._bind_inputs(self._program.inputs)
        self._main.attributes["arg_attrs"] = ir.ArrayAttr.get(
            [self._attributes(self._program.inputs[i].name, placeholders[i]) for i in kept]
        )
        shown = [i for i, o in enumerate(self._program.outputs) if o.kind != "state"]
        names = [_result_name(self._program.outputs[i]) for i in shown]
        self._main.attributes["res_attrs"] = ir.ArrayAttr.get(
            [self._attributes(n, results[i]) for n, i in zip(names, shown, strict=True)]
        )
        end = self._block.operations[len(self._block.operations) - 1]
        kind = ir.FunctionType.get(
            [a.type for a in self._block.arguments], [v.type for v in end.operands]
        )
        self._main.attributes["function_type"] = ir.TypeAttr.get(kind)

    def _bind_inputs(self, inputs: Sequence[Input]) -> list[int]:
        """Replace arguments that are no user's, and return the positions of those that are."""
        kept = []
        for position in reversed(range(len(inputs))):
            given = inputs[position]
            if given.kind == "user":
                kept.append(position)
                continue
            argument = self._block.arguments[position]
            if list(argument.uses):
                with ir.InsertionPoint.at_block_begin(self._block), ir.Location.name(given.name):
                    argument.replace_all_uses_with(self._load(given, argument.type))
            self._block.erase_argument(position)
        return kept[::-1]

    def _load(self, given: Input, kind: ir.Type) -> ir.Value:
        assert given.tensor is not None
        if given.kind == "weight":
            return _to_torch(self._weights.load(given.tensor, given.name), kind)
        symbol, builtin = self._global(given)
        value = ir.Operation.create(
            "ml_program.global_load",
            results=[builtin],
            attributes={"global": ir.FlatSymbolRefAttr.get(symbol)},
        ).result
        return _to_torch(value, kind)

    def _global(self, given: Input) -> tuple[str, ir.Type]:
        """Return symbol and type of the global of a state, declaring it the first time."""
        if given.name not in self._globals:
            assert given.tensor is not None
            key = self._weights.key(given.tensor, given.name)
            array = self._weights.arrays[key]
            kind = element.from_numpy(array.dtype)
            builtin = ir.RankedTensorType.get(list(array.shape), kind.type)
            with ir.InsertionPoint.at_block_begin(self._module.body):
                ir.Operation.create(
                    "ml_program.global",
                    attributes={
                        "sym_name": ir.StringAttr.get(given.name),
                        "sym_visibility": ir.StringAttr.get("private"),
                        "type": ir.TypeAttr.get(builtin),
                        "is_mutable": ir.UnitAttr.get(),
                        "iree.initial": ir.StringAttr.get(key),
                    },
                )
            self._globals[given.name] = given.name, builtin
        return self._globals[given.name]

    def _store_state(self) -> None:
        """Store what states become, and return the other results only."""
        states = {i.name: i for i in self._program.inputs if i.kind == "state"}
        end = self._block.operations[len(self._block.operations) - 1]
        values = list(end.operands)
        shown = []
        with ir.InsertionPoint(end), end.location:
            for value, output in zip(values, self._program.outputs, strict=True):
                if output.kind != "state":
                    shown.append(value)
                    continue
                symbol, builtin = self._global(states[output.name])
                ir.Operation.create(
                    "ml_program.global_store",
                    operands=[_to_builtin(value, builtin)],
                    attributes={"global": ir.FlatSymbolRefAttr.get(symbol)},
                )
            func.ReturnOp(shown)
        end.operation.erase()

    def _attributes(self, name: str, node: fx.Node) -> ir.DictAttr:
        found: dict[str, ir.Attribute] = {"iree.name": ir.StringAttr.get(name)}
        value = node.meta.get("val") if isinstance(node, fx.Node) else node
        if isinstance(value, torch.Tensor):
            dims = [self._dimension(d) for d in value.shape if not isinstance(d, int)]
            if dims:
                found["iree.dims"] = ir.ArrayAttr.get([ir.StringAttr.get(d) for d in dims])
        return ir.DictAttr.get(found)

    def _dimension(self, size: torch.SymInt) -> str:
        """Return the name of a size: the user's, that of its symbol, or its expression."""
        expression = str(size.node.expr)
        for symbol in sorted(map(str, size.node.expr.free_symbols), key=len, reverse=True):
            expression = expression.replace(symbol, self._program.dims.get(symbol, symbol))
        return expression.replace(" ", "")


def _result_name(output: Output) -> str:
    return output.name if output.kind == "user" else f"{output.name}_after"


def _to_torch(value: ir.Value, kind: ir.Type) -> ir.Value:
    return ir.Operation.create(
        "torch_c.from_builtin_tensor", results=[kind], operands=[value]
    ).result


def _to_builtin(value: ir.Value, kind: ir.Type) -> ir.Value:
    return ir.Operation.create("torch_c.to_builtin_tensor", results=[kind], operands=[value]).result
