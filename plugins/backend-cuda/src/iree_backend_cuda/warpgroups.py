"""Contractions on Hopper's tensor cores: warp groups multiply what the tensor memory unit brings.

Of the three warp groups of a block one thread asks for slices of the operands, which the device
copies into shared memory by itself (``cp.async.bulk.tensor``, described by tensor maps that the
driver makes), and the others multiply them from there (``wgmma.mma_async``), 64 rows each. Pairs
of barriers in shared memory keep the slices apart: ``full`` when a slice is there, ``empty`` when
nobody reads it any more. The pipeline itself is in :mod:`iree_backend_cuda.pipeline`.

Source: PTX ISA 8.x, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from iree_backend_cuda.cooperation import operation
from iree_backend_cuda.kernel import CudaKernel, MapForm, declare_shared, extend
from iree_backend_cuda.pipeline import (
    ATOM_BYTES,
    PRODUCTS,
    THREADS,
    Operand,
    Pipeline,
    Product,
    emit_pipeline,
)
from iree_backend_cuda.target import CudaTarget
from iree_backend_cuda.tiles import (
    ResultTile,
    Side,
    Tiling,
    factor_type,
    find_sides,
    tile_count,
    tile_grid,
)
from iree_core.codegen.builder import NotScheduled, Scalar
from iree_core.codegen.contraction_analysis import Contraction, match_contraction
from iree_core.codegen.dispatch import Dispatch
from iree_core.codegen.gpu import GpuModel
from iree_core.codegen.gpu.frame import GpuFrame, make_gpu_kernel
from iree_core.ir import arith, ir
from iree_core.layout import layout_of

_ROWS = 128
_COLUMNS = (256, 128)
# Blocks below which smaller tiles keep more of the device busy.
LEAST_BLOCKS = 64
_MOST_STAGES = 6
_MOST_RANK = 5
# Sizes and coordinates of tensor maps have 32 bits.
_ALIGNMENT, _SWIZZLE_ALIGNMENT = 16, 1024


def build_warpgroup_contraction(
    dispatch: Dispatch, gpu: GpuModel, *, target: CudaTarget
) -> CudaKernel:
    """Schedule a product of two tensors in memory, in f16, bf16 or (where allowed) tf32.

    Raises:
        NotScheduled: it is no such product, or too small.
    """
    contraction = match_contraction(dispatch)
    if contraction is None:
        raise NotScheduled("no single contraction whose results are stored from its tiles")
    sides = find_sides(contraction)
    element = factor_type(contraction, sides)
    product = PRODUCTS.get("tf32" if element == "f32" and target.tf32 else element)
    if product is None:
        raise NotScheduled(f"products of {element}")
    depth = ATOM_BYTES * 8 // product.bits
    tiling = _choose_tiling(contraction, depth)
    majors = [_across(contraction, side, product) for side in sides]
    maps = tuple(
        _map_form(dispatch, contraction, side, product, depth, across, extent)
        for side, across, extent in zip(sides, majors, (tiling.rows, tiling.columns), strict=True)
    )
    slice_bytes = (tiling.rows + tiling.columns) * ATOM_BYTES
    stages = min(_MOST_STAGES, target.device_class.block_memory // slice_bytes)
    pipeline = Pipeline(product, tiling.columns, stages, (majors[0], majors[1]))

    def fill(frame: GpuFrame) -> None:
        kind = ir.Type.parse(product.element)
        _WarpgroupTile(contraction, sides, kind, tiling, frame, pipeline).emit()

    grid = tile_grid(contraction, sides, tiling)
    kernel = make_gpu_kernel(dispatch, "warpgroup-contraction", grid, fill, workgroup=THREADS)
    return extend(kernel, shared=pipeline.shared, maps=maps, resident=1)


def _choose_tiling(c: Contraction, depth: int) -> Tiling:
    assert c.row is not None
    for columns in _COLUMNS:
        tiling = Tiling(_ROWS, columns, depth, THREADS)
        if tile_count(c, tiling) >= LEAST_BLOCKS and c.extent(c.lane) > columns // 2:
            return tiling
    raise NotScheduled("too few tiles for warp groups")


def _across(c: Contraction, side: Side, product: Product) -> bool:
    """Return whether memory runs along the rows or columns, else along the reduction.

    Raises:
        NotScheduled: the operand is no plain tensor of which a map can be made.
    """
    kind = side.tensor.type
    if side.tensor not in c.dispatch.tensors or layout_of(kind) is not None:
        raise NotScheduled("an operand that is computed or packed")
    if len(c.reductions) != 1 or not 1 < len(side.maps) <= _MOST_RANK:
        raise NotScheduled("an operand of a shape that tensor maps do not have")
    for form in side.maps:
        if form.constant or len(form.factors) > 1 or any(f != 1 for _, f in form.factors):
            raise NotScheduled("an operand that a window slides over")
    dims = [form.dims[0] if form.dims else None for form in side.maps]
    if len(set(dims)) != len(dims) or dims[-1] not in (c.reductions[0], side.dim):
        raise NotScheduled("an operand that does not run along rows, columns or the reduction")
    across = dims[-1] == side.dim
    if across and product.bits != 16:
        raise NotScheduled("tf32 across the reduction")
    if kind.is_dynamic_dim(kind.rank - 1) or kind.shape[-1] * product.bits % (_ALIGNMENT * 8):
        raise NotScheduled("lines of an operand that are not aligned")
    return across


def _map_form(
    dispatch: Dispatch,
    c: Contraction,
    side: Side,
    product: Product,
    depth: int,
    across: bool,
    extent: int,
) -> MapForm:
    """Return the tensor map of an operand: innermost dimension first, as the driver wants it."""
    number = dispatch.tensors.index(side.tensor)
    box = []
    for form in reversed(side.maps):
        dim = form.dims[0] if form.dims else None
        along = ATOM_BYTES * 8 // product.bits if across else extent
        box.append(along if dim == side.dim else depth if dim == c.reductions[0] else 1)
    sizes = tuple(reversed(dispatch.argument_sizes[number]))
    return MapForm(number, product.map_type, sizes, tuple(box))


class _WarpgroupTile(ResultTile):
    """The warp groups but the first have 64 rows each, and all columns."""

    def __init__(
        self,
        c: Contraction,
        sides: tuple[Side, Side],
        element: ir.Type,
        tiling: Tiling,
        frame: GpuFrame,
        pipeline: Pipeline,
    ) -> None:
        super().__init__(c, sides, element, tiling, frame)
        self.pipeline = pipeline

    def multiply(self) -> list[ir.Value]:
        """Emit the pipeline. The thread that feeds it, and its warp group, do not go on."""
        b, function = self.b, self.frame.group.owner.owner
        base = declare_shared(self.frame, self.pipeline.shared, _SWIZZLE_ALIGNMENT)
        word = operation("llvm.ptrtoint", self.i32, [base])
        steps = self._word(b.ceildiv(self.depth, self.tiling.depth))
        name = ir.StringAttr(function.attributes["sym_name"]).value
        first = len(function.regions[0].blocks[0].arguments) - 2
        operands = [
            Operand(f"{name}_param_{first + number}", self._coordinates(side))
            for number, side in enumerate(self.sides)
        ]
        return emit_pipeline(self.pipeline, word, steps, operands)

    def _coordinates(self, side: Side) -> list[tuple[str, ir.Value]]:
        """Return, innermost first, what each dimension of an operand is, and where the tile is."""
        found = []
        for form in reversed(side.maps):
            dim = form.dims[0] if form.dims else None
            if dim is None:
                found.append(("fixed", self._word(0)))
            elif dim == self.c.reductions[0]:
                found.append(("depth", self._word(0)))
            elif dim == side.dim:
                found.append(("extent", self._word(self.origin[self.sides.index(side)])))
            else:
                found.append(("fixed", self._word(self.outer[dim])))
        return found

    def _word(self, number: Scalar) -> ir.Value:
        return arith.IndexCastOp(self.i32, self.b.value(number)).result

    def places(self, sums: Sequence[ir.Value]) -> Iterator[tuple[Scalar, Scalar, list[ir.Value]]]:
        """Yield two neighbours of a row, then two 8 rows below, every 8 columns.

        Source: PTX ISA, "Matrix Fragments for wgmma.mma_async.m64nNk16", accumulator D.
        """
        b = self.b
        thread = b.sub(self.frame.local, THREADS - _ROWS * 2)
        lane, warp = b.mod(thread, 32), b.div(thread, 32)
        row = b.add(b.add(self.origin[0], b.mul(warp, 16)), b.div(lane, 4))
        column = b.add(self.origin[1], b.mul(b.mod(lane, 4), 2))
        for n in range(0, self.tiling.columns, 8):
            for below in (0, 8):
                first = n // 2 + below // 4
                values = list(sums[first : first + 2])
                yield b.add(row, below), b.add(column, n), values
