"""Control flow, dynamic shapes and every element type: ONNX models compiled, loaded and run."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from tests.onnx import corpus
from tests.onnx.isolation import isolated

HEADER = '<ir_version: 11, opset_import: ["" : 21]>\n'


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """Import the compiler once, before the tests fork."""
    corpus.warm_up()


def check(graph: str, *calls: Sequence[NDArray], rtol: float = 1e-5) -> None:
    """Compile once; every call computes what ONNX's reference implementation computes."""
    model = onnx.parser.parse_model(HEADER + graph)
    names = [i.name for i in model.graph.input]
    reference = ReferenceEvaluator(model)

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            loaded, _ = corpus.build(model, Path(folder))
            for inputs in calls:
                expected = reference.run(None, dict(zip(names, inputs, strict=True)))
                for got, want in zip(loaded.run(inputs), expected, strict=True):
                    assert (got.shape, got.dtype) == (want.shape, want.dtype)
                    np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-6)

    assert isolated(run) is None


def numbers(*shape: int) -> NDArray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def test_if_with_branches_of_different_sizes() -> None:
    graph = """g (bool flag, float[N,4] x) => (float[M,4] y) {
      y = If (flag) <
        then_branch = a () => (float[P,4] t) { two=Constant<value=float {2.0}>() s=Mul(x,two)
          t=Concat<axis=0>(s,x) },
        else_branch = b () => (float[Q,4] e) { e=Neg(x) }>
    }"""
    calls = [(np.array(flag), numbers(n, 4)) for flag in (True, False) for n in (1, 5)]
    check(graph, *calls)


def test_nested_if() -> None:
    graph = """g (float[N] x, int64 k) => (float[N] y) {
      zero=Constant<value=int64 {0}>() five=Constant<value=int64 {5}>()
      positive=Greater(k,zero) big=Greater(k,five)
      y = If (positive) <
        then_branch = a () => (float[N] t) {
          t = If (big) <
            then_branch = c () => (float[N] p) { p=Exp(x) },
            else_branch = d () => (float[N] q) { q=Relu(x) }> },
        else_branch = b () => (float[N] e) { e=Abs(x) }>
    }"""
    check(graph, *[(numbers(6), np.array(k, np.int64)) for k in (-1, 3, 9)])


def test_loop_until_a_condition_fails() -> None:
    graph = """g (float[N] x, float limit) => (float[N] y, int64 count) {
      most=Constant<value=int64 {100}>() yes=Constant<value=bool {1}>()
      start=Constant<value=int64 {0}>() one=Constant<value=int64 {1}>()
      y, count = Loop (most, yes, x, start) <
        body = b (int64 i, bool c, float[N] v, int64 n) => (bool go, float[N] w, int64 m) {
          w=Add(v,v) m=Add(n,one) s=ReduceSum<keepdims=0>(w) go=Less(s,limit) }>
    }"""
    x = np.arange(4, dtype=np.float32)
    check(graph, (x, np.array(1, np.float32)), (x, np.array(1000, np.float32)))


def test_loop_with_outputs_stacked_and_a_state_that_grows() -> None:
    graph = """g (int64 k, float[N,2] x) => (float[M,2] grown, float[K,2] sums) {
      yes=Constant<value=bool {1}>() axis=Constant<value=int64[1] {0}>()
      grown, sums = Loop (k, yes, x) <
        body = b (int64 i, bool c, float[P,2] v) => (bool d, float[Q,2] w, float[2] s) {
          d=Identity(c) w=Concat<axis=0>(v,x) s=ReduceSum<keepdims=0>(w,axis) }>
    }"""
    check(graph, *[(np.array(k, np.int64), numbers(3, 2)) for k in (1, 4)])


def test_loop_that_never_runs() -> None:
    graph = """g (int64 k, float[3] x) => (float[3] last, float[K,3] all) {
      yes=Constant<value=bool {1}>()
      last, all = Loop (k, yes, x) <
        body = b (int64 i, bool c, float[3] v) => (bool d, float[3] w, float[3] s) {
          d=Identity(c) w=Neg(v) s=Identity(w) }>
    }"""
    model = onnx.parser.parse_model(HEADER + graph)
    x = numbers(3)

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            loaded, _ = corpus.build(model, Path(folder))
            last, stacked = loaded.run([np.array(0, np.int64), x])
            np.testing.assert_array_equal(last, x)
            assert stacked.shape == (0, 3)

    assert isolated(run) is None


