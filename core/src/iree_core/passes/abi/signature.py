"""The public signature of a function, read from its attributes. Not for changing functions."""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.errors import CompileError
from iree_core.ir import func, ir
from iree_core.passes.diagnostics import describe_location
from iree_core.vm.program import TensorType

NAME = "iree.name"
DIMS = "iree.dims"
DTYPE = "iree.dtype"


def is_public(function: func.FuncOp) -> bool:
    """Whether users can call ``function``."""
    attributes = function.attributes
    return "sym_visibility" not in attributes or (
        ir.StringAttr(attributes["sym_visibility"]).value == "public"
    )


def public_functions(module: ir.Module) -> list[func.FuncOp]:
    """Return the functions that users can call, in order."""
    return [op for op in module.body.operations if isinstance(op, func.FuncOp) and is_public(op)]


def attributes_of(function: func.FuncOp, kind: str, count: int) -> list[dict[str, ir.Attribute]]:
    """Return the attributes of all arguments (``arg_attrs``) or results (``res_attrs``)."""
    if kind not in function.attributes:
        return [{} for _ in range(count)]
    return [{a.name: a.attr for a in ir.DictAttr(d)} for d in function.attributes[kind]]


def read_signature(
    function: func.FuncOp,
) -> tuple[tuple[TensorType, ...], tuple[TensorType, ...]]:
    """Return the types of the inputs and of the outputs of a function on tensors.

    Raises:
        CompileError: a type is no ranked tensor, or ``iree.dims`` does not fit it.
    """
    kind = function.type
    return (
        _types(function, kind.inputs, "arg_attrs", "input"),
        _types(function, kind.results, "res_attrs", "output"),
    )


def _types(
    function: func.FuncOp, types: Sequence[ir.Type], kind: str, noun: str
) -> tuple[TensorType, ...]:
    declared = attributes_of(function, kind, len(types))
    return tuple(
        _type(function, tensor, attributes, f"{noun} {position}", f"{noun}{position}")
        for position, (tensor, attributes) in enumerate(zip(types, declared, strict=True))
    )


def _type(
    function: func.FuncOp,
    tensor: ir.Type,
    attributes: dict[str, ir.Attribute],
    what: str,
    default_name: str,
) -> TensorType:
    if not isinstance(tensor, ir.RankedTensorType):
        raise CompileError(
            f"{what.capitalize()} of function {function.name.value!r} has type {tensor}; public "
            "functions take and return ranked tensors.",
            where=describe_location(function.location) or None,
            hint="Export the model with a known number of dimensions.",
        )
    name = ir.StringAttr(attributes[NAME]).value if NAME in attributes else default_name
    dynamic = [d for d in range(tensor.rank) if tensor.is_dynamic_dim(d)]
    if DIMS in attributes:
        names = [ir.StringAttr(n).value for n in ir.ArrayAttr(attributes[DIMS])]
    else:
        names = [f"{name}_d{d}" for d in dynamic]
    if len(names) != len(dynamic):
        raise CompileError(
            f"{what.capitalize()} ({name!r}) of function {function.name.value!r} has "
            f"{len(dynamic)} dynamic dimensions but {DIMS} names {len(names)}.",
            hint=f"Give one name per dynamic dimension of {tensor}.",
        )
    sizes = iter(names)
    shape = tuple(
        next(sizes) if tensor.is_dynamic_dim(d) else tensor.get_dim_size(d)
        for d in range(tensor.rank)
    )
    if DTYPE in attributes:
        dtype = ir.StringAttr(attributes[DTYPE]).value
    else:
        dtype = "i64" if isinstance(tensor.element_type, ir.IndexType) else str(tensor.element_type)
    return TensorType(dtype, shape, name)


def format_type(tensor: TensorType) -> str:
    """Return ``name:dtype[dim,dim]``; the inverse of :func:`parse_type`."""
    return f"{tensor.name}:{tensor.dtype}[{','.join(str(d) for d in tensor.shape)}]"


def parse_type(text: str) -> TensorType:
    """Return the tensor type written as ``name:dtype[dim,dim]``."""
    head, _, dims = text[:-1].rpartition("[")
    name, _, dtype = head.rpartition(":")
    shape = tuple(int(d) if d.lstrip("-").isdigit() else d for d in dims.split(",") if d)
    return TensorType(dtype, shape, name)
