"""Sizes known at run time as polynomials, so that equal ones are recognised. Not for layouts.

A :class:`Size` is a sum of products of *atoms*: index values of the IR, named dimensions of the
signature, and operations that are no sums or products (``ceildiv``, ``max``, ...). Two sizes
that compare equal are equal at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from iree_core.ir import arith, ir

_Monomial = tuple[int, ...]

# Operations over which sizes are followed; each is emitted again where a size is needed.
_OPAQUE = {
    "arith.divsi": arith.DivSIOp,
    "arith.floordivsi": arith.FloorDivSIOp,
    "arith.ceildivsi": arith.CeilDivSIOp,
    "arith.remsi": arith.RemSIOp,
    "arith.minsi": arith.MinSIOp,
    "arith.maxsi": arith.MaxSIOp,
}


@dataclass(frozen=True)
class Size:
    """A number of elements or bytes: sorted terms of atom numbers and a coefficient."""

    terms: tuple[tuple[_Monomial, int], ...]

    @property
    def number(self) -> int | None:
        """The value, if it is known while compiling."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and not self.terms[0][0] else None

    @property
    def atoms(self) -> set[int]:
        """The atoms that occur."""
        return {atom for monomial, _ in self.terms for atom in monomial}

    def __add__(self, other: Size | int) -> Size:
        total = dict(self.terms)
        for monomial, factor in _size(other).terms:
            total[monomial] = total.get(monomial, 0) + factor
        return _canonical(total)

    def __sub__(self, other: Size | int) -> Size:
        return self + _size(other) * -1

    def __mul__(self, other: Size | int) -> Size:
        total: dict[_Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _size(other).terms:
                monomial = tuple(sorted((*left, *right)))
                total[monomial] = total.get(monomial, 0) + a * b
        return _canonical(total)


def fixed(number: int) -> Size:
    """Return the size that is ``number``."""
    return _canonical({(): number})


def _size(value: Size | int) -> Size:
    return fixed(value) if isinstance(value, int) else value


def _canonical(terms: Mapping[_Monomial, int]) -> Size:
    return Size(tuple(sorted((m, f) for m, f in terms.items() if f)))


@dataclass(frozen=True)
class Operation:
    """An atom that is computed from other sizes."""

    name: str
    args: tuple[Size, ...]


@dataclass
class Symbols:
    """The atoms of one function and the sizes of its index values.

    Attributes:
        dimension: gives the size that a ``tensor.dim`` operation asks for.
    """

    dimension: Callable[[ir.Value, int], Size] | None = None
    _atoms: list[Hashable] = field(default_factory=list)
    _numbers: dict[Hashable, int] = field(default_factory=dict)
    _known: dict[ir.Value, Size] = field(default_factory=dict)

    def atom(self, key: Hashable) -> Size:
        """Return the size that is the atom ``key`` alone."""
        if key not in self._numbers:
            self._numbers[key] = len(self._atoms)
            self._atoms.append(key)
        return Size((((self._numbers[key],), 1),))

    def key(self, atom: int) -> Hashable:
        """Return what the atom of that number stands for."""
        return self._atoms[atom]

    def keys(self, size: Size) -> set[Hashable]:
        """Return all atoms below ``size`` that are no :class:`Operation`."""
        found: set[Hashable] = set()
        for atom in size.atoms:
            key = self._atoms[atom]
            if isinstance(key, Operation):
                for arg in key.args:
                    found |= self.keys(arg)
            else:
                found.add(key)
        return found

    def forget_values(self) -> None:
        """Compute the sizes of index values again when they are asked for."""
        self._known.clear()

    def apply(self, name: str, *args: Size) -> Size:
        """Return the size that operation ``name`` has for ``args``, folded if possible."""
        numbers = [arg.number for arg in args]
        left, right = numbers
        if left is not None and right is not None and not (right == 0 and name in _DIVISIONS):
            return fixed(_FOLD[name](left, right))
        if name in _DIVISIONS and right is not None and right > 0:
            if all(factor % right == 0 for _, factor in args[0].terms):
                whole = {m: factor // right for m, factor in args[0].terms}
                return fixed(0) if name == "arith.remsi" else _canonical(whole)
        elif name in ("arith.maxsi", "arith.minsi") and args[0] == args[1]:
            return args[0]
        return self.atom(Operation(name, args))

    def fold(self, operation: Operation, values: list[int]) -> int:
        """Return the result of ``operation`` for numbers; a division by zero gives 0."""
        if operation.name in _DIVISIONS and values[1] == 0:
            return 0
        return _FOLD[operation.name](*values)

    def align(self, size: Size, alignment: int) -> Size:
        """Return ``size`` rounded up to a multiple of ``alignment``."""
        return self.apply("arith.ceildivsi", size, fixed(alignment)) * alignment

    def maximum(self, left: Size, right: Size) -> Size:
        """Return the larger of both."""
        return self.apply("arith.maxsi", left, right)

    def value(self, value: ir.Value) -> Size:
        """Return the size that an ``index`` or ``i64`` value holds."""
        if value not in self._known:
            self._known[value] = self._compute(value)
        return self._known[value]

    def _compute(self, value: ir.Value) -> Size:
        owner = value.owner
        if isinstance(owner, ir.Block) or not _is_word(value.type):
            return self.atom(value)
        name = owner.operation.name
        operands = owner.operation.operands
        if name == "arith.constant":
            return fixed(ir.IntegerAttr(owner.operation.attributes["value"]).value)
        if name == "arith.index_cast" and _is_word(operands[0].type):
            return self.value(operands[0])
        if name in ("arith.addi", "arith.subi", "arith.muli"):
            left, right = (self.value(o) for o in operands)
            if name == "arith.addi":
                return left + right
            return left - right if name == "arith.subi" else left * right
        if name in _OPAQUE:
            return self.apply(name, *(self.value(o) for o in operands))
        if name == "tensor.dim" and self.dimension is not None:
            position = self.value(operands[1]).number
            if position is not None:
                return self.dimension(operands[0], position)
        return self.atom(value)

    def emit(self, size: Size, leaf: Callable[[Hashable], ir.Value]) -> ir.Value:
        """Build ``size`` as an ``index`` value at the insertion point.

        ``leaf`` returns the ``index`` value of an atom that is no operation.
        """
        total: ir.Value | None = None
        for monomial, factor in size.terms:
            product: ir.Value | None = None
            for atom in monomial:
                value = self._emit_atom(atom, leaf)
                product = value if product is None else arith.MulIOp(product, value).result
            if product is None or factor != 1:
                number = index_constant(factor)
                product = number if product is None else arith.MulIOp(product, number).result
            total = product if total is None else arith.AddIOp(total, product).result
        return index_constant(0) if total is None else total

    def _emit_atom(self, atom: int, leaf: Callable[[Hashable], ir.Value]) -> ir.Value:
        key = self._atoms[atom]
        if isinstance(key, Operation):
            return _OPAQUE[key.name](*(self.emit(arg, leaf) for arg in key.args)).result
        return leaf(key)


_DIVISIONS = ("arith.divsi", "arith.floordivsi", "arith.ceildivsi", "arith.remsi")


def _truncated(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


_FOLD: dict[str, Callable[[int, int], int]] = {
    "arith.divsi": _truncated,
    "arith.floordivsi": lambda a, b: a // b,
    "arith.ceildivsi": lambda a, b: -(-a // b),
    "arith.remsi": lambda a, b: a - b * _truncated(a, b),
    "arith.minsi": min,
    "arith.maxsi": max,
}


def index_constant(number: int) -> ir.Value:
    """Build the ``index`` constant ``number`` at the insertion point."""
    return arith.ConstantOp(ir.IndexType.get(), number).result


def as_index(value: ir.Value) -> ir.Value:
    """Return ``value`` as ``index``, cast at the insertion point if it is an integer."""
    if isinstance(value.type, ir.IndexType):
        return value
    return arith.IndexCastOp(ir.IndexType.get(), value).result


def _is_word(kind: ir.Type) -> bool:
    return isinstance(kind, ir.IndexType) or (isinstance(kind, ir.IntegerType) and kind.width == 64)
