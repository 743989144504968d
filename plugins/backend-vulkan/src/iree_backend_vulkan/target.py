"""Targets of the Vulkan backend: what a device may be asked for, and what is fast on it.

A target is written ``vulkan`` (the features and the class of this machine's first device, or
those of any desktop GPU where none can be asked), or ``vulkan:`` and a list of ``+feature`` and
``-feature`` after an optional profile and an optional class of devices:
``vulkan:minimal,cpu,+int64``. Code for one class is right on all others.
"""

from __future__ import annotations

from dataclasses import dataclass

from iree_backend_vulkan.features import FEATURES, probe
from iree_core.codegen.gpu import GpuModel
from iree_core.codegen.gpu.kernel import ANY_NUMBER
from iree_core.errors import UsageError

PROFILES = {
    "minimal": frozenset[str](),
    "desktop": frozenset({"int64", "storage8", "storage16"}),
    "full": frozenset(FEATURES),
}

# Sizes by class of devices. On graphics cards neighbouring invocations should read neighbouring
# elements, so rows are shared. A processor (Mesa's lavapipe) has the cache for registers that do
# not fit, and to it waiting for others costs more than reading.
CLASSES = {
    "gpu": GpuModel(row_invocations=64, shared_rows=ANY_NUMBER),
    "cpu": GpuModel(tile_columns=16, sums=512, row_invocations=64, shared_rows=8),
}


@dataclass(frozen=True)
class VulkanTarget:
    """What to compile for.

    Attributes:
        features: names from :data:`iree_backend_vulkan.features.FEATURES`.
        device_class: a name from :data:`CLASSES`.
    """

    features: frozenset[str]
    device_class: str = "gpu"

    @property
    def model(self) -> GpuModel:
        """What the schedules need to know."""
        return CLASSES[self.device_class]

    @property
    def spec(self) -> str:
        """The canonical text."""
        features = (f"+{name}" for name in sorted(self.features))
        return ",".join(["vulkan1.2", self.device_class, *features])


def parse_target(options: str) -> VulkanTarget:
    """Return the target that ``options`` names.

    Raises:
        UsageError: an unknown profile, class or feature, naming the known ones.
    """
    if not options:
        features_and_kind = probe()
        if features_and_kind is None:
            return VulkanTarget(PROFILES["desktop"])
        found, is_processor = features_and_kind
        return VulkanTarget(found, "cpu" if is_processor else "gpu")
    features: set[str] = set()
    device_class = "gpu"
    for number, part in enumerate(options.split(",")):
        if number == 0 and part == "vulkan1.2":
            continue
        if number == 0 and part in PROFILES:
            features |= PROFILES[part]
            continue
        if part in CLASSES:
            device_class = part
            continue
        if part[:1] not in "+-" or part[1:] not in FEATURES:
            raise UsageError(
                f"The Vulkan target has no profile, class or feature {part!r}.",
                hint=f"Profiles: {', '.join(PROFILES)}. Classes: {', '.join(CLASSES)}. "
                f"Features, with + or -: {', '.join(FEATURES)}.",
            )
        (features.add if part[0] == "+" else features.discard)(part[1:])
    return VulkanTarget(frozenset(features), device_class)
