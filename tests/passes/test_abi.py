"""The abi phase: what public functions look like to their callers."""

from __future__ import annotations

import pytest

from iree_core.errors import CompileError
from iree_core.ir import ir, make_context
from iree_core.params import ParameterStore
from iree_core.passes.abi import passes
from iree_core.passes.abi.signature import (
    format_type,
    parse_type,
    public_functions,
    read_signature,
)
from iree_core.passes.manager import PassManager
from iree_core.passes.state import CompilationState
from iree_core.vm.program import TensorType


def run(text: str) -> tuple[list, list, str]:
    """Return the signature of the only public function after the phase, and the IR."""
    with make_context(), ir.Location.unknown():
        module = ir.Module.parse(text)
        state = CompilationState(ParameterStore(), None, None)  # type: ignore[arg-type]
        PassManager(passes(state)).run(module, state)
        (function,) = public_functions(module)
        inputs, outputs = read_signature(function)
        return list(inputs), list(outputs), str(module)


def test_defaults_are_given_where_the_frontend_said_nothing() -> None:
    inputs, outputs, _ = run(
        'func.func @f(%x: tensor<?x4xf32>, %y: tensor<2xi8> {iree.dtype = "ui8"})'
        " -> tensor<?x4xf32> { return %x : tensor<?x4xf32> }"
    )
    assert inputs == [
        TensorType("f32", ("input0_d0", 4), "input0"),
        TensorType("ui8", (2,), "input1"),
    ]
    assert outputs == [TensorType("f32", ("output0_d0", 4), "output0")]


def test_names_are_kept_and_made_unique() -> None:
    inputs, _, _ = run(
        'func.func @f(%x: tensor<?xf32> {iree.name = "x", iree.dims = ["a b"]},'
        ' %y: tensor<?xf32> {iree.name = "x", iree.dims = ["7"]}) { return }'
    )
    assert inputs == [TensorType("f32", ("a_b",), "x"), TensorType("f32", ("d7",), "x_1")]


def test_scalars_become_tensors_of_rank_0() -> None:
    inputs, outputs, text = run(
        "func.func @f(%s: f32, %n: index) -> (f32, index) { return %s, %n : f32, index }"
    )
    assert [t.dtype for t in inputs] == ["f32", "i64"]
    assert [t.shape for t in outputs] == [(), ()]
    assert "tensor.extract" in text and "tensor.from_elements" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("func.func private @f() { return }", "no public function"),
        ("func.func @f(%x: tensor<*xf32>) { return }", "ranked tensors"),
        ('func.func @f(%x: tensor<?x?xf32> {iree.dims = ["n"]}) { return }', "2 dynamic"),
    ],
)
def test_wrong_signatures_are_refused(text: str, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        run(text)


@pytest.mark.parametrize(
    "tensor",
    [
        TensorType("f32", (1, "n", 3), "x"),
        TensorType("complex<f32>", (), "a:b"),
        TensorType("f8E4M3FN", ("batch",), "data[0]"),
    ],
)
def test_types_survive_as_text(tensor: TensorType) -> None:
    assert parse_type(format_type(tensor)) == tensor


def test_dimensions_that_must_be_equal_get_one_name() -> None:
    row = "affine_map<(i, j) -> (i, j)>"
    inputs, outputs, _ = run(f"""
    func.func @f(%x: tensor<?x4xf32> {{iree.dims = ["m"]}}, %y: tensor<?x?xf32>,
                 %b: tensor<?xf32> {{iree.dims = ["free"]}})
        -> (tensor<?x4xf32> {{iree.dims = ["n"]}}) {{
      %c0 = arith.constant 0 : index
      %n = tensor.dim %y, %c0 : tensor<?x?xf32>
      %e = tensor.empty(%n) : tensor<?x4xf32>
      %c = tensor.cast %y : tensor<?x?xf32> to tensor<?x4xf32>
      %r = linalg.generic {{indexing_maps = [{row}, {row}],
          iterator_types = ["parallel", "parallel"]}}
          ins(%c : tensor<?x4xf32>) outs(%e : tensor<?x4xf32>) {{
        ^bb0(%p: f32, %q: f32):
          linalg.yield %p : f32 }} -> tensor<?x4xf32>
      %s = linalg.add ins(%x, %r : tensor<?x4xf32>, tensor<?x4xf32>)
          outs(%e : tensor<?x4xf32>) -> tensor<?x4xf32>
      return %s : tensor<?x4xf32>
    }}""")
    assert [t.shape for t in inputs] == [("m", 4), ("m", "input1_d1"), ("free",)]
    assert outputs[0].shape == ("n", 4)
