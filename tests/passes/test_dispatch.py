"""Which operations share a dispatch, and what a dispatch function looks like."""

from __future__ import annotations

import pytest

from iree_core.passes import dispatch, globalopt

from .globalopt_kit import count, elementwise, make_state, run

EXP = "%r = math.exp %a : f32"
TANH = "%r = math.tanh %a : f32"


def compile_to_dispatches(text: str, opt_level: int = 3) -> str:
    state = make_state(opt_level)
    return run(text, [*globalopt.passes(state), *dispatch.passes(state)], state)[0]


def reduction(name: str, source: str, kind: str, init: str, op: str, rows: str, size: str) -> str:
    return f"""
      %{name}_e = tensor.empty({size}) : {rows}
      %{name}_i = arith.constant {init} : f32
      %{name}_f = linalg.fill ins(%{name}_i : f32) outs(%{name}_e : {rows}) -> {rows}
      %{name} = linalg.generic {{indexing_maps = [#ij, #i],
          iterator_types = ["parallel", "reduction"]}}
          ins({source} : {kind}) outs(%{name}_f : {rows}) {{
        ^bb0(%a: f32, %o: f32):
          %r = {op} %a, %o : f32
          linalg.yield %r : f32
      }} -> {rows}"""


def by_row(name: str, a: str, b: str, kind: str, rows: str, body: str, size: str) -> str:
    return f"""
      %{name}_e = tensor.empty({size}) : {kind}
      %{name} = linalg.generic {{indexing_maps = [#ij, #i, #ij],
          iterator_types = ["parallel", "parallel"]}}
          ins({a}, {b} : {kind}, {rows}) outs(%{name}_e : {kind}) {{
        ^bb0(%a: f32, %b: f32, %o: f32):
          {body}
          linalg.yield %r : f32
      }} -> {kind}"""


def softmax(kind: str, rows: str, size: str = "") -> str:
    return (
        reduction("m", "%x", kind, "0xFF800000", "arith.maximumf", rows, size)
        + by_row("e", "%x", "%m", kind, rows,
                 "%d = arith.subf %a, %b : f32\n %r = math.exp %d : f32", size)
        + reduction("s", "%e", kind, "0.0", "arith.addf", rows, size)
        + by_row("y", "%e", "%s", kind, rows, "%r = arith.divf %a, %b : f32", size)
    )  # fmt: skip


def test_softmax_is_one_dispatch() -> None:
    kind = "tensor<64x128xf32>"
    text = compile_to_dispatches(
        f"func.func @f(%x: {kind}) -> {kind} {{ {softmax(kind, 'tensor<64xf32>')}"
        f" return %y : {kind} }}"
    )
    assert count(text)["call @"] == 1
    assert 'flow.kind = "reduction"' in text


def test_dynamic_sizes_are_passed_and_named_by_attributes() -> None:
    kind = "tensor<?x128xf32>"
    text = compile_to_dispatches(
        f"""func.func @f(%x: {kind} {{iree.name = "x", iree.dims = ["n"]}}) -> {kind} {{
          %c0 = arith.constant 0 : index
          %n = tensor.dim %x, %c0 : {kind}
          {softmax(kind, "tensor<?xf32>", "%n")}
          return %y : {kind} }}"""
    )
    assert (
        "@f_dispatch_0(%arg0: tensor<?x128xf32> {flow.dims = array<i64: 1>}, %arg1: index)"
        " -> (tensor<?x128xf32> {flow.dims = array<i64: 1>})" in text
    )
    assert "call @f_dispatch_0(%arg0, %dim)" in text


def test_equally_named_dimensions_are_one_value() -> None:
    text = compile_to_dispatches(
        """func.func @f(%x: tensor<?xf32> {iree.dims = ["n"]}, %y: tensor<?xf32>
            {iree.dims = ["n"]}) -> tensor<?xf32> {
          %0 = arith.addf %x, %y : tensor<?xf32>
          return %0 : tensor<?xf32> }"""
    )
    assert text.count("tensor.dim") == 1


