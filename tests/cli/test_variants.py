"""Several targets in one module: equal weights once in the file, the device chosen at run time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import iree_core as iree
from iree_core.cli import cli
from iree_core.errors import DeviceError, ModuleFileError, UsageError
from iree_core.hal import DeviceInfo
from iree_core.hal.registry import open_device
from iree_core.modulefile import ModuleFile
from iree_core.parameter_files import save_safetensors
from iree_core.params import ParameterStore

# One weight as it is, one that is transposed while compiling, one that a CPU wants packed.
MODEL = """
func.func @main(%x: tensor<?x32xf32>) -> tensor<?x64xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %n = tensor.dim %x, %c0 : tensor<?x32xf32>
  %scale = "flow.parameter"() {key = "scale"} : () -> tensor<32xf32>
  %turned = "flow.parameter"() {key = "turned"} : () -> tensor<64x48xf32>
  %w = "flow.parameter"() {key = "w"} : () -> tensor<32x64xf32>
  %e = tensor.empty() : tensor<48x64xf32>
  %t = linalg.transpose ins(%turned : tensor<64x48xf32>) outs(%e : tensor<48x64xf32>)
      permutation = [1, 0]
  %r = tensor.extract_slice %t[0, 0] [1, 64] [1, 1] : tensor<48x64xf32> to tensor<64xf32>
  %ex = tensor.empty(%n) : tensor<?x32xf32>
  %b = linalg.broadcast ins(%scale : tensor<32xf32>) outs(%ex : tensor<?x32xf32>) dimensions = [0]
  %s = linalg.mul ins(%x, %b : tensor<?x32xf32>, tensor<?x32xf32>) outs(%ex : tensor<?x32xf32>)
      -> tensor<?x32xf32>
  %ey = tensor.empty(%n) : tensor<?x64xf32>
  %f = linalg.fill ins(%zero : f32) outs(%ey : tensor<?x64xf32>) -> tensor<?x64xf32>
  %p = linalg.matmul ins(%s, %w : tensor<?x32xf32>, tensor<32x64xf32>)
      outs(%f : tensor<?x64xf32>) -> tensor<?x64xf32>
  %br = linalg.broadcast ins(%r : tensor<64xf32>) outs(%ey : tensor<?x64xf32>) dimensions = [0]
  %y = linalg.add ins(%p, %br : tensor<?x64xf32>, tensor<?x64xf32>)
      outs(%ey : tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
"""


class Model:
    """The model's file, its weights, and what it computes."""

    def __init__(self, folder: Path) -> None:
        self.path, self.parameters = folder / "model.mlir", folder / "w.safetensors"
        self.path.write_text(MODEL)
        rng = np.random.default_rng(0)
        self.scale, self.turned, self.w = (
            rng.standard_normal(shape, np.float32) for shape in (32, (64, 48), (32, 64))
        )
        store = ParameterStore()
        for key in ("scale", "turned", "w"):
            store.add(key, getattr(self, key))
        save_safetensors(self.parameters, store)

    def compile(self, *targets: str, **options: object) -> iree.CompiledModule:
        return iree.compile(
            self.path, parameters=[self.parameters], target=list(targets), **options
        )

    def __call__(self, x: NDArray) -> NDArray:
        return (x * self.scale) @ self.w + self.turned.T[0]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(tmp_path_factory.mktemp("variants"))


@pytest.fixture(scope="module")
def both(model: Model) -> iree.CompiledModule:
    return model.compile("llvm-cpu", "vulkan")


@pytest.mark.parametrize(
    "device, backend", [("local-sync", "llvm-cpu"), ("vulkan", "vulkan"), (None, "llvm-cpu")]
)
def test_the_variant_that_fits_the_device_runs(
    model: Model, both: iree.CompiledModule, device: str | None, backend: str
) -> None:
    loaded = iree.load(both, device)
    assert loaded.variant.backend == backend
    x = np.random.default_rng(1).standard_normal((5, 32), np.float32)
    np.testing.assert_allclose(np.asarray(loaded.main(x)), model(x), rtol=1e-4, atol=1e-4)


def test_equal_weights_are_stored_once(model: Model, both: iree.CompiledModule) -> None:
    file = ModuleFile.open(both.path)
    cpu, gpu = file.variants
    used = [{p.key.partition("#")[0]: p for p in file.parameters_of(v)} for v in (cpu, gpu)]
    assert used[0]["turned"] == used[1]["turned"], "the same transposition, made for each"
    assert used[0]["scale"] == used[1]["scale"]
    assert used[0]["w"] != used[1]["w"], "packed for the CPU only"
    total = sum(p.nbytes for p in file.parameters)
    assert total == sum(p.nbytes for p in file.parameters_of(cpu)) + model.w.nbytes
    module = model.compile("vulkan")
    alone = ModuleFile.open(module.path)
    assert len(alone.parameters_of(alone.variants[0])) == len(alone.parameters)
    assert len(alone.parameters) == len(file.parameters_of(gpu))


def test_the_first_usable_variant_is_taken(
    model: Model, both: iree.CompiledModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iree_backend_llvm.driver import LocalDriver

    def lost(self: LocalDriver) -> list[DeviceInfo]:
        raise DeviceError("It went home.")

    monkeypatch.setattr(LocalDriver, "query_devices", lost)
    assert iree.load(both).variant.backend == "vulkan"


def test_no_variant_fits(both: iree.CompiledModule, monkeypatch: pytest.MonkeyPatch) -> None:
    device = open_device("local-sync", cached=False)
    monkeypatch.setattr(device, "accepts", lambda format, target: f"{format} is not for it")
    with pytest.raises(ModuleFileError, match=r"native-.* is not for it.*vulkan-spirv is not"):
        iree.load(both, device)


def test_no_device_for_any_variant(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from iree_backend_cuda.driver import CudaDriver
    from iree_backend_metal.driver import MetalDriver

    for driver in (CudaDriver, MetalDriver):
        monkeypatch.setattr(driver, "query_devices", lambda self: [])
    module = model.compile("cuda:sm_80", "metal")
    with pytest.raises(DeviceError, match=r"2 variants.*cuda: .*no device.*metal: .*no device"):
        iree.load(module)


def _cli(*arguments: str) -> None:
    assert not cli.main(list(arguments), standalone_mode=False)


def test_the_command_line(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = str(tmp_path / "m.vmfb")
    targets = ["--target", "llvm-cpu", "--target", "vulkan"]
    given = ["--parameters", str(model.parameters)]
    _cli("compile", str(model.path), *given, *targets, "-o", module)
    assert "for llvm-cpu and vulkan" in capsys.readouterr().out
    _cli("inspect", module)
    shown = capsys.readouterr().out
    assert "\n  llvm-cpu: " in shown and "\n  vulkan: " in shown and "of the data" in shown
    _cli("run", module, "--input=2x32xf32=1")
    assert "that for llvm-cpu" in capsys.readouterr().err
    _cli("run", module, "--device=vulkan", "--input=2x32xf32=1")
    assert "that for vulkan" in capsys.readouterr().err


def test_a_module_of_several_targets_is_lowered_again(
    model: Model, both: iree.CompiledModule
) -> None:
    again = iree.load(iree.compile(both.path, target="llvm-cpu"), "local-sync")
    x = np.ones((3, 32), np.float32)
    np.testing.assert_allclose(np.asarray(again.main(x)), model(x), rtol=1e-4, atol=1e-4)


def test_what_needs_one_target(model: Model) -> None:
    with pytest.raises(UsageError, match=r"llvm-cpu:.* is named twice"):
        model.compile("llvm-cpu", "llvm-cpu")
    with pytest.raises(UsageError, match="IR of one target"):
        model.compile("llvm-cpu", "vulkan", compile_to="scheduling")
    with pytest.raises(UsageError, match="for one target"):
        model.compile("llvm-cpu", "vulkan", from_phase="scheduling")
