"""Classes of Metal devices and what they have that compiled code may need. Imports no compiler.

Families and their features: Apple, Metal Feature Set Tables.
"""

from __future__ import annotations

from dataclasses import dataclass

# Name in targets: what it is.
FEATURES = {
    "simdgroups": "shuffles and reductions in a simdgroup",
    "simdgroup_matrix": "products of 8 x 8 matrices by a simdgroup",
}


@dataclass(frozen=True)
class Family:
    """A GPU family.

    Attributes:
        name: in targets.
        number: its value of the enumeration MTLGPUFamily.
        features: names from :data:`FEATURES`.
        threads: most threads of a threadgroup.
        memory: bytes of threadgroup memory.
        example: a device of it.
    """

    name: str
    number: int
    features: frozenset[str]
    threads: int
    memory: int
    example: str


_ALL = frozenset(FEATURES)
_SOME = frozenset({"simdgroups"})
_NONE = frozenset[str]()

# From the least to the most able; a device is of the last one that it supports.
FAMILIES = {
    family.name: family
    for family in (
        Family("mac2", 2002, _NONE, 1024, 32 << 10, "AMD and Intel GPUs"),
        Family("apple6", 1006, _NONE, 1024, 32 << 10, "A13"),
        Family("apple7", 1007, _ALL, 1024, 32 << 10, "M1, A14"),
        Family("apple8", 1008, _ALL, 1024, 32 << 10, "M2, A15, A16"),
        Family("apple9", 1009, _ALL, 1024, 32 << 10, "M3, M4, A17 Pro"),
        Family("apple10", 1010, _ALL, 1024, 32 << 10, "M5, A19"),
    )
}
DEFAULT_FAMILY = "apple7"