MATMUL_GELU = """
    func.func @f(%x: tensor<4x8xf32>, %y: tensor<4x64xf32>) -> tensor<4x64xf32> {
      %w = "flow.parameter"() {key = "w"} : () -> tensor<8x64xf32>
      %b = "flow.parameter"() {key = "b"} : () -> tensor<64xf32>
      %z = arith.constant 0.0 : f32
      %e = tensor.empty() : tensor<4x64xf32>
      %f = linalg.fill ins(%z : f32) outs(%e : tensor<4x64xf32>) -> tensor<4x64xf32>
      %m = linalg.matmul ins(%x, %w : tensor<4x8xf32>, tensor<8x64xf32>)
          outs(%f : tensor<4x64xf32>) -> tensor<4x64xf32>
      %p = linalg.generic {indexing_maps = [#ij, #j, #ij],
          iterator_types = ["parallel", "parallel"]}
          ins(%m, %b : tensor<4x64xf32>, tensor<64xf32>) outs(%e : tensor<4x64xf32>) {
        ^bb0(%a: f32, %c: f32, %o: f32):
          %r = arith.addf %a, %c : f32
          linalg.yield %r : f32 } -> tensor<4x64xf32>
      %t = math.tanh %p : tensor<4x64xf32>
      %g = arith.mulf %p, %t : tensor<4x64xf32>
      %s = arith.addf %g, %y : tensor<4x64xf32>
      return %s : tensor<4x64xf32>
    }"""


@pytest.mark.parametrize("opt_level", [0, 3])
def test_contraction_takes_bias_activation_and_residual(opt_level: int) -> None:
    text = compile_to_dispatches(MATMUL_GELU, opt_level)
    assert count(text)["call @"] == 1
    assert ("tile_dim" in text) == (opt_level > 0)
    assert "flow.parameter" in text.split("func.func private")[0]


def test_epilogue_stops_where_a_second_result_would_be_needed() -> None:
    """The product is used by a reduction too, so fusing exp would store both."""
    kind = "tensor<4x64xf32>"
    text = compile_to_dispatches(
        f"""func.func @f(%x: tensor<4x8xf32>, %w: tensor<8x64xf32>) -> (tensor<4xf32>, {kind}) {{
          %z = arith.constant 0.0 : f32
          %e = tensor.empty() : {kind}
          %f = linalg.fill ins(%z : f32) outs(%e : {kind}) -> {kind}
          %m = linalg.matmul ins(%x, %w : tensor<4x8xf32>, tensor<8x64xf32>) outs(%f : {kind})
              -> {kind}
          {reduction("s", "%m", kind, "0.0", "arith.addf", "tensor<4xf32>", "")}
          {elementwise("y", "%m", kind, EXP)}
          return %s, %y : tensor<4xf32>, {kind} }}"""
    )
    contraction = next(t for t in text.split("func.func private") if '"contraction"' in t)
    assert "math.exp" not in contraction


def test_cheap_producers_are_evaluated_in_every_consumer() -> None:
    kind = "tensor<64x64xf32>"
    text = compile_to_dispatches(
        f"""func.func @f(%x: {kind}) -> ({kind}, {kind}) {{
          {elementwise("c", "%x", kind, "%r = arith.negf %a : f32")}
          {reduction("s", "%c", kind, "0.0", "arith.addf", "tensor<64xf32>", "")}
          {by_row("y", "%x", "%s", kind, "tensor<64xf32>", "%r = arith.mulf %a, %b : f32", "")}
          %te = tensor.empty() : {kind}
          %t = linalg.transpose ins(%c : {kind}) outs(%te : {kind}) permutation = [1, 0]
          %u = math.exp %t : {kind}
          return %y, %u : {kind}, {kind} }}"""
    )
    assert count(text)["call @"] == 2
    assert text.count("arith.negf") == 2


def test_equal_dispatches_are_one_function() -> None:
    kind = "tensor<16x16xf32>"
    matmuls = "".join(
        f"""
          %m{n} = linalg.matmul ins(%m{n - 1}, %w{n} : {kind}, {kind}) outs(%f : {kind}) -> {kind}
        """
        for n in (1, 2, 3)
    )
    text = compile_to_dispatches(
        f"""func.func @f(%m0: {kind}, %w1: {kind}, %w2: {kind}, %w3: {kind}) -> {kind} {{
          %z = arith.constant 0.0 : f32
          %e = tensor.empty() : {kind}
          %f = linalg.fill ins(%z : f32) outs(%e : {kind}) -> {kind}
          {matmuls}
          return %m3 : {kind} }}"""
    )
    assert count(text)["call @"] == 3
    assert count(text)["func.func private"] == 1


