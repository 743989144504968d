"""Small programs of every input dialect: through the input phase, then run."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from iree_core.errors import CompileError
from iree_core.interfaces import Backend, Target
from iree_core.ir import count_operations, ir, make_context, stablehlo
from iree_core.lowering.element import from_numpy
from iree_core.params import ParameterStore
from iree_core.passes.input import passes
from iree_core.passes.input.finish import CANONICAL
from iree_core.passes.input.load import parse_module
from iree_core.passes.manager import PassManager
from iree_core.passes.state import CompilationState

from .execute import execute

CONTEXT = make_context()
RNG = np.random.default_rng(11)


def convert(source: str | bytes) -> tuple[ir.Module, CompilationState]:
    """Run the input phase on ``source``."""
    data = source.encode() if isinstance(source, str) else source
    module = parse_module(data, CONTEXT)
    target = Target("none", "none")
    state = CompilationState(ParameterStore(), target, Backend.__new__(_NoBackend))
    PassManager(passes(state)).run(module, state)
    assert {name.partition(".")[0] for name in count_operations(module)} <= CANONICAL
    return module, state


class _NoBackend(Backend):
    name = "none"

    def resolve(self, options: str) -> Target:
        raise NotImplementedError

    def compile(self, dispatch, target, *, strategy="auto"):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    def link(self, dispatches, target):  # type: ignore[no-untyped-def]
        raise NotImplementedError


def run(source: str | bytes, *inputs: NDArray) -> list[NDArray]:
    """Convert and execute ``main``."""
    with CONTEXT, ir.Location.unknown():
        module, state = convert(source)
        return execute(module, inputs, state.parameters)


def reference(source: str, *inputs: NDArray) -> list[NDArray]:
    """Evaluate static StableHLO with the specification's interpreter."""
    with CONTEXT, ir.Location.unknown():
        module = ir.Module.parse(source)
        arguments = [_attribute(i) for i in inputs]
        return [np.array(r) for r in stablehlo.eval_module(module, arguments)]


def _attribute(array: NDArray) -> ir.Attribute:
    kind = from_numpy(array.dtype)
    shape = "".join(f"{n}x" for n in array.shape)
    element = kind.name if kind.is_unsigned else kind.mlir
    text = f'dense<"0x{array.tobytes().hex()}"> : tensor<{shape}{element}>'
    return ir.DenseElementsAttr(ir.Attribute.parse(text))


def check(source: str, *inputs: NDArray, tolerance: float = 1e-5) -> None:
    """Compare our results with the interpreter's."""
    for ours, theirs in zip(run(source, *inputs), reference(source, *inputs), strict=True):
        np.testing.assert_allclose(ours.view(theirs.dtype), theirs, tolerance, tolerance)


def f32(*shape: int) -> NDArray:
    return RNG.standard_normal(shape).astype(np.float32)


MLP = """
func.func @main(%x: tensor<4x8xf32>, %w: tensor<8x3xf32>) -> tensor<4x3xf32> {
  %0 = stablehlo.dot_general %x, %w, contracting_dims = [1] x [0]
    : (tensor<4x8xf32>, tensor<8x3xf32>) -> tensor<4x3xf32>
  %1 = stablehlo.tanh %0 : tensor<4x3xf32>
  return %1 : tensor<4x3xf32>
}"""


def test_stablehlo() -> None:
    check(MLP, f32(4, 8), f32(8, 3))


def test_portable_artifact() -> None:
    x, w = f32(4, 8), f32(8, 3)
    artifact = stablehlo.serialize_portable_artifact_str(MLP, stablehlo.get_minimum_version())
    (y,) = run(artifact, x, w)
    np.testing.assert_allclose(y, np.tanh(x @ w), 1e-5, 1e-5)


def test_vhlo_text() -> None:
    x, w = f32(4, 8), f32(8, 3)
    with CONTEXT, ir.Location.unknown():
        from iree_core.ir import run_pipeline

        module = ir.Module.parse(MLP)
        run_pipeline(module, "builtin.module(stablehlo-legalize-to-vhlo)")
        text = str(module)
    assert "vhlo." in text
    (y,) = run(text, x, w)
    np.testing.assert_allclose(y, np.tanh(x @ w), 1e-5, 1e-5)


