"""Golden tests of the passes of ``global-optimization``."""

from __future__ import annotations

import numpy as np

from iree_core.passes import globalopt
from iree_core.passes.globalopt.absorb_reshapes import AbsorbReshapes
from iree_core.passes.globalopt.canonical import GENERALIZE, RestoreFills
from iree_core.passes.globalopt.channels_last import ChannelsLast
from iree_core.passes.globalopt.evaluate_parameters import EvaluateParameters
from iree_core.passes.globalopt.fold_scale_shift import FoldScaleShift
from iree_core.passes.globalopt.fold_transposes import FoldTransposes
from iree_core.passes.globalopt.inline_splats import InlineSplats
from iree_core.passes.globalopt.merge_contractions import MergeContractions
from iree_core.passes.globalopt.pack_weights import PackWeights
from iree_core.passes.globalopt.scale_after import ScaleAfterContraction

from .globalopt_kit import count, make_state, run

CANONICAL = [GENERALIZE, RestoreFills()]

MATMUL = """
      %z = arith.constant 0.0 : f32
      %e = tensor.empty() : tensor<4x64xf32>
      %f = linalg.fill ins(%z : f32) outs(%e : tensor<4x64xf32>) -> tensor<4x64xf32>
"""

TRANSPOSE = """
      %te = tensor.empty() : tensor<4x8xf32>
      %t = linalg.transpose ins(%x : tensor<8x4xf32>) outs(%te : tensor<4x8xf32>)
          permutation = [1, 0]
"""


def test_named_operations_become_generics_but_fills_stay() -> None:
    text, _ = run(
        f"""func.func @f(%x: tensor<4x8xf32>, %w: tensor<8x64xf32>) -> tensor<4x64xf32> {{
          {MATMUL}
          %y = linalg.matmul ins(%x, %w : tensor<4x8xf32>, tensor<8x64xf32>)
              outs(%f : tensor<4x64xf32>) -> tensor<4x64xf32>
          return %y : tensor<4x64xf32> }}""",
        CANONICAL,
    )
    assert count(text)["linalg.generic"] == 1
    assert count(text)["linalg.fill"] == 1


def test_outputs_that_are_not_read_do_not_hold_on_to_a_value() -> None:
    text, _ = run(
        """func.func @f(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
          %y = linalg.exp ins(%x : tensor<4x8xf32>) outs(%x : tensor<4x8xf32>) -> tensor<4x8xf32>
          return %y : tensor<4x8xf32> }""",
        CANONICAL,
    )
    assert "outs(%0 : tensor<4x8xf32>)" in text
    assert "tensor.empty" in text


def test_transposition_vanishes_in_the_map_of_a_contraction() -> None:
    text, _ = run(
        f"""func.func @f(%x: tensor<8x4xf32>, %w: tensor<8x64xf32>) -> tensor<4x64xf32> {{
          {TRANSPOSE} {MATMUL}
          %y = linalg.matmul ins(%t, %w : tensor<4x8xf32>, tensor<8x64xf32>)
              outs(%f : tensor<4x64xf32>) -> tensor<4x64xf32>
          return %y : tensor<4x64xf32> }}""",
        [*CANONICAL, FoldTransposes()],
    )
    assert count(text)["linalg.generic"] == 1
    assert "affine_map<(d0, d1, d2) -> (d2, d0)>" in text


def test_transposition_that_is_returned_is_written_by_its_producer() -> None:
    text, _ = run(
        """func.func @f(%x: tensor<4x?xf32>) -> tensor<?x4xf32> {
          %c1 = arith.constant 1 : index
          %d = tensor.dim %x, %c1 : tensor<4x?xf32>
          %e = tensor.empty(%d) : tensor<4x?xf32>
          %y = linalg.exp ins(%x : tensor<4x?xf32>) outs(%e : tensor<4x?xf32>) -> tensor<4x?xf32>
          %te = tensor.empty(%d) : tensor<?x4xf32>
          %t = linalg.transpose ins(%y : tensor<4x?xf32>) outs(%te : tensor<?x4xf32>)
              permutation = [1, 0]
          return %t : tensor<?x4xf32> }""",
        [*CANONICAL, FoldTransposes()],
    )
    assert count(text)["linalg.generic"] == 1
    assert "-> tensor<?x4xf32>" in text
    assert "affine_map<(d0, d1) -> (d1, d0)>" in text


