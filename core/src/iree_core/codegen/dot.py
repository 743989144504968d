"""Register tiles made of dot-product instructions: groups of bytes or of bf16 numbers.

Such an instruction adds, in every lane, the products of a group of neighbours along a reduced
dimension: four bytes into an i32, two bf16 numbers into a float32. The operand along the lanes
lies packed in groups (:class:`iree_core.layout.PackedLayout`); of the other one, which rows do
not share, a group is broadcast.

The instructions differ in the signs that they take. Where none takes those of the program, the
top bit of the broadcast bytes is flipped, which adds or subtracts 128; and a program may
subtract a zero point. Either way every sum of ``(a - z) * w`` is short of the same correction
``z' * sum(w)``, which one more row of the tile, of which every byte is ``z'``, adds up: the
multiplication by ``w`` is linear. All of it is exact modulo 2**32, as i32 addition is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from iree_core.codegen.builder import Index, Lane, Scalar
from iree_core.codegen.contraction_analysis import Contraction
from iree_core.codegen.kernel import CpuModel
from iree_core.codegen.microkernel import Axis, Point, RegisterTile
from iree_core.ir import arith, func, ir, vector
from iree_core.layout import layout_of

ReadGroups = Callable[[Sequence[Index], Lane], ir.Value]


@dataclass(frozen=True)
class DotForm:
    """How a contraction is made of dot products.

    Attributes:
        function: the product, as :attr:`CpuModel.dots` names it.
        group: how many neighbours one instruction multiplies.
        dim: the reduction loop along which they lie.
        broadcast: number of the input of which groups are broadcast.
        lanes: number of the input along the lanes.
        first: number of the input that is the product's first operand.
        flips: the top bits of broadcast bytes are flipped.
        zero: what the body subtracts from the broadcast input: a number, or the value inside
            the body of type i8 that it extends.
    """

    function: str
    group: int
    dim: int
    broadcast: int
    lanes: int
    first: int
    flips: bool = False
    zero: int | ir.Value = 0

    @property
    def corrects(self) -> bool:
        """Whether the tile has a row for the correction."""
        return self.flips or isinstance(self.zero, ir.Value) or self.zero != 0


@dataclass(frozen=True)
class _Factor:
    """One factor of the term: an input, its sign, what is subtracted from it."""

    number: int
    signed: bool
    zero: int | ir.Value


def match_dot(c: Contraction, cpu: CpuModel) -> DotForm | None:
    """Return how ``c`` is made of the dot products of ``cpu``, or None where it is not."""
    owner = c.body.term.owner
    if not cpu.dots or isinstance(owner, ir.Block):
        return None
    name = owner.operation.name
    integers = name == "arith.muli" and c.body.combiner.op == "arith.addi"
    if not integers and not (name == "arith.mulf" and c.body.combiner.op == "arith.addf"):
        return None
    factors = [f for f in (_factor(c, v, integers) for v in owner.operands) if f is not None]
    if len({f.number for f in factors}) != 2:
        return None
    vectors = [f for f in factors if _depends(c, f.number, c.lane)]
    scalars = [f for f in factors if not _depends(c, f.number, c.lane)]
    if len(vectors) != 1 or len(scalars) != 1:
        return None
    wide, narrow = vectors[0], scalars[0]
    dim = _grouped_loop(c, wide.number, narrow.number, 4 if integers else 2)
    if wide.zero != 0 or (c.row is not None and _depends(c, wide.number, c.row)) or dim is None:
        return None
    if not integers:
        if "bf16" not in cpu.dots:
            return None
        return DotForm("bf16", 2, dim, narrow.number, wide.number, wide.number)
    return _with_signs(cpu, dim, narrow, wide)


def _with_signs(cpu: CpuModel, dim: int, narrow: _Factor, wide: _Factor) -> DotForm | None:
    for flips in (False, True):
        signs = {narrow.number: narrow.signed != flips, wide.number: wide.signed}
        if signs[narrow.number] == signs[wide.number]:
            function, first = ("s8s8" if wide.signed else "u8u8"), wide.number
        else:
            function, first = "u8s8", next(n for n, signed in signs.items() if not signed)
        if function in cpu.dots:
            return DotForm(function, 4, dim, narrow.number, wide.number, first, flips, narrow.zero)
    return None


def _factor(c: Contraction, value: ir.Value, integers: bool) -> _Factor | None:
    """Return a factor ``extend(x)`` or ``extend(x) - zero`` of narrow numbers."""
    owner = value.owner
    if isinstance(owner, ir.Block):
        return None
    op = owner.operation
    zero: int | ir.Value = 0
    if integers and op.name == "arith.subi" and not isinstance(op.operands[0].owner, ir.Block):
        op, second = op.operands[0].owner.operation, op.operands[1]
        found = _zero_point(c, second, op.name)
        if found is None:
            return None
        zero = found
    wanted = ("arith.extsi", "arith.extui") if integers else ("arith.extf",)
    if op.name not in wanted or op.operands[0] not in c.body.inputs:
        return None
    kind = op.operands[0].type
    if (integers and kind != ir.IntegerType.get_signless(8)) or (
        integers and op.results[0].type != ir.IntegerType.get_signless(32)
    ):
        return None
    if not integers and not isinstance(kind, ir.BF16Type):
        return None
    signed = op.name == "arith.extsi"
    low, high = (-128, 127) if signed else (0, 255)
    if isinstance(zero, int) and not low <= zero <= high:
        return None
    return _Factor(c.body.inputs.index(op.operands[0]), signed, zero)


def _zero_point(c: Contraction, value: ir.Value, extension: str) -> int | ir.Value | None:
    """Return a zero point that is the same everywhere: a number or the byte it extends."""
    if isinstance(value.owner, ir.Block):
        return None
    op = value.owner.operation
    if op.name == "arith.constant":
        return int(ir.IntegerAttr(op.attributes["value"]).value)
    if op.name != extension or op.operands[0] not in c.body.inputs:
        return None
    byte = op.operands[0]
    uniform = not any(form.dims for form in c.inputs[c.body.inputs.index(byte)])
    return byte if uniform and byte.type == ir.IntegerType.get_signless(8) else None


def _depends(c: Contraction, number: int, dim: int) -> bool:
    return any(form.factor(dim) for form in c.inputs[number])


def _grouped_loop(c: Contraction, wide: int, narrow: int, group: int) -> int | None:
    """Return the reduction loop whose neighbours form groups in both operands."""
    operand = c.generic.inputs[wide]
    if not isinstance(operand.type, ir.RankedTensorType):
        return None
    layout = layout_of(operand.type)
    if layout is not None:
        if layout.group is None or layout.group[1] != group:
            return None
        dims = c.inputs[wide][layout.group[0]].dims
    else:
        dims = c.reductions[-1:]
    candidates = [
        d
        for d in dims
        if d in c.reductions
        and _alone(c, wide, d)
        and _alone(c, narrow, d)
        and all(_depends(c, wide, e) for e in c.reductions)
    ]
    return candidates[0] if candidates else None


def _alone(c: Contraction, number: int, dim: int) -> bool:
    """Whether one coordinate of an input is just that loop, and no other depends on it."""
    forms = [form for form in c.inputs[number] if form.factor(dim)]
    return len(forms) == 1 and forms[0].is_dim(dim)


@dataclass
class DotTile(RegisterTile):
    """A register tile of dot products.

    Attributes:
        form: which ones.
        width: lanes of a register.
        read_groups: reads the groups of all lanes at coordinates of the lane operand.
    """

    form: DotForm = field(kw_only=True)
    width: int = field(kw_only=True)
    read_groups: ReadGroups = field(kw_only=True)

    def emit(
        self,
        base: Mapping[int, Scalar],
        rows: int,
        lanes: Sequence[Lane],
        initial: Sequence[ir.Value],
        axes: Sequence[Axis],
        phases: int = 1,
    ) -> list[ir.Value]:
        """Emit the loops; see :meth:`RegisterTile.emit`."""
        state = list(initial)
        if self.form.corrects:
            state += [self._identity(lane.width) for lane in lanes]
            self._zero = self._zero_group()
        found = super().emit(base, rows, lanes, state, axes, phases)
        if not self.form.corrects:
            return found
        corrections = found[len(initial) :]
        return [
            arith.SubIOp(value, corrections[i % len(lanes)]).result
            for i, value in enumerate(found[: len(initial)])
        ]

    def _zero_group(self) -> ir.Value:
        """Return the zero point in every byte, as it is multiplied."""
        byte = ir.IntegerType.get_signless(8)
        zero = self.form.zero
        if isinstance(zero, int):
            number = zero ^ (0x80 if self.form.flips else 0)
            scalar = self.builder.constant(byte, (number + 128) % 256 - 128)
        else:
            scalar = self.operands[self.body.inputs.index(zero)].read([], None)
            if self.form.flips:
                scalar = arith.XOrIOp(scalar, self.builder.constant(byte, -128)).result
        return self.builder.splat(scalar, self.width * self.form.group)

    def _step(
        self,
        base: dict[int, Scalar],
        offsets: dict[int, int],
        rows: Sequence[int],
        state: list[ir.Value],
    ) -> list[ir.Value]:
        result = list(state)
        count = len(self._lanes)
        every = range(self._rows + 1) if self.form.corrects else rows
        for r in every:
            for v in range(count):
                point = Point(base, offsets, r, v)
                # Rows that a window leaves out lack what the correction takes away.
                group = self._broadcast(point) if r in rows else self._zero
                slot = r * count + v
                result[slot] = self._dot(result[slot], group, self._groups(point))
        return result

    def _last_step(
        self,
        axis: Axis,
        start: Scalar,
        stop: Scalar,
        base: dict[int, Scalar],
        offsets: dict[int, int],
        rows: Sequence[int],
        state: list[ir.Value],
    ) -> list[ir.Value]:
        """Emit a last group that is not full; what lies beyond meets zeros of the lane operand."""
        rest = self.builder.sub(stop, start)
        if isinstance(axis.extent, int) and axis.bounds is None:
            rest = axis.extent % axis.step
        if rest == 0:
            return state

        def body(k: Scalar, carried: list[ir.Value]) -> list[ir.Value]:
            outer, self._memo = self._memo, {}
            self._active = self.builder.tail_mask(self.form.group, rest)
            with self.evaluator.scope():
                part = self._step(base | {axis.dim: k}, offsets, rows, carried)
            self._memo, self._active = outer, None
            return part

        used = state[: self._width]
        return self.builder.loop(start, stop, axis.step, body, used) + state[self._width :]

    _active: ir.Value | None = None

    def _broadcast(self, point: Point) -> ir.Value:
        """Return a group of the broadcast operand in every lane."""
        operand = self.operands[self.form.broadcast]
        at = tuple(self._offset(m, point) for m in operand.maps)
        key = ("broadcast", at)
        if key not in self._memo:
            dim, size = self.form.dim, self.form.group
            indices = [Index(self._index(m, point).base, m.factor(dim)) for m in operand.maps]
            group = operand.read(indices, Lane(size, self._active))
            kind = group.type.element_type
            word = ir.IntegerType.get_signless(32)
            single = vector.BitCastOp(ir.VectorType.get([1], word), group).result
            scalar = vector.ExtractOp(single, [], [0]).result
            if self.form.flips:
                mask = arith.ConstantOp(word, ir.IntegerAttr.get(word, -0x7F7F7F80)).result
                scalar = arith.XOrIOp(scalar, mask).result
            wide = self.builder.splat(scalar, self.width)
            bytes_ = ir.VectorType.get([self.width * size], kind)
            self._memo[key] = vector.BitCastOp(bytes_, wide).result
        return self._memo[key]

    def _groups(self, point: Point) -> ir.Value:
        """Return the groups of the lane operand."""
        operand = self.operands[self.form.lanes]
        at = tuple(self._offset(m, point) for m in operand.maps)
        key = ("groups", at, point.vector)
        if key not in self._memo:
            indices = [self._index(m, point) for m in operand.maps]
            self._memo[key] = self.read_groups(indices, self._lanes[point.vector])
        return self._memo[key]

    def _dot(self, total: ir.Value, group: ir.Value, groups: ir.Value) -> ir.Value:
        operands = [groups, group] if self.form.first == self.form.lanes else [group, groups]
        name = ir.FlatSymbolRefAttr.get("dot_" + self.form.function)
        return func.CallOp([total.type], name, [total, *operands]).result


def declare(module: ir.Module, form: DotForm, lanes: int) -> None:
    """Declare the function that a kernel calls for a product."""
    if form.function == "bf16":
        sums, narrow = ir.F32Type.get(), ir.BF16Type.get()
    else:
        sums, narrow = ir.IntegerType.get_signless(32), ir.IntegerType.get_signless(8)
    total = ir.VectorType.get([lanes], sums)
    part = ir.VectorType.get([lanes * form.group], narrow)
    kind = ir.FunctionType.get([total, part, part], [total])
    with ir.InsertionPoint(module.body):
        func.FuncOp("dot_" + form.function, kind, visibility="private")
