"""Machine code beside PTX: made by NVIDIA's assembler, loaded where it fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.cuda import fake
from tests.cuda.harness import compile_dispatch
from tests.cuda.test_products import product
from tests.gpu.dispatches import elementwise

from iree_backend_cuda import assembler, cu
from iree_backend_cuda.driver import CudaDevice
from iree_backend_cuda.image import cubin_fits, parse_image
from iree_backend_cuda.launch import read_launch
from iree_backend_cuda.target import parse_target
from iree_core.errors import CompileError, DeviceError, UsageError

RELU = elementwise(
    "%z = arith.constant 0.0 : f32\n%r = arith.maximumf %a, %z : f32", ["f32"], "f32"
)


def load(options: str, on: CudaDevice) -> Any:
    backend, compiled = compile_dispatch(RELU, options)
    linked = backend.link([compiled], backend.resolve(options))
    return on.load_executable(memoryview(linked.data), linked.entries, format=linked.format)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_a_module_holds_both(arch: str) -> None:
    _, version = assembler.find_assembler()
    backend, compiled = compile_dispatch(product(512, 512, 512, "f16"), f"{arch},+cubin")
    assert backend.resolve(f"{arch},+cubin").spec == f"{arch},+cubin={version}"
    launch = read_launch(parse_image(compiled.binary)[0])
    assert b".version" in launch.ptx and launch.cubin[:4] == b"\x7fELF"
    assert dict(compiled.listings) == {"ptx": launch.ptx, "cubin": launch.cubin}


def test_the_driver_takes_what_fits() -> None:
    for arch, fits in ((80, True), (86, False), (90, False)):
        library, device = fake.open_device(arch=arch)
        load("sm_80,+cubin", device)
        assert bool(library.cubins) == fits
        # The stand-in knows one class per cubin, so that on 8.6 PTX is taken after a refusal.
        assert library.count("ModuleLoadDataEx") == (2 if arch == 86 else 1)
    assert cubin_fits("sm_80", 89) and not cubin_fits("sm_86", 87) and not cubin_fits("sm_90a", 100)


def test_an_assembler_that_is_newer_than_the_driver() -> None:
    library, device = fake.open_device(arch=80)
    library.fail["ModuleLoadDataEx"] = cu.INVALID_IMAGE
    (function,) = load("sm_80,+cubin", device).kernels
    assert not library.cubins and function.handle
    library.fail["ModuleLoadDataEx"] = cu.OUT_OF_MEMORY
    with pytest.raises(DeviceError, match=r"cuModuleLoadDataEx failed: CUDA_ERROR_2"):
        load("sm_80,+cubin", device)


@pytest.mark.gpu
def test_machine_code_runs(gpu: CudaDevice) -> None:
    from tests.cuda.harness import run_dispatch

    x = np.linspace(-4, 4, 64, dtype=np.float32)
    (y,), _ = run_dispatch(
        RELU, [x], [64], [((64,), np.float32)], options=f"sm_{gpu.physical.arch},+cubin", on=gpu
    )
    np.testing.assert_array_equal(y, np.maximum(x, 0))


def test_without_an_assembler(monkeypatch: pytest.MonkeyPatch) -> None:
    _, version = assembler.find_assembler()
    with pytest.raises(UsageError, match=f"is {version}, not 1.2.3"):
        parse_target("sm_80,+cubin=1.2.3")
    assert parse_target("sm_80,+cubin,-cubin").spec == "sm_80"
    assembler.find_assembler.cache_clear()
    monkeypatch.setattr(assembler, "_candidates", lambda: iter([]))
    try:
        with pytest.raises(UsageError, match="no ptxas on this machine"):
            parse_target("sm_80,+cubin")
    finally:
        assembler.find_assembler.cache_clear()


def test_what_the_assembler_refuses() -> None:
    with pytest.raises(CompileError, match=r"ptxas .* refuses a kernel for sm_80: .*line 3"):
        assembler.assemble(".version 7.0\n.target sm_80\n.nonsense\n", "sm_80")