def test_transposition_moves_behind_a_reshape_to_meet_its_inverse() -> None:
    text, _ = run(
        """func.func @f(%x: tensor<2x6x5xf32>) -> tensor<12x5xf32> {
          %e = tensor.empty() : tensor<5x2x6xf32>
          %t = linalg.transpose ins(%x : tensor<2x6x5xf32>) outs(%e : tensor<5x2x6xf32>)
              permutation = [2, 0, 1]
          %c = tensor.collapse_shape %t [[0], [1, 2]] : tensor<5x2x6xf32> into tensor<5x12xf32>
          %e2 = tensor.empty() : tensor<12x5xf32>
          %y = linalg.transpose ins(%c : tensor<5x12xf32>) outs(%e2 : tensor<12x5xf32>)
              permutation = [1, 0]
          return %y : tensor<12x5xf32> }""",
        [*CANONICAL, FoldTransposes(), globalopt.CLEAN_UP],
    )
    assert count(text)["linalg.generic"] == 0
    assert count(text)["tensor.collapse_shape"] == 1


def test_splat_operands_become_scalars() -> None:
    text, _ = run(
        """func.func @f(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
          %c = arith.constant dense<2.0> : tensor<4x8xf32>
          %y = arith.mulf %x, %c : tensor<4x8xf32>
          return %y : tensor<4x8xf32> }""",
        [*CANONICAL, InlineSplats()],
    )
    assert "dense" not in text.split("linalg.generic")[1]
    assert "arith.mulf %in, %cst" in text


CONVOLUTION = """
    func.func @f(%x: tensor<1x3x10x10xf32>, %w: tensor<8x3x3x3xf32>, %v: tensor<8x8x1x1xf32>)
        -> tensor<1x8x8x8xf32> {
      %z = arith.constant 0.0 : f32
      %e = tensor.empty() : tensor<1x8x8x8xf32>
      %f = linalg.fill ins(%z : f32) outs(%e : tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
      %a = linalg.conv_2d_nchw_fchw ins(%x, %w : tensor<1x3x10x10xf32>, tensor<8x3x3x3xf32>)
          outs(%f : tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
      %r = linalg.exp ins(%a : tensor<1x8x8x8xf32>) outs(%e : tensor<1x8x8x8xf32>)
          -> tensor<1x8x8x8xf32>
      %b = linalg.conv_2d_nchw_fchw ins(%r, %v : tensor<1x8x8x8xf32>, tensor<8x8x1x1xf32>)
          outs(%f : tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
      %s = linalg.add ins(%b, %r : tensor<1x8x8x8xf32>, tensor<1x8x8x8xf32>)
          outs(%e : tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
      return %s : tensor<1x8x8x8xf32>
    }"""


def test_convolutions_run_channels_last_with_one_transposition_at_the_return() -> None:
    text, _ = run(CONVOLUTION, [*CANONICAL, ChannelsLast()])
    assert count(text)["linalg.generic"] == 5  # two convolutions, exp, add, the transposition
    assert "(d0, d3, d1 + d4, d2 + d5)" not in text
    # The first reads NCHW, writes NHWC: loops n, y, x, f, then the window, then c.
    assert "affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d6, d1 + d4, d2 + d5)>" in text
    assert "affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>" in text
    # The second reads NHWC.
    assert "affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1 + d4, d2 + d5, d6)>" in text