def test_loop_in_a_loop_with_an_if() -> None:
    graph = """g (int64 k, float[N] x) => (float[N] y) {
      yes=Constant<value=bool {1}>() two=Constant<value=int64 {2}>()
      zero=Constant<value=int64 {0}>() half=Constant<value=float {0.5}>()
      y = Loop (k, yes, x) <
        body = outer (int64 i, bool c, float[N] v) => (bool d, float[N] w) {
          d=Identity(c) r=Mod(i,two) even=Equal(r,zero)
          w = Loop (i, yes, v) <
            body = inner (int64 j, bool e, float[N] a) => (bool f, float[N] z) {
              f=Identity(e)
              z = If (even) <
                then_branch = p () => (float[N] s) { s=Add(a,x) },
                else_branch = q () => (float[N] t) { t=Mul(a,half) }> }> }>
    }"""
    check(graph, *[(np.array(k, np.int64), numbers(5)) for k in (0, 1, 5)])


def test_scan() -> None:
    graph = """g (float[2] start, float[T,2] x) => (float[2] last, float[T,2] sums) {
      last, sums = Scan <num_scan_inputs=1,
        body = b (float[2] v, float[2] e) => (float[2] w, float[2] s) {
          w=Add(v,e) s=Mul(w,e) }> (start, x)
    }"""
    check(graph, *[(numbers(2), numbers(t, 2)) for t in (1, 7)])


def test_scan_backwards_along_the_second_axis() -> None:
    graph = """g (float[2] start, float[2,T] x) => (float[2] last, float[2,T] sums) {
      last, sums = Scan <num_scan_inputs=1, scan_input_axes=[1], scan_input_directions=[1],
        scan_output_axes=[1], scan_output_directions=[1],
        body = b (float[2] v, float[2] e) => (float[2] w, float[2] s) {
          w=Add(v,e) s=Identity(w) }> (start, x)
    }"""
    start, x = numbers(2), numbers(2, 4)
    model = onnx.parser.parse_model(HEADER + graph)
    sums = start[:, None] + np.cumsum(x[:, ::-1], axis=1)[:, ::-1]

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            loaded, _ = corpus.build(model, Path(folder))
            last, got = loaded.run([start, x])
            np.testing.assert_allclose(got, sums, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(last, sums[:, 0], rtol=1e-5, atol=1e-6)

    assert isolated(run) is None


def test_sequences_inside_the_model() -> None:
    graph = """g (float[N,2] a, float[M,2] b) => (float[K,2] y, int64 n, float[M,2] z) {
      s=SequenceConstruct(a,b) t=SequenceInsert(s,a) n=SequenceLength(t)
      one=Constant<value=int64 {1}>()
      z=SequenceAt(t,one) u=SequenceErase(t,one) y=ConcatFromSequence<axis=0>(u)
    }"""
    check(graph, (numbers(3, 2), numbers(1, 2)), (numbers(1, 2), numbers(4, 2)))


def test_sizes_that_depend_on_data() -> None:
    graph = """g (float[N] x) => (int64[R,K] where, float[K] kept, float[M] repeated) {
      zero=Constant<value=float {0.0}>() m=Greater(x,zero) where=NonZero(m)
      kept=Compress<axis=0>(x,m)
      times=Constant<value=int64[1] {2}>() repeated=Tile(kept,times)
    }"""
    check(graph, (numbers(9),), (np.full(4, -1, np.float32),), (np.ones(3, np.float32),))


def test_shapes_given_at_run_time() -> None:
    graph = """g (float[A,B] x, int64[3] shape, int64[1] start, int64[1] stop)
        => (float[P,Q,R] y, float[A,C] part) {
      y=Reshape(x,shape) axis=Constant<value=int64[1] {1}>() part=Slice(x,start,stop,axis)
    }"""
    bounds = [np.array([n], np.int64) for n in (1, 3)]
    check(
        graph,
        (numbers(4, 6), np.array([2, -1, 3], np.int64), *bounds),
        (numbers(2, 4), np.array([0, 1, 4], np.int64), *bounds),
    )


def test_a_network_of_any_batch_and_length() -> None:
    graph = """g (float[B,T,8] x, float[8,16] w, float[16] bias) => (float[B,T,16] y) {
      h=MatMul(x,w) s=Add(h,bias) p=Softmax<axis=-1>(s)
      t=Transpose<perm=[0,2,1]>(x) q=MatMul(x,t) r=MatMul(q,p) y=Tanh(r)
    }"""
    w, bias = numbers(8, 16), numbers(16)
    check(graph, *[(numbers(b, t, 8), w, bias) for b, t in ((1, 1), (2, 5), (3, 17))], rtol=1e-4)


FLOATS = ["FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16"]
NARROW_FLOATS = [
    "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT4E2M1",
]  # fmt: skip
INTEGERS = ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"]
NARROW_INTEGERS = ["INT4", "UINT4"]
OTHERS = ["BOOL", "COMPLEX64", "COMPLEX128"]


def _extremes(name: str) -> NDArray:
    """Return eight values of a type, its limits among them."""
    dtype = helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(name))
    if dtype == np.bool_:
        return np.array([1, 0, 0, 1, 1, 1, 0, 0], dtype)
    if dtype.kind == "c":
        return (np.arange(8) - 1j * np.arange(8)[::-1]).astype(dtype)
    if name in INTEGERS or name in NARROW_INTEGERS:
        limits = ml_dtypes.iinfo(dtype)
        low, high = int(limits.min), int(limits.max)
        return np.array([low, high, 0, 1, 2, 3, high - 1, low + 1]).astype(dtype)
    limits = ml_dtypes.finfo(dtype)
    values = [float(limits.max), float(limits.min), 0, 1, -1, 1.5, -2, 0.5]
    return np.array(values, np.float64).astype(dtype)


