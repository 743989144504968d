"""One golden test per pass of the input phase, and reading of files."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest

from iree_core.errors import CompileError, ImportModelError
from iree_core.ir import ir, make_context
from iree_core.params import ParameterStore
from iree_core.passes.input.complex_constants import ReplaceComplexConstants
from iree_core.passes.input.constants import ExternalizeConstants
from iree_core.passes.input.convert_stablehlo import ConvertStablehlo, ConvertVhlo
from iree_core.passes.input.convert_tm_tensor import ConvertTmTensor
from iree_core.passes.input.convert_torch import ConvertTorch
from iree_core.passes.input.convert_tosa import ConvertTosa
from iree_core.passes.input.finish import CanonicalizeInput, CheckCanonical
from iree_core.passes.input.load import is_mlir, load_mlir
from iree_core.passes.input.signature import RecordSignature
from iree_core.passes.input.stablehlo_control_flow import StablehloControlFlow
from iree_core.passes.input.stablehlo_programs import StablehloPrograms
from iree_core.passes.input.stablehlo_simplify import StablehloSimplify
from iree_core.passes.manager import Pass
from iree_core.passes.state import CompilationState

from .test_dialects import MLP, TM_TENSOR_SCATTER, _NoBackend

CONTEXT = make_context()


def new_state() -> CompilationState:
    return CompilationState(ParameterStore(), None, _NoBackend.__new__(_NoBackend))  # type: ignore[arg-type]


def transformed(item: Pass, source: str, state: CompilationState | None = None) -> str:
    """Run one pass and return the module's text."""
    with CONTEXT, ir.Location.unknown():
        module = ir.Module.parse(source)
        item.run(module, state or new_state())
        module.operation.verify()
        return str(module)


def mentions(text: str, *patterns: str) -> None:
    """Check that ``patterns`` occur in ``text`` in this order."""
    position = 0
    for pattern in patterns:
        match = re.compile(pattern).search(text, position)
        assert match, f"{pattern!r} is not in {text[position:]}"
        position = match.end()


def test_record_signature_keeps_annotations() -> None:
    text = transformed(
        RecordSignature(),
        'func.func @f(%x: tensor<4xui8> {iree.name = "x"}, %y: tensor<f32>) -> tensor<?xui16> {\n'
        "  %0 = tensor.empty() : tensor<4xui16>\n"
        "  %1 = tensor.cast %0 : tensor<4xui16> to tensor<?xui16>\n"
        "  return %1 : tensor<?xui16>\n}\n"
        "func.func private @g(%x: tensor<4xui8>) {\n  return\n}",
    )
    mentions(
        text,
        r'iree.dtype = "ui8", iree.name = "x"',
        r"%arg1: tensor<f32>\) -> \(tensor<\?xui16> \{iree.dtype = \"ui16\"\}\)",
        r"@g\(%arg0: tensor<4xui8>\)",
    )


@pytest.mark.parametrize(
    ("kind", "dtype", "count"),
    [("f32", np.float32, 100), ("bf16", None, 200), ("i4", None, 200), ("i1", np.bool_, 130),
     ("ui8", np.uint8, 100), ("complex<f32>", np.complex64, 200)],
)  # fmt: skip
def test_constants_become_parameters(kind: str, dtype: type | None, count: int) -> None:
    def item(i: int) -> str:
        if kind.startswith("complex"):
            return f"({i}.0, 1.0)"
        return f"{i % 2 if kind == 'i1' else i % 8 - 4 if kind == 'i4' else i}" + (
            ".0" if "f" in kind else ""
        )

    items = ", ".join(item(i) for i in range(count))
    state = new_state()
    text = transformed(
        ExternalizeConstants(),
        f"func.func @f() {{\n  %0 = stablehlo.constant dense<[{items}]> : tensor<{count}x{kind}>\n"
        "  %1 = arith.constant dense<1.0> : tensor<1000xf32>\n  return\n}",
        state,
    )
    mentions(text, r'"flow.parameter"\(\) \{key = "constant_0"\}', r"dense<1.0")
    array = state.parameters.read("constant_0")
    assert array.shape == (count,)
    assert dtype is None or array.dtype == dtype
    want = [i % 8 - 4 if kind == "i4" else i % 2 if kind == "i1" else i for i in range(count)]
    np.testing.assert_array_equal(array.astype(np.complex64).real, want)