def test_unsigned_division_and_signature() -> None:
    source = """
func.func @main(%a: tensor<4xui8>, %b: tensor<4xui8>) -> tensor<4xui8> {
  %0 = stablehlo.divide %a, %b : tensor<4xui8>
  return %0 : tensor<4xui8>
}"""
    with CONTEXT, ir.Location.unknown():
        module, _ = convert(source)
        text = str(module)
    assert text.count('iree.dtype = "ui8"') == 3
    check(source, np.array([200, 7, 255, 9], np.uint8), np.array([3, 2, 254, 10], np.uint8))


def test_while_and_case() -> None:
    source = """
func.func @main(%n: tensor<i32>, %x: tensor<4xf32>) -> (tensor<i32>, tensor<4xf32>) {
  %zero = stablehlo.constant dense<0> : tensor<i32>
  %one = stablehlo.constant dense<1> : tensor<i32>
  %r:2 = stablehlo.while(%i = %zero, %v = %x) : tensor<i32>, tensor<4xf32> cond {
    %c = stablehlo.compare LT, %i, %n : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.return %c : tensor<i1>
  } do {
    %j = stablehlo.add %i, %one : tensor<i32>
    %s = stablehlo.sine %v : tensor<4xf32>
    stablehlo.return %j, %s : tensor<i32>, tensor<4xf32>
  }
  %q = "stablehlo.case"(%n) ({
    %a = stablehlo.negate %r#1 : tensor<4xf32>
    stablehlo.return %a : tensor<4xf32>
  }, {
    %a = stablehlo.cosine %r#1 : tensor<4xf32>
    stablehlo.return %a : tensor<4xf32>
  }, {
    stablehlo.return %r#1 : tensor<4xf32>
  }) : (tensor<i32>) -> tensor<4xf32>
  return %r#0, %q : tensor<i32>, tensor<4xf32>
}"""
    for n in (0, 1, 3):
        check(source, np.array(n, np.int32), f32(4))


def test_sort_with_total_order() -> None:
    source = """
func.func @main(%x: tensor<3x9xf32>, %i: tensor<3x9xi32>) -> (tensor<3x9xf32>, tensor<3x9xi32>) {
  %r:2 = "stablehlo.sort"(%x, %i) <{dimension = 1 : i64, is_stable = true}> ({
  ^bb0(%a: tensor<f32>, %b: tensor<f32>, %c: tensor<i32>, %d: tensor<i32>):
    %0 = stablehlo.compare LT, %a, %b, TOTALORDER : (tensor<f32>, tensor<f32>) -> tensor<i1>
    stablehlo.return %0 : tensor<i1>
  }) : (tensor<3x9xf32>, tensor<3x9xi32>) -> (tensor<3x9xf32>, tensor<3x9xi32>)
  return %r#0, %r#1 : tensor<3x9xf32>, tensor<3x9xi32>
}"""
    x = np.round(f32(3, 9))
    places = np.broadcast_to(np.arange(9, dtype=np.int32), (3, 9))
    values, order = run(source, x, places)
    np.testing.assert_array_equal(values, np.sort(x, 1))
    np.testing.assert_array_equal(np.take_along_axis(x, order, 1), values)


def test_scatter_windows_partly_outside() -> None:
    source = """
func.func @main(%x: tensor<6x4xf32>, %i: tensor<3x1xi32>, %u: tensor<3x2x4xf32>)
    -> tensor<6x4xf32> {
  %0 = "stablehlo.scatter"(%x, %i, %u) <{
    scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = [1, 2],
      scatter_dims_to_operand_dims = [0], index_vector_dim = 1>}> ({
  ^bb0(%a: tensor<f32>, %b: tensor<f32>):
    %1 = stablehlo.add %a, %b : tensor<f32>
    stablehlo.return %1 : tensor<f32>
  }) : (tensor<6x4xf32>, tensor<3x1xi32>, tensor<3x2x4xf32>) -> tensor<6x4xf32>
  return %0 : tensor<6x4xf32>
}"""
    check(source, f32(6, 4), np.array([[1], [5], [1]], np.int32), f32(3, 2, 4))


def test_fft() -> None:
    source = """
func.func @main(%x: tensor<2x12xf32>) -> tensor<2x12xf32> {
  %0 = stablehlo.fft %x, type = RFFT, length = [12] : (tensor<2x12xf32>) -> tensor<2x7xcomplex<f32>>
  %1 = stablehlo.fft %0, type = IRFFT, length = [12]
    : (tensor<2x7xcomplex<f32>>) -> tensor<2x12xf32>
  return %1 : tensor<2x12xf32>
}"""
    x = f32(2, 12)
    np.testing.assert_allclose(run(source, x)[0], x, 1e-5, 1e-5)


