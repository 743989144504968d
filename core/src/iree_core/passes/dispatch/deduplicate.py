"""Keep one of all dispatches whose functions are equal."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.dialects import flow
from iree_core.ir import ir
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
            kept[name] = first.setdefault(flow.anonymous_text(op), name)
            if kept[name] != name:
                op.erase()
        for call in nested_operations(module.operation):
            if call.name == "func.call":
                callee = ir.FlatSymbolRefAttr(call.attributes["callee"]).value
                if kept.get(callee, callee) != callee:
                    call.attributes["callee"] = ir.FlatSymbolRefAttr.get(kept[callee])
