"""Block sizes that a measured search may choose in place of the cost model.

They are an attribute of the dispatch function, so that they reach code generation with its text::

    func.func private @main_dispatch_0(...) attributes {flow.dispatch, flow.choices = {rows = 6}}

A value that a processor's registers or the dispatch's sizes do not allow is brought into range;
a choice that a schedule does not have is left unread. :class:`iree_core.codegen.kernel.Kernel`
says which values were taken.
"""

from __future__ import annotations

from collections.abc import Mapping

from iree_core.dialects import flow
from iree_core.ir import func, ir

ROWS = "rows"
"""Rows of a register tile."""
CYCLES = "cycles"
"""Estimated cycles of a work item, from which its extents follow."""
PANELS = "panels"
"""Panels of columns that a work item covers."""
SLICE = "slice"
"""Terms of a long sum after which the next rows follow; 0 for all of them at once."""


def given_choices(function: func.FuncOp) -> dict[str, int]:
    """Return the choices written on a dispatch function."""
    if flow.CHOICES not in function.attributes:
        return {}
    return {a.name: ir.IntegerAttr(a.attr).value for a in function.attributes[flow.CHOICES]}


def write_choices(function: func.FuncOp, choices: Mapping[str, int]) -> None:
    """Write choices on a dispatch function."""
    integer = ir.IntegerType.get_signless(64)
    function.attributes[flow.CHOICES] = ir.DictAttr.get(
        {name: ir.IntegerAttr.get(integer, value) for name, value in choices.items()}
    )
