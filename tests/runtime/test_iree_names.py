"""``iree_core.runtime`` has IREE's names with the same meaning."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from tests.runtime import support
from tests.runtime.support import floats

from iree_core import runtime as ireert
from iree_core.errors import DeviceError, ModuleFileError, UsageError

X = floats(1, 2, 3, 4)


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return support.write(tmp_path / "m.vmfb", support.dynamic_program()).read_bytes()


def test_the_flow_of_the_pytorch_guide(content: bytes) -> None:
    config = ireert.Config(driver_name="local-sync")
    context = ireert.SystemContext(config=config)
    module = ireert.VmModule.from_flatbuffer(config.vm_instance, content)
    context.add_vm_module(module)
    assert module.name == "module" and module.function_names == ["main"]
    result = context.modules.module.main(X, X)
    np.testing.assert_array_equal(np.asarray(result), X + X + 1)
    np.testing.assert_array_equal(context.modules["module"]["main"](X, X).to_host(), X + X + 1)


def test_results_behave_like_arrays(content: bytes) -> None:
    main = ireert.load_vm_flatbuffer(content, driver="local-task").main
    result = main(X, X)
    assert isinstance(result, ireert.DeviceArray)
    assert result.shape == (4,) and result.dtype == np.float32 and len(result) == 4
    np.testing.assert_array_equal(result * 2 + result, 3 * (X + X + 1))
    np.testing.assert_array_equal(np.add(1, result), X + X + 2)
    assert result[1] == 5 and list(result) == [3, 5, 7, 9]
    assert result.reshape(2, 2).shape == (2, 2) and result.astype(int).dtype == int
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(result)), result)
    np.testing.assert_array_equal(np.from_dlpack(result), X + X + 1)
    np.testing.assert_array_equal(main(result, y=X), X + X + 1 + X + 1)
    assert "shape=[4], dtype=float32" in repr(result)


def test_device_arrays_as_arguments(content: bytes) -> None:
    config = ireert.Config("local-sync")
    main = ireert.load_vm_module(
        ireert.VmModule.from_flatbuffer(config.vm_instance, content), config
    ).main
    array = ireert.asdevicearray(config.device, [1, 2, 3, 4], dtype=np.float32)
    np.testing.assert_array_equal(main(array, array), X + X + 1)
    assert ireert.asdevicearray(config.device, array) is array


def test_mapped_files(tmp_path: Path, content: bytes) -> None:
    path, gone = tmp_path / "m.vmfb", []
    path.write_bytes(content)
    module = ireert.load_vm_flatbuffer_file(
        path, driver="local-sync", destroy_callback=lambda: gone.append(1)
    )
    assert module.main(X, X).shape == (4,) and not gone
    del module
    import gc

    gc.collect()
    assert gone == [1]


def test_drivers_and_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"local-sync", "local-task"} <= set(ireert.query_available_drivers())
    assert ireert.get_driver("local-sync").name == "local-sync"
    assert ireert.get_device("local-sync") is ireert.get_device("local-sync")
    assert ireert.get_device("local-sync", cache=False) is not ireert.get_device("local-sync")
    assert ireert.Config("nonsense,local-sync").device.name == "local-sync"
    assert ireert.Config().device.name == "local-task"
    monkeypatch.setenv("IREE_DEFAULT_DEVICE", "local-sync")
    assert ireert.Config().device.name == "local-sync"
    with pytest.raises(DeviceError, match="no driver 'nonsense'"):
        ireert.Config("nonsense")


def test_mistakes(content: bytes) -> None:
    config = ireert.Config("local-sync")
    module = ireert.VmModule.from_flatbuffer(config.vm_instance, content)
    context = ireert.SystemContext(vm_modules=[module], config=config)
    with pytest.raises(UsageError, match="cannot be added"):
        context.add_vm_module(module)
    other = ireert.SystemContext(config=config)
    other.add_vm_module(module)
    with pytest.raises(UsageError, match="'module' already"):
        other.add_vm_module(module)
    with pytest.raises(KeyError, match="no function 'x'"):
        other.modules.module["x"]
    with pytest.raises(AttributeError):
        other.modules.other  # noqa: B018
    with pytest.raises(ModuleFileError, match="is text"):
        ireert.VmModule.from_flatbuffer(config.vm_instance, b"something that is text")
    with pytest.raises(UsageError, match="Either"):
        ireert.Config("local-sync", device=config.device)
    with pytest.raises(UsageError, match="Either"):
        ireert.load_vm_flatbuffer(content)
