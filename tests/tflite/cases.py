"""The operators and types that are tested, each with random shapes' worth of contents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.tflite.builder import T, single
from tests.tflite.harness import Case

_MODULES = (
    "cases_float", "cases_integer", "cases_lookup", "cases_quantized", "cases_stablehlo",
)  # fmt: skip
_TABLE: dict[str, Callable[[], Case]] = {}


def names() -> list[str]:
    """Return the names of all cases."""
    _register_all()
    return list(_TABLE)


def load(name: str) -> Case:
    """Build one case."""
    _register_all()
    return _TABLE[name]()


def add(
    name: str,
    op: str,
    inputs: Sequence[T | None],
    outputs: Sequence[T],
    options: str = "",
    /,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-6,
    steps: int = 0,
    calls: int = 1,
    sizes: Sequence[tuple[int, ...]] | None = None,
    optimized: bool = False,
    version: int = 1,
    expected: Callable[..., Sequence[NDArray]] | None = None,
    **fields: Any,
) -> None:
    """Add a case of one operator; ``sizes`` are the inputs' where the model leaves them open,
    ``expected`` is described at :class:`Case`."""
    assert name not in _TABLE, name

    def build() -> Case:
        rng = np.random.default_rng(sum(name.encode()))
        given = [t for t in inputs if t is not None and t.data is None and not t.variable]
        shapes = sizes or [t.shape for t in given]
        made = [
            [
                T(t.kind, shape, t.low, t.high).random(rng)
                for t, shape in zip(given, shapes, strict=True)
            ]
            for _ in range(calls)
        ]
        model = single(op, inputs, outputs, options, version=version, **fields)
        return Case(name, model, made, rtol, atol, steps, optimized, expected)

    _TABLE[name] = build


def c(data: Any, kind: str = "i32", **quantization: Any) -> T:
    """A constant."""
    return T(kind, data=data, **quantization)


def q(kind: str, *shape: int, scale: float = 0.05, zero: int | None = None) -> T:
    """Scaled integers over their whole range."""
    info = np.iinfo({"i8": np.int8, "ui8": np.uint8, "i16": np.int16}[kind])
    if zero is None:
        zero = {"i8": 3, "ui8": 120, "i16": 0}[kind]
    return T(kind, shape, info.min, info.max, scale=scale, zero=zero)


@cache
def _register_all() -> None:
    for module in _MODULES:
        import_module(f"tests.tflite.{module}").register()
