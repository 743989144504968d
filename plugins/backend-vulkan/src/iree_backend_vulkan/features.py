"""Optional features of Vulkan devices that compiled code may need. Imports no compiler.

A feature has a short name in targets, a SPIR-V capability and a member of Vulkan's feature
structures.
"""

from __future__ import annotations

from iree_core.errors import DeviceError

# Name in targets: SPIR-V capability, name of the Vulkan feature.
FEATURES = {
    "int64": ("Int64", "shaderInt64"),
    "float64": ("Float64", "shaderFloat64"),
    "storage8": ("StorageBuffer8BitAccess", "storageBuffer8BitAccess"),
    "storage16": ("StorageBuffer16BitAccess", "storageBuffer16BitAccess"),
}


def probe() -> tuple[frozenset[str], bool] | None:
    """Return the features of this machine's first usable device, and whether it is a processor.

    None if there is none.
    """
    from iree_backend_vulkan.instance import physical_devices

    try:
        devices = physical_devices()
    except DeviceError:
        return None
    usable = [device for device in devices if device.unusable is None]
    return (usable[0].features, usable[0].kind == "CPU") if usable else None
