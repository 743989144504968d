"""What GPU code generation hands to a backend: the kernel of one invocation.

The function of a GPU kernel has the signature ::

    func.func @kernel(%b0: memref<?xT0>, ..., %out: memref<?xTn>,   // tensors in, then out
                      %s0: index, ...,                              // scalar operands
                      %scratch: memref<?xi8>,                       // only if scratch is not 0
                      %group: index, %local: index)                 // which invocation it is

and does the work of one invocation, number ``local`` of workgroup ``group``. It does nothing
where ``group * workgroup + local`` is not below the grid, so surplus workgroups do no harm.
Storage types are those of :mod:`iree_core.codegen.kernel`; no two buffers overlap but those that
the attribute ``kernel.may_alias`` lists.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from iree_core.codegen.kernel import Kernel
from iree_core.expr import Expr

ANY_NUMBER = 1 << 30


@dataclass(frozen=True)
class GpuModel:
    """What a schedule needs to know of a class of devices.

    Attributes:
        invocations: invocations of a workgroup where nothing else decides.
        tile_rows: most rows of the register tile of one invocation.
        tile_columns: columns of it, a multiple of 4 that are loaded as vectors of 4.
        sums: most sums of one invocation where each serves many inputs (attention).
        least_tiles: tiles that keep the device busy; smaller tiles are taken to have as many.
        subgroup: size of subgroups, consecutive invocations that can exchange values; 0 where
            nothing is known of them.
        subgroup_sums: subgroups add up f32 and i32 by an instruction.
        row_invocations: workgroups of that many invocations, a power of two, reduce a row
            together through workgroup memory, whatever subgroups are; 0 where they do not.
        shared_rows: they do so where there are at most as many rows (:data:`ANY_NUMBER`: always);
            an invocation of its own for each keeps the device busy where there are more.
        matrix_side: subgroups multiply square matrices of f16 or f32 of that side, in f32;
            0 where they do not.
    """

    invocations: int = 64
    tile_rows: int = 8
    tile_columns: int = 8
    sums: int = 128
    least_tiles: int = 256
    subgroup: int = 0
    subgroup_sums: bool = False
    row_invocations: int = 0
    shared_rows: int = 0
    matrix_side: int = 0


@dataclass(frozen=True)
class GpuKernel(Kernel):
    """A kernel whose grid counts invocations.

    Attributes:
        workgroup: invocations of a workgroup, in one dimension.
        sizes: bytes of every buffer, over the scalar operands, in the order of the function's
            arguments.
        scalars: how many scalar operands there are.
        results: how many of the buffers, at the end, are results.
    """

    workgroup: int = 64
    scalars: int = 0
    results: int = 1
    sizes: tuple[Expr, ...] = field(default=())