def test_groups_that_would_depend_on_each_other_in_a_circle_stay_apart() -> None:
    """exp(x @ w) + (exp(x @ w) @ v): the sum cannot join the first product."""
    kind = "tensor<16x16xf32>"
    text = compile_to_dispatches(
        f"""func.func @f(%x: {kind}, %w: {kind}, %v: {kind}) -> {kind} {{
          %z = arith.constant 0.0 : f32
          %e = tensor.empty() : {kind}
          %f = linalg.fill ins(%z : f32) outs(%e : {kind}) -> {kind}
          %p = linalg.matmul ins(%x, %w : {kind}, {kind}) outs(%f : {kind}) -> {kind}
          {elementwise("g", "%p", kind, EXP)}
          %b = linalg.matmul ins(%g, %v : {kind}, {kind}) outs(%f : {kind}) -> {kind}
          %s = arith.addf %g, %b : {kind}
          return %s : {kind} }}"""
    )
    assert count(text)["call @"] == 2


def test_bodies_of_host_loops_and_branches_are_outlined() -> None:
    kind = "tensor<8x8xf32>"
    text = compile_to_dispatches(
        f"""func.func @f(%x: {kind}, %n: index, %c: i1) -> {kind} {{
          %c0 = arith.constant 0 : index
          %c1 = arith.constant 1 : index
          %y = scf.for %i = %c0 to %n step %c1 iter_args(%s = %x) -> ({kind}) {{
            {elementwise("t", "%s", kind, EXP)}
            scf.yield %t : {kind}
          }}
          %r = scf.if %c -> ({kind}) {{
            {elementwise("u", "%y", kind, TANH)}
            scf.yield %u : {kind}
          }} else {{
            scf.yield %y : {kind}
          }}
          return %r : {kind} }}"""
    )
    host = text.split("func.func private")[0]
    assert count(host)["call @"] == 2
    assert "linalg" not in host
    assert host.index("scf.for") < host.index("call @f_dispatch") < host.index("scf.if")


def test_loops_marked_atomic_become_one_dispatch() -> None:
    text = compile_to_dispatches(
        """func.func @f(%x: tensor<8xf32>) -> tensor<8xf32> {
          %c0 = arith.constant 0 : index
          %c1 = arith.constant 1 : index
          %c8 = arith.constant 8 : index
          %y = scf.for %i = %c0 to %c8 step %c1 iter_args(%s = %x) -> (tensor<8xf32>) {
            %a = tensor.extract %s[%i] : tensor<8xf32>
            %b = math.exp %a : f32
            %t = tensor.insert %b into %s[%i] : tensor<8xf32>
            scf.yield %t : tensor<8xf32>
          } {flow.atomic}
          return %y : tensor<8xf32> }"""
    )
    host = text.split("func.func private")[0]
    assert count(host)["call @"] == 1
    assert "scf.for" not in host


def test_integer_and_float_scalars_cross_into_dispatches() -> None:
    text = compile_to_dispatches(
        """func.func @f(%x: tensor<8xf32>, %k: tensor<i64>, %s: tensor<f32>) -> tensor<8xf32> {
          %n = tensor.extract %k[] : tensor<i64>
          %f = tensor.extract %s[] : tensor<f32>
          %e = tensor.empty() : tensor<8xf32>
          %y = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>],
              iterator_types = ["parallel"]} ins(%x : tensor<8xf32>) outs(%e : tensor<8xf32>) {
            ^bb0(%a: f32, %o: f32):
              %c = arith.sitofp %n : i64 to f32
              %d = arith.mulf %a, %c : f32
              %r = arith.mulf %d, %f : f32
              linalg.yield %r : f32 } -> tensor<8xf32>
          return %y : tensor<8xf32> }"""
    )
    callee = text.split("func.func private")[1]
    assert "tensor<8xf32>, %arg1: tensor<f32>, %arg2: index" in callee
    assert "arith.index_cast %arg2 : index to i64" in callee


def test_slices_of_whole_rows_are_aliases_and_others_are_read_through() -> None:
    kind = "tensor<4x8xf32>"
    text = compile_to_dispatches(
        f"""func.func @f(%x: tensor<8x16xf32>) -> (tensor<4x16xf32>, {kind}) {{
          %whole = tensor.extract_slice %x[2, 0] [4, 16] [1, 1]
              : tensor<8x16xf32> to tensor<4x16xf32>
          %part = tensor.extract_slice %x[2, 4] [4, 8] [1, 1] : tensor<8x16xf32> to {kind}
          {elementwise("y", "%part", kind, EXP)}
          return %whole, %y : tensor<4x16xf32>, {kind} }}"""
    )
    host, callee = text.split("func.func private")
    assert count(host)["tensor.extract_slice"] == count(callee)["tensor.extract_slice"] == 1
    assert count(host)["call @"] == 1