def test_the_transposition_at_the_return_folds_into_the_last_computation() -> None:
    text, _ = run(CONVOLUTION, [*CANONICAL, ChannelsLast(), FoldTransposes()])
    assert count(text)["linalg.generic"] == 4


def test_padding_is_permuted_with_its_operand() -> None:
    text, _ = run(
        """func.func @f(%x: tensor<1x3x10x10xf32>, %w: tensor<8x3x3x3xf32>)
            -> tensor<1x8xf32> {
          %z = arith.constant 0.0 : f32
          %e = tensor.empty() : tensor<1x8x8x8xf32>
          %f = linalg.fill ins(%z : f32) outs(%e : tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
          %a = linalg.conv_2d_nchw_fchw ins(%x, %w : tensor<1x3x10x10xf32>, tensor<8x3x3x3xf32>)
              outs(%f : tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
          %p = tensor.pad %a low[0, 0, 1, 2] high[0, 0, 1, 2] {
            ^bb0(%i: index, %j: index, %k: index, %l: index):
              tensor.yield %z : f32
          } : tensor<1x8x8x8xf32> to tensor<1x8x10x12xf32>
          %re = tensor.empty() : tensor<1x8xf32>
          %rf = linalg.fill ins(%z : f32) outs(%re : tensor<1x8xf32>) -> tensor<1x8xf32>
          %r = linalg.reduce { arith.addf } ins(%p : tensor<1x8x10x12xf32>)
              outs(%rf : tensor<1x8xf32>) dimensions = [2, 3]
          return %r : tensor<1x8xf32> }""",
        [*CANONICAL, ChannelsLast()],
    )
    assert "low[0, 1, 2, 0] high[0, 1, 2, 0]" in text
    assert "tensor<1x8x8x8xf32> to tensor<1x10x12x8xf32>" in text


def test_reshapes_around_a_contraction_become_its_loops() -> None:
    text, _ = run(
        """func.func @f(%x: tensor<2x3x8xf32>, %w: tensor<8x64xf32>) -> tensor<2x3x64xf32> {
          %z = arith.constant 0.0 : f32
          %c = tensor.collapse_shape %x [[0, 1], [2]] : tensor<2x3x8xf32> into tensor<6x8xf32>
          %e = tensor.empty() : tensor<6x64xf32>
          %f = linalg.fill ins(%z : f32) outs(%e : tensor<6x64xf32>) -> tensor<6x64xf32>
          %y = linalg.matmul ins(%c, %w : tensor<6x8xf32>, tensor<8x64xf32>)
              outs(%f : tensor<6x64xf32>) -> tensor<6x64xf32>
          %r = tensor.expand_shape %y [[0, 1], [2]] output_shape [2, 3, 64]
              : tensor<6x64xf32> into tensor<2x3x64xf32>
          return %r : tensor<2x3x64xf32> }""",
        [*CANONICAL, AbsorbReshapes(), globalopt.CLEAN_UP],
    )
    assert count(text)["tensor.collapse_shape"] == count(text)["tensor.expand_shape"] == 0
    assert "affine_map<(d0, d1, d2, d3) -> (d0, d1, d3)>" in text


def test_a_slice_of_heads_is_taken_behind_the_expansion() -> None:
    text, _ = run(
        """func.func @f(%x: tensor<5x96xf32>) -> tensor<5x2x16xf32> {
          %s = tensor.extract_slice %x[0, 32] [5, 32] [1, 1] : tensor<5x96xf32> to tensor<5x32xf32>
          %r = tensor.expand_shape %s [[0], [1, 2]] output_shape [5, 2, 16]
              : tensor<5x32xf32> into tensor<5x2x16xf32>
          return %r : tensor<5x2x16xf32> }""",
        [AbsorbReshapes(), globalopt.CLEAN_UP],
    )
    assert "tensor<5x96xf32> into tensor<5x6x16xf32>" in text
    assert "[0, 2, 0] [5, 2, 16] [1, 1, 1]" in text


