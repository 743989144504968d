"""Calling functions of a module: what is accepted, what comes back, what errors say."""

from __future__ import annotations

import threading
import timeit
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.runtime import support
from tests.runtime.support import floats

import iree_core
from iree_core.errors import InvocationError
from iree_core.hal import BufferView
from iree_core.runtime_api import LoadedModule

X, Y = floats(1, 2, 3, 4), floats(10, 20, 30, 40)
SUM = floats(11, 22, 33, 44)


def test_arguments_by_position_and_by_name(add: LoadedModule) -> None:
    for result in (add.main(X, Y), add.main(X, y=Y), add.main(y=Y, x=X), add["main"](X, Y)):
        assert isinstance(result, np.ndarray)
        np.testing.assert_array_equal(result, SUM)


def test_results_are_fresh_and_writable(add: LoadedModule) -> None:
    first = add.main(X, Y)
    first[:] = 0
    np.testing.assert_array_equal(add.main(X, Y), SUM)
    assert first.flags.writeable


def test_reading_only_what_is_needed_from_odd_arrays(add: LoadedModule) -> None:
    read_only = X.copy()
    read_only.flags.writeable = False
    strided = np.repeat(X, 2)[::2]
    for x in (read_only, strided, X[::-1][::-1], np.ma.array(X)):
        np.testing.assert_array_equal(add.main(x, Y), SUM)


@pytest.mark.parametrize("x", [[1, 2, 3, 4], (1.0, 2, 3, 4), X.data, [True, True + 1, 3, 4]])
def test_lists_and_buffers(add: LoadedModule, x: object) -> None:
    np.testing.assert_array_equal(add.main(x, Y), SUM)


def test_dlpack_without_copies(dynamic: LoadedModule) -> None:
    import torch

    result = dynamic.main(torch.from_numpy(X), torch.from_numpy(np.repeat(Y, 2))[::2])
    np.testing.assert_array_equal(result, SUM + 1)
    with pytest.raises(InvocationError, match=r"'x'.*detach"):
        dynamic.main(torch.from_numpy(X).requires_grad_(), Y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X,), r"Expected 2 arguments, got 1: 'y' is missing.*x: 4xf32, y: 4xf32"),
        ((), r"got 0: 'x', 'y' are missing"),
        ((X, Y, X), r"Expected 2 arguments, got 3"),
        ((X[:3], Y), r"Argument 'x': expected 4xf32, got 3xf32"),
        ((X.reshape(2, 2), Y), r"Argument 'x': expected 4xf32, got 2x2xf32"),
        ((X, Y.astype(np.float64)), r"Argument 'y': expected 4xf32, got 4xf64.*astype"),
        ((X, Y.astype(">f4")), r"Argument 'y': expected 4xf32, got 4x>f4"),
        ((X, None), r"Argument 'y'"),
        ((X, "text"), r"Argument 'y'"),
        ((X, object()), r"Argument 'y'"),
        (([[1], [2, 3]], Y), r"Argument 'x' is no array"),
        ((np.array(["a"] * 4), Y), r"Argument 'x': expected 4xf32"),
    ],
)
def test_wrong_arguments(add: LoadedModule, arguments: tuple, message: str) -> None:
    with pytest.raises(InvocationError, match=message) as caught:
        add.main(*arguments)
    assert "main" in str(caught.value)


def test_wrong_names(add: LoadedModule) -> None:
    with pytest.raises(InvocationError, match=r"no argument 'z'.*It takes"):
        add.main(X, z=Y)
    with pytest.raises(InvocationError, match="'x' is given twice"):
        add.main(X, Y, x=X)


def test_unknown_function(add: LoadedModule) -> None:
    with pytest.raises(InvocationError, match=r"no function 'forward'.*It has: main"):
        add.forward(X)
    with pytest.raises(InvocationError, match="no function"):
        add["forward"]
    assert not hasattr(add, "forward")
    assert "main" in add and list(add) == ["main"] and "main" in dir(add)


def test_functions_with_awkward_names(tmp_path: Path) -> None:
    functions = [
        replace(support.add_program().functions[0], name=name)
        for name in ("_functions", "_step", "reset", "main.1")
    ]
    program = replace(support.add_program(), functions=functions)
    module = iree_core.load(support.write(tmp_path / "m.vmfb", program), "local-sync")
    for name in module:
        np.testing.assert_array_equal(module[name](X, Y), SUM)
    np.testing.assert_array_equal(module._step(X, Y), SUM)
    module.reset()


def test_dynamic_dimensions(dynamic: LoadedModule) -> None:
    for n in (0, 1, 7, 1000):
        x = np.arange(n, dtype=np.float32)
        np.testing.assert_array_equal(dynamic.main(x, x), x + x + 1)
    message = r"'y': expected 4 along axis 0, the size of dimension 'n' in argument 'x', got 3"
    with pytest.raises(InvocationError, match=message):
        dynamic.main(X, Y[:3])


def test_calls_from_many_threads(add: LoadedModule, dynamic: LoadedModule) -> None:
    failures = []

    def call(seed: int) -> None:
        x = np.random.default_rng(seed).random(4).astype(np.float32)
        big = np.full(5000 + seed, seed, np.float32)
        for _ in range(200):
            if not np.array_equal(add.main(x, Y), x + Y):
                failures.append("static")
            if not np.array_equal(dynamic.main(big, big), big + big + 1):
                failures.append("dynamic")

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_call_takes_less_than_five_microseconds(add_file: Path) -> None:
    main = iree_core.load(add_file).main
    best = min(timeit.repeat(lambda: main(X, Y), number=2000, repeat=50)) / 2000
    assert best < 5e-6


ELEMENT_TYPES = [
    "i1", "i4", "ui4", "i8", "ui8", "i16", "ui16", "i32", "ui32", "i64", "ui64",
    "f16", "bf16", "f32", "f64", "f8E4M3FN", "f8E5M2", "complex<f32>", "complex<f64>",
]  # fmt: skip


@pytest.mark.parametrize("dtype", ELEMENT_TYPES)
def test_every_element_type_passes_through(tmp_path: Path, dtype: str) -> None:
    path = support.write(tmp_path / "m.vmfb", support.copy_program(dtype, 3))
    array = np.array([0, 1, 1]).astype(iree_core.dtypes.to_numpy(dtype))
    result = iree_core.load(path, "local-sync").main(array)
    assert result.dtype == array.dtype
    np.testing.assert_array_equal(result, array)


def test_numbers_that_do_not_fit(tmp_path: Path) -> None:
    module = iree_core.load(
        support.write(tmp_path / "m.vmfb", support.copy_program("ui8", 3)), "local-sync"
    )
    np.testing.assert_array_equal(module.main([0, 1, 255]), [0, 1, 255])
    for wrong in ([0, 1, 256], [0, 1, -1], [0, 1, 0.5]):
        with pytest.raises(InvocationError, match="Argument 'x'"):
            module.main(wrong)


def test_types_without_ml_dtypes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ml_dtypes a bf16 result is a view that DLPack consumers take."""
    import torch

    module = iree_core.load(
        support.write(tmp_path / "m.vmfb", support.copy_program("bf16", 3)), "local-sync"
    )
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    iree_core.dtypes.to_numpy.cache_clear()
    result = module.main(torch.tensor([1, 2, 3], dtype=torch.bfloat16))
    assert isinstance(result, BufferView)
    assert torch.from_dlpack(result).tolist() == [1, 2, 3]
    with pytest.raises(InvocationError, match="ml_dtypes"):
        np.asarray(result)
    iree_core.dtypes.to_numpy.cache_clear()
