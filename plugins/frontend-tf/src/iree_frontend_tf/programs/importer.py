"""From the folder that the exporter (``worker/``) writes to a module in the compiler's context.

The folder holds one StableHLO module per function, the values of variables in one file, and
``program.json``, which says what every argument and result is. Nothing here imports TensorFlow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iree_core.dtypes import to_numpy
from iree_core.errors import ImportModelError
from iree_core.interfaces import ImportedModel
from iree_core.ir import func, ir, run_pipeline
from iree_core.params import ParameterStore
from iree_core.passes.input.load import parse_module
from iree_frontend_tf.programs import broadcasts, leftovers

KIND = "iree-tensorflow-program"
INDEX = "program.json"
WEIGHTS = "weights.bin"
_ENTRY = "main"
# Shapes become vectors of sizes.
_PLAIN_SHAPES = "func.func(convert-shape-constraints),convert-shape-to-std,canonicalize,cse"


def is_program(path: Path) -> bool:
    """Tell whether ``path`` is a folder that the exporter wrote."""
    index = path / INDEX
    if not index.is_file():
        return False
    with index.open("rb") as file:
        return KIND.encode() in file.read()


def is_lowered(folder: Path) -> bool:
    """Tell whether the functions of a program are in StableHLO yet."""
    return bool(json.loads((folder / INDEX).read_text())["lowered"])


def import_program(folder: Path, context: ir.Context) -> ImportedModel:
    """Return all functions as one model; variables that a function assigns become its state.

    Raises:
        ImportModelError: a file is missing or damaged.
    """
    try:
        index = json.loads((folder / INDEX).read_text())
        parameters = _parameters(index["variables"], folder / WEIGHTS)
    except (OSError, ValueError, KeyError) as error:
        raise ImportModelError(f"The program in {folder} is damaged: {error}.") from error
    with context, ir.Location.unknown():
        target = ir.Module.create()
        variables = [_Variable.of(entry) for entry in index["variables"]]
        for variable in variables:
            if variable.mutable:
                variable.declare(target)
        for function in index["functions"]:
            path = folder / function["module"]
            module = _read(path, context, function, parameters)
            _Function(function, variables).move(module, target)
    return ImportedModel(target, parameters)


def _read(
    path: Path, context: ir.Context, function: Mapping[str, Any], parameters: ParameterStore
) -> ir.Module:
    """Return a function's module with no operation of the ``tf`` dialect left.

    Raises:
        UnsupportedOperatorError: naming all operations that have no lowering.
    """
    context.allow_unregistered_dialects = True
    try:
        module = parse_module(path.read_bytes(), context, function["name"])
        run_pipeline(module, f"builtin.module({_PLAIN_SHAPES})")
        leftovers.lower(module, parameters, function["places"])
    finally:
        context.allow_unregistered_dialects = False
    broadcasts.resolve(module)
    run_pipeline(module, "builtin.module(inline,symbol-dce)")
    return module


def _parameters(variables: Sequence[Mapping[str, Any]], path: Path) -> ParameterStore:
    store = ParameterStore()
    for entry in variables:
        shape, dtype = tuple(entry["shape"]), to_numpy(entry["dtype"])
        store.add_file_range(entry["key"], path, entry["offset"], shape, dtype)
    return store


@dataclass(frozen=True)
class _Variable:
    key: str
    kind: ir.RankedTensorType
    mutable: bool

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> _Variable:
        signless = entry["dtype"].removeprefix("u")
        dims = "".join(f"{size}x" for size in entry["shape"])
        kind = ir.RankedTensorType(ir.Type.parse(f"tensor<{dims}{signless}>"))
        return cls(entry["key"], kind, entry["mutable"])

    def declare(self, module: ir.Module) -> None:
        """Emit the global that keeps the variable from call to call."""
        with ir.InsertionPoint(module.body):
            ir.Operation.create(
                "ml_program.global",
                attributes={
                    "sym_name": ir.StringAttr.get(self.key),
                    "sym_visibility": ir.StringAttr.get("private"),
                    "type": ir.TypeAttr.get(self.kind),
                    "is_mutable": ir.UnitAttr.get(),
                    "iree.initial": ir.StringAttr.get(self.key),
                },
            )

    def load(self, kind: ir.Type) -> ir.Value:
        """Emit a read of the variable as a tensor of type ``kind``."""
        if self.mutable:
            name = "ml_program.global_load"
            attributes: dict[str, ir.Attribute] = {"global": ir.FlatSymbolRefAttr.get(self.key)}
        else:
            name, attributes = "flow.parameter", {"key": ir.StringAttr.get(self.key)}
        value = ir.Operation.create(name, results=[self.kind], attributes=attributes).result
        return _converted(value, kind)

    def store(self, value: ir.Value) -> None:
        """Emit an assignment."""
        ir.Operation.create(
            "ml_program.global_store",
            operands=[_converted(value, self.kind)],
            attributes={"global": ir.FlatSymbolRefAttr.get(self.key)},
        )


def _converted(value: ir.Value, kind: ir.Type) -> ir.Value:
    """Return ``value`` as ``kind``, which differs in signedness or in what is static."""
    if value.type == kind:
        return value
    given, wanted = ir.RankedTensorType(value.type), ir.RankedTensorType(kind)
    name = "builtin.unrealized_conversion_cast"
    if given.element_type == wanted.element_type:
        name = "tensor.cast"
    return ir.Operation.create(name, results=[kind], operands=[value]).result


class _Function:
    """Moves one exported function into the module of all, with its public signature."""

    def __init__(self, entry: Mapping[str, Any], variables: Sequence[_Variable]) -> None:
        self._name: str = entry["name"]
        self._arguments: Sequence[Mapping[str, Any]] = entry["arguments"]
        self._results: Sequence[Mapping[str, Any]] = entry["results"]
        self._variables = variables

    def move(self, module: ir.Module, target: ir.Module) -> None:
        """Move the function ``main`` of ``module``, under its own name, and what it calls."""
        functions = [op for op in module.body.operations if isinstance(op, func.FuncOp)]
        main = next((f for f in functions if f.name.value == _ENTRY), None)
        if main is None:
            raise ImportModelError(f"The module of {self._name!r} has no function {_ENTRY!r}.")
        self._rewrite(main)
        renamed = {f.name.value: f"{self._name}__{f.name.value}" for f in functions}
        renamed[_ENTRY] = self._name
        for function in functions:
            _rename(function.operation, renamed)
            function.attributes["sym_name"] = ir.StringAttr.get(renamed[function.name.value])
            visibility = "public" if function is main else "private"
            function.attributes["sym_visibility"] = ir.StringAttr.get(visibility)
            copy = function.operation.clone(ip=ir.InsertionPoint(target.body))
            assert copy.parent is not None

    def _rewrite(self, main: func.FuncOp) -> None:
        block = main.regions[0].blocks[0]
        if len(block.arguments) != len(self._arguments):
            raise ImportModelError(
                f"The module of {self._name!r} takes {len(block.arguments)} arguments, not "
                f"{len(self._arguments)}."
            )
        end = block.operations[len(block.operations) - 1]
        shown = self._store(end)
        kept = self._bind(block)
        end = block.operations[len(block.operations) - 1]
        kind = ir.FunctionType.get([a.type for a in block.arguments], [v.type for v in shown])
        main.attributes["function_type"] = ir.TypeAttr.get(kind)
        results = [entry for entry in self._results if "variable" not in entry]
        main.attributes["arg_attrs"] = ir.ArrayAttr.get([_attributes(entry) for entry in kept])
        main.attributes["res_attrs"] = ir.ArrayAttr.get([_attributes(entry) for entry in results])

    def _store(self, end: ir.OpView) -> list[ir.Value]:
        """Store what variables become, and return the other results only."""
        shown = []
        with ir.InsertionPoint(end), end.location:
            for value, entry in zip(end.operands, self._results, strict=True):
                if "variable" in entry:
                    self._variables[entry["variable"]].store(value)
                else:
                    shown.append(value)
            func.ReturnOp(shown)
        end.operation.erase()
        return shown

    def _bind(self, block: ir.Block) -> list[Mapping[str, Any]]:
        """Replace the arguments that are variables, and return what the others are."""
        kept = []
        for position in reversed(range(len(self._arguments))):
            entry = self._arguments[position]
            if "variable" not in entry:
                kept.append(entry)
                continue
            argument = block.arguments[position]
            if list(argument.uses):
                variable = self._variables[entry["variable"]]
                with ir.InsertionPoint.at_block_begin(block), ir.Location.name(variable.key):
                    argument.replace_all_uses_with(variable.load(argument.type))
            block.erase_argument(position)
        return kept[::-1]


def _rename(function: ir.Operation, names: Mapping[str, str]) -> None:
    """Let calls and references of composites name the functions by ``names``."""

    def visit(op: ir.Operation) -> ir.WalkResult:
        for attribute in ("callee", "decomposition"):
            if attribute in op.attributes:
                old = ir.FlatSymbolRefAttr(op.attributes[attribute]).value
                op.attributes[attribute] = ir.FlatSymbolRefAttr.get(names.get(old, old))
        return ir.WalkResult.ADVANCE

    function.walk(visit)


def _attributes(entry: Mapping[str, Any]) -> ir.DictAttr:
    found: dict[str, ir.Attribute] = {"iree.name": ir.StringAttr.get(entry["name"])}
    dims = [d for d in entry["dims"] if isinstance(d, str)]
    if dims:
        found["iree.dims"] = ir.ArrayAttr.get([ir.StringAttr.get(d) for d in dims])
    return ir.DictAttr.get(found)