def test_scales_of_operands_move_behind_the_contraction() -> None:
    text, _ = run(
        f"""func.func @f(%x: tensor<4x8xf32>, %w: tensor<8x64xf32>) -> tensor<4x64xf32> {{
          {MATMUL}
          %half = arith.constant dense<0.5> : tensor<4x8xf32>
          %quarter = arith.constant dense<0.25> : tensor<8x64xf32>
          %xs = arith.mulf %x, %half : tensor<4x8xf32>
          %ws = arith.mulf %w, %quarter : tensor<8x64xf32>
          %y = linalg.matmul ins(%xs, %ws : tensor<4x8xf32>, tensor<8x64xf32>)
              outs(%f : tensor<4x64xf32>) -> tensor<4x64xf32>
          return %y : tensor<4x64xf32> }}""",
        [*CANONICAL, InlineSplats(), ScaleAfterContraction(), globalopt.CLEAN_UP],
    )
    assert count(text)["linalg.generic"] == 2
    assert "1.250000e-01" in text


def test_views_and_arithmetic_of_parameters_are_evaluated() -> None:
    text, state = run(
        """func.func @f() -> tensor<64x2x4xf32> {
          %w = "flow.parameter"() {key = "w"} : () -> tensor<8x64xf32>
          %e = tensor.empty() : tensor<64x8xf32>
          %y = linalg.generic {indexing_maps = [#ji, #ij],
              iterator_types = ["parallel", "parallel"]}
              ins(%w : tensor<8x64xf32>) outs(%e : tensor<64x8xf32>) {
            ^bb0(%a: f32, %o: f32):
              %two = arith.constant 2.0 : f32
              %r = arith.mulf %a, %two : f32
              linalg.yield %r : f32
          } -> tensor<64x8xf32>
          %r = tensor.expand_shape %y [[0], [1, 2]] output_shape [64, 2, 4]
              : tensor<64x8xf32> into tensor<64x2x4xf32>
          return %r : tensor<64x2x4xf32> }""",
        [EvaluateParameters(), globalopt.CLEAN_UP],
    )
    assert count(text)["linalg.generic"] == count(text)["tensor.expand_shape"] == 0
    key = text.split('key = "')[1].split('"')[0]
    expected = (state.parameters.read("w") * 2).T.reshape(64, 2, 4)
    np.testing.assert_array_equal(state.parameters.read(key), expected)


def test_gathers_from_parameters_are_evaluated() -> None:
    text, state = run(
        """func.func @f() -> tensor<3x64xf32> {
          %w = "flow.parameter"() {key = "w"} : () -> tensor<8x64xf32>
          %i = arith.constant dense<[7, -6, 0]> : tensor<3xi64>
          %e = tensor.empty() : tensor<3x64xf32>
          %y = linalg.generic {indexing_maps = [#i, #ij],
              iterator_types = ["parallel", "parallel"]}
              ins(%i : tensor<3xi64>) outs(%e : tensor<3x64xf32>) {
            ^bb0(%a: i64, %o: f32):
              %zero = arith.constant 0 : index
              %size = arith.constant 8 : index
              %n = arith.index_cast %a : i64 to index
              %negative = arith.cmpi slt, %n, %zero : index
              %behind = arith.addi %n, %size : index
              %row = arith.select %negative, %behind, %n : index
              %column = linalg.index 1 : index
              %r = tensor.extract %w[%row, %column] : tensor<8x64xf32>
              linalg.yield %r : f32
          } -> tensor<3x64xf32>
          return %y : tensor<3x64xf32> }""",
        [EvaluateParameters(), globalopt.CLEAN_UP],
    )
    assert count(text)["linalg.generic"] == 0
    key = text.split('key = "')[1].split('"')[0]
    np.testing.assert_array_equal(state.parameters.read(key), state.parameters.read("w")[[7, 2, 0]])


