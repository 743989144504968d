"""Targets of the CUDA backend: the compute capability that the code may use.

A target is written ``cuda`` (that of this machine's first device, sm_80 where there is none) or
``cuda:sm_90``. PTX for one capability runs on every later one; the driver compiles it for the
device at hand when a module is loaded. ``cuda:sm_90a`` is for devices of capability 9.0 only, and
uses what only these have. ``cuda:sm_80,+tf32`` lets products of f32 round their
factors to 10 bits of mantissa, which tensor cores multiply several times as fast. With ``+cubin``
a module holds machine code for the capability besides the PTX; the canonical text names the
version of NVIDIA's assembler that made it (``+cubin=12.9.86``).
"""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.codegen.gpu import GpuModel
from iree_core.errors import UsageError

DEFAULT = 80
TENSOR_ARCH = 80
# KiB of shared memory that the system takes of every block.
_RESERVED = 1


@dataclass(frozen=True)
class DeviceClass:
    """What code generation needs to know of a compute capability.

    Attributes:
        ptx: the oldest version of PTX with it, so that old drivers can load the code.
        model: block and tile sizes.
        memory: KiB of shared memory of a multiprocessor.
    """

    ptx: int
    model: GpuModel
    memory: int

    @property
    def block_memory(self) -> int:
        """Bytes of shared memory that all blocks of a multiprocessor can use together."""
        return (self.memory - _RESERVED * 2) << 10


# ``least_tiles`` is a few warps for every scheduler of the smallest common part of the class.
_TURING = GpuModel(invocations=128, tile_rows=8, tile_columns=4, least_tiles=20480, subgroup=32)
_AMPERE = GpuModel(invocations=128, tile_rows=8, tile_columns=8, least_tiles=27648, subgroup=32)
_HOPPER = GpuModel(invocations=128, tile_rows=8, tile_columns=8, least_tiles=33792, subgroup=32)

CLASSES = {
    75: DeviceClass(63, _TURING, 64),
    80: DeviceClass(70, _AMPERE, 164),
    86: DeviceClass(71, _AMPERE, 100),
    87: DeviceClass(74, _AMPERE, 164),
    89: DeviceClass(78, _AMPERE, 100),
    90: DeviceClass(78, _HOPPER, 228),
    100: DeviceClass(86, _HOPPER, 228),
    120: DeviceClass(87, _HOPPER, 100),
}
# Classes of which there is a variant for exactly one capability (sm_90a), and its oldest PTX.
_SPECIFIC = {90: 80}


@dataclass(frozen=True)
class CudaTarget:
    """What to compile for.

    Attributes:
        arch: ten times the compute capability: 80 for 8.0.
        tf32: products of f32 may be rounded to tf32.
        specific: what only devices of exactly this capability have may be used.
        cubin: version of the assembler that makes machine code besides PTX; empty for PTX alone.
    """

    arch: int
    tf32: bool = False
    specific: bool = False
    cubin: str = ""

    @property
    def name(self) -> str:
        """The device class."""
        return f"sm_{self.arch}" + ("a" if self.specific else "")

    @property
    def spec(self) -> str:
        """The canonical text."""
        features = ["+tf32"] if self.tf32 else []
        features += [f"+cubin={self.cubin}"] if self.cubin else []
        return ",".join([self.name, *features])

    @property
    def device_class(self) -> DeviceClass:
        """What is known of it."""
        return CLASSES[self.arch]

    @property
    def tensor_cores(self) -> bool:
        """Whether it multiplies tiles of f16, bf16 and tf32 by one instruction."""
        return self.arch >= TENSOR_ARCH

    @property
    def warpgroups(self) -> bool:
        """Whether groups of four warps multiply what the tensor memory unit brings."""
        return self.name == "sm_90a"

    @property
    def ptx(self) -> int:
        """The version of PTX."""
        return max(_SPECIFIC[self.arch] if self.specific else 0, self.device_class.ptx)

    @property
    def asynchronous(self) -> bool:
        """Whether it copies to shared memory without registers."""
        return self.arch >= TENSOR_ARCH


def parse_target(options: str) -> CudaTarget:
    """Return the target that ``options`` names.

    Raises:
        UsageError: an unknown device class or feature, naming the known ones.
    """
    name, *features = options.split(",") if options else [""]
    if name.startswith(("+", "-")):
        name, features = "", [name, *features]
    if not name:
        name = _of_this_machine() or f"sm_{DEFAULT}"
    if name not in _names():
        raise UsageError(
            f"The CUDA target has no device class {name!r}.",
            hint=f"It knows {', '.join(_names())}; code for one runs on all later devices, that "
            "for a name with a letter on its own only.",
        )
    specific = name.endswith("a")
    arch = int(name.removeprefix("sm_").removesuffix("a"))
    tf32, cubin = False, ""
    for feature in features:
        word, _, version = feature[1:].partition("=")
        if feature[:1] not in ("+", "-") or word not in ("tf32", "cubin"):
            raise UsageError(
                f"The CUDA target has no feature {feature!r}.",
                hint="It knows +tf32, +cubin and the same with -.",
            )
        if word == "tf32":
            tf32 = feature[0] == "+"
        else:
            cubin = _assembler(version) if feature[0] == "+" else ""
    if tf32 and arch < TENSOR_ARCH:
        raise UsageError(f"sm_{arch} has no tf32.", hint="sm_80 and later do.")
    return CudaTarget(arch, tf32, specific, cubin)


def _assembler(version: str) -> str:
    """Return the version of the assembler here, which is to be ``version`` if that is given."""
    from iree_backend_cuda.assembler import find_assembler

    _, found = find_assembler()
    if version not in ("", found):
        raise UsageError(f"The ptxas of this machine is {found}, not {version}.")
    return found


def _names() -> list[str]:
    """Return the device classes."""
    known = [(arch, "") for arch in CLASSES] + [(arch, "a") for arch in _SPECIFIC]
    return [f"sm_{arch}{letter}" for arch, letter in sorted(known)]


def _of_this_machine() -> str | None:
    """Return the known class closest below the first device, None without one."""
    from iree_backend_cuda.devices import probe

    found = probe()
    if found in _SPECIFIC:
        return f"sm_{found}a"
    known = [arch for arch in CLASSES if found is not None and arch <= found]
    return f"sm_{max(known)}" if known else None
