"""Operations that models of TensorFlow and Keras use, one function each, with arguments.

The first dimension of every argument is dynamic, unless it is :func:`fixed`; a case runs a second
time with static shapes. A table maps names to a function and its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Table = dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Fixed:
    """An argument whose shape is static."""

    array: np.ndarray


@dataclass(frozen=True)
class Case:
    """One function.

    Attributes:
        function: of TensorFlow, of tensors.
        arguments: arrays, or :class:`Fixed` ones.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def arrays(self) -> list[np.ndarray]:
        """Return the arguments."""
        return [a.array if isinstance(a, Fixed) else a for a in self.arguments]

    def shapes(self, dynamic: bool) -> list[list[int | None]]:
        """Return the shapes to trace for."""
        found: list[list[int | None]] = []
        for argument in self.arguments:
            array = argument.array if isinstance(argument, Fixed) else argument
            shape: list[int | None] = list(array.shape)
            if dynamic and shape and not isinstance(argument, Fixed):
                shape[0] = None
            found.append(shape)
        return found


def f(*shape: int, low: float = -1, high: float = 1, dtype: str = "float32") -> np.ndarray:
    """Return numbers that depend on the shape only."""
    generator = np.random.default_rng(sum(shape) + 7 * len(shape))
    return (generator.random(shape) * (high - low) + low).astype(dtype)


def i(*shape: int, low: int = 0, high: int = 5, dtype: str = "int32") -> np.ndarray:
    """Return whole numbers from ``low`` up to ``high``, exclusively."""
    generator = np.random.default_rng(sum(shape) + 11 * len(shape))
    return generator.integers(low, high, shape).astype(dtype)


def b(*shape: int) -> np.ndarray:
    """Return truth values."""
    return np.random.default_rng(sum(shape)).random(shape) < 0.5


def c(*shape: int) -> np.ndarray:
    """Return complex numbers."""
    return (f(*shape) + 1j * f(*shape)[..., ::-1]).astype(np.complex64)


def fixed(array: Any) -> Fixed:
    """Return an argument of static shape."""
    return Fixed(np.asarray(array))


def all_cases() -> dict[str, Case]:
    """Return every case by name."""
    from tests.tf.cases import arrays, control, images, keras_layers, linalg, math, neural, signal

    found: dict[str, Case] = {}
    for module in (math, arrays, neural, images, signal, linalg, control, keras_layers):
        area = module.__name__.rpartition(".")[2]
        for name, (function, *arguments) in module.TABLE.items():
            found[f"{area}.{name}"] = Case(function, tuple(arguments))
    return found
