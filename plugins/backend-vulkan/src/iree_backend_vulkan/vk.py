"""The part of the Vulkan API that the driver uses, as ctypes structures and functions.

Names are those of the Vulkan 1.2 specification without their prefix. Loading the system's
loader happens on first use, so that importing this module works everywhere.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from ctypes import c_char, c_char_p, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Any

from iree_core.errors import DeviceError

API_1_2 = (1 << 22) | (2 << 12)
WHOLE_SIZE = (1 << 64) - 1

# VkResult
SUCCESS, NOT_READY, TIMEOUT, INCOMPLETE = 0, 1, 2, 5
OUT_OF_HOST_MEMORY, OUT_OF_DEVICE_MEMORY, DEVICE_LOST = -1, -2, -4
_RESULTS = {
    -1: "out of host memory", -2: "out of device memory", -3: "initialization failed",
    -4: "device lost", -5: "memory map failed", -6: "layer not present",
    -7: "extension not present", -8: "feature not present", -9: "incompatible driver",
    -10: "too many objects", -11: "format not supported", -12: "fragmented pool",
    -13: "unknown error", -1000069000: "out of pool memory", -1000072003: "invalid handle",
}  # fmt: skip

# VkStructureType
(
    APPLICATION_INFO, INSTANCE_CREATE_INFO, DEVICE_QUEUE_CREATE_INFO, DEVICE_CREATE_INFO,
    SUBMIT_INFO, MEMORY_ALLOCATE_INFO,
) = range(6)  # fmt: skip
SEMAPHORE_CREATE_INFO, BUFFER_CREATE_INFO, SHADER_MODULE_CREATE_INFO = 9, 12, 16
PIPELINE_SHADER_STAGE_CREATE_INFO, COMPUTE_PIPELINE_CREATE_INFO = 18, 29
PIPELINE_LAYOUT_CREATE_INFO, DESCRIPTOR_SET_LAYOUT_CREATE_INFO = 30, 32
DESCRIPTOR_POOL_CREATE_INFO, DESCRIPTOR_SET_ALLOCATE_INFO, WRITE_DESCRIPTOR_SET = 33, 34, 35
COMMAND_POOL_CREATE_INFO, COMMAND_BUFFER_ALLOCATE_INFO, COMMAND_BUFFER_BEGIN_INFO = 39, 40, 42
MEMORY_BARRIER = 46
PHYSICAL_DEVICE_FEATURES_2, PHYSICAL_DEVICE_PROPERTIES_2 = 1000059000, 1000059001
PROPERTIES_MAINTENANCE_3, PROPERTIES_DRIVER, DRIVER_MESA_LLVMPIPE = 1000168000, 1000196000, 13
FEATURES_16BIT_STORAGE, FEATURES_8BIT_STORAGE = 1000083000, 1000177000
FEATURES_TIMELINE_SEMAPHORE, SEMAPHORE_TYPE_CREATE_INFO = 1000207000, 1000207002
TIMELINE_SEMAPHORE_SUBMIT_INFO, SEMAPHORE_WAIT_INFO = 1000207003, 1000207004
SEMAPHORE_SIGNAL_INFO = 1000207005

# Flags and enumerations.
QUEUE_COMPUTE, QUEUE_TRANSFER = 2, 4
MEMORY_DEVICE_LOCAL, MEMORY_HOST_VISIBLE, MEMORY_HOST_COHERENT = 1, 2, 4
USAGE_TRANSFER_SRC, USAGE_TRANSFER_DST, USAGE_STORAGE = 1, 2, 0x20
STAGE_COMPUTE, DESCRIPTOR_STORAGE_BUFFER, BIND_COMPUTE = 0x20, 7, 1
PIPELINE_STAGE_COMPUTE, PIPELINE_STAGE_TRANSFER, PIPELINE_STAGE_HOST = 0x800, 0x1000, 0x4000
PIPELINE_STAGE_ALL = 0x10000
ACCESS_SHADER_READ, ACCESS_SHADER_WRITE = 0x20, 0x40
ACCESS_TRANSFER_READ, ACCESS_TRANSFER_WRITE = 0x800, 0x1000
ACCESS_HOST_READ, ACCESS_HOST_WRITE = 0x2000, 0x4000
SEMAPHORE_TIMELINE = 1
COMMAND_POOL_RESET, COMMAND_BUFFER_SIMULTANEOUS_USE = 2, 4
DEVICE_TYPES = ("other", "integrated GPU", "discrete GPU", "virtual GPU", "CPU")


def _struct(name: str, **fields: Any) -> Any:
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


def _info(name: str, **fields: Any) -> Any:
    """Return a structure that starts with its type and a pointer to an extension of it."""
    return _struct(name, sType=c_int32, pNext=c_void_p, **fields)


ApplicationInfo = _info(
    "ApplicationInfo", pApplicationName=c_char_p, applicationVersion=c_uint32,
    pEngineName=c_char_p, engineVersion=c_uint32, apiVersion=c_uint32,
)  # fmt: skip
InstanceCreateInfo = _info(
    "InstanceCreateInfo", flags=c_uint32, pApplicationInfo=c_void_p, enabledLayerCount=c_uint32,
    ppEnabledLayerNames=c_void_p, enabledExtensionCount=c_uint32, ppEnabledExtensionNames=c_void_p,
)  # fmt: skip
DeviceQueueCreateInfo = _info(
    "DeviceQueueCreateInfo", flags=c_uint32, queueFamilyIndex=c_uint32, queueCount=c_uint32,
    pQueuePriorities=c_void_p,
)  # fmt: skip
DeviceCreateInfo = _info(
    "DeviceCreateInfo", flags=c_uint32, queueCreateInfoCount=c_uint32, pQueueCreateInfos=c_void_p,
    enabledLayerCount=c_uint32, ppEnabledLayerNames=c_void_p, enabledExtensionCount=c_uint32,
    ppEnabledExtensionNames=c_void_p, pEnabledFeatures=c_void_p,
)  # fmt: skip
Limits = _struct(
    "Limits",
    maxImageDimension=c_uint32 * 4, maxImageArrayLayers=c_uint32, maxTexelBufferElements=c_uint32,
    maxUniformBufferRange=c_uint32, maxStorageBufferRange=c_uint32, maxPushConstantsSize=c_uint32,
    maxMemoryAllocationCount=c_uint32, maxSamplerAllocationCount=c_uint32,
    bufferImageGranularity=c_uint64, sparseAddressSpaceSize=c_uint64,
    maxBoundDescriptorSets=c_uint32, maxPerStageDescriptorSamplers=c_uint32,
    maxPerStageDescriptorUniformBuffers=c_uint32, maxPerStageDescriptorStorageBuffers=c_uint32,
    descriptors=c_uint32 * 12, vertex=c_uint32 * 5, tessellation=c_uint32 * 8,
    geometry=c_uint32 * 5, fragment=c_uint32 * 4, maxComputeSharedMemorySize=c_uint32,
    maxComputeWorkGroupCount=c_uint32 * 3, maxComputeWorkGroupInvocations=c_uint32,
    maxComputeWorkGroupSize=c_uint32 * 3, precision=c_uint32 * 3, draw=c_uint32 * 2,
    sampler=c_float * 2, viewport=c_uint32 * 6, minMemoryMapAlignment=c_size_t,
    minTexelBufferOffsetAlignment=c_uint64, minUniformBufferOffsetAlignment=c_uint64,
    minStorageBufferOffsetAlignment=c_uint64, rest=c_uint32 * 42,
)  # fmt: skip
PhysicalDeviceProperties = _struct(
    "PhysicalDeviceProperties", apiVersion=c_uint32, driverVersion=c_uint32, vendorID=c_uint32,
    deviceID=c_uint32, deviceType=c_int32, deviceName=c_char * 256,
    pipelineCacheUUID=ctypes.c_uint8 * 16, limits=Limits, sparse=c_uint32 * 5,
)  # fmt: skip
PhysicalDeviceProperties2 = _info("PhysicalDeviceProperties2", properties=PhysicalDeviceProperties)
PropertiesMaintenance3 = _info(
    "PropertiesMaintenance3", maxPerSetDescriptors=c_uint32, maxMemoryAllocationSize=c_uint64
)
PropertiesDriver = _info(
    "PropertiesDriver", driverID=c_int32, driverName=c_char * 256, driverInfo=c_char * 256,
    conformanceVersion=c_uint32,
)  # fmt: skip
_BEFORE_FLOAT64 = 39
PhysicalDeviceFeatures = _struct(
    "PhysicalDeviceFeatures", before=c_uint32 * _BEFORE_FLOAT64, shaderFloat64=c_uint32,
    shaderInt64=c_uint32, after=c_uint32 * 14,
)  # fmt: skip
PhysicalDeviceFeatures2 = _info("PhysicalDeviceFeatures2", features=PhysicalDeviceFeatures)
Features16BitStorage = _info(
    "Features16BitStorage", storageBuffer16BitAccess=c_uint32, rest=c_uint32 * 3
)
Features8BitStorage = _info(
    "Features8BitStorage", storageBuffer8BitAccess=c_uint32, rest=c_uint32 * 2
)
FeaturesTimelineSemaphore = _info("FeaturesTimelineSemaphore", timelineSemaphore=c_uint32)
QueueFamilyProperties = _struct(
    "QueueFamilyProperties", queueFlags=c_uint32, queueCount=c_uint32,
    timestampValidBits=c_uint32, granularity=c_uint32 * 3,
)  # fmt: skip
MemoryType = _struct("MemoryType", propertyFlags=c_uint32, heapIndex=c_uint32)
MemoryHeap = _struct("MemoryHeap", size=c_uint64, flags=c_uint32)
MemoryProperties = _struct(
    "MemoryProperties", memoryTypeCount=c_uint32, memoryTypes=MemoryType * 32,
    memoryHeapCount=c_uint32, memoryHeaps=MemoryHeap * 16,
)  # fmt: skip
BufferCreateInfo = _info(
    "BufferCreateInfo", flags=c_uint32, size=c_uint64, usage=c_uint32, sharingMode=c_int32,
    queueFamilyIndexCount=c_uint32, pQueueFamilyIndices=c_void_p,
)  # fmt: skip
MemoryRequirements = _struct(
    "MemoryRequirements", size=c_uint64, alignment=c_uint64, memoryTypeBits=c_uint32
)
MemoryAllocateInfo = _info("MemoryAllocateInfo", allocationSize=c_uint64, memoryTypeIndex=c_uint32)
SemaphoreTypeCreateInfo = _info(
    "SemaphoreTypeCreateInfo", semaphoreType=c_int32, initialValue=c_uint64
)
SemaphoreCreateInfo = _info("SemaphoreCreateInfo", flags=c_uint32)
SemaphoreWaitInfo = _info(
    "SemaphoreWaitInfo", flags=c_uint32, semaphoreCount=c_uint32, pSemaphores=c_void_p,
    pValues=c_void_p,
)  # fmt: skip
SemaphoreSignalInfo = _info("SemaphoreSignalInfo", semaphore=c_uint64, value=c_uint64)
TimelineSemaphoreSubmitInfo = _info(
    "TimelineSemaphoreSubmitInfo", waitSemaphoreValueCount=c_uint32, pWaitSemaphoreValues=c_void_p,
    signalSemaphoreValueCount=c_uint32, pSignalSemaphoreValues=c_void_p,
)  # fmt: skip
SubmitInfo = _info(
    "SubmitInfo", waitSemaphoreCount=c_uint32, pWaitSemaphores=c_void_p,
    pWaitDstStageMask=c_void_p, commandBufferCount=c_uint32, pCommandBuffers=c_void_p,
    signalSemaphoreCount=c_uint32, pSignalSemaphores=c_void_p,
)  # fmt: skip
ShaderModuleCreateInfo = _info(
    "ShaderModuleCreateInfo", flags=c_uint32, codeSize=c_size_t, pCode=c_void_p
)
DescriptorSetLayoutBinding = _struct(
    "DescriptorSetLayoutBinding", binding=c_uint32, descriptorType=c_int32,
    descriptorCount=c_uint32, stageFlags=c_uint32, pImmutableSamplers=c_void_p,
)  # fmt: skip
DescriptorSetLayoutCreateInfo = _info(
    "DescriptorSetLayoutCreateInfo", flags=c_uint32, bindingCount=c_uint32, pBindings=c_void_p
)
PushConstantRange = _struct(
    "PushConstantRange", stageFlags=c_uint32, offset=c_uint32, size=c_uint32
)
PipelineLayoutCreateInfo = _info(
    "PipelineLayoutCreateInfo", flags=c_uint32, setLayoutCount=c_uint32, pSetLayouts=c_void_p,
    pushConstantRangeCount=c_uint32, pPushConstantRanges=c_void_p,
)  # fmt: skip
PipelineShaderStageCreateInfo = _info(
    "PipelineShaderStageCreateInfo", flags=c_uint32, stage=c_uint32, module=c_uint64,
    pName=c_char_p, pSpecializationInfo=c_void_p,
)  # fmt: skip
ComputePipelineCreateInfo = _info(
    "ComputePipelineCreateInfo", flags=c_uint32, stage=PipelineShaderStageCreateInfo,
    layout=c_uint64, basePipelineHandle=c_uint64, basePipelineIndex=c_int32,
)  # fmt: skip
DescriptorPoolSize = _struct("DescriptorPoolSize", type=c_int32, descriptorCount=c_uint32)
DescriptorPoolCreateInfo = _info(
    "DescriptorPoolCreateInfo", flags=c_uint32, maxSets=c_uint32, poolSizeCount=c_uint32,
    pPoolSizes=c_void_p,
)  # fmt: skip
DescriptorSetAllocateInfo = _info(
    "DescriptorSetAllocateInfo", descriptorPool=c_uint64, descriptorSetCount=c_uint32,
    pSetLayouts=c_void_p,
)  # fmt: skip
DescriptorBufferInfo = _struct(
    "DescriptorBufferInfo", buffer=c_uint64, offset=c_uint64, range=c_uint64
)
WriteDescriptorSet = _info(
    "WriteDescriptorSet", dstSet=c_uint64, dstBinding=c_uint32, dstArrayElement=c_uint32,
    descriptorCount=c_uint32, descriptorType=c_int32, pImageInfo=c_void_p, pBufferInfo=c_void_p,
    pTexelBufferView=c_void_p,
)  # fmt: skip
CommandPoolCreateInfo = _info("CommandPoolCreateInfo", flags=c_uint32, queueFamilyIndex=c_uint32)
CommandBufferAllocateInfo = _info(
    "CommandBufferAllocateInfo", commandPool=c_uint64, level=c_int32, commandBufferCount=c_uint32
)
CommandBufferBeginInfo = _info("CommandBufferBeginInfo", flags=c_uint32, pInheritanceInfo=c_void_p)
MemoryBarrier = _info("MemoryBarrier", srcAccessMask=c_uint32, dstAccessMask=c_uint32)
BufferCopy = _struct("BufferCopy", srcOffset=c_uint64, dstOffset=c_uint64, size=c_uint64)

# Functions: P stands for a dispatchable handle or a pointer, H for another handle or a 64-bit
# number, I for a 32-bit one. The first letter is the result, v for none.
_KINDS = {"P": c_void_p, "H": c_uint64, "I": c_uint32, "r": c_int32}
_FUNCTIONS = {
    "EnumerateInstanceVersion": "rP", "CreateInstance": "rPPP", "DestroyInstance": "vPP",
    "EnumeratePhysicalDevices": "rPPP", "GetPhysicalDeviceProperties": "vPP",
    "GetPhysicalDeviceProperties2": "vPP", "GetPhysicalDeviceFeatures2": "vPP",
    "GetPhysicalDeviceMemoryProperties": "vPP",
    "GetPhysicalDeviceQueueFamilyProperties": "vPPP", "CreateDevice": "rPPPP",
    "DestroyDevice": "vPP", "GetDeviceQueue": "vPIIP", "DeviceWaitIdle": "rP",
    "CreateBuffer": "rPPPP", "DestroyBuffer": "vPHP", "GetBufferMemoryRequirements": "vPHP",
    "AllocateMemory": "rPPPP", "FreeMemory": "vPHP", "BindBufferMemory": "rPHHH",
    "MapMemory": "rPHHHIP", "CreateSemaphore": "rPPPP", "DestroySemaphore": "vPHP",
    "GetSemaphoreCounterValue": "rPHP", "WaitSemaphores": "rPPH", "SignalSemaphore": "rPP",
    "QueueSubmit": "rPIPH", "CreateShaderModule": "rPPPP", "DestroyShaderModule": "vPHP",
    "CreateDescriptorSetLayout": "rPPPP", "DestroyDescriptorSetLayout": "vPHP",
    "CreatePipelineLayout": "rPPPP", "DestroyPipelineLayout": "vPHP",
    "CreateComputePipelines": "rPHIPPP", "DestroyPipeline": "vPHP",
    "CreateDescriptorPool": "rPPPP", "DestroyDescriptorPool": "vPHP",
    "AllocateDescriptorSets": "rPPP", "UpdateDescriptorSets": "vPIPIP",
    "CreateCommandPool": "rPPPP", "DestroyCommandPool": "vPHP",
    "AllocateCommandBuffers": "rPPP", "FreeCommandBuffers": "vPHIP",
    "BeginCommandBuffer": "rPP", "EndCommandBuffer": "rP", "CmdBindPipeline": "vPIH",
    "CmdBindDescriptorSets": "vPIHIIPIP", "CmdPushConstants": "vPHIIIP",
    "CmdDispatch": "vPIII", "CmdPipelineBarrier": "vPIIIIPIPIP",
    "CmdCopyBuffer": "vPHHIP", "CmdFillBuffer": "vPHHHI",
}  # fmt: skip


class Api:
    """The functions of the loader, as methods; a result below zero raises DeviceError."""

    def __init__(self, library: ctypes.CDLL) -> None:
        for name, kinds in _FUNCTIONS.items():
            function = getattr(library, "vk" + name)
            function.restype = c_int32 if kinds[0] == "r" else None
            function.argtypes = [_KINDS[kind] for kind in kinds[1:]]
            setattr(self, name, _checked(name, function) if kinds[0] == "r" else function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"The driver does not use vk{name}.")


class VulkanError(DeviceError):
    """A call of the API failed.

    Attributes:
        result: the VkResult.
    """

    result = 0


def _checked(name: str, function: Any) -> Any:
    def call(*arguments: Any) -> int:
        result = function(*arguments)
        if result < 0:
            text = _RESULTS.get(result, f"error {result}")
            error = VulkanError(f"vk{name} failed: {text}.", hint=_hint(result))
            error.result = result
            raise error
        return int(result)

    return call


def _hint(result: int) -> str | None:
    if result in (OUT_OF_HOST_MEMORY, OUT_OF_DEVICE_MEMORY):
        return "Use a smaller batch, or a device with more memory."
    if result == DEVICE_LOST:
        return "The driver has reset the device; open it again in a new process."
    return None


@cache
def api() -> Api:
    """Return the functions of the system's Vulkan loader.

    Raises:
        DeviceError: there is none, or one without Vulkan 1.2.
    """
    names = {"win32": ["vulkan-1.dll"], "darwin": ["libvulkan.1.dylib", "libMoltenVK.dylib"]}
    for name in names.get(sys.platform, ["libvulkan.so.1"]):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        try:
            return Api(library)
        except AttributeError as error:
            raise DeviceError(
                f"The Vulkan loader is too old: {error}.", hint="Install one for Vulkan 1.2."
            ) from None
    raise DeviceError(
        "There is no Vulkan loader on this machine.",
        hint="On Debian and Ubuntu, `apt-get install libvulkan1 mesa-vulkan-drivers` installs one "
        "with drivers.",
    )


def pointer(value: Any) -> Any:
    """Return the address of a structure or an array, which must be kept alive."""
    return ctypes.addressof(value)
