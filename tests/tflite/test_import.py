"""Files, functions, control flow and variables of TFLite models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.tflite.builder import Model, T, single
from tests.tflite.harness import compile_bytes, run_compiled, run_reference

import iree_core
from iree_core.errors import ImportModelError, UnsupportedOperatorError
from iree_core.interfaces import ImportOptions
from iree_core.ir import make_context
from iree_frontend_tf.tflite.frontend import TfliteFrontend

_ADD = single("ADD", [T("f32", (2, 3)), T("f32", data=np.ones((2, 3)))], [T("f32")], "AddOptions")


def _import(data: bytes, folder: Path) -> str:
    path = folder / "model.tflite"
    path.write_bytes(data)
    imported = TfliteFrontend().import_model(path, make_context(), ImportOptions())
    return str(imported.module)


def test_a_file_is_recognised_by_its_identifier(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(_ADD)
    assert TfliteFrontend().matches(path)
    path.write_bytes(b"\x08\x07 something else")
    assert not TfliteFrontend().matches(path)


@pytest.mark.parametrize("kept", [0.03, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_file_is_an_import_error(tmp_path: Path, kept: float) -> None:
    with pytest.raises(ImportModelError, match=r"model\.tflite"):
        _import(_ADD[: int(len(_ADD) * kept)], tmp_path)


def test_damaged_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(_ADD)
        for place in rng.integers(8, len(_ADD), 4):
            damaged[place] = int(rng.integers(256))
        try:
            _import(bytes(damaged), tmp_path)
        except ImportModelError:
            continue


def test_all_unsupported_operators_are_named_at_once(tmp_path: Path) -> None:
    model = Model()
    graph = model.graph()
    x = graph.tensor("x", T("f32", (2, 3)))
    names = ["first", "second", "third"]
    outputs = [graph.tensor(name, T("f32", (2, 3))) for name in names]
    graph.op("custom:Mine", [x], [outputs[0]])
    graph.op("ABS", [outputs[0]], [outputs[1]])
    graph.op("SKIP_GRAM", [outputs[1]], [outputs[2]])
    graph.made.inputs, graph.made.outputs = [x], [outputs[2]]
    with pytest.raises(UnsupportedOperatorError) as caught:
        _import(model.build(), tmp_path)
    message = str(caught.value)
    assert "2 operators" in message
    assert "first (Mine)" in message
    assert "third (SKIP_GRAM)" in message


def test_signatures_become_functions(tmp_path: Path) -> None:
    model = Model()
    for number, (key, op) in enumerate((("twice", "ADD"), ("square", "MUL"))):
        graph = model.graph(f"graph{number}")
        x, y = graph.tensor("in", T("f32", (3,))), graph.tensor("out", T("f32", (3,)))
        graph.op(op, [x, x], [y], f"{op.title()}Options")
        graph.made.inputs, graph.made.outputs = [x], [y]
        model.signature(key, number, {"value": x}, {"result": y})
    module = iree_core.load(compile_bytes(model.build(), tmp_path), "local-sync")
    x = np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(module["twice"](x), 2 * x)
    np.testing.assert_array_equal(module["square"](x), x * x)


def _loop() -> bytes:
    model = Model()
    main, condition, body = (model.graph(n) for n in ("main", "condition", "body"))
    limit = T("i32", data=np.array(5))
    for graph in (main, condition, body):
        graph.made.inputs = [graph.tensor("i", T("i32")), graph.tensor("x", T("f32", (3,)))]
    done = condition.tensor("less", T("i1"))
    condition.op("LESS", [0, condition.tensor("limit", limit)], [done])
    condition.made.outputs = [done]
    one = body.tensor("one", T("i32", data=np.array(1)))
    following = [body.tensor("next", T("i32")), body.tensor("sum", T("f32", (3,)))]
    body.op("ADD", [0, one], [following[0]], "AddOptions")
    body.op("ADD", [1, 1], [following[1]], "AddOptions")
    body.made.outputs = following
    results = [main.tensor("last", T("i32")), main.tensor("result", T("f32", (3,)))]
    main.op("WHILE", [0, 1], results, "WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2)
    main.made.outputs = results
    return model.build()


def test_a_loop_runs_as_often_as_its_condition_holds() -> None:
    model = _loop()
    calls = [[np.array(2, np.int32), np.array([1, 2, 3], np.float32)]]
    for want, have in zip(
        run_reference(model, calls)[0], run_compiled(model, calls)[0], strict=False
    ):
        np.testing.assert_array_equal(have, want)


def test_a_graph_can_call_another() -> None:
    model = Model()
    main, other = model.graph("main"), model.graph("other")
    for graph in (main, other):
        graph.made.inputs = [graph.tensor("x", T("f32", (3,)))]
        graph.made.outputs = [graph.tensor("y", T("f32", (3,)))]
    main.op("CALL", [0], [1], "CallOptions", subgraph=1)
    other.op("ADD", [0, 0], [1], "AddOptions")
    x = np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(run_compiled(model.build(), [[x]])[0][0], x + x)


def test_a_custom_call_is_named(tmp_path: Path) -> None:
    x = T("f32", (3,))
    options = {"callTargetName": "their.kernel"}
    data = single("STABLEHLO_CUSTOM_CALL", [x], [x], "StablehloCustomCallOptions", **options)
    with pytest.raises(UnsupportedOperatorError, match=r"custom operator their\.kernel"):
        _import(data, tmp_path)


def test_a_branch_is_chosen_by_its_condition() -> None:
    model = Model()
    main, then, other = (model.graph(n) for n in ("main", "then", "other"))
    flag = main.tensor("flag", T("i1"))
    x, y = main.tensor("x", T("f32", (3,))), main.tensor("y", T("f32", (3,)))
    main.op("IF", [flag, x], [y], "IfOptions", thenSubgraphIndex=1, elseSubgraphIndex=2)
    main.made.inputs, main.made.outputs = [flag, x], [y]
    for graph, op in ((then, "ABS"), (other, "NEG")):
        inner = [graph.tensor("x", T("f32", (3,))), graph.tensor("y", T("f32", (3,)))]
        graph.op(op, inner[:1], inner[1:])
        graph.made.inputs, graph.made.outputs = inner[:1], inner[1:]
    data = np.array([-1, 2, -3], np.float32)
    calls = [[np.array(choice), data] for choice in (True, False)]
    found = run_compiled(model.build(), calls)
    np.testing.assert_array_equal(found[0][0], np.abs(data))
    np.testing.assert_array_equal(found[1][0], -data)


def _counter() -> bytes:
    model = Model()
    main, first = model.graph("main"), model.graph("first")
    for graph in (first, main):
        handle = graph.tensor("handle", T("resource"))
        graph.op("VAR_HANDLE", [], [handle], "VarHandleOptions", container="", sharedName="count")
    start = first.tensor("start", T("f32", data=np.array([10.0, 20.0])))
    first.op("ASSIGN_VARIABLE", [0, start], [], "AssignVariableOptions")
    x, before = main.tensor("x", T("f32", (2,))), main.tensor("before", T("f32", (2,)))
    after = main.tensor("after", T("f32", (2,)))
    main.op("CALL_ONCE", [], [], "CallOnceOptions", initSubgraphIndex=1)
    main.op("READ_VARIABLE", [0], [before], "ReadVariableOptions")
    main.op("ADD", [before, x], [after], "AddOptions")
    main.op("ASSIGN_VARIABLE", [0, after], [], "AssignVariableOptions")
    main.made.inputs, main.made.outputs = [x], [after]
    return model.build()


def test_variables_keep_their_contents_from_call_to_call() -> None:
    model = _counter()
    calls = [[np.array([1, 2], np.float32)]] * 3
    for want, have in zip(run_reference(model, calls), run_compiled(model, calls), strict=True):
        np.testing.assert_array_equal(have[0], want[0])


def test_half_precision_weights_are_converted_once(tmp_path: Path) -> None:
    model = Model()
    graph = model.graph()
    x = graph.tensor("x", T("f32", (2, 16)))
    stored = np.linspace(-1, 1, 160).reshape(10, 16)
    w16, w = graph.tensor("w16", T("f16", data=stored)), graph.tensor("w", T("f32", (10, 16)))
    y = graph.tensor("y", T("f32", (2, 10)))
    graph.op("DEQUANTIZE", [w16], [w])
    graph.op("FULLY_CONNECTED", [x, w, -1], [y], "FullyConnectedOptions")
    graph.made.inputs, graph.made.outputs = [x], [y]
    calls = [[np.random.default_rng(0).uniform(-1, 1, (2, 16)).astype(np.float32)]]
    data = model.build()
    np.testing.assert_allclose(
        run_compiled(data, calls)[0][0], run_reference(data, calls)[0][0], rtol=1e-5, atol=1e-6
    )
    assert _import(data, tmp_path).count("linalg.generic") == 2


def test_sparse_weights_are_made_dense() -> None:
    from ai_edge_litert import schema_py_generated as schema

    dense = np.zeros((4, 6), np.float32)
    dense[0, 1], dense[0, 4], dense[2, 0], dense[3, 5] = 1, 2, 3, 4
    model = Model()
    graph = model.graph()
    x, y = graph.tensor("x", T("f32", (2, 6))), graph.tensor("y", T("f32", (2, 4)))
    w = graph.tensor("w", T("f32", data=np.array([1, 2, 3, 4])))
    graph.made.tensors[w].shape = [4, 6]
    rows, columns = schema.DimensionMetadataT(), schema.DimensionMetadataT()
    rows.format, rows.denseSize = schema.DimensionType.DENSE, 4
    columns.format = schema.DimensionType.SPARSE_CSR
    for name, values in (("Segments", [0, 2, 2, 3, 4]), ("Indices", [1, 4, 0, 5])):
        vector = schema.Int32VectorT()
        vector.values = values
        setattr(columns, f"array{name}Type", schema.SparseIndexVector.Int32Vector)
        setattr(columns, f"array{name}", vector)
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.dimMetadata = [0, 1], [rows, columns]
    graph.made.tensors[w].sparsity = sparsity
    graph.op("FULLY_CONNECTED", [x, w, -1], [y], "FullyConnectedOptions")
    graph.made.inputs, graph.made.outputs = [x], [y]
    data = np.random.default_rng(0).uniform(-1, 1, (2, 6)).astype(np.float32)
    np.testing.assert_allclose(run_compiled(model.build(), [[data]])[0][0], data @ dense.T, 1e-6)