def test_complex_constants_are_filled_or_parameters() -> None:
    state = new_state()
    text = transformed(
        ReplaceComplexConstants(),
        """
func.func @f() {
  %0 = arith.constant dense<(1.0, 2.0)> : tensor<4xcomplex<f32>>
  %1 = arith.constant dense<[(1.0, 2.0), (0x7F800000, -3.5)]> : tensor<2xcomplex<f32>>
  return
}""",
        state,
    )
    mentions(text, "complex.constant", "linalg.fill", '"flow.parameter"')
    array = state.parameters.read("constant_0")
    np.testing.assert_array_equal(array, np.array([1 + 2j, complex(np.inf, -3.5)], np.complex64))


def test_resources_become_parameters() -> None:
    data = np.arange(70, dtype=np.float32)
    state = new_state()
    transformed(
        ExternalizeConstants(),
        "module {\nfunc.func @f() {\n"
        "  %0 = arith.constant dense_resource<w> : tensor<70xf32>\n"
        "  %1 = arith.constant dense_resource<w> : tensor<70xf32>\n  return\n}\n}\n"
        f'{{-# dialect_resources: {{ builtin: {{ w: "0x04000000{data.tobytes().hex()}" }} }} #-}}',
        state,
    )
    for key in state.parameters:
        np.testing.assert_array_equal(state.parameters.read(key), data)


def test_vhlo_and_stablehlo() -> None:
    with CONTEXT, ir.Location.unknown():
        from iree_core.ir import run_pipeline

        module = ir.Module.parse(MLP)
        run_pipeline(module, "builtin.module(stablehlo-legalize-to-vhlo)")
        source = str(module)
    mentions(transformed(ConvertVhlo(), source), "stablehlo.dot_general", "stablehlo.tanh")
    mentions(transformed(ConvertStablehlo(), MLP), "linalg.matmul", "linalg.generic", "math.tanh")


def test_stablehlo_control_flow() -> None:
    text = transformed(
        StablehloControlFlow(),
        """
func.func @f(%p: tensor<i1>, %x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = "stablehlo.if"(%p) ({
    stablehlo.return %x : tensor<4xf32>
  }, {
    %1 = stablehlo.negate %x : tensor<4xf32>
    stablehlo.return %1 : tensor<4xf32>
  }) : (tensor<i1>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}""",
    )
    mentions(text, "tensor.extract %arg0", "scf.if", "scf.yield %arg1", "else", "scf.yield")


def test_stablehlo_programs_are_atomic() -> None:
    text = transformed(
        StablehloPrograms(),
        """
func.func @f(%x: tensor<?x9xf32>) -> tensor<?x9xf32> {
  %0 = "stablehlo.sort"(%x) <{dimension = 1 : i64}> ({
  ^bb0(%a: tensor<f32>, %b: tensor<f32>):
    %1 = stablehlo.compare GT, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>
    stablehlo.return %1 : tensor<i1>
  }) : (tensor<?x9xf32>) -> tensor<?x9xf32>
  return %0 : tensor<?x9xf32>
}""",
    )
    mentions(
        text, "scf.execute_region -> tensor<.x9xf32> no_inline", "scf.forall", "scf.while",
        "arith.cmpf ogt", "flow.atomic",
    )  # fmt: skip


def test_stablehlo_simplify() -> None:
    text = transformed(
        StablehloSimplify(),
        """
func.func @f(%x: tensor<?x4xf32>) -> tensor<i32> {
  %0 = stablehlo.optimization_barrier %x : tensor<?x4xf32>
  %1 = stablehlo.get_dimension_size %0, dim = 0 : (tensor<?x4xf32>) -> tensor<i32>
  return %1 : tensor<i32>
}""",
    )
    mentions(text, "tensor.dim %arg0", "arith.index_cast", "tensor.from_elements")
    assert "stablehlo" not in text


def test_torch() -> None:
    text = transformed(
        ConvertTorch(),
        """
func.func @f(%x: !torch.vtensor<[?,4],f32>) -> !torch.vtensor<[?,4],f32> {
  %0 = torch.aten.tanh %x : !torch.vtensor<[?,4],f32> -> !torch.vtensor<[?,4],f32>
  return %0 : !torch.vtensor<[?,4],f32>
}""",
    )
    mentions(text, r"@f\(%arg0: tensor<\?x4xf32>\) -> tensor<\?x4xf32>", "math.tanh")


