"""The end of the input phase: what any dialect leaves behind, and the check that all is well."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from iree_core.dialects import flow
from iree_core.errors import CompileError
from iree_core.ir import ir, run_pipeline
from iree_core.lowering.loops import forward_sizes
from iree_core.passes.diagnostics import describe_location
from iree_core.passes.input.reshapes import ResolveReshapes
from iree_core.passes.input.support import dialects, functions, operations
from iree_core.passes.state import CompilationState

CANONICAL = frozenset(
    {"builtin", "func", "linalg", "tensor", "arith", "math", "scf", "complex", "ml_program", "flow"}
)
_HINTS = {
    "stablehlo": "Export again with the operation decomposed (for JAX, another implementation "
    "or platform often has none).",
    "torch": "Decompose the operator when exporting (run_decompositions).",
    "tosa": "Legalise the operation to others when exporting.",
}
_MAX_LISTED = 20


@dataclass(frozen=True)
class CanonicalizeInput:
    """Brings dialects that inputs contain on the side into the canonical form.

    Before::

        %c = arith.addf %a, %b : tensor<4xf32>
        %d = shape.shape_of ...
        cf.assert %ok, "mismatched size"

    After::

        %c = linalg.generic ... arith.addf ...
        %d = tensor.dim ...

    Assertions are counted in the report: the program's results do not depend on them, but for
    those marked ``flow.check``, which stay.
    """

    name: str = "canonicalize-input"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Convert what the input has of these dialects."""
        found = dialects(module)
        _drop_assertions(module, state)
        if any(op.name != "cf.assert" for op in operations(module, {"cf.br", "cf.cond_br"})):
            run_pipeline(module, "builtin.module(func.func(lift-cf-to-scf))")
        if "affine" in found:
            run_pipeline(module, "builtin.module(lower-affine)")
        if "shape" in found:
            run_pipeline(
                module, "builtin.module(func.func(convert-shape-constraints),convert-shape-to-std)"
            )
        if _has_signed_types(module):
            run_pipeline(
                module,
                "builtin.module(stablehlo-convert-to-signless,reconcile-unrealized-casts)",
            )
        run_pipeline(
            module,
            "builtin.module(func.func(convert-elementwise-to-linalg),canonicalize,cse,symbol-dce)",
        )
        _drop_assertions(module, state)
        if operations(module, {"tensor.reshape"}):
            ResolveReshapes().run(module, state)
        forward_sizes(module)


def _drop_assertions(module: ir.Module, state: CompilationState) -> None:
    found = [op for op in operations(module, {"cf.assert"}) if flow.CHECK not in op.attributes]
    for op in found:
        op.erase()
    if found:
        state.note(f"{len(found)} run-time assertions of the input are not checked")


def _has_signed_types(module: ir.Module) -> bool:
    return any(
        word in str(function.attributes["function_type"])
        for function in functions(module)
        for word in ("xui", "xsi", "<ui", "<si")
    )


@dataclass(frozen=True)
class CheckCanonical:
    """Accepts the canonical form only: linalg, tensor, arith, math, scf, complex, func, flow.

    The IR is not changed.
    """

    name: str = "check-canonical"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Verify ``module``.

        Raises:
            CompileError: operations of other dialects are left; it names each, with places.
        """
        left: dict[str, list[str]] = defaultdict(list)

        def visit(op: ir.OpView) -> ir.WalkResult:
            name = op.operation.name
            dialect = name.partition(".")[0]
            if name == "cf.assert":  # only checks are left
                return ir.WalkResult.ADVANCE
            if dialect not in CANONICAL or name == "builtin.unrealized_conversion_cast":
                left[_full_name(op.operation)].append(describe_location(op.operation.location))
            return ir.WalkResult.ADVANCE

        module.operation.walk(visit)
        if not left:
            return
        listed = sorted(left)[:_MAX_LISTED]
        more = f" and {len(left) - len(listed)} more" if len(left) > len(listed) else ""
        places = "; ".join(
            f"{name} at {', '.join(dict.fromkeys(left[name][:3]))}"
            for name in listed
            if any(left[name])
        )
        hints = [
            _HINTS[d] for d in dict.fromkeys(n.partition(".")[0] for n in listed) if d in _HINTS
        ]
        raise CompileError(
            f"These operations of the input are not supported: {', '.join(listed)}{more}.",
            where=places or None,
            hint=" ".join(hints) or None,
        )


def _full_name(op: ir.Operation) -> str:
    """Return the operation's name, with the callee of a call that names one."""
    for attribute in ("call_target_name", "name"):
        if op.name in ("stablehlo.custom_call", "torch.operator") and attribute in op.attributes:
            return f"{op.name} {ir.StringAttr(op.attributes[attribute]).value}"
    return op.name