PROJECTIONS = f"""
    func.func @f(%x: tensor<4x8xf32>) -> (tensor<4x2x32xf32>, tensor<4x2x32xf32>) {{
      %w = "flow.parameter"() {{key = "w"}} : () -> tensor<8x64xf32>
      %w2 = "flow.parameter"() {{key = "w2"}} : () -> tensor<8x64xf32>
      %b = "flow.parameter"() {{key = "b"}} : () -> tensor<64xf32>
      %b2 = "flow.parameter"() {{key = "b2"}} : () -> tensor<64xf32>
      {MATMUL}
      %p = linalg.matmul ins(%x, %w : tensor<4x8xf32>, tensor<8x64xf32>)
          outs(%f : tensor<4x64xf32>) -> tensor<4x64xf32>
      %q = linalg.matmul ins(%x, %w2 : tensor<4x8xf32>, tensor<8x64xf32>)
          outs(%f : tensor<4x64xf32>) -> tensor<4x64xf32>
      %pb = linalg.generic {{indexing_maps = [#ij, #j, #ij],
          iterator_types = ["parallel", "parallel"]}}
          ins(%p, %b : tensor<4x64xf32>, tensor<64xf32>) outs(%e : tensor<4x64xf32>) {{
        ^bb0(%a: f32, %c: f32, %o: f32):
          %r = arith.addf %a, %c : f32
          linalg.yield %r : f32 }} -> tensor<4x64xf32>
      %qb = linalg.generic {{indexing_maps = [#ij, #j, #ij],
          iterator_types = ["parallel", "parallel"]}}
          ins(%q, %b2 : tensor<4x64xf32>, tensor<64xf32>) outs(%e : tensor<4x64xf32>) {{
        ^bb0(%a: f32, %c: f32, %o: f32):
          %r = arith.addf %a, %c : f32
          linalg.yield %r : f32 }} -> tensor<4x64xf32>
      %ph = tensor.expand_shape %pb [[0], [1, 2]] output_shape [4, 2, 32]
          : tensor<4x64xf32> into tensor<4x2x32xf32>
      %qh = tensor.expand_shape %qb [[0], [1, 2]] output_shape [4, 2, 32]
          : tensor<4x64xf32> into tensor<4x2x32xf32>
      return %ph, %qh : tensor<4x2x32xf32>, tensor<4x2x32xf32>
    }}"""


def test_projections_of_one_tensor_are_computed_together() -> None:
    text, state = run(PROJECTIONS, [*CANONICAL, MergeContractions(), globalopt.CLEAN_UP])
    assert count(text)["linalg.generic"] == 2
    assert "tensor<2x4x64xf32>" in text
    stacked = next(key for key in state.parameters if state.parameters.shape(key) == (2, 8, 64))
    both = [state.parameters.read("w"), state.parameters.read("w2")]
    np.testing.assert_array_equal(state.parameters.read(stacked), np.stack(both))


def test_weights_are_packed_with_lanes_along_the_output() -> None:
    text, state = run(PROJECTIONS, [*CANONICAL, PackWeights(), globalopt.CLEAN_UP])
    assert "tensor<8x64xf32, {order = [0], tile = 32 : i64, tile_dim = 1 : i64}>" in text
    packed = state.parameters.read("w#packed1")
    assert packed.shape == (2, 8, 32)
    np.testing.assert_array_equal(packed[1, 3], state.parameters.read("w")[3, 32:])


def test_level_0_only_brings_the_module_into_canonical_form() -> None:
    names = [item.name for item in globalopt.passes(make_state(opt_level=0))]
    assert names == ["generalize", "restore-fills", "clean-up"]


