"""What code generation hands to a backend, and what a backend hands back.

A *kernel* is one dispatch as target-independent ``scf`` + ``vector`` + ``memref`` code over flat
buffers. Its function has the signature::

    func.func @kernel(%b0: memref<?xT0>, ..., %out: memref<?xTn>,   // tensors in, then out
                      %s0: index, ...,                              // scalar operands
                      %scratch: memref<?xi8>,                       // only if scratch is not 0
                      %begin: index, %end: index)                   // work items to do

Work items are independent and numbered from 0; an executor may hand any sub-range to any
thread. Storage types: ``i1`` and integers narrower than a byte take one ``i8`` each, 8-bit
floats an ``i8``, every other type itself.

No two buffers overlap, except those at the positions that the function's attribute
``kernel.may_alias`` lists: there an operand may lie exactly under the result.
"""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.expr import Expr


@dataclass(frozen=True)
class CpuModel:
    """What a schedule needs to know of a processor.

    Attributes:
        vector_bytes: width of one vector register.
        vector_registers: how many there are.
        fma: fused multiply-add instructions exist.
        masked: loads and stores under a mask are cheap.
        l1_bytes, l2_bytes: data cache sizes of one core.
        dots: dot-product instructions, by the types of their operands: ``u8s8`` adds four
            products of an unsigned and a signed byte to every 32-bit lane, likewise ``s8s8`` and
            ``u8u8``; ``bf16`` adds two products to every float32 lane.
    """

    vector_bytes: int = 64
    vector_registers: int = 32
    fma: bool = True
    masked: bool = True
    l1_bytes: int = 32 * 1024
    l2_bytes: int = 1024 * 1024
    dots: frozenset[str] = frozenset()

    def lanes(self, element_bits: int) -> int:
        """Return how many elements of that width one register holds."""
        return max(1, self.vector_bytes * 8 // max(8, element_bits))


@dataclass(frozen=True)
class Kernel:
    """One dispatch, scheduled.

    Attributes:
        module: MLIR text holding the function ``name``.
        name: the function's symbol.
        grid: number of work items, over the scalar operands.
        scratch: bytes of private memory each thread needs.
        grain: how many work items are worth waking another thread for.
        schedule: name of the schedule that made it ("contraction", "rows", "general", ...).
        note: why it left the fast path; empty where it did not.
        choices: what a measured search may vary, with the values taken here; see
            :mod:`iree_core.codegen.choices`.
    """

    module: str
    name: str
    grid: Expr
    scratch: Expr
    grain: int
    schedule: str
    note: str = ""
    choices: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class CompiledDispatch:
    """A kernel as the target's binary: machine code, SPIR-V, PTX, ..., not yet linked.

    Attributes:
        kernel: what it was made from.
        binary: what the backend links.
        entry: the entry point's name in it.
        listings: what people may want to look at: a file's suffix (``ptx``) and its content.
    """

    kernel: Kernel
    binary: bytes
    entry: str
    listings: tuple[tuple[str, bytes], ...] = ()
