"""The module file (``.vmfb``): schema, writer and validating reader."""

from iree_core.modulefile.data import ALIGNMENT, DataSection, Segment
from iree_core.modulefile.reader import (
    ExecutableInfo,
    ModuleFile,
    Parameter,
    Signature,
    Variant,
)

__all__ = [
    "ALIGNMENT",
    "DataSection",
    "ExecutableInfo",
    "ModuleFile",
    "Parameter",
    "Segment",
    "Signature",
    "Variant",
]