def _model(nodes: list[onnx.NodeProto], kind: int, shape: list, result: list) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, result)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)


def _run(model: onnx.ModelProto, x: NDArray, expected: NDArray) -> None:
    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            loaded, _ = corpus.build(model, Path(folder))
            (y,) = loaded.run([x])
            assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_array_equal(y, expected)

    assert isolated(run) is None


@pytest.mark.parametrize("name", [*FLOATS, *NARROW_FLOATS, *INTEGERS, *NARROW_INTEGERS, *OTHERS])
def test_every_element_type_goes_in_and_out(name: str) -> None:
    x = _extremes(name).reshape(2, 4)
    kind = TensorProto.DataType.Value(name)
    node = helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])
    _run(_model([node], kind, ["n", 4], [4, "n"]), x, x.T.copy())


@pytest.mark.parametrize("name", [*FLOATS, *INTEGERS])
def test_every_element_type_of_numpy_adds(name: str) -> None:
    x = _extremes(name)[2:6]
    kind = TensorProto.DataType.Value(name)
    node = helper.make_node("Add", ["x", "x"], ["y"])
    _run(_model([node], kind, ["n"], ["n"]), x, x + x)


@pytest.mark.parametrize("name", [*NARROW_FLOATS, *NARROW_INTEGERS])
def test_narrow_types_convert_both_ways(name: str) -> None:
    x = _extremes(name)
    kind = TensorProto.DataType.Value(name)
    nodes = [
        helper.make_node("Cast", ["x"], ["w"], to=TensorProto.FLOAT),
        helper.make_node("Neg", ["w"], ["v"]),
        helper.make_node("Neg", ["v"], ["u"]),
        helper.make_node("Cast", ["u"], ["y"], to=kind),
    ]
    _run(_model(nodes, kind, ["n"], ["n"]), x, x)


def test_determinants() -> None:
    graph = "g (float[B,N,N] x) => (float[B] y) { y=Det(x) }"
    singular = np.array([[[0, 1, 2], [0, 3, 4], [0, 5, 6]], np.eye(3)[[1, 0, 2]]], np.float32)
    check(graph, (numbers(2, 5, 5),), (numbers(1, 1, 1),), (singular,), rtol=1e-4)
