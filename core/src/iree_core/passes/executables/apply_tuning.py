"""Writes the block sizes of a tuning file on the dispatches that they were measured for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from iree_core.codegen.choices import write_choices
from iree_core.dialects import flow
from iree_core.ir import func, ir
from iree_core.passes.state import CompilationState
from iree_core.tuning import TuningTable


@dataclass(frozen=True)
class ApplyTuning:
    """Annotate dispatches with measured block sizes (:mod:`iree_core.codegen.choices`).

    Attributes:
        file: a tuning file; without one the pass does nothing.

    Where the file has an entry for a dispatch::

        func.func private @main_dispatch_0(...) attributes {flow.dispatch}

    becomes::

        func.func private @main_dispatch_0(...)
            attributes {flow.dispatch, flow.choices = {cycles = 20000, rows = 6}}

    ``state.tuning_keys`` gets the key of every dispatch.
    """

    file: Path | None = None

    name: ClassVar[str] = "apply-tuning"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Annotate the dispatches.

        Raises:
            UsageError: the file cannot be read.
        """
        if self.file is None:
            return
        target = f"{state.target.backend}:{state.target.spec}"
        table = TuningTable.load(Path(self.file))
        if table.dispatches and table.target != target:
            state.note(f"{self.file} is not used", why=f"it is for {table.target}")
            return
        for op in module.body.operations:
            if not isinstance(op, func.FuncOp) or flow.DISPATCH not in op.attributes:
                continue
            key = _key(op)
            state.tuning_keys[op.sym_name.value] = key
            if key in table.dispatches:
                write_choices(op, table.dispatches[key].choices)


def _key(function: func.FuncOp) -> str:
    """Return a digest of a dispatch without its name."""
    text = flow.anonymous_text(function.operation)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
