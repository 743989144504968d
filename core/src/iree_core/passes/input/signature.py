"""Records what conversion to signless types forgets about public signatures."""

from __future__ import annotations

import re
from dataclasses import dataclass

from iree_core.ir import ir
from iree_core.passes.input.support import functions, is_public
from iree_core.passes.state import CompilationState

_BUILTIN_UNSIGNED = re.compile(r"^(?:memref|tensor)<(?:[\d?]+x)*(ui\d+)[,>]")
_TORCH_UNSIGNED = re.compile(r"^!torch\.v?tensor<\[[^\]]*\],\s*(ui\d+)>")


@dataclass(frozen=True)
class RecordSignature:
    """Writes ``iree.dtype`` on public arguments and results that are unsigned.

    Before::

        func.func @main(%x: tensor<4xui8>) -> tensor<4xf32>

    After::

        func.func @main(%x: tensor<4xui8> {iree.dtype = "ui8"}) -> tensor<4xf32>
    """

    name: str = "record-signature"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Annotate every public function; annotations of a frontend are kept."""
        for function in functions(module):
            if is_public(function):
                signature = ir.FunctionType(ir.TypeAttr(function.attributes["function_type"]).value)
                _annotate(function, "arg_attrs", signature.inputs)
                _annotate(function, "res_attrs", signature.results)


def _annotate(function: ir.Operation, attribute: str, types: list[ir.Type]) -> None:
    dtypes = [unsigned_dtype(kind) for kind in types]
    if not any(dtypes):
        return
    if attribute in function.attributes:
        entries = [dict(_items(entry)) for entry in ir.ArrayAttr(function.attributes[attribute])]
    else:
        entries = [{} for _ in types]
    for entry, dtype in zip(entries, dtypes, strict=True):
        if dtype:
            entry.setdefault("iree.dtype", ir.StringAttr.get(dtype))
    function.attributes[attribute] = ir.ArrayAttr.get([ir.DictAttr.get(e) for e in entries])


def _items(entry: ir.Attribute) -> list[tuple[str, ir.Attribute]]:
    return [(named.name, named.attr) for named in ir.DictAttr(entry)]


def unsigned_dtype(kind: ir.Type) -> str | None:
    """Return ``uiN`` for a builtin or torch tensor of unsigned integers, else None."""
    text = str(kind)
    match = _BUILTIN_UNSIGNED.match(text) or _TORCH_UNSIGNED.match(text)
    return match.group(1) if match else None