def test_batch_normalisation_folds_into_weights_and_bias() -> None:
    text, state = run(
        f"""func.func @f(%x: tensor<4x8xf32>) -> tensor<4x64xf32> {{
          %w = "flow.parameter"() {{key = "w"}} : () -> tensor<8x64xf32>
          %b = "flow.parameter"() {{key = "b"}} : () -> tensor<64xf32>
          %b2 = "flow.parameter"() {{key = "b2"}} : () -> tensor<64xf32>
          {MATMUL}
          %p = linalg.matmul ins(%x, %w : tensor<4x8xf32>, tensor<8x64xf32>)
              outs(%f : tensor<4x64xf32>) -> tensor<4x64xf32>
          %n = linalg.generic {{indexing_maps = [#ij, #j, #j, #ij],
              iterator_types = ["parallel", "parallel"]}}
              ins(%p, %b, %b2 : tensor<4x64xf32>, tensor<64xf32>, tensor<64xf32>)
              outs(%e : tensor<4x64xf32>) {{
            ^bb0(%a: f32, %c: f32, %d: f32, %o: f32):
              %s = arith.mulf %d, %d : f32
              %t = arith.subf %a, %c : f32
              %r = arith.mulf %t, %s : f32
              linalg.yield %r : f32 }} -> tensor<4x64xf32>
          return %n : tensor<4x64xf32> }}""",
        [*CANONICAL, FoldScaleShift(), globalopt.CLEAN_UP],
    )
    assert count(text)["linalg.generic"] == 2
    assert "arith.subf" not in text
    keys = [part.split('"')[0] for part in text.split('key = "')[1:]]
    read = {state.parameters.shape(key): state.parameters.read(key) for key in keys}
    scale = state.parameters.read("b2") ** 2
    np.testing.assert_allclose(read[8, 64], state.parameters.read("w") * scale, rtol=1e-6)
    np.testing.assert_allclose(read[64,], -state.parameters.read("b") * scale, rtol=1e-6)


def test_a_table_that_is_gathered_from_is_read_in_the_packed_form_of_its_transposition() -> None:
    """The embedding that a language model shares with its last layer is stored once."""
    state = make_state()
    table = np.random.default_rng(0).standard_normal((40000, 8), np.float32)
    state.parameters.add("table", table)
    state.parameters.add("head", table.T)
    text = """
    func.func @f(%x: tensor<4x8xf32>, %at: tensor<4x8xindex>)
        -> (tensor<4x40000xf32>, tensor<4x8xf32>) {
      %t = "flow.parameter"() {key = "table"} : () -> tensor<40000x8xf32>
      %w = "flow.parameter"() {key = "head"} : () -> tensor<8x40000xf32>
      %z = arith.constant 0.0 : f32
      %e = tensor.empty() : tensor<4x40000xf32>
      %f = linalg.fill ins(%z : f32) outs(%e : tensor<4x40000xf32>) -> tensor<4x40000xf32>
      %m = linalg.matmul ins(%x, %w : tensor<4x8xf32>, tensor<8x40000xf32>)
          outs(%f : tensor<4x40000xf32>) -> tensor<4x40000xf32>
      %ge = tensor.empty() : tensor<4x8xf32>
      %g = linalg.generic {indexing_maps = [#ij, #ij], iterator_types = ["parallel", "parallel"]}
          ins(%at : tensor<4x8xindex>) outs(%ge : tensor<4x8xf32>) {
        ^bb0(%a: index, %o: f32):
          %j = linalg.index 1 : index
          %r = tensor.extract %t[%a, %j] : tensor<40000x8xf32>
          linalg.yield %r : f32 } -> tensor<4x8xf32>
      return %m, %g : tensor<4x40000xf32>, tensor<4x8xf32> }"""
    out, _ = run(text, [*CANONICAL, PackWeights(), globalopt.CLEAN_UP], state)
    assert '{key = "table"}' not in out
    assert out.count('key = "head#packed1"') == 2
    assert "tensor<40000x8xf32, {order = [1], tile = 32 : i64, tile_dim = 0 : i64}>" in out
