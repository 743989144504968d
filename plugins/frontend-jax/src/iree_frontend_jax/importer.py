"""From an exported program to a module in the compiler's context, with the user's signature."""

from __future__ import annotations

import re
from collections.abc import Sequence

from iree_core.errors import ImportModelError
from iree_core.interfaces import ImportedModel
from iree_core.ir import arith, func, ir
from iree_core.params import ParameterStore
from iree_core.passes.input.load import parse_module
from iree_frontend_jax import callbacks, partitioner, unsupported
from iree_frontend_jax.program import Program, Value

_ENTRY = "main"
_NUMBER = re.compile(r"-?\d+")


def import_module(data: bytes, context: ir.Context, name: str) -> ImportedModel:
    """Return StableHLO text, bytecode or a portable artifact as a model.

    Raises:
        ImportModelError: it is damaged.
        UnsupportedOperatorError: naming every operation that no route supports.
    """
    module = _parse(data, context, name)
    unsupported.check(module)
    return ImportedModel(module, ParameterStore())


def import_program(program: Program, context: ir.Context) -> ImportedModel:
    """Return ``program`` as a model whose function ``main`` takes all of its arguments.

    Raises:
        ImportModelError: it is damaged, or was lowered for other kinds of devices only.
        UnsupportedOperatorError: naming every operation that no route supports.
    """
    module = _parse(program.artifact, context, program.name)
    unsupported.check(module, callbacks=bool(program.callbacks))
    with context, ir.Location.unknown():
        entry = _entry(module, program)
        if program.callbacks:
            entry = callbacks.name_callbacks(module, entry)
        declared = list(entry.type.inputs)
        leading = len(declared) - len(program.kept)
        if leading not in (0, 1) or max(program.kept, default=-1) >= len(program.inputs):
            raise ImportModelError(
                f"{program.name}: the module takes {len(declared)} arguments, "
                f"the program says {len(program.kept)}."
            )
        if leading or len(program.kept) != len(program.inputs):
            entry = _with_all_arguments(module, entry, program, leading)
        _annotate(entry, program, leading)
    return ImportedModel(module, ParameterStore())


def _parse(data: bytes, context: ir.Context, name: str) -> ir.Module:
    if partitioner.has_annotations(data):
        data = partitioner.remove_in_process_of_its_own(data)
    return parse_module(data, context, name)


def _entry(module: ir.Module, program: Program) -> func.FuncOp:
    for op in module.body.operations:
        if isinstance(op, func.FuncOp) and op.name.value == _ENTRY:
            return op
    raise ImportModelError(f"{program.name}: the module has no function {_ENTRY!r}.")


def _platform_number(program: Program) -> int:
    for wanted in ("cpu", "tpu"):
        if wanted in program.platforms:
            return program.platforms.index(wanted)
    return 0


def _with_all_arguments(
    module: ir.Module, entry: func.FuncOp, program: Program, leading: int
) -> func.FuncOp:
    """Add a public function with all arguments, which calls ``entry`` with those it needs."""
    kinds = list(entry.type.inputs)
    kept = dict(zip(program.kept, kinds[leading:], strict=True))
    every = [kept.get(n) or _type(value) for n, value in enumerate(program.inputs)]
    results = list(entry.type.results)
    attributes = entry.attributes.get("res_attrs")
    names = _argument_names(entry)[leading:]
    entry.attributes["sym_name"] = ir.StringAttr.get("jax_main")
    entry.attributes["sym_visibility"] = ir.StringAttr.get("private")
    with ir.InsertionPoint(module.body):
        public = func.FuncOp(_ENTRY, (every, results), visibility="public")
    if attributes is not None:
        public.attributes["res_attrs"] = attributes
    known = dict(zip(program.kept, names, strict=True))
    places = [
        ir.Location.name(known[n]) if known.get(n) else ir.Location.unknown()
        for n in range(len(every))
    ]
    block = public.regions[0].blocks.append(*every, arg_locs=places)
    with ir.InsertionPoint(block):
        given = [block.arguments[n] for n in program.kept]
        if leading:
            number = ir.DenseElementsAttr.get_splat(
                kinds[0], ir.IntegerAttr.get(kinds[0].element_type, _platform_number(program))
            )
            given.insert(0, arith.constant(kinds[0], number))
        call = func.CallOp(results, "jax_main", given)
        func.ReturnOp(call.results)
    return public


def _type(value: Value) -> ir.Type:
    dims = "".join(f"{d if _NUMBER.fullmatch(d) else '?'}x" for d in value.dims)
    return ir.Type.parse(f"tensor<{dims}{value.dtype}>")


def _argument_names(entry: func.FuncOp) -> list[str]:
    """Return the names that JAX gave the arguments, "" where it gave none."""
    return [
        a.location.name_str if isinstance(a.location, ir.NameLoc) else "" for a in entry.arguments
    ]


def _annotate(entry: func.FuncOp, program: Program, leading: int) -> None:
    names = _argument_names(entry)
    entry.attributes["arg_attrs"] = _attributes(entry.type.inputs, program.inputs, names)
    entry.attributes["res_attrs"] = _attributes(
        entry.type.results, program.outputs, [""] * len(program.outputs)
    )


def _attributes(
    kinds: Sequence[ir.Type], values: Sequence[Value], names: Sequence[str]
) -> ir.ArrayAttr:
    entries = []
    for kind, value, name in zip(kinds, values, names, strict=True):
        attributes: dict[str, ir.Attribute] = {
            "iree.name": ir.StringAttr.get(name or value.name),
        }
        # Signedness is recorded when the types lose it.
        tensor = ir.RankedTensorType(kind)
        dims = [value.dims[d] for d in range(tensor.rank) if tensor.is_dynamic_dim(d)]
        if dims:
            attributes["iree.dims"] = ir.ArrayAttr.get([ir.StringAttr.get(d) for d in dims])
        entries.append(ir.DictAttr.get(attributes))
    return ir.ArrayAttr.get(entries)
