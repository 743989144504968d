"""What is known of a size while compiling: whether it can be negative. Not for exact values.

A proof uses that dimensions are not negative, that the variable of a loop stays between its
bounds, and how quotients, maxima and minima lie to their operands. What it does not find may be
true all the same; then it is checked at run time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from iree_core.ir import ir
from iree_core.passes.scheduling.shapes import NamedDim, VaryingDim
from iree_core.passes.scheduling.sizes import Operation, Size, Symbols

_DEEPEST = 6


@dataclass(frozen=True)
class Ranges:
    """Proofs over the sizes of one function."""

    symbols: Symbols

    def is_natural(self, size: Size, depth: int = 0) -> bool:
        """Tell whether ``size`` is known not to be negative."""
        if all(factor >= 0 and self._all_natural(atoms, depth) for atoms, factor in size.terms):
            return True
        if depth >= _DEEPEST:
            return False
        # Terms that may pull it below zero are replaced by the least they can be.
        for atoms, factor in size.terms:
            if len(atoms) == 1:
                atom = self.symbols.key(atoms[0])
                others = size - Size(((atoms, factor),))
                for bound in self._bounds(atom, upper=factor < 0):
                    if self.is_natural(others + bound * factor, depth + 1):
                        return True
        return False

    def _all_natural(self, atoms: tuple[int, ...], depth: int) -> bool:
        return all(self._is_natural_atom(self.symbols.key(atom), depth) for atom in atoms)

    def _is_natural_atom(self, key: Hashable, depth: int) -> bool:
        if isinstance(key, NamedDim | VaryingDim):
            return True
        if depth >= _DEEPEST:
            return False
        if isinstance(key, Operation):
            found = (self.is_natural(arg, depth + 1) for arg in key.args)
            return any(found) if key.name == "arith.maxsi" else all(found)
        return any(self.is_natural(low, depth + 1) for low in self._bounds(key, upper=False))

    def _bounds(self, key: Hashable, *, upper: bool) -> Iterator[Size]:
        """Yield sizes that an atom never exceeds, or never falls below."""
        if isinstance(key, Operation):
            if key.name == ("arith.minsi" if upper else "arith.maxsi"):
                yield from key.args
            return
        loop = _loop_of(key)
        if loop is not None:
            lower, end = (self.symbols.value(operand) for operand in list(loop.operands)[:2])
            yield end - 1 if upper else lower


def _loop_of(key: Hashable) -> ir.Operation | None:
    """Return the ``scf.for`` whose variable ``key`` is."""
    if not isinstance(key, ir.Value) or not isinstance(key.owner, ir.Block):
        return None
    owner = key.owner.owner.operation
    is_variable = owner.name == "scf.for" and ir.BlockArgument(key).arg_number == 0
    return owner if is_variable else None
