"""What a CUDA kernel needs of its launch beyond what every GPU kernel does."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from iree_backend_cuda.cooperation import operation
from iree_core.codegen.dispatch import Size, as_expr
from iree_core.codegen.gpu import GpuKernel
from iree_core.codegen.gpu.frame import GpuFrame
from iree_core.ir import ir

# What a block has without asking for more when it is launched.
STATIC_SHARED = 48 << 10
# What the driver makes of the form of a tensor map.
MAP_BYTES, MAP_ALIGNMENT = 128, 64
_NAME = "tiles"
_ALIGNMENT = 16


@dataclass(frozen=True)
class MapForm:
    """The form of a tensor map: how ``cp.async.bulk.tensor`` sees a dense tensor.

    Attributes:
        binding: number of the buffer.
        type: of its elements.
        sizes: of the tensor, innermost first.
        box: sizes of what is copied at a time.
    """

    binding: int
    type: str
    sizes: tuple[Size, ...]
    box: tuple[int, ...]


@dataclass(frozen=True)
class CudaKernel(GpuKernel):
    """A kernel with shared memory whose size its launch sets.

    Attributes:
        shared: bytes of it, 0 where the kernel declares all it uses.
        maps: tensor maps, which follow the other parameters.
        resident: blocks of a multiprocessor that registers have to suffice for, where the
            kernel decides.
    """

    shared: int = 0
    maps: tuple[MapForm, ...] = ()
    resident: int | None = None

    @property
    def details(self) -> dict[str, Any]:
        """What the driver has to know of the launch, see :mod:`iree_backend_cuda.launch`."""
        maps = [
            {
                "binding": form.binding,
                "type": form.type,
                "sizes": [as_expr(size).to_json() for size in form.sizes],
                "box": list(form.box),
            }
            for form in self.maps
        ]
        return {"shared": self.shared, "maps": maps}


def extend(kernel: GpuKernel, **more: Any) -> CudaKernel:
    """Return ``kernel`` with what its launch needs."""
    values = {field.name: getattr(kernel, field.name) for field in fields(kernel)}
    return CudaKernel(**values, **more)


def declare_shared(frame: GpuFrame, nbytes: int, alignment: int = _ALIGNMENT) -> ir.Value:
    """Declare the block's shared memory and return its address.

    More than :data:`STATIC_SHARED` bytes have to be in :attr:`CudaKernel.shared`.
    """
    i32, i64 = (ir.IntegerType.get_signless(n) for n in (32, 64))
    fixed = nbytes <= STATIC_SHARED
    facts = {
        "sym_name": ir.StringAttr.get(_NAME),
        "global_type": ir.TypeAttr.get(
            ir.Type.parse(f"!llvm.array<{nbytes if fixed else 0} x i8>")
        ),
        "linkage": ir.Attribute.parse(f"#llvm.linkage<{'internal' if fixed else 'external'}>"),
        "addr_space": ir.IntegerAttr.get(i32, 3),
        "alignment": ir.IntegerAttr.get(i64, alignment),
    }
    with ir.InsertionPoint(frame.group.owner.owner):
        ir.Operation.create("llvm.mlir.global", [], [], facts, regions=1)
    name = ir.FlatSymbolRefAttr.get(_NAME)
    return operation("llvm.mlir.addressof", ir.Type.parse("!llvm.ptr<3>"), [], global_name=name)
