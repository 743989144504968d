"""Targets of the Vulkan backend: which optional features of a device the code may use.

A target is written ``vulkan`` (the features of this machine's first device, or of any desktop
GPU where none can be asked), or ``vulkan:`` and a list of ``+feature`` and ``-feature`` after
an optional profile: ``vulkan:minimal,+int64``.
"""

from __future__ import annotations

from dataclasses import dataclass

from iree_backend_vulkan.features import FEATURES, probe
from iree_core.errors import UsageError

PROFILES = {
    "minimal": frozenset[str](),
    "desktop": frozenset({"int64", "storage8", "storage16"}),
    "full": frozenset(FEATURES),
}


@dataclass(frozen=True)
class VulkanTarget:
    """A device class.

    Attributes:
        features: names from :data:`iree_backend_vulkan.features.FEATURES`.
    """

    features: frozenset[str]

    @property
    def spec(self) -> str:
        """The canonical text."""
        return ",".join(["vulkan1.2", *(f"+{name}" for name in sorted(self.features))])


def parse_target(options: str) -> VulkanTarget:
    """Return the target that ``options`` names.

    Raises:
        UsageError: an unknown profile or feature, naming the known ones.
    """
    if not options:
        return VulkanTarget(probe() or PROFILES["desktop"])
    features: set[str] = set()
    for number, part in enumerate(options.split(",")):
        if number == 0 and part == "vulkan1.2":
            continue
        if number == 0 and part in PROFILES:
            features |= PROFILES[part]
            continue
        if part[:1] not in "+-" or part[1:] not in FEATURES:
            raise UsageError(
                f"The Vulkan target has no profile or feature {part!r}.",
                hint=f"Profiles: {', '.join(PROFILES)}. Features, with + or -: "
                f"{', '.join(FEATURES)}.",
            )
        (features.add if part[0] == "+" else features.discard)(part[1:])
    return VulkanTarget(frozenset(features))
