"""Padding that need not be stored: which inputs of a contraction it may be left out of, and why.

A padded input is read at ``stride * parallel + dilation * window``. If a term that reads the
padding leaves the accumulator as it is (zero in a sum of products, the identity of a pooling, the
zero point of a quantised input), the loops may leave those terms out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from iree_core.ir import ir

if TYPE_CHECKING:
    from iree_core.codegen.contraction_analysis import Contraction

MOST_UNROLLED = 11
"""The longest window whose iterations are emitted one by one."""


@dataclass(frozen=True)
class Slide:
    """A padded coordinate ``stride * parallel + dilation * window`` of an input.

    Attributes:
        operand, position: which input, which of its coordinates.
        parallel, window: the two loops.
        stride, dilation: their factors.
        low: padding before the first element.
        size: elements of the dimension without padding, None if dynamic.
        unrolled: along the row dimension, with sizes known, so that the window is unrolled and
            every tile leaves out what it need not do.
    """

    operand: int
    position: int
    parallel: int
    window: int
    stride: int
    dilation: int
    low: int
    size: int | None
    unrolled: bool


def find_slides(contraction: Contraction) -> list[Slide]:
    """Return the padded coordinates that can be handled by leaving work out."""
    found = []
    for number, operand in enumerate(contraction.generic.inputs):
        if _skippable(contraction, number):
            found += _slides_of_input(contraction, number, operand.owner)
    return found


def _slides_of_input(contraction: Contraction, number: int, pad: ir.OpView) -> list[Slide]:
    source = pad.operands[0].type
    found = []
    for position, form in enumerate(contraction.inputs[number]):
        if pad.static_low[position] == 0 and pad.static_high[position] == 0:
            continue
        window = next(d for d in form.dims if d in contraction.reductions)
        parallel = next(d for d in form.dims if d not in contraction.reductions)
        size = None if source.is_dynamic_dim(position) else source.shape[position]
        known = size is not None and contraction.static(contraction.row or 0) is not None
        count = contraction.static(window)
        short = count is not None and count <= MOST_UNROLLED
        found.append(
            Slide(
                number,
                position,
                parallel,
                window,
                form.factor(parallel),
                form.factor(window),
                pad.static_low[position],
                size,
                parallel == contraction.row and known and short,
            )
        )
    return found


def _skippable(contraction: Contraction, number: int) -> bool:
    """Whether leaving out what reads the padding of an input gives the same result."""
    c = contraction
    operand = c.generic.inputs[number]
    if isinstance(operand.owner, ir.Block) or operand.owner.operation.name != "tensor.pad":
        return False
    pad = operand.owner
    dynamic = ir.ShapedType.get_dynamic_size()
    if any(n == dynamic or n < 0 for n in [*pad.static_low, *pad.static_high]):
        return False
    if not (_is_identity(c, number, _padding(pad)) or _pads_with_zero_point(c, number, pad)):
        return False
    for position, form in enumerate(c.inputs[number]):
        if pad.static_low[position] == 0 and pad.static_high[position] == 0:
            continue
        windows = [d for d in form.dims if d in c.reductions]
        if len(form.factors) != 2 or len(windows) != 1 or form.constant:
            return False
        if any(f < 1 for _, f in form.factors):
            return False
        parallel = next(d for d in form.dims if d not in c.reductions)
        if parallel == c.lane:
            return False
    return True


def pad_value(pad: ir.OpView) -> ir.Value:
    value: ir.Value = list(pad.regions[0].blocks[0].operations)[-1].operands[0]
    return value


def _padding(pad: ir.OpView) -> float | int | None:
    value = pad_value(pad)
    if isinstance(value.owner, ir.Block) or value.owner.operation.name != "arith.constant":
        return None
    number: float | int = value.owner.attributes["value"].value
    return number


def _is_identity(contraction: Contraction, number: int, padding: float | int | None) -> bool:
    """Whether a term that reads ``padding`` leaves the accumulator unchanged."""
    body = contraction.body
    if padding is None:
        return False
    if body.term == body.inputs[number]:
        element = contraction.generic.results[0].type.element_type
        return bool(padding == body.combiner.identity(element))
    return (
        padding == 0
        and body.combiner.op in ("arith.addf", "arith.addi")
        and _vanishes(body.term, body.inputs[number])
    )


def _pads_with_zero_point(contraction: Contraction, number: int, pad: ir.OpView) -> bool:
    """Whether an integer product subtracts from an input just what it is padded with."""
    body, argument = contraction.body, contraction.body.inputs[number]
    owner = body.term.owner
    product = not isinstance(owner, ir.Block) and owner.operation.name == "arith.muli"
    if body.combiner.op != "arith.addi" or not product:
        return False
    for factor in owner.operands:
        centre = factor.owner
        if isinstance(centre, ir.Block) or centre.operation.name != "arith.subi":
            continue
        extension, zero = (o.owner for o in centre.operands)
        if isinstance(extension, ir.Block) or isinstance(zero, ir.Block):
            continue
        if list(extension.operands) == [argument] and len(list(argument.uses)) == 1:
            return _is_zero_point(contraction, zero, extension.operation.name, pad)
    return False


def _is_zero_point(
    contraction: Contraction, zero: ir.OpView, extension: str, pad: ir.OpView
) -> bool:
    """Whether what a padding holds, once extended, is ``zero``."""
    padding = _padding(pad)
    if padding is not None:
        if zero.operation.name != "arith.constant":
            return False
        wide = int(padding) % 256 if extension == "arith.extui" else int(padding)
        return bool(ir.IntegerAttr(zero.attributes["value"]).value == wide)
    read, body = pad_value(pad).owner, contraction.body
    if isinstance(read, ir.Block) or read.operation.name != "tensor.extract":
        return False
    if zero.operation.name != extension or zero.operands[0] not in body.inputs:
        return False
    source = contraction.generic.inputs[body.inputs.index(zero.operands[0])]
    return bool(source == read.operands[0]) and source.type.rank == 0


def _vanishes(value: ir.Value, argument: ir.Value) -> bool:
    """Whether ``value`` is 0 wherever ``argument`` is 0."""
    if value == argument:
        return True
    if isinstance(value.owner, ir.Block):
        return False
    op = value.owner.operation
    if op.name in ("arith.mulf", "arith.muli"):
        return any(_vanishes(o, argument) for o in op.operands)
    if op.name in ("arith.extf", "arith.extsi", "arith.extui", "arith.truncf", "arith.sitofp"):
        return _vanishes(op.operands[0], argument)
    return False
