"""ONNX's own interface for backends, and its test runner, on the public API."""

from __future__ import annotations

import unittest

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx.backend.test import BackendTest

from iree_core.errors import UnsupportedOperatorError
from iree_frontend_onnx.backend import IreeBackend

CASES = (
    "test_gemm_default_vector_bias",
    "test_if",
    "test_softmax_axis_1",
    "test_split_variable_parts_1d_opset18",
    "test_Conv2d_padding",
)


@pytest.mark.parametrize("name", CASES)
def test_the_official_runner_passes(name: str) -> None:
    suite = BackendTest(IreeBackend).include(f"^{name}_cpu$").test_suite
    result = unittest.TestResult()
    suite.run(result)
    assert not result.failures and not result.errors, [*result.failures, *result.errors]
    assert result.testsRun - len(result.skipped) == 1


def test_prepare_keeps_names_and_runs_again() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21]>
        g (float[N] x, float[N] z) => (float[N] total, float[N] product) {
          total = Add(x, z)
          product = Mul(x, z)
        }"""
    )
    rep = IreeBackend.prepare(model, threads=1)
    for n in (1, 5):
        x, z = np.full(n, 3, np.float32), np.full(n, 4, np.float32)
        outputs = rep.run({"z": z, "x": x})
        np.testing.assert_array_equal(outputs.total, x + z)
        np.testing.assert_array_equal(outputs.product, x * z)


def test_run_node() -> None:
    node = onnx.helper.make_node("Sub", ["x", "y"], ["z"])
    x = np.arange(6, dtype=np.int32).reshape(2, 3)
    (z,) = IreeBackend.run_node(node, [x, x[:1]])
    np.testing.assert_array_equal(z, x - x[:1])


def test_what_is_not_supported_is_named() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21]>
        g (uint8[N] x) => (uint8[H,W,3] y) { [decode] y = ImageDecoder(x) }"""
    )
    with pytest.raises(UnsupportedOperatorError, match=r"decode \(ImageDecoder\)"):
        IreeBackend.run_model(model, [np.zeros(3, np.uint8)])


def test_devices() -> None:
    assert IreeBackend.supports_device("CPU")
    assert not IreeBackend.supports_device("CUDA")
