"""Imports of small ONNX models: what comes out, and that it computes the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from tests.input.execute import execute
from tests.onnx.isolation import isolated

from iree_core.errors import ImportModelError, UnsupportedOperatorError
from iree_core.interfaces import ImportedModel, ImportOptions
from iree_core.ir import count_operations, make_context
from iree_frontend_onnx.frontend import OnnxFrontend
from iree_frontend_onnx.in_place import read_without_weights
from iree_frontend_onnx.translate import import_proto

HEADER = '<ir_version: 10, opset_import: ["" : 21]>\n'


def parse(graph: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(HEADER + graph)


def imported(graph: str) -> ImportedModel:
    return import_proto(parse(graph), make_context())


def check(graph: str, *inputs: NDArray, rtol: float = 1e-5) -> None:
    """The imported model computes what the reference implementation of ONNX computes."""
    model = parse(graph)
    names = [i.name for i in model.graph.input]
    expected = ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))

    def run() -> None:
        made = import_proto(model, make_context())
        results = execute(made.module, inputs, made.parameters)
        for result, want in zip(results, expected, strict=True):
            np.testing.assert_allclose(result, want, rtol=rtol, atol=1e-6)

    assert isolated(run) is None


def numbers(*shape: int) -> NDArray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_a_matrix_product_is_one_contraction() -> None:
    found = imported("g (float[N,16] x, float[8,16] w) => (float[N,8] y) { y=Gemm<transB=1>(x,w) }")
    counts = count_operations(found.module)
    assert counts["linalg.generic"] == 1
    assert counts["linalg.transpose"] == 0


def test_equal_dimension_names_are_one_value() -> None:
    found = imported("g (float[N,M] x, float[N,M] z) => (float[N,M] y) { y=Add(x,z) }")
    counts = count_operations(found.module)
    assert counts["tensor.dim"] == 4
    assert counts["tensor.extract"] == 0
    assert 'iree.dims = ["N", "M"]' in str(found.module)


def test_shape_arithmetic_leaves_no_tensors() -> None:
    found = imported(
        """g (float[N,4,4] x) => (float[N,16] y) {
          s=Shape(x)
          i=Constant<value=int64[1]{0}>()
          n=Gather(s,i)
          r=Constant<value=int64[1]{-1}>()
          t=Concat<axis=0>(n,r)
          y=Reshape(x,t)
        }"""
    )
    counts = count_operations(found.module)
    assert counts["tensor.collapse_shape"] == 1
    assert counts["tensor.from_elements"] == counts["linalg.generic"] == 0


def test_broadcasting_of_unrelated_dynamic_sizes() -> None:
    graph = "g (float[A,B] x, float[C,D] z) => (float[E,F] y) { y=Add(x,z) }"
    for left, right in (((3, 4), (3, 4)), ((1, 4), (3, 1)), ((3, 1), (1, 1))):
        check(graph, numbers(*left), numbers(*right))


def test_a_loop_with_scan_outputs() -> None:
    graph = """g (float[4] x, int64 n) => (float[4] y, float[K,4] z) {
      t=Constant<value=bool{1}>()
      y,z=Loop(n,t,x)<body=b (int64 i, bool c, float[4] s) => (bool d, float[4] u, float[4] v) {
        d=Identity(c)
        u=Sin(s)
        v=Cos(s)
      }>
    }"""
    check(graph, numbers(4), np.array(5))
    check(graph, numbers(4), np.array(1))


def test_a_loop_that_stops_by_its_condition() -> None:
    graph = """g (float[4] x, bool t) => (float[4] y) {
      y=Loop("",t,x)<body=b (int64 i, bool c, float[4] s) => (bool d, float[4] u) {
        h=Constant<value=float{0.5}>()
        u=Mul(s,h)
        q=ReduceSum<keepdims=0>(u)
        z=Constant<value=float{0.1}>()
        d=Greater(q,z)
      }>
    }"""
    check(graph, np.abs(numbers(4)), np.array(True))


def test_large_initializers_become_parameters_and_small_ones_constants() -> None:
    weight = ",".join(["0.5"] * 128)
    found = imported(
        f"g (float[N,16] x) => (float[N,8] y) <float[16,8] w={{{weight}}}, float[8] b={{"
        + ",".join("1" * 8)
        + "}> { h=MatMul(x,w)\n y=Add(h,b) }"
    )
    assert list(found.parameters) == ["w"]
    assert count_operations(found.module)["flow.parameter"] == 1


def test_external_data_is_mapped(tmp_path: Path) -> None:
    weight = np.arange(256, dtype=np.float32).reshape(16, 16)
    (tmp_path / "weights.bin").write_bytes(b"\0" * 64 + weight.tobytes())
    model = parse("g (float[2,16] x) => (float[2,16] y) { y=MatMul(x,w) }")
    proto = model.graph.initializer.add(name="w", data_type=1, dims=[16, 16])
    proto.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", "64")):
        proto.external_data.add(key=key, value=value)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    frontend = OnnxFrontend()
    assert frontend.matches(path)
    found = frontend.import_model(path, make_context(), ImportOptions())
    np.testing.assert_array_equal(found.parameters.read("w"), weight)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ImportModelError, match="external data files together"):
        frontend.import_model(path, make_context(), ImportOptions())


def test_weights_inside_the_file_are_mapped(tmp_path: Path) -> None:
    weight = np.arange(4096, dtype=np.float32).reshape(64, 64)
    model = parse("g (float[2,64] x) => (float[2,64] y) { y=MatMul(x,w) }")
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert len(read_without_weights(path)) < 1000
    found = OnnxFrontend().import_model(path, make_context(), ImportOptions())
    np.testing.assert_array_equal(found.parameters.read("w"), weight)


def test_all_unsupported_nodes_are_reported_at_once() -> None:
    model = parse("g (float[4] x) => (float[4] y) { a=Sin(x)\n b=Cos(a)\n y=Tan(b) }")
    for place in (0, 2):
        model.graph.node[place].domain = "example.com"
        model.graph.node[place].name = f"layer{place}"
    model.opset_import.add(domain="example.com", version=1)
    with pytest.raises(UnsupportedOperatorError) as error:
        import_proto(model, make_context())
    assert "layer0 (Sin)" in str(error.value)
    assert "layer2 (Tan)" in str(error.value)


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0a\x12\xff\xff")
    with pytest.raises(ImportModelError, match="cannot be read"):
        OnnxFrontend().import_model(path, make_context(), ImportOptions())


def test_strings_are_an_error() -> None:
    with pytest.raises(ImportModelError, match="STRING"):
        imported("g (string[4] x) => (string[4] y) { y=Identity(x) }")
