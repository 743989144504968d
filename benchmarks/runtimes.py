"""The runtimes of the comparison behind one face: build, load, call.

Each class is used in a process of its own (see ``worker.py``), so that thread pools, allocators
and memory peaks do not mix.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Inputs = dict[str, np.ndarray]
Call = Callable[[], Sequence[np.ndarray]]


class Runtime(ABC):
    """One way to run an ONNX file."""

    name: str

    def build(self, model: Path, folder: Path) -> Path:
        """Compile ahead of time and return what is loaded (the model itself by default)."""
        return model

    @abstractmethod
    def prepare(self, threads: int) -> None:
        """Import what is needed and open the device; not part of the load time."""

    @abstractmethod
    def load(self, built: Path, threads: int, inputs: Inputs) -> Call:
        """Return a function that runs the model once on ``inputs``."""


class Ours(Runtime):
    """This project, default options."""

    name = "iree (this project)"

    target = "llvm-cpu"

    def build(self, model: Path, folder: Path) -> Path:
        out = folder / f"{model.stem}.ours.{self.target}.vmfb"
        command = [tool("iree"), "compile", str(model), "-o", str(out), f"--target={self.target}"]
        command.append("--no-reuse")  # a first compilation, as for the others
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return out

    def prepare(self, threads: int) -> None:
        import iree_core.runtime_api  # noqa: F401
        from iree_core.hal.registry import open_device

        self.device = open_device("local-sync" if threads == 1 else f"local-task?threads={threads}")

    def load(self, built: Path, threads: int, inputs: Inputs) -> Call:
        import iree_core

        main = iree_core.load(built, device=self.device).main
        arrays = list(inputs.values())

        def call() -> Sequence[np.ndarray]:
            result = main(*arrays)
            return result if isinstance(result, tuple) else (result,)

        return call


class Iree(Runtime):
    """IREE with its best flags for CPUs."""

    name = "IREE 3.13"
    convolutional = ("mobilenetv2", "resnet50", "vit", "unet", "resnet50-int8")

    def build(self, model: Path, folder: Path) -> Path:
        imported, out = folder / f"{model.stem}.iree.mlir", folder / f"{model.stem}.iree.vmfb"
        subprocess.run([tool("iree-import-onnx"), str(model), "-o", str(imported)], check=True)
        flags = [
            "--iree-hal-target-device=local",
            "--iree-hal-local-target-device-backends=llvm-cpu",
            "--iree-llvmcpu-target-cpu=host",
            "--iree-opt-data-tiling",
        ]
        if model.stem in self.convolutional:
            flags.append("--iree-global-opt-use-im2col-for-convs")
        subprocess.run([tool("iree-compile"), str(imported), "-o", str(out), *flags], check=True)
        return out

    def prepare(self, threads: int) -> None:
        from iree import runtime

        if threads > 1:
            runtime.flags.parse_flags(f"--task_topology_group_count={threads}")
        self.config = runtime.Config("local-sync" if threads == 1 else "local-task")

    def load(self, built: Path, threads: int, inputs: Inputs) -> Call:
        from iree import runtime

        config = self.config
        context = runtime.SystemContext(config=config)
        module = runtime.VmModule.mmap(context.instance, str(built))
        context.add_vm_module(module)
        entry = next(n for n in module.function_names if "$" not in n and "__" not in n)
        function = context.modules[module.name][entry]
        arrays = [runtime.asdevicearray(config.device, a) for a in inputs.values()]

        def call() -> Sequence[np.ndarray]:
            result = function(*arrays)
            results = result if isinstance(result, list | tuple) else [result]
            return [self.on_host(r) for r in results]

        return call

    def on_host(self, array: Any) -> np.ndarray:
        """Return a result as an array."""
        return np.asarray(array)


class OursVulkan(Ours):
    """This project on the first Vulkan device, default options."""

    name = "iree (this project), Vulkan"
    target = "vulkan"

    def prepare(self, threads: int) -> None:
        import iree_core.runtime_api  # noqa: F401
        from iree_core.hal.registry import open_device

        self.device = open_device("vulkan")

    def load(self, built: Path, threads: int, inputs: Inputs) -> Call:
        call = super().load(built, threads, inputs)
        # Results are on the device, where work may still go on.
        return lambda: [np.asarray(result) for result in call()]


class IreeVulkan(Iree):
    """IREE on the first Vulkan device, for its default target."""

    name = "IREE 3.13, Vulkan"
    # It has no 64-bit integers on that target; only models with inputs of tokens need them.
    tokens = ("bert", "gpt2", "t5")

    def build(self, model: Path, folder: Path) -> Path:
        out = folder / f"{model.stem}.iree-vulkan.vmfb"
        imported = folder / f"{model.stem}.iree-vulkan.mlir"
        subprocess.run([tool("iree-import-onnx"), str(model), "-o", str(imported)], check=True)
        flags = ["--iree-hal-target-device=vulkan"]
        if model.stem in self.tokens:
            flags.append("--iree-input-demote-i64-to-i32")
        subprocess.run([tool("iree-compile"), str(imported), "-o", str(out), *flags], check=True)
        imported.unlink()
        return out

    def prepare(self, threads: int) -> None:
        from iree import runtime

        self.config = runtime.Config("vulkan")

    def on_host(self, array: Any) -> np.ndarray:
        # Its own to_host() gives Vulkan a pointer that is not aligned as Vulkan demands.
        from iree import runtime

        view, device = array._buffer_view, array._device
        source = view.get_buffer()
        staging = device.allocator.allocate_buffer(
            int(runtime.MemoryType.HOST_LOCAL | runtime.MemoryType.DEVICE_VISIBLE),
            int(runtime.BufferUsage.TRANSFER_TARGET | runtime.BufferUsage.MAPPING_SCOPED),
            source.byte_length(),
        )
        done = device.create_semaphore(0)
        before, after = (runtime.HalFence.create_at(done, value) for value in (0, 1))
        device.queue_copy(source, staging, wait_semaphores=before, signal_semaphores=after)
        after.wait()
        return staging.map().asarray(view.shape, array.dtype)


class OnnxRuntime(Runtime):
    """ONNX Runtime, CPU provider, all optimisations."""

    name = "ONNX Runtime"

    def prepare(self, threads: int) -> None:
        import onnxruntime  # noqa: F401

    def load(self, built: Path, threads: int, inputs: Inputs) -> Call:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(
            str(built), options, providers=["CPUExecutionProvider"]
        )
        return lambda: session.run(None, inputs)


class OpenVino(Runtime):
    """OpenVINO, CPU plugin, latency hint, float32."""

    name = "OpenVINO"

    def prepare(self, threads: int) -> None:
        import openvino

        self.core = openvino.Core()

    def load(self, built: Path, threads: int, inputs: Inputs) -> Call:
        compiled = self.core.compile_model(
            str(built), "CPU",
            {
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "INFERENCE_PRECISION_HINT": "f32",
            },
        )  # fmt: skip
        request = compiled.create_infer_request()
        arrays = list(inputs.values())

        def call() -> Sequence[np.ndarray]:
            results = request.infer(arrays, share_inputs=True, share_outputs=True)
            return [results[port] for port in compiled.outputs]

        return call


RUNTIMES: dict[str, type[Runtime]] = {
    "ours": Ours, "iree": Iree, "ort": OnnxRuntime, "openvino": OpenVino,
    "vulkan": OursVulkan, "iree-vulkan": IreeVulkan,
}  # fmt: skip


def timed_build(runtime: Runtime, model: Path, folder: Path) -> tuple[Path, float]:
    """Build and return the result and the seconds it took."""
    start = time.perf_counter()
    built = runtime.build(model, folder)
    return built, time.perf_counter() - start


def tool(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise FileNotFoundError(f"{name} is missing: pip install -r benchmarks/requirements.txt")
    return found
