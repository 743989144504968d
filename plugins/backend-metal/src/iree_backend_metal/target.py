"""Targets of the Metal backend: GPU families.

A target is written ``metal`` (what every Mac with Apple silicon has), ``metal:apple8``, or with
``+feature`` and ``-feature`` after the family: ``metal:apple7,-simdgroup_matrix``.
"""

from __future__ import annotations

from dataclasses import dataclass

from iree_backend_metal.features import DEFAULT_FAMILY, FAMILIES, FEATURES, Family
from iree_core.codegen.gpu import GpuModel
from iree_core.errors import UsageError

SIMDGROUP = 32


@dataclass(frozen=True)
class MetalTarget:
    """A device class.

    Attributes:
        family: what the device is at least.
        features: names from :data:`iree_backend_metal.features.FEATURES`.
    """

    family: Family
    features: frozenset[str]

    @property
    def spec(self) -> str:
        """The canonical text."""
        lacking = sorted(self.family.features - self.features)
        extra = sorted(self.features - self.family.features)
        changes = [f"-{name}" for name in lacking] + [f"+{name}" for name in extra]
        return ",".join([self.family.name, *changes])

    @property
    def model(self) -> GpuModel:
        """What the schedules need to know."""
        together = "simdgroups" in self.features
        return GpuModel(
            subgroup=SIMDGROUP if together else 0,
            subgroup_sums=together,
            matrix_side=8 if "simdgroup_matrix" in self.features else 0,
        )


def parse_target(options: str) -> MetalTarget:
    """Return the target that ``options`` names.

    Raises:
        UsageError: an unknown family or feature, naming the known ones.
    """
    first, *changes = options.split(",")
    if first[:1] in ("+", "-"):
        first, changes = "", [first, *changes]
    family = FAMILIES.get(first or DEFAULT_FAMILY)
    unknown = [c for c in changes if c[:1] not in ("+", "-") or c[1:] not in FEATURES]
    if family is None or unknown:
        raise UsageError(
            f"The Metal target has no family or feature {(unknown or [first])[0]!r}.",
            hint=f"Families: {', '.join(FAMILIES)}. Features, with + or -: {', '.join(FEATURES)}.",
        )
    features = set(family.features)
    for change in changes:
        (features.add if change[0] == "+" else features.discard)(change[1:])
    return MetalTarget(family, frozenset(features))
