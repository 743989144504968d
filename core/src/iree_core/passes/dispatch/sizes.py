"""Host-level values for every dynamic dimension of every tensor.

``tensor.dim`` operations are put behind all tensors at once, held by a marker operation, and
resolved and merged by upstream passes; what the markers then hold are the sizes, as few
different values as the program allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from iree_core.errors import CompileError
from iree_core.ir import arith, ir, run_pipeline, tensor
from iree_core.lowering.loops import forward_sizes
from iree_core.passes.diagnostics import describe_location
from iree_core.passes.dispatch.graph import ATOMIC_ATTRIBUTE

_MARKER = "flow_sizes.of"
_RESOLVE = "builtin.module(resolve-ranked-shaped-type-result-dims,lower-affine,canonicalize,cse)"

Sizes = dict[ir.Value, tuple[ir.Value, ...]]
"""For a tensor, the values of its dynamic dimensions in order."""


def host_functions(module: ir.Module) -> list[ir.Operation]:
    """Return the functions of ``module`` that have a body and are no dispatches."""
    return [
        op.operation
        for op in module.body.operations
        if op.operation.name == "func.func"
        and "flow.dispatch" not in op.operation.attributes
        and len(op.operation.regions[0].blocks)
    ]


def host_blocks(op: ir.Operation) -> Iterator[ir.Block]:
    """Yield the host-level blocks nested in ``op``, inner ones first."""
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                if is_host_control_flow(inner.operation):
                    yield from host_blocks(inner.operation)
            yield block


def is_host_control_flow(op: ir.Operation) -> bool:
    """Whether the regions of ``op`` are host-level code."""
    return op.name.startswith("scf.") and ATOMIC_ATTRIBUTE not in op.attributes


def dynamic_dims(kind: ir.Type) -> list[int]:
    """Return the dynamic dimensions of a type, none for what is no ranked tensor."""
    if not isinstance(kind, ir.RankedTensorType):
        return []
    return [d for d in range(kind.rank) if kind.is_dynamic_dim(d)]


def resolve_sizes(module: ir.Module) -> Sizes:
    """Simplify ``module`` and return the sizes of its dynamically shaped tensors.

    Results of operations get values that do not depend on the operation itself.

    Raises:
        CompileError: a dimension is known only after its tensor is computed.
    """
    blocks = [b for f in host_functions(module) for b in list(host_blocks(f))]
    for block in blocks:
        _mark(block)
    forward_sizes(module)
    for function in host_functions(module):
        _merge_named_dims(function)
    context = module.context
    allowed, context.allow_unregistered_dialects = context.allow_unregistered_dialects, True
    run_pipeline(module, _RESOLVE, verify=False)
    merged = [_merge_named_dims(function) for function in host_functions(module)]
    merged += [_resolve_atomic(b) for f in host_functions(module) for b in list(host_blocks(f))]
    if any(merged):
        run_pipeline(module, "builtin.module(canonicalize,cse)", verify=False)
    context.allow_unregistered_dialects = allowed
    sizes: Sizes = {}
    for function in host_functions(module):
        for block in list(host_blocks(function)):
            for op in [o for o in block.operations if o.operation.name == _MARKER]:
                value, *dims = op.operands
                sizes[value] = tuple(dims)
                op.operation.erase()
    return sizes


def _mark(block: ir.Block) -> None:
    context = block.owner.operation.context
    with context:
        allowed, context.allow_unregistered_dialects = context.allow_unregistered_dialects, True
        operations = list(block.operations)
        if operations:
            _mark_values(block.arguments, ir.InsertionPoint(operations[0]))
        for number, op in enumerate(operations[:-1]):
            _mark_values(op.operation.results, ir.InsertionPoint(operations[number + 1]))
        context.allow_unregistered_dialects = allowed


def _mark_values(values: Iterable[ir.Value], point: ir.InsertionPoint) -> None:
    for value in values:
        dims = dynamic_dims(value.type)
        if dims:
            with point, ir.Location.unknown():
                index = ir.IndexType.get()
                sizes = [
                    tensor.DimOp(value, arith.ConstantOp(index, d).result).result for d in dims
                ]
                ir.Operation.create(_MARKER, [], [value, *sizes])


def _merge_named_dims(function: ir.Operation) -> bool:
    """Use one value for all argument dimensions that share a name (``iree.dims``).

    Returns whether anything changed.
    """
    if "arg_attrs" not in function.attributes:
        return False
    changed = False
    block = function.regions[0].blocks[0]
    arguments = {argument: number for number, argument in enumerate(block.arguments)}
    names: list[dict[int, str]] = []
    for argument, attributes in zip(arguments, function.attributes["arg_attrs"], strict=True):
        known = [a.value for a in attributes["iree.dims"]] if "iree.dims" in attributes else []
        names.append(dict(zip(dynamic_dims(argument.type), known, strict=False)))
    first: dict[str, ir.Value] = {}
    for op in block.operations:
        if op.operation.name != "tensor.dim" or op.operands[0] not in arguments:
            continue
        position = op.operands[1].owner
        if isinstance(position, ir.Block) or position.operation.name != "arith.constant":
            continue
        dim = ir.IntegerAttr(position.operation.attributes["value"]).value
        name = names[arguments[op.operands[0]]].get(dim)
        if name:
            result = op.operation.results[0]
            if first.setdefault(name, result) != result:
                result.replace_all_uses_with(first[name])
                changed = True
    return changed


def _resolve_atomic(block: ir.Block) -> bool:
    """Replace the dimensions of results of atomic regions by the sizes they are made with."""
    changed = False
    for view in block.operations:
        op = view.operation
        if ATOMIC_ATTRIBUTE not in op.attributes:
            continue
        for result in op.results:
            for use in list(result.uses):
                query = use.owner.operation
                if query.name != "tensor.dim":
                    continue
                position = query.operands[1].owner
                if isinstance(position, ir.Block) or position.operation.name != "arith.constant":
                    continue
                dim = ir.IntegerAttr(position.operation.attributes["value"]).value
                size = _made_with(result, dim, op)
                if size is not None and not _is_inside(size, op):
                    query.results[0].replace_all_uses_with(size)
                    changed = True
    return changed


def _made_with(value: ir.Value, dim: int, atomic: ir.Operation) -> ir.Value | None:
    """Return the dynamic size of the tensor that ``value`` is an updated version of: what it was
    made with, or that of a tensor from outside of ``atomic``."""
    owner = value.owner
    if value not in list(atomic.results) and not _is_inside(value, atomic):
        with ir.InsertionPoint(atomic), atomic.location:
            position = arith.ConstantOp(ir.IndexType.get(), dim)
            return tensor.DimOp(value, position).result
    if isinstance(owner, ir.Block):
        return None
    op = owner.operation
    number = ir.OpResult(value).result_number
    if op.name == "tensor.empty":
        dynamic = [d for d in range(value.type.rank) if value.type.is_dynamic_dim(d)]
        return op.operands[dynamic.index(dim)] if dim in dynamic else None
    if op.name in ("scf.execute_region", "scf.if"):
        end = list(op.regions[0].blocks[0].operations)[-1]
        return _made_with(end.operands[number], dim, atomic)
    start = _DESTINATIONS.get(op.name)
    if start is not None:
        return _made_with(op.operands[start + number], dim, atomic)
    if op.name == "scf.forall" or op.name.startswith("linalg."):
        return _made_with(op.operands[len(op.operands) - len(op.results) + number], dim, atomic)
    return None


# The operand that the first result begins as.
_DESTINATIONS = {
    "scf.for": 3, "scf.while": 0, "tensor.cast": 0, "tensor.insert": 1, "tensor.insert_slice": 1,
}  # fmt: skip


def _is_inside(value: ir.Value, op: ir.Operation) -> bool:
    """Whether ``value`` is defined in a region of ``op``."""
    owner = value.owner
    current = owner.owner.operation if isinstance(owner, ir.Block) else owner.operation
    if not isinstance(owner, ir.Block):
        parent = current.parent
        current = parent.operation if parent is not None else None
    while current is not None:
        if current == op:
            return True
        parent = current.parent
        current = parent.operation if parent is not None else None
    return False


def check_available(value: ir.Value, sizes: Sizes) -> tuple[ir.Value, ...]:
    """Return the sizes of a tensor that an operation computes.

    Raises:
        CompileError: some size is read from the tensor itself.
    """
    found = sizes.get(value, ())
    for size in found:
        owner = size.owner
        if not isinstance(owner, ir.Block) and value in list(owner.operation.operands):
            raise CompileError(
                f"The size of a result of type {value.type} is known only after it is computed.",
                where=describe_location(value.owner.operation.location) or None,
                hint="Export the model with a fixed size for this dimension.",
            )
    return found
