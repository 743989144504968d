"""Given dequantised operands, their contraction is computed in integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.passes.globalopt_kit import make_state, run

from iree_core.codegen.kernel import CpuModel
from iree_core.passes.globalopt.evaluate_parameters import EvaluateParameters
from iree_core.passes.globalopt.fold_quantization import FoldQuantization
from iree_core.passes.globalopt.pack_weights import PackWeights
from iree_core.passes.state import CompilationState

DOTS = CpuModel(dots=frozenset({"u8s8"}))


def state(cpu: CpuModel = DOTS) -> CompilationState:
    made = make_state()
    rng = np.random.default_rng(0)
    made.parameters.add("q", rng.integers(-128, 127, (8, 64), np.int8))
    made.parameters.add("u", rng.integers(0, 255, (8, 64), np.uint8))
    target = replace(made.target, cpu=cpu)
    return replace(made, target=target)


def model(weight: str = "q", extension: str = "extsi", zero: int = 0) -> str:
    return f"""
    func.func @f(%x: tensor<5x8xi8>, %s: tensor<64xf32>) -> tensor<5x64xf32> {{
      %w = "flow.parameter"() {{key = "{weight}"}} : () -> tensor<8x64xi8>
      %zero = arith.constant 0.0 : f32
      %c3 = arith.constant 3 : i32
      %scale = arith.constant 0.5 : f32
      %wz = arith.constant {zero} : i32
      %ae = tensor.empty() : tensor<5x8xf32>
      %a = linalg.generic {{indexing_maps = [#ij, #ij], iterator_types = ["parallel", "parallel"]}}
          ins(%x : tensor<5x8xi8>) outs(%ae : tensor<5x8xf32>) {{
        ^bb0(%v: i8, %o: f32):
          %0 = arith.extui %v : i8 to i32
          %1 = arith.subi %0, %c3 : i32
          %2 = arith.sitofp %1 : i32 to f32
          %3 = arith.mulf %2, %scale : f32
          linalg.yield %3 : f32 }} -> tensor<5x8xf32>
      %be = tensor.empty() : tensor<8x64xf32>
      %b = linalg.generic {{indexing_maps = [#ij, #j, #ij],
          iterator_types = ["parallel", "parallel"]}}
          ins(%w, %s : tensor<8x64xi8>, tensor<64xf32>) outs(%be : tensor<8x64xf32>) {{
        ^bb0(%v: i8, %k: f32, %o: f32):
          %0 = arith.{extension} %v : i8 to i32
          %1 = arith.subi %0, %wz : i32
          %2 = arith.sitofp %1 : i32 to f32
          %3 = arith.mulf %2, %k : f32
          linalg.yield %3 : f32 }} -> tensor<8x64xf32>
      %e = tensor.empty() : tensor<5x64xf32>
      %i = linalg.fill ins(%zero : f32) outs(%e : tensor<5x64xf32>) -> tensor<5x64xf32>
      %r = linalg.generic {{indexing_maps = [#ik, #kj, #ij_k],
          iterator_types = ["parallel", "parallel", "reduction"]}}
          ins(%a, %b : tensor<5x8xf32>, tensor<8x64xf32>) outs(%i : tensor<5x64xf32>) {{
        ^bb0(%u: f32, %v: f32, %o: f32):
          %0 = arith.mulf %u, %v : f32
          %1 = arith.addf %o, %0 : f32
          linalg.yield %1 : f32 }} -> tensor<5x64xf32>
      return %r : tensor<5x64xf32>
    }}"""


def test_sum_is_an_integer_one_and_scales_follow() -> None:
    text, _ = run(model(), [FoldQuantization()], state())
    assert "ins(%arg0, %0 : tensor<5x8xi8>, tensor<8x64xi8>)" in text
    assert "arith.addf" not in text
    assert "tensor<5x64xi32>, tensor<64xf32>" in text


def test_unsigned_weights_around_128_become_signed() -> None:
    passes = [FoldQuantization(), EvaluateParameters()]
    text, made = run(model("u", "extui", 128), passes, state())
    assert 'key = "u#1"' in text
    flipped = made.parameters.read("u#1").astype(np.uint8)
    np.testing.assert_array_equal(flipped, made.parameters.read("u") ^ 0x80)
    assert "tensor<5xi32>" not in text


def test_other_zero_points_of_weights_are_taken_off_behind() -> None:
    text, _ = run(model("u", "extui", 9), [FoldQuantization()], state())
    assert "tensor<5xi32>" in text  # the sums of the rows


def test_weights_are_packed_in_groups_where_dot_products_exist() -> None:
    text, made = run(model(), [FoldQuantization(), PackWeights()], state())
    assert "group = [0, 4]" in text
    assert made.parameters.read("q#packed1").shape == (2, 2, 32, 4)


@pytest.mark.parametrize("dots", [frozenset(), frozenset({"bf16"})])
def test_weights_are_packed_without_groups_elsewhere(dots: frozenset[str]) -> None:
    text, _ = run(model(), [FoldQuantization(), PackWeights()], state(CpuModel(dots=dots)))
    assert "tile = 32" in text
    assert "group" not in text
