"""The pipeline of a warp group product, in PTX: one statement of inline assembly.

Sums that ``wgmma`` has under way must not be touched, not even moved to another register; LLVM
does not know that, so the loop over slices is written here as a whole. The thread that copies
and the warp groups that multiply meet at barriers in shared memory only::

    stage 0: rows' tile, columns' tile; stage 1: ...; full barriers; empty barriers

A tile consists of lines of 128 bytes whose 16-byte groups are exchanged in patterns of 8 lines
(128-byte swizzle). Where memory runs along the reduction, a line is a row or column of the result
and holds a slice of it; else a line is a step of the reduction, and holds 64 rows or columns.

Source: PTX ISA 8.x: "mbarrier", "cp.async.bulk.tensor", "wgmma.mma_async", "setmaxnreg", and
"Shared Memory Matrix Layout" for the descriptors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iree_backend_cuda.cooperation import operation
from iree_core.ir import ir

ATOM_BYTES = 128
GROUP_THREADS = 128
# One warp group that copies, two that multiply.
THREADS = 3 * GROUP_THREADS
_GROUP_ROWS = 64
_WARPS = 8
# Registers of a thread, so that all of a block's fit: it starts with 168 of each.
_COPYING_REGISTERS, _MULTIPLYING_REGISTERS = 40, 232
_PATTERN_BYTES = 8 * ATOM_BYTES
_SWIZZLE_128 = 1 << 62
# The bits of an address that a matrix descriptor has.
_ADDRESSES = (1 << 18) - 1


@dataclass(frozen=True)
class Product:
    """A kind of multiplication.

    Attributes:
        element: type of the operands in memory, as MLIR writes it.
        name: of the type in PTX.
        bits: of an operand.
        map_type: of the elements of a tensor map.
    """

    element: str
    name: str
    bits: int
    map_type: str

    @property
    def depth(self) -> int:
        """Products that one instruction adds up."""
        return 256 // self.bits


PRODUCTS = {
    "f16": Product("f16", "f16", 16, "f16"),
    "bf16": Product("bf16", "bf16", 16, "bf16"),
    # Memory is copied as it is; the instruction ignores the bits of f32 that tf32 lacks.
    "tf32": Product("f32", "tf32", 32, "f32"),
}


@dataclass(frozen=True)
class Pipeline:
    """What the pipeline does.

    Attributes:
        product: what is multiplied.
        columns: of the tile; it has 128 rows.
        stages: slices in shared memory.
        across: of either operand, whether memory runs across the reduction.
    """

    product: Product
    columns: int
    stages: int
    across: tuple[bool, bool]

    @property
    def tiles(self) -> tuple[int, int]:
        """Bytes of the tiles of a slice."""
        return 2 * _GROUP_ROWS * ATOM_BYTES, self.columns * ATOM_BYTES

    @property
    def shared(self) -> int:
        """Bytes of shared memory."""
        return self.stages * (sum(self.tiles) + 16)

    @property
    def depth(self) -> int:
        """Elements of a slice along the reduction."""
        return ATOM_BYTES * 8 // self.product.bits

    def descriptor(self, number: int) -> int:
        """Return a matrix descriptor of an operand, less the address."""
        # From 64 rows or columns to the next; not used where lines run along the reduction.
        leading = self.depth * ATOM_BYTES if self.across[number] else 16
        return _SWIZZLE_128 | (_PATTERN_BYTES >> 4) << 32 | (leading >> 4) << 16

    def advance(self, number: int) -> int:
        """Return the bytes from the operand of an instruction to that of the next."""
        if self.across[number]:
            return self.product.depth * ATOM_BYTES
        return self.product.depth * self.product.bits // 8


@dataclass(frozen=True)
class Operand:
    """One operand of the pipeline.

    Attributes:
        map: the kernel's parameter with the tensor map.
        coordinates: of its dimensions, innermost first, whether it is the one of the ``depth``,
            of the ``extent`` of the tile, or ``fixed``, and where the tile starts.
    """

    map: str
    coordinates: list[tuple[str, ir.Value]]


def emit_pipeline(
    pipeline: Pipeline, base: ir.Value, steps: ir.Value, operands: Sequence[Operand]
) -> list[ir.Value]:
    """Emit the pipeline; return the sums of a thread that multiplies.

    Args:
        pipeline: what to do.
        base: address of shared memory, a multiple of 1024.
        steps: how many slices there are.
        operands: the rows' and the columns'.
    """
    count = pipeline.columns // 2
    words = [base, steps, *(where for operand in operands for _, where in operand.coordinates)]
    names = [f"${count + number}" for number in range(len(words))]
    rest = iter(names[2:])
    places = [[(kind, next(rest)) for kind, _ in operand.coordinates] for operand in operands]
    lines = [
        *_declarations(), *_setup(pipeline, names[0]),
        *_copying(pipeline, names[0], names[1], [o.map for o in operands], places),
        *_multiplying(pipeline, names[0], names[1], count),
    ]  # fmt: skip
    text = "{\n" + "\n".join(lines) + "\n}"
    constraints = ",".join([*["=f"] * count, *["r"] * len(words), "~{memory}"])
    single = ir.F32Type.get()
    made = ir.Operation.create(
        "llvm.inline_asm",
        [ir.Type.parse(f"!llvm.struct<({', '.join(['f32'] * count)})>")],
        words,
        {
            "asm_string": ir.StringAttr.get(text),
            "constraints": ir.StringAttr.get(constraints),
            "has_side_effects": ir.UnitAttr.get(),
        },
    )
    return [
        operation(
            "llvm.extractvalue", single, [made.result], position=ir.DenseI64ArrayAttr.get([n])
        )
        for n in range(count)
    ]


def _declarations() -> list[str]:
    registers = {
        "pred": ("done", "some"),
        "b32": ("thread", "group", "step", "stage", "phase", "bar", "place", "at", "last"),
        "b64": ("map0", "map1", "left", "right"),
    }
    return [f".reg .{kind} %w{name};" for kind, names in registers.items() for name in names]


def _barriers(pipeline: Pipeline) -> tuple[int, int]:
    """Return where the full and the empty barriers start."""
    full = pipeline.stages * sum(pipeline.tiles)
    return full, full + 8 * pipeline.stages


def _setup(pipeline: Pipeline, base: str) -> list[str]:
    full, empty = _barriers(pipeline)
    lines = [
        "mov.u32 %wthread, %tid.x;",
        f"shr.u32 %wgroup, %wthread, {GROUP_THREADS.bit_length() - 1};",
        "setp.ne.u32 %wsome, %wthread, 0;",
        "@%wsome bra READY${:uid};",
    ]
    for start, arrivals in ((full, 1), (empty, _WARPS)):
        lines += [
            f"mbarrier.init.shared::cta.b64 [{base}+{start + 8 * stage}], {arrivals};"
            for stage in range(pipeline.stages)
        ]
    return [
        *lines,
        "fence.mbarrier_init.release.cluster;",
        "fence.proxy.async.shared::cta;",
        "READY${:uid}:",
        "bar.sync 0;",
        "mov.u32 %wstep, 0;",
        "mov.u32 %wstage, 0;",
        "setp.ne.u32 %wsome, %wgroup, 0;",
        "@%wsome bra MULTIPLY${:uid};",
    ]


def _wait(label: str, parity: str) -> list[str]:
    return [
        f"{label}${{:uid}}:",
        f"mbarrier.try_wait.parity.shared::cta.b64 %wdone, [%wbar], {parity};",
        f"@!%wdone bra {label}${{:uid}};",
    ]


def _next_stage(pipeline: Pipeline) -> list[str]:
    """Go to the next stage; the parity to wait for changes where they start over."""
    return [
        "add.u32 %wstep, %wstep, 1;",
        "add.u32 %wstage, %wstage, 1;",
        f"setp.ne.u32 %wsome, %wstage, {pipeline.stages};",
        "selp.b32 %wstage, %wstage, 0, %wsome;",
        "xor.b32 %wat, %wphase, 1;",
        "selp.b32 %wphase, %wphase, %wat, %wsome;",
    ]


def _copying(
    pipeline: Pipeline,
    base: str,
    steps: str,
    maps: Sequence[str],
    places: Sequence[Sequence[tuple[str, str]]],
) -> list[str]:
    full, empty = _barriers(pipeline)
    whole = sum(pipeline.tiles)
    lines = [
        f"setmaxnreg.dec.sync.aligned.u32 {_COPYING_REGISTERS};",
        "setp.ne.u32 %wsome, %wthread, 0;",
        "@%wsome exit;",
    ]
    for number, name in enumerate(maps):
        lines += [f"mov.b64 %wmap{number}, {name};"]
        lines += [f"cvta.param.u64 %wmap{number}, %wmap{number};"]
    # The phase before the first one counts as complete: all stages are empty.
    lines += ["mov.u32 %wphase, 1;", "COPY${:uid}:"]
    lines += [f"setp.ge.s32 %wdone, %wstep, {steps};", "@%wdone exit;"]
    lines += [f"mad.lo.u32 %wbar, %wstage, 8, {base};", f"add.u32 %wbar, %wbar, {empty};"]
    lines += _wait("EMPTY", "%wphase")
    lines += [
        f"sub.u32 %wbar, %wbar, {empty - full};",
        f"mbarrier.arrive.expect_tx.shared::cta.b64 _, [%wbar], {whole};",
        f"mad.lo.u32 %wplace, %wstage, {whole}, {base};",
        f"mul.lo.u32 %wat, %wstep, {pipeline.depth};",
    ]
    for number, where in enumerate(places):
        lines += _copy_tile(pipeline, number, where)
    return [*lines, *_next_stage(pipeline), "bra COPY${:uid};"]


def _copy_tile(pipeline: Pipeline, number: int, where: Sequence[tuple[str, str]]) -> list[str]:
    """Copy the tile of an operand: in one piece, or in one for every 64 rows or columns."""
    nbytes = pipeline.tiles[number]
    width = ATOM_BYTES * 8 // pipeline.product.bits
    part = pipeline.depth * ATOM_BYTES if pipeline.across[number] else nbytes
    lines = []
    for piece in range(nbytes // part):
        along = next(name for kind, name in where if kind == "extent")
        lines.append(f"add.u32 %wlast, {along}, {piece * width};")
        named = {"depth": "%wat", "extent": "%wlast"}
        at = ", ".join(named.get(kind, name) for kind, name in where)
        lines += [
            f"cp.async.bulk.tensor.{len(where)}d.shared::cluster.global"
            f".mbarrier::complete_tx::bytes [%wplace], [%wmap{number}, {{{at}}}], [%wbar];",
            f"add.u32 %wplace, %wplace, {part};",
        ]
    return lines


def _multiplying(pipeline: Pipeline, base: str, steps: str, count: int) -> list[str]:
    full, empty = _barriers(pipeline)
    whole = sum(pipeline.tiles)
    lines = [
        "MULTIPLY${:uid}:",
        f"setmaxnreg.inc.sync.aligned.u32 {_MULTIPLYING_REGISTERS};",
        "sub.u32 %wgroup, %wgroup, 1;",
        *(f"mov.f32 ${number}, 0f00000000;" for number in range(count)),
        "mov.u32 %wphase, 0;",
        "mov.u32 %wlast, 0;",
        "SLICE${:uid}:",
        f"setp.ge.s32 %wdone, %wstep, {steps};",
        "@%wdone bra END${:uid};",
        f"mad.lo.u32 %wbar, %wstage, 8, {base};",
        f"add.u32 %wbar, %wbar, {full};",
        *_wait("FULL", "%wphase"),
        f"mad.lo.u32 %wplace, %wstage, {whole}, {base};",
        f"mad.lo.u32 %wat, %wgroup, {_GROUP_ROWS * ATOM_BYTES}, %wplace;",
        f"add.u32 %wplace, %wplace, {pipeline.tiles[0]};",
    ]
    for number, (name, place) in enumerate((("left", "%wat"), ("right", "%wplace"))):
        lines += [
            f"and.b32 {place}, {place}, {_ADDRESSES};",
            f"shr.u32 {place}, {place}, 4;",
            f"cvt.u64.u32 %w{name}, {place};",
            f"or.b64 %w{name}, %w{name}, {pipeline.descriptor(number)};",
        ]
    lines += ["wgmma.fence.sync.aligned;", "setp.ge.s32 %wsome, %wstep, 0;"]
    product = pipeline.product
    sums = ", ".join(f"${number}" for number in range(count))
    turns = ""
    if product.bits == 16:
        turns = "".join(f", {int(across)}" for across in pipeline.across)
    for k in range(0, pipeline.depth, product.depth):
        if k:
            lines += [
                f"add.u64 %w{name}, %w{name}, {pipeline.advance(number) >> 4};"
                for number, name in enumerate(("left", "right"))
            ]
        lines.append(
            f"wgmma.mma_async.sync.aligned.m64n{pipeline.columns}k{product.depth}"
            f".f32.{product.name}.{product.name} {{{sums}}}, %wleft, %wright, %wsome, 1, 1{turns};"
        )
    return [
        *lines,
        "wgmma.commit_group.sync.aligned;",
        # The slice before is done with: one thread of every warp says so.
        "wgmma.wait_group.sync.aligned 1;",
        "and.b32 %wat, %wthread, 31;",
        "setp.eq.u32 %wdone, %wat, 0;",
        "setp.ne.and.u32 %wdone, %wstep, 0, %wdone;",
        f"@%wdone mbarrier.arrive.shared::cta.b64 _, [%wlast+{empty - full}];",
        "mov.u32 %wlast, %wbar;",
        *_next_stage(pipeline),
        "bra SLICE${:uid};",
        "END${:uid}:",
        "wgmma.wait_group.sync.aligned 0;",
    ]