def test_cholesky_and_triangular_solve() -> None:
    source = """
func.func @main(%a: tensor<3x3xf64>, %b: tensor<3x2xf64>) -> tensor<3x2xf64> {
  %l = stablehlo.cholesky %a, lower = true : tensor<3x3xf64>
  %y = "stablehlo.triangular_solve"(%l, %b) <{left_side = true, lower = true,
    transpose_a = #stablehlo<transpose NO_TRANSPOSE>, unit_diagonal = false}>
    : (tensor<3x3xf64>, tensor<3x2xf64>) -> tensor<3x2xf64>
  %x = "stablehlo.triangular_solve"(%l, %y) <{left_side = true, lower = true,
    transpose_a = #stablehlo<transpose TRANSPOSE>, unit_diagonal = false}>
    : (tensor<3x3xf64>, tensor<3x2xf64>) -> tensor<3x2xf64>
  return %x : tensor<3x2xf64>
}"""
    root = RNG.standard_normal((3, 3))
    a, b = root @ root.T + np.eye(3), RNG.standard_normal((3, 2))
    np.testing.assert_allclose(run(source, a, b)[0], np.linalg.solve(a, b), 1e-9)


def test_chlo_top_k_and_erf() -> None:
    source = """
func.func @main(%x: tensor<3x20xf32>) -> (tensor<3x4xf32>, tensor<3x4xi32>, tensor<3x20xf32>) {
  %v, %i = chlo.top_k(%x, k = 4) : tensor<3x20xf32> -> (tensor<3x4xf32>, tensor<3x4xi32>)
  %e = chlo.erf %x : tensor<3x20xf32> -> tensor<3x20xf32>
  return %v, %i, %e : tensor<3x4xf32>, tensor<3x4xi32>, tensor<3x20xf32>
}"""
    x = f32(3, 20)
    values, places, erf = run(source, x)
    np.testing.assert_array_equal(values, -np.sort(-x, 1)[:, :4])
    np.testing.assert_array_equal(places, np.argsort(-x, 1, kind="stable")[:, :4])
    from math import erf as exact

    np.testing.assert_allclose(erf, np.vectorize(exact)(x), 1e-5, 1e-5)


def test_dynamic_dimensions() -> None:
    source = """
func.func @main(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %n = stablehlo.get_dimension_size %x, dim = 0 : (tensor<?x4xf32>) -> tensor<i32>
  %f = stablehlo.convert %n : (tensor<i32>) -> tensor<f32>
  %n1 = stablehlo.reshape %n : (tensor<i32>) -> tensor<1xi32>
  %c4 = stablehlo.constant dense<4> : tensor<1xi32>
  %s = stablehlo.concatenate %n1, %c4, dim = 0 : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
  %b = stablehlo.dynamic_broadcast_in_dim %f, %s, dims = []
    : (tensor<f32>, tensor<2xi32>) -> tensor<?x4xf32>
  %y = stablehlo.divide %x, %b : tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}"""
    x = f32(5, 4)
    np.testing.assert_allclose(run(source, x)[0], x / 5, 1e-6)


@pytest.mark.parametrize("rows", [1, 5])
def test_chlo_broadcasts_at_run_time(rows: int) -> None:
    source = """
func.func @main(%x: tensor<?x4xf32>, %y: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %z = chlo.broadcast_add %x, %y : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %z : tensor<?x4xf32>
}"""
    x, y = f32(5, 4), f32(rows, 4)
    np.testing.assert_allclose(run(source, x, y)[0], x + y, 1e-6)


def test_torch() -> None:
    source = """
func.func @main(%x: !torch.vtensor<[?,8],f32>, %w: !torch.vtensor<[3,8],f32>,
    %m: !torch.vtensor<[3],ui8>) -> (!torch.vtensor<[?,3],f32>, !torch.vtensor<[3],ui8>) {
  %none = torch.constant.none
  %y = torch.aten.linear %x, %w, %none : !torch.vtensor<[?,8],f32>, !torch.vtensor<[3,8],f32>,
    !torch.none -> !torch.vtensor<[?,3],f32>
  %z = torch.aten.tanh %y : !torch.vtensor<[?,3],f32> -> !torch.vtensor<[?,3],f32>
  return %z, %m : !torch.vtensor<[?,3],f32>, !torch.vtensor<[3],ui8>
}"""
    with CONTEXT, ir.Location.unknown():
        module, _ = convert(source)
        assert str(module).count('iree.dtype = "ui8"') == 2
    x, w = f32(5, 8), f32(3, 8)
    y, _ = run(source, x, w, np.arange(3, dtype=np.uint8))
    np.testing.assert_allclose(y, np.tanh(x @ w.T), 1e-5, 1e-5)


