"""Pass: every public function gets a complete declared signature. Not for changing types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iree_core.errors import CompileError
from iree_core.ir import func, ir
from iree_core.passes.abi import signature
from iree_core.passes.state import CompilationState
from iree_core.vm.program import TensorType


@dataclass(frozen=True)
class DeclareSignatures:
    """Write ``iree.name``, ``iree.dims`` and ``iree.dtype`` where the frontend gave none::

        func.func @main(%x: tensor<?x4xf32>) -> tensor<?x4xf32>

    becomes::

        func.func @main(
            %x: tensor<?x4xf32> {iree.name = "input0", iree.dims = ["input0_d0"],
                                 iree.dtype = "f32"})
            -> (tensor<?x4xf32> {iree.name = "output0", ...})

    Names of inputs are unique within a function, and so are those of outputs; a repeated one
    gets a number. A name of a dimension is never a number and holds no punctuation that
    signatures use.
    """

    name: str = "declare-signatures"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Declare the signatures in ``module``.

        Raises:
            CompileError: there is no public function, or one has an argument or a result that
                is no ranked tensor.
        """
        functions = signature.public_functions(module)
        if not functions:
            raise CompileError(
                "The model has no public function, so there would be nothing to call.",
                hint="Export at least one function; `private` functions are internal.",
            )
        for function in functions:
            inputs, outputs = signature.read_signature(function)
            function.attributes["arg_attrs"] = _declare(function, inputs, "arg_attrs")
            function.attributes["res_attrs"] = _declare(function, outputs, "res_attrs")


def _declare(function: func.FuncOp, types: Sequence[TensorType], kind: str) -> ir.ArrayAttr:
    taken: set[str] = set()
    declared = []
    for tensor, attributes in zip(
        types, signature.attributes_of(function, kind, len(types)), strict=True
    ):
        text = ir.StringAttr.get
        attributes[signature.NAME] = text(_unique(tensor.name, taken))
        attributes[signature.DTYPE] = text(tensor.dtype)
        names = [_dimension(d) for d in tensor.shape if isinstance(d, str)]
        if names:
            attributes[signature.DIMS] = ir.ArrayAttr.get([text(n) for n in names])
        declared.append(ir.DictAttr.get(attributes))
    return ir.ArrayAttr.get(declared)


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    taken.add(candidate)
    return candidate


def _dimension(name: str) -> str:
    cleaned = "".join("_" if c in "[],: " else c for c in name)
    return f"d{cleaned}" if cleaned.lstrip("-").isdigit() or not cleaned else cleaned
