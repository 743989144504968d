"""Operations of JAX over element types and shapes, as functions with arguments.

Every case is compared with JAX on the CPU. Factorisations are multiplied out again, so that the
freedom of signs and order does not matter. Nothing here knows of the compiler.
"""

from __future__ import annotations

from functools import cache

import jax
from tests.jax.cases import (
    control_flow,
    elementwise,
    functions,
    gradients,
    linear_algebra,
    models,
    movement,
    products,
    random_numbers,
    reductions,
    sorting,
    symbolic,
    wide,
)
from tests.jax.cases.registry import CASES, Case

_SUBJECTS = (
    elementwise, reductions, products, movement, sorting, linear_algebra, control_flow,
    random_numbers, functions, gradients, symbolic, models,
)  # fmt: skip


@cache
def _by_name() -> dict[str, Case]:
    for subject in _SUBJECTS:
        subject.register()
    with jax.enable_x64(True):
        wide.register()
    return CASES


def names() -> list[str]:
    """Return the names of all cases."""
    return list(_by_name())


def case(name: str) -> Case:
    """Return the case of that name."""
    return _by_name()[name]
