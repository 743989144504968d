"""Reshapes to sizes computed at run time, as merging and splitting of dimensions."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.ir import arith, ir, run_pipeline, tensor
from iree_core.lowering import index
from iree_core.lowering.element import from_name
from iree_core.lowering.index import Dim
from iree_core.lowering.tensors import DYNAMIC, Tensor, reshape, with_dims
from iree_core.passes.input.support import before, create, functions, operations, replace
from iree_core.passes.state import CompilationState

# Stands for a reshape while the sizes among its operands are simplified.
_PLACEHOLDER = "builtin.unrealized_conversion_cast"
_MARK = "iree.reshape"
_SIMPLIFY = (
    "builtin.module(func.func(resolve-shaped-type-result-dims,canonicalize,cse,"
    "resolve-shaped-type-result-dims,canonicalize,cse))"
)


@dataclass(frozen=True)
class ResolveReshapes:
    """Replaces ``tensor.reshape`` by collapsing and expanding.

    Before, where the size 4 and one dynamic size are those of ``%x``::

        %s = tensor.from_elements %n, %c4, %c8 : tensor<3xi64>
        %y = tensor.reshape %x(%s) : (tensor<?x32xf32>, tensor<3xi64>) -> tensor<?x4x8xf32>

    After::

        %y = tensor.expand_shape %x [[0], [1, 2]] output_shape [%m, 4, 8]
            : tensor<?x32xf32> into tensor<?x4x8xf32>

    Dimensions are merged and split as little as the sizes that are provably equal allow.
    """

    name: str = "resolve-reshapes"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Replace every reshape."""
        share_argument_sizes(module)
        found = operations(module, {"tensor.reshape"})
        if not found:
            return
        for op in found:
            with before(op):
                _mark(op)
        run_pipeline(module, _SIMPLIFY)
        for op in operations(module, {_PLACEHOLDER}):
            if _MARK in op.attributes:
                with before(op):
                    replace(op, [_resolve(op)])


def share_argument_sizes(module: ir.Module) -> None:
    """Read sizes that have one name (``iree.dims``) from the first argument that has it."""
    for function in functions(module):
        if "arg_attrs" not in function.attributes or not len(function.regions[0].blocks):
            continue
        block = function.regions[0].blocks[0]
        first: dict[str, ir.Value] = {}
        for argument, names in zip(block.arguments, _dimension_names(function), strict=True):
            for axis, name in names.items():
                with ir.InsertionPoint.at_block_begin(block), function.location:
                    position = arith.constant(ir.IndexType.get(), axis)
                    size = tensor.dim(argument, position)
                _replace_sizes(argument, axis, first.setdefault(name, size))


def _dimension_names(function: ir.Operation) -> list[dict[int, str]]:
    """Return, per argument, the names of its dynamic dimensions by position."""
    kinds = ir.FunctionType(ir.TypeAttr(function.attributes["function_type"]).value).inputs
    found: list[dict[int, str]] = []
    for kind, entry in zip(kinds, ir.ArrayAttr(function.attributes["arg_attrs"]), strict=True):
        attributes = ir.DictAttr(entry)
        if "iree.dims" not in attributes or not isinstance(kind, ir.RankedTensorType):
            found.append({})
            continue
        axes = [a for a in range(kind.rank) if kind.is_dynamic_dim(a)]
        names = [ir.StringAttr(n).value for n in ir.ArrayAttr(attributes["iree.dims"])]
        found.append(dict(zip(axes, names, strict=True)))
    return found


def _replace_sizes(argument: ir.Value, axis: int, size: ir.Value) -> None:
    """Let ``size`` stand for every other ``tensor.dim`` of that dimension."""
    for use in list(argument.uses):
        op = use.owner.operation
        if op.name != "tensor.dim" or op.results[0] == size:
            continue
        position = op.operands[1].owner
        if isinstance(position, ir.Block) or position.name != "arith.constant":
            continue
        if ir.IntegerAttr(position.attributes["value"]).value == axis:
            op.results[0].replace_all_uses_with(size)


def _sizes(op: ir.Operation) -> list[ir.Value]:
    """Return the numbers of a reshape's shape."""
    owner = op.operands[1].owner
    source = None if isinstance(owner, ir.Block) else owner
    if source is not None and source.name == "arith.constant":
        numbers = ir.DenseIntElementsAttr(source.attributes["value"])
        return [arith.constant(ir.IndexType.get(), n) for n in _each(numbers)]
    if source is not None and source.name == "tensor.from_elements":
        return list(source.operands)
    count = ir.RankedTensorType(op.operands[1].type).shape[0]
    return [tensor.extract(op.operands[1], [index.value(n)]) for n in range(count)]


def _each(numbers: ir.DenseIntElementsAttr) -> list[int]:
    # The bindings read elements of type index as unsigned.
    return [n - (1 << 64) if n >= 1 << 63 else n for n in numbers]


def _mark(op: ir.Operation) -> None:
    sizes = []
    for size in _sizes(op):
        is_index = isinstance(size.type, ir.IndexType)
        sizes.append(size if is_index else arith.index_cast(ir.IndexType.get(), size))
    shape = ir.RankedTensorType(op.operands[0].type).shape
    own = [
        tensor.dim(op.operands[0], index.value(axis))
        for axis, size in enumerate(shape)
        if size == DYNAMIC
    ]
    operands = [op.operands[0], *own, *sizes]
    made = create(_PLACEHOLDER, [op.results[0].type], operands, {_MARK: ir.UnitAttr.get()})
    replace(op, list(made.results))


def _resolve(op: ir.Operation) -> ir.Value:
    source, *numbers = op.operands
    kind = ir.RankedTensorType(source.type)
    result = ir.RankedTensorType(op.results[0].type)
    element = from_name(str(kind.element_type))
    own = iter(numbers[: len(numbers) - result.rank])
    dims: list[Dim] = [next(own) if size == DYNAMIC else size for size in kind.shape]
    wanted: list[Dim] = [
        number if size == DYNAMIC else size
        for size, number in zip(result.shape, numbers[len(numbers) - result.rank :], strict=True)
    ]
    _infer(wanted, dims)
    given = with_dims(Tensor(source, tuple(dims), element), list(map(_known, dims)))
    for axis, size in enumerate(wanted):
        if isinstance(size, ir.Value):
            _replace_sizes(op.results[0], axis, size)
    made = reshape(given, list(map(_known, wanted)))
    return made.value if made.type == result else tensor.cast(result, made.value)


def _infer(wanted: list[Dim], dims: list[Dim]) -> None:
    """Compute the one size that is given as -1 from the number of elements."""
    known = [_known(dim) for dim in wanted]
    if -1 not in known:
        return
    place = known.index(-1)
    others = index.product(d for n, d in enumerate(known) if n != place)
    wanted[place] = index.floordiv(index.product(map(_known, dims)), others)


def _known(dim: Dim) -> Dim:
    """Return a size as a number where it is a constant."""
    if isinstance(dim, int) or isinstance(dim.owner, ir.Block):
        return dim
    if dim.owner.operation.name != "arith.constant":
        return dim
    return ir.IntegerAttr(dim.owner.attributes["value"]).value
