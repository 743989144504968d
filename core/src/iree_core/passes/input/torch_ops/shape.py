"""Views: sizes that are only known at run time keep their identity; other types of the bits."""

from __future__ import annotations

from iree_core.ir import arith, ir, tensor
from iree_core.lowering import index
from iree_core.lowering.structured import elementwise
from iree_core.lowering.tensors import DYNAMIC, Tensor, tensor_type
from iree_core.passes.input.torch_ops.registry import Declined, Node, register


@register("aten.view", "aten._unsafe_view", "aten.reshape", "aten._reshape_alias")
def view(node: Node) -> Tensor:
    """Emit ``tensor.reshape``, which :class:`ResolveReshapes` takes apart.

    torch-mlir's conversion takes a dimension to be 1 where it merges several dynamic ones into
    a size of -1.
    """
    source = node.tensor(0)
    kind, _ = node.result_type()
    if not any(n == DYNAMIC for n in (*kind.shape, *source.type.shape)):
        raise Declined
    sizes = node.sizes(1)
    if len(sizes) != kind.rank:
        raise Declined
    shape = (
        tensor.from_elements(
            ir.RankedTensorType.get([len(sizes)], ir.IndexType.get()),
            [arith.constant(ir.IndexType.get(), s) if isinstance(s, int) else s for s in sizes],
        )
        if sizes
        else tensor.empty([0], ir.IndexType.get())
    )
    dims = [index.value(0) if n == DYNAMIC else n for n in kind.shape]
    made = tensor.reshape(tensor_type(dims, source.element), source.value, shape)
    return Tensor(made, tuple(dims), source.element)


@register("aten.view.dtype")
def bitcast(node: Node) -> Tensor:
    """``view(x, dtype)`` for types of equal width: the same bits, read as another type."""
    source = node.tensor(0)
    _, element = node.result_type()
    if source.element.bits != element.bits or "complex" in (source.element.kind, element.kind):
        raise Declined
    if source.element.type == element.type:
        return Tensor(source.value, source.dims, element)
    return elementwise([source], element, lambda x: arith.bitcast(element.type, x))