def test_torch_sort_cumsum_and_weights() -> None:
    weights = np.arange(128 * 128, dtype=np.float32).reshape(128, 128) % 7
    literal = f'dense<"0x{weights.tobytes().hex()}"> : tensor<128x128xf32>'
    source = f"""
func.func @main(%x: !torch.vtensor<[2,128],f32>)
    -> (!torch.vtensor<[2,128],f32>, !torch.vtensor<[2,128],si64>, !torch.vtensor<[2,128],f32>) {{
  %w = torch.vtensor.literal({literal}) : !torch.vtensor<[128,128],f32>
  %y = torch.aten.mm %x, %w : !torch.vtensor<[2,128],f32>, !torch.vtensor<[128,128],f32>
    -> !torch.vtensor<[2,128],f32>
  %one = torch.constant.int 1
  %true = torch.constant.bool true
  %none = torch.constant.none
  %v, %i = torch.aten.sort %x, %one, %true : !torch.vtensor<[2,128],f32>, !torch.int, !torch.bool
    -> !torch.vtensor<[2,128],f32>, !torch.vtensor<[2,128],si64>
  %c = torch.aten.cumsum %y, %one, %none : !torch.vtensor<[2,128],f32>, !torch.int, !torch.none
    -> !torch.vtensor<[2,128],f32>
  return %v, %i, %c : !torch.vtensor<[2,128],f32>, !torch.vtensor<[2,128],si64>,
    !torch.vtensor<[2,128],f32>
}}"""
    with CONTEXT, ir.Location.unknown():
        _module, state = convert(source)
        assert [state.parameters.shape(key) for key in state.parameters] == [(128, 128)]
    x = f32(2, 128)
    values, places, sums = run(source, x)
    np.testing.assert_array_equal(values, -np.sort(-x, 1))
    np.testing.assert_array_equal(places, np.argsort(-x, 1, kind="stable"))
    np.testing.assert_allclose(sums, np.cumsum(x @ weights, 1), 1e-3, 1e-2)


def test_torch_with_onnx_operators() -> None:
    source = """
func.func @main(%x: !torch.vtensor<[2,3],f32>) -> !torch.vtensor<[2,3],f32>
    attributes {torch.onnx_meta.ir_version = 8 : si64, torch.onnx_meta.opset_version = 17 : si64} {
  %0 = torch.operator "onnx.Tanh"(%x) : (!torch.vtensor<[2,3],f32>) -> !torch.vtensor<[2,3],f32>
  return %0 : !torch.vtensor<[2,3],f32>
}"""
    x = f32(2, 3)
    np.testing.assert_allclose(run(source, x)[0], np.tanh(x), 1e-5, 1e-5)


def test_unsupported_torch_operator_is_named() -> None:
    source = """
func.func @main(%x: !torch.vtensor<[2,3],f32>) -> !torch.vtensor<[2,3],f32> {
  %0 = torch.operator "aten.magic"(%x) : (!torch.vtensor<[2,3],f32>) -> !torch.vtensor<[2,3],f32>
    loc("decoder/magic")
  return %0 : !torch.vtensor<[2,3],f32>
}"""
    with CONTEXT, ir.Location.unknown(), pytest.raises(CompileError) as caught:
        convert(source)
    assert "magic" in str(caught.value)


def test_tosa() -> None:
    source = """
func.func @main(%x: tensor<?x4xf32>) -> tensor<?xf32> {
  %0 = tosa.tanh %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = tosa.reduce_sum %0 {axis = 1 : i32} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %s = tosa.const_shape {values = dense<[-1]> : tensor<1xindex>} : () -> !tosa.shape<1>
  %2 = tosa.reshape %1, %s : (tensor<?x1xf32>, !tosa.shape<1>) -> tensor<?xf32>
  return %2 : tensor<?xf32>
}"""
    x = f32(3, 4)
    np.testing.assert_allclose(run(source, x)[0], np.tanh(x).sum(1), 1e-5, 1e-5)