def test_tosa() -> None:
    text = transformed(
        ConvertTosa(),
        """
func.func @f(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = tosa.tanh %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}""",
    )
    mentions(text, "linalg.generic", "math.tanh")


def test_tm_tensor() -> None:
    text = transformed(ConvertTmTensor(), TM_TENSOR_SCATTER)
    mentions(text, "no_inline", "scf.for", "scf.if", "arith.addf", "flow.atomic")


def test_canonicalize_counts_assertions() -> None:
    state = new_state()
    text = transformed(
        CanonicalizeInput(),
        """
func.func @f(%x: tensor<4xf32>, %p: i1) -> tensor<4xf32> {
  cf.assert %p, "no"
  %0 = arith.addf %x, %x : tensor<4xf32>
  return %0 : tensor<4xf32>
}""",
        state,
    )
    mentions(text, "linalg.generic", "arith.addf")
    assert "cf.assert" not in text
    assert "1 run-time assertion" in str(state.report[0])


def test_unstructured_control_flow_is_lifted() -> None:
    text = transformed(
        CanonicalizeInput(),
        """
func.func @f(%p: i1, %x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<4xf32> {
  cf.cond_br %p, ^a, ^b
^a:
  %0 = arith.addf %x, %y : tensor<4xf32>
  cf.br ^c(%0 : tensor<4xf32>)
^b:
  cf.br ^c(%y : tensor<4xf32>)
^c(%r: tensor<4xf32>):
  return %r : tensor<4xf32>
}""",
    )
    mentions(text, "scf.if")
    assert "cf.br" not in text and "cf.cond_br" not in text.replace("scf.", "")


def test_check_names_what_is_left() -> None:
    with pytest.raises(CompileError, match=r"tosa\.sin") as caught:
        transformed(
            CheckCanonical(),
            "func.func @f(%x: tensor<4xf32>) -> tensor<4xf32> {\n"
            '  %0 = tosa.sin %x : (tensor<4xf32>) -> tensor<4xf32> loc("encoder/sin")\n'
            "  return %0 : tensor<4xf32>\n}",
        )
    assert "encoder/sin" in str(caught.value)


def test_load_text_and_bytecode(tmp_path: Path) -> None:
    text, binary = tmp_path / "m.mlir", tmp_path / "m.bin"
    text.write_text(MLP)
    model = load_mlir(text, CONTEXT)
    buffer = io.BytesIO()
    model.module.operation.write_bytecode(buffer)
    binary.write_bytes(buffer.getvalue())
    assert is_mlir(text) and is_mlir(binary)
    assert str(load_mlir(binary, CONTEXT).module) == str(model.module)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"func.func @f( {", "expected non-function type"),
        (b"ML\xefR\x05abc", "malformed|no valid MLIR"),
        (b"ML\xefR\x0dStableHLO_v1.0.0\x00\x01", "no valid MLIR|cannot be read"),
        (b"\xff\xfe\x00", "neither MLIR text nor MLIR bytecode"),
        (b'"foo.bar"() : () -> ()', "foo|unregistered"),
    ],
)
def test_broken_files_say_why(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.mlir"
    path.write_bytes(content)
    with pytest.raises(ImportModelError, match=message) as caught:
        load_mlir(path, CONTEXT)
    assert "broken.mlir" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ImportModelError, match="Cannot read"):
        load_mlir(tmp_path / "none.mlir", CONTEXT)


def test_sizes_of_programs_are_known_outside() -> None:
    text = transformed(
        CanonicalizeInput(),
        """
func.func @f(%x: tensor<?xf32>, %n: index) -> (tensor<?xf32>, index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %y = scf.execute_region -> tensor<?xf32> no_inline {
    %e = tensor.empty(%n) : tensor<?xf32>
    %r = scf.for %i = %c0 to %n step %c1 iter_args(%t = %e) -> tensor<?xf32> {
      %v = tensor.extract %x[%i] : tensor<?xf32>
      %w = tensor.insert %v into %t[%i] : tensor<?xf32>
      scf.yield %w : tensor<?xf32>
    }
    scf.yield %r : tensor<?xf32>
  } {flow.atomic}
  %d = tensor.dim %y, %c0 : tensor<?xf32>
  return %y, %d : tensor<?xf32>, index
}""",
    )
    mentions(text, "flow.atomic", "return %0, %arg1")
