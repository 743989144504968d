"""Loaded shaders: one pipeline for each entry point, made when the module is loaded."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from iree_backend_vulkan import vk
from iree_backend_vulkan.features import FEATURES
from iree_backend_vulkan.image import ITERATIONS, Entry, parse_image
from iree_core.errors import DeviceError, ModuleFileError
from iree_core.expr import Expr
from iree_core.hal.kernel_image import read_expression
from iree_core.hal.kernels import KernelExecutable

if TYPE_CHECKING:
    from iree_backend_vulkan.driver import VulkanDevice


class Pipeline:
    """One entry point as the device runs it.

    Attributes:
        entry: its description.
        iterations: most iterations of its loops, see :data:`iree_backend_vulkan.image.ITERATIONS`.
        set_layout, layout, handle: the Vulkan objects.
    """

    def __init__(self, device: VulkanDevice, entry: Entry) -> None:
        """Create the pipeline.

        Raises:
            ModuleFileError: it needs a feature or a limit that the device has not.
            DeviceError: the driver refuses the shader.
        """
        _check(device, entry)
        self.entry = entry
        self.iterations = _iterations(entry)
        api, self._device = device.api, device
        self._made: list[tuple[Any, int]] = []
        weakref.finalize(self, _destroy, device, self._made).atexit = False
        self.set_layout = self._set_layout(len(entry.bindings) + entry.scratch)
        self.layout = self._pipeline_layout()
        code = bytes(entry.code)
        info = vk.ShaderModuleCreateInfo(
            sType=vk.SHADER_MODULE_CREATE_INFO,
            codeSize=len(code),
            pCode=ctypes.cast(ctypes.c_char_p(code), ctypes.c_void_p),
        )
        module = ctypes.c_uint64()
        api.CreateShaderModule(device.handle, vk.pointer(info), None, vk.pointer(module))
        stage = vk.PipelineShaderStageCreateInfo(
            sType=vk.PIPELINE_SHADER_STAGE_CREATE_INFO,
            stage=vk.STAGE_COMPUTE,
            module=module,
            pName=entry.name.encode(),
        )
        create = vk.ComputePipelineCreateInfo(
            sType=vk.COMPUTE_PIPELINE_CREATE_INFO,
            stage=stage,
            layout=self.layout,
            basePipelineIndex=-1,
        )
        handle = ctypes.c_uint64()
        try:
            api.CreateComputePipelines(
                device.handle, 0, 1, vk.pointer(create), None, vk.pointer(handle)
            )
        finally:
            api.DestroyShaderModule(device.handle, module, None)
        self.handle = handle.value
        self._made.append((api.DestroyPipeline, self.handle))

    def _set_layout(self, count: int) -> int:
        bindings = (vk.DescriptorSetLayoutBinding * max(1, count))()
        for number in range(count):
            bindings[number].binding = number
            bindings[number].descriptorType = vk.DESCRIPTOR_STORAGE_BUFFER
            bindings[number].descriptorCount = 1
            bindings[number].stageFlags = vk.STAGE_COMPUTE
        info = vk.DescriptorSetLayoutCreateInfo(
            sType=vk.DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
            bindingCount=count,
            pBindings=vk.pointer(bindings),
        )
        return self._create("DescriptorSetLayout", info)

    def _pipeline_layout(self) -> int:
        layouts = (ctypes.c_uint64 * 1)(self.set_layout)
        constants = vk.PushConstantRange(
            stageFlags=vk.STAGE_COMPUTE, size=max(4, 4 * self.entry.scalars)
        )
        info = vk.PipelineLayoutCreateInfo(
            sType=vk.PIPELINE_LAYOUT_CREATE_INFO,
            setLayoutCount=1,
            pSetLayouts=vk.pointer(layouts),
            pushConstantRangeCount=1 if self.entry.scalars else 0,
            pPushConstantRanges=vk.pointer(constants),
        )
        return self._create("PipelineLayout", info)

    def _create(self, name: str, info: Any) -> int:
        api, made = self._device.api, ctypes.c_uint64()
        getattr(api, f"Create{name}")(self._device.handle, vk.pointer(info), None, vk.pointer(made))
        self._made.append((getattr(api, f"Destroy{name}"), made.value))
        return made.value


def _destroy(device: VulkanDevice, made: list[tuple[Any, int]]) -> None:
    if not device.closed:
        for destroy, handle in reversed(made):
            destroy(device.handle, handle, None)


def _iterations(entry: Entry) -> Expr | None:
    data = entry.details.get(ITERATIONS)
    if data is None:
        return None
    try:
        return read_expression(data, entry.scalars)
    except (ValueError, TypeError) as error:
        raise ModuleFileError(f"The Vulkan executable image is damaged: {error}.") from None


def _check(device: VulkanDevice, entry: Entry) -> None:
    """Refuse what the device cannot run before the driver meets it."""
    limits, features = device.physical.limits, device.physical.features
    lacking = [
        member
        for name, (capability, member) in FEATURES.items()
        if capability in entry.needs and name not in features
    ]
    known = {"Shader", *(capability for capability, _ in FEATURES.values())}
    lacking += [name for name in entry.needs if name not in known]
    if lacking:
        raise ModuleFileError(
            f"The module needs {', '.join(lacking)}, which {device.description} lacks.",
            hint="Compile it for a target without that feature.",
        )
    most = min(limits.maxComputeWorkGroupInvocations, limits.maxComputeWorkGroupSize[0])
    if entry.workgroup > most:
        raise ModuleFileError(
            f"The module uses workgroups of {entry.workgroup}; {device.description} has {most}."
        )
    if 4 * entry.scalars > limits.maxPushConstantsSize:
        raise ModuleFileError(
            f"The module uses {4 * entry.scalars} bytes of push constants; "
            f"{device.description} has {limits.maxPushConstantsSize}."
        )
    count = len(entry.bindings) + entry.scratch
    if count > limits.maxPerStageDescriptorStorageBuffers:
        raise ModuleFileError(
            f"A shader of the module uses {count} buffers; {device.description} takes "
            f"{limits.maxPerStageDescriptorStorageBuffers}."
        )


def load(
    device: VulkanDevice, data: memoryview, entries: Sequence[tuple[str, int]]
) -> KernelExecutable[Pipeline]:
    """Create the pipeline of every shader of an image.

    Raises:
        ModuleFileError: the image is damaged, or needs what the device lacks.
        DeviceError: the driver refuses a shader.
    """

    def make(name: str, shader: Entry) -> Pipeline:
        try:
            return Pipeline(device, shader)
        except vk.VulkanError as error:
            raise DeviceError(
                f"{device.description} does not take shader {name}: {error.what}"
            ) from error

    return KernelExecutable(parse_image(data), entries, make)