def test_linalg_with_elementwise_arith() -> None:
    source = """
func.func @main(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %c = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<4x4xf32>
  %f = linalg.fill ins(%c : f32) outs(%e : tensor<4x4xf32>) -> tensor<4x4xf32>
  %m = linalg.matmul ins(%x, %x : tensor<4x4xf32>, tensor<4x4xf32>)
    outs(%f : tensor<4x4xf32>) -> tensor<4x4xf32>
  %y = arith.addf %m, %x : tensor<4x4xf32>
  return %y : tensor<4x4xf32>
}"""
    x = f32(4, 4)
    np.testing.assert_allclose(run(source, x)[0], x @ x + x, 1e-5, 1e-5)


TM_TENSOR_SCATTER = """
func.func @main(%x: tensor<8x3xf32>, %i: tensor<4x1xi32>, %u: tensor<4x3xf32>)
    -> tensor<8x3xf32> {
  %0 = tm_tensor.scatter {dimension_map = array<i64: 0>} unique_indices(false)
    ins(%u, %i : tensor<4x3xf32>, tensor<4x1xi32>) outs(%x : tensor<8x3xf32>) {
  ^bb0(%new: f32, %old: f32):
    %s = arith.addf %new, %old : f32
    tm_tensor.yield %s : f32
  } -> tensor<8x3xf32>
  return %0 : tensor<8x3xf32>
}"""


def test_tm_tensor_scatter() -> None:
    x, u, i = f32(8, 3), f32(4, 3), np.array([[1], [7], [1], [0]], np.int32)
    want = x.copy()
    np.add.at(want, i[:, 0], u)
    np.testing.assert_allclose(run(TM_TENSOR_SCATTER, x, i, u)[0], want, 1e-6)


def test_tm_tensor_scan_exclusive() -> None:
    source = """
func.func @main(%x: tensor<2x?xf32>, %o: tensor<2x?xf32>, %a: tensor<2xf32>)
    -> (tensor<2x?xf32>, tensor<2xf32>) {
  %0:2 = tm_tensor.scan dimension(1) inclusive(false) ins(%x : tensor<2x?xf32>)
    outs(%o, %a : tensor<2x?xf32>, tensor<2xf32>) {
  ^bb0(%p: f32, %q: f32):
    %s = arith.addf %p, %q : f32
    tm_tensor.yield %s : f32
  } -> tensor<2x?xf32>, tensor<2xf32>
  return %0#0, %0#1 : tensor<2x?xf32>, tensor<2xf32>
}"""
    x, a = f32(2, 6), f32(2)
    y, total = run(source, x, np.zeros_like(x), a)
    sums = a[:, None] + np.concatenate([np.zeros((2, 1)), np.cumsum(x, 1)], 1)
    np.testing.assert_allclose(y, sums[:, :-1], 1e-4, 1e-5)
    np.testing.assert_allclose(total, sums[:, -1], 1e-4, 1e-5)


def test_leftovers_are_named_with_their_place() -> None:
    source = """
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = stablehlo.custom_call @lapack_magic(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
} loc("layer7")"""
    source = source.replace(
        "-> tensor<4xf32>\n  return", '-> tensor<4xf32> loc("layer7")\n  return'
    )
    with CONTEXT, ir.Location.unknown(), pytest.raises(CompileError) as caught:
        convert(source)
    assert "lapack_magic" in str(caught.value) and "layer7" in str(caught.value)


def test_tm_tensor_attention() -> None:
    source = """
func.func @main(%q: tensor<2x5x4xf32>, %k: tensor<2x7x4xf32>, %v: tensor<2x7x3xf32>,
    %m: tensor<2x5x7xf32>, %o: tensor<2x5x3xf32>) -> tensor<2x5x3xf32> {
  %0 = tm_tensor.attention ins(%q, %k, %v, %m : tensor<2x5x4xf32>, tensor<2x7x4xf32>,
    tensor<2x7x3xf32>, tensor<2x5x7xf32>) outs(%o : tensor<2x5x3xf32>) -> tensor<2x5x3xf32>
  return %0 : tensor<2x5x3xf32>
}"""
    q, k, v, m = f32(2, 5, 4), f32(2, 7, 4), f32(2, 7, 3), f32(2, 5, 7)
    scores = q @ k.transpose(0, 2, 1) / 2 + m
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    want = weights / weights.sum(-1, keepdims=True) @ v
    (y,) = run(source, q, k, v, m, np.zeros_like(want))
    np.testing.assert_allclose(y, want, 1e-5, 1e-5)