def test_dispatch_names_where_in_the_model_it_comes_from() -> None:
    text = compile_to_dispatches(
        """func.func @f(%x: tensor<4xf32>) -> tensor<4xf32> {
          %0 = math.exp %x : tensor<4xf32> loc("encoder/exp")
          return %0 : tensor<4xf32> }"""
    )
    assert 'flow.origin = "encoder/exp"' in text


def test_atomic_regions_make_results_of_sizes_given_from_outside() -> None:
    text = compile_to_dispatches(
        """func.func @f(%n: tensor<i64>) -> tensor<?xi64> {
          %c0 = arith.constant 0 : index
          %one = arith.constant 1 : i64
          %k = tensor.extract %n[] : tensor<i64>
          %d = arith.index_cast %k : i64 to index
          %y = scf.execute_region -> tensor<?xi64> no_inline {
            %e = tensor.empty(%d) : tensor<?xi64>
            %t = tensor.insert %one into %e[%c0] : tensor<?xi64>
            scf.yield %t : tensor<?xi64>
          } {flow.atomic}
          return %y : tensor<?xi64> }"""
    )
    assert "-> (tensor<?xi64> {flow.dims = array<i64: 0>})" in text


def test_heads_repeated_for_grouped_attention_are_read_through() -> None:
    """The broadcast and the reshape behind it become part of the contraction that reads them."""
    text = compile_to_dispatches(
        """func.func @f(%q: tensor<4x8x16xf32>, %k: tensor<2x16x8xf32>) -> tensor<4x8x8xf32> {
          %z = arith.constant 0.0 : f32
          %be = tensor.empty() : tensor<2x2x16x8xf32>
          %b = linalg.broadcast ins(%k : tensor<2x16x8xf32>) outs(%be : tensor<2x2x16x8xf32>)
              dimensions = [1]
          %h = tensor.collapse_shape %b [[0, 1], [2], [3]]
              : tensor<2x2x16x8xf32> into tensor<4x16x8xf32>
          %e = tensor.empty() : tensor<4x8x8xf32>
          %f = linalg.fill ins(%z : f32) outs(%e : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
          %y = linalg.batch_matmul ins(%q, %h : tensor<4x8x16xf32>, tensor<4x16x8xf32>)
              outs(%f : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
          return %y : tensor<4x8x8xf32> }"""
    )
    assert count(text)["call @"] == 1
    assert "tensor.collapse_shape" not in text.split("func.func private")[0]


def attention(queries: int, returned: str = "%o") -> str:
    scores, rows = f"tensor<2x{queries}x32xf32>", f"tensor<2x{queries}xf32>"
    full = f"tensor<2x{queries}x16xf32>"
    kind = full if returned == "%o" else f"{full}, {scores}"
    text = f"""
    #hij = affine_map<(h, i, j) -> (h, i, j)>
    #hi = affine_map<(h, i, j) -> (h, i)>
    func.func @f(%q: {full}, %k: tensor<2x16x32xf32>, %v: tensor<2x32x16xf32>) -> ({kind}) {{
      %z = arith.constant 0.0 : f32
      %pe = tensor.empty() : {scores}
      %pf = linalg.fill ins(%z : f32) outs(%pe : {scores}) -> {scores}
      %p = linalg.batch_matmul ins(%q, %k : {full}, tensor<2x16x32xf32>)
          outs(%pf : {scores}) -> {scores}
      %x = math.tanh %p : {scores}
      {softmax(scores, rows)}
      %oe = tensor.empty() : {full}
      %of = linalg.fill ins(%z : f32) outs(%oe : {full}) -> {full}
      %o = linalg.batch_matmul ins(%y, %v : {scores}, tensor<2x32x16xf32>)
          outs(%of : {full}) -> {full}
      return {returned} : {kind} }}"""
    kinds = 'iterator_types = ["parallel", "'
    text = text.replace(kinds, 'iterator_types = ["parallel", "parallel", "')
    return text.replace("#ij", "#hij").replace("#i,", "#hi,").replace("#i]", "#hi]")


def test_attention_is_one_dispatch() -> None:
    text = compile_to_dispatches(attention(64))
    assert count(text)["call @"] == 1
    assert "math.tanh" in text


def test_attention_whose_weights_are_returned_is_not_fused() -> None:
    text = compile_to_dispatches(attention(64, "%o, %y"))
    assert count(text)["call @"] == 3


def test_attention_of_few_queries_is_not_fused() -> None:
    """Packing the keys would cost more than multiplying by them."""
    assert count(compile_to_dispatches(attention(1)))["call @"] == 3
