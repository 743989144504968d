"""Keep one of all dispatches whose functions are equal."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.dialects import flow
from iree_core.ir import ir
from iree_core.passes.dispatch.outline import ORIGIN
from iree_core.passes.dispatch.structure import nested_operations
from iree_core.passes.state import CompilationState


@dataclass(frozen=True)
class DeduplicateDispatches:
    """Merge dispatch functions of equal text; names, origins and locations do not count.

    Before::

        call @main_dispatch_0(%x, %w0)    call @main_dispatch_1(%y, %w1)   // equal bodies

    After::

        call @main_dispatch_0(%x, %w0)    call @main_dispatch_0(%y, %w1)
    """

    name: str = "deduplicate-dispatches"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Merge the dispatches of ``module``."""
        first: dict[str, str] = {}
        kept: dict[str, str] = {}
        for view in list(module.body.operations):
            op = view.operation
            if flow.DISPATCH not in op.attributes:
                continue
            name = ir.StringAttr(op.attributes["sym_name"]).value
            kept[name] = first.setdefault(_text(op), name)
            if kept[name] != name:
                op.erase()
        for call in nested_operations(module.operation):
            if call.name == "func.call":
                callee = ir.FlatSymbolRefAttr(call.attributes["callee"]).value
                if kept.get(callee, callee) != callee:
                    call.attributes["callee"] = ir.FlatSymbolRefAttr.get(kept[callee])


def _text(op: ir.Operation) -> str:
    """Return the text of a function without its name and origin."""
    name = op.attributes["sym_name"]
    has_origin = ORIGIN in op.attributes
    origin = op.attributes[ORIGIN] if has_origin else None
    op.attributes["sym_name"] = ir.StringAttr.get("_")
    if origin is not None:
        del op.attributes[ORIGIN]
    text = op.get_asm(use_local_scope=True, assume_verified=True)
    op.attributes["sym_name"] = name
    if origin is not None:
        op.attributes[ORIGIN] = origin
    return text
