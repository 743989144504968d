"""Random host programs give the same results as tensors and as a scheduled program."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from .scheduling_kit import check


class Generator:
    """Writes a random host function over tensors<?x4xf32> of equal and of varying length."""

    def __init__(self, seed: int, *, static: bool) -> None:
        self.random = random.Random(seed)
        self.tensor = "tensor<6x4xf32>" if static else "tensor<?x4xf32>"
        self.count = 0
        self.lines: list[str] = []

    def name(self) -> str:
        """Return a fresh value name."""
        self.count += 1
        return f"%v{self.count}"

    def line(self, text: str) -> None:
        """Append one operation."""
        self.lines.append(text)

    def dynamic(self, value: str) -> tuple[str, str]:
        """Return ``value`` as tensor<?x4xf32> and its first dimension."""
        size = self.name()
        if self.tensor == "tensor<?x4xf32>":
            self.line(f"{size} = tensor.dim {value}, %c0 : tensor<?x4xf32>")
            return value, size
        cast = self.name()
        self.line(f"{cast} = tensor.cast {value} : {self.tensor} to tensor<?x4xf32>")
        self.line(f"{size} = tensor.dim {cast}, %c0 : tensor<?x4xf32>")
        return cast, size

    def back(self, value: str) -> str:
        """Return a tensor<?x4xf32> as the type the program uses."""
        if self.tensor == "tensor<?x4xf32>":
            return value
        cast = self.name()
        self.line(f"{cast} = tensor.cast {value} : tensor<?x4xf32> to {self.tensor}")
        return cast

    def dispatch(self, pool: Sequence[str]) -> str:
        """Emit one dispatch on values of equal length."""
        kind = self.random.choice(["add", "add", "sub", "mix", "scale", "pair"])
        result = self.name()
        x, n = self.dynamic(self.random.choice(pool))
        t = "tensor<?x4xf32>"
        if kind in ("add", "sub"):
            y, _ = self.dynamic(self.random.choice(pool))
            self.line(f"{result} = func.call @{kind}({x}, {y}, {n}) : ({t}, {t}, index) -> {t}")
        elif kind == "scale":
            s = self.random.choice(["%w", "%k"])
            self.line(
                f"{result} = func.call @scale({x}, {s}, {n}) : ({t}, tensor<4xf32>, index) -> {t}"
            )
        elif kind == "pair":
            second = self.name()
            self.line(
                f"{result}, {second} = func.call @pair({x}, {n}) : ({t}, index) -> "
                f"({t}, tensor<4xf32>)"
            )
            scaled = self.name()
            self.line(
                f"{scaled} = func.call @scale({result}, {second}, {n}) "
                f": ({t}, tensor<4xf32>, index) -> {t}"
            )
            result = scaled
        else:
            self.line(f"{result} = func.call @mix({x}, {n}) : ({t}, index) -> {t}")
        return self.back(result)

    def reshape(self, pool: Sequence[str]) -> str:
        """Emit a view of a value that has the same bytes."""
        x, n = self.dynamic(self.random.choice(pool))
        wide, flat = self.name(), self.name()
        self.line(
            f"{wide} = tensor.expand_shape {x} [[0], [1, 2]] output_shape [{n}, 2, 2] "
            ": tensor<?x4xf32> into tensor<?x2x2xf32>"
        )
        self.line(
            f"{flat} = tensor.collapse_shape {wide} [[0], [1, 2]] "
            ": tensor<?x2x2xf32> into tensor<?x4xf32>"
        )
        return self.back(flat)

    def condition(self, pool: Sequence[str]) -> str:
        """Emit a truth value that data decide."""
        x, n = self.dynamic(self.random.choice(pool))
        total, number, result = self.name(), self.name(), self.name()
        self.line(f"{total} = func.call @total({x}, {n}) : (tensor<?x4xf32>, index) -> tensor<i64>")
        self.line(f"{number} = tensor.extract {total}[] : tensor<i64>")
        self.line(f"{result} = arith.cmpi slt, {number}, %two : i64")
        return result

    def branch(self, pool: Sequence[str], depth: int) -> list[str]:
        """Emit an scf.if with one or two results."""
        count = self.random.randint(1, 2)
        condition = self.condition(pool)
        results = [self.name() for _ in range(count)]
        types = ", ".join([self.tensor] * count)
        self.line(f"{', '.join(results)} = scf.if {condition} -> ({types}) {{")
        self.yielded(pool, count, depth)
        self.line("} else {")
        self.yielded(pool, count, depth)
        self.line("}")
        return results

    def yielded(self, pool: Sequence[str], count: int, depth: int) -> None:
        """Emit a block that yields ``count`` values."""
        inner = self.block(list(pool), self.random.randint(0, 3), depth + 1)
        chosen = [self.random.choice(inner[-5:]) for _ in range(count)]
        self.line(f"scf.yield {', '.join(chosen)} : {', '.join([self.tensor] * count)}")

    def loop(self, pool: Sequence[str], depth: int) -> list[str]:
        """Emit an scf.for that carries up to three values."""
        count = self.random.randint(1, 3)
        initial = [self.random.choice(pool) for _ in range(count)]
        arguments = [self.name() for _ in range(count)]
        results = [self.name() for _ in range(count)]
        carried = ", ".join(f"{a} = {i}" for a, i in zip(arguments, initial, strict=True))
        types = ", ".join([self.tensor] * count)
        trips = self.random.choice(["%c0", "%c1", "%c2", "%c3", "%n"])
        self.line(
            f"{', '.join(results)} = scf.for {self.name()} = %c0 to {trips} step %c1 "
            f"iter_args({carried}) -> ({types}) {{"
        )
        inner = self.block([*pool, *arguments * 2], self.random.randint(1, 4), depth + 1)
        chosen = [self.random.choice([*inner[-3:], *arguments]) for _ in range(count)]
        self.line(f"scf.yield {', '.join(chosen)} : {types}")
        self.line("}")
        return results

    def while_loop(self, pool: Sequence[str], depth: int) -> list[str]:
        """Emit an scf.while that counts, with work in both regions."""
        count = self.random.randint(1, 2)
        initial = [self.random.choice(pool) for _ in range(count)]
        before = [self.name() for _ in range(count)]
        after = [self.name() for _ in range(count)]
        results = [self.name() for _ in range(count)]
        counter, more, last = self.name(), self.name(), self.name()
        inner_counter, next_counter = self.name(), self.name()
        types = ", ".join(["index", *[self.tensor] * count])
        pairs = [(counter, "%c0"), *zip(before, initial, strict=True)]
        carried = ", ".join(f"{a} = {i}" for a, i in pairs)
        self.line(
            f"{last}, {', '.join(results)} = scf.while ({carried}) : ({types}) -> ({types}) {{"
        )
        inner = self.block([*pool, *before], self.random.randint(0, 2), depth + 1)
        trips = self.random.choice(["%c1", "%c2", "%c3"])
        self.line(f"{more} = arith.cmpi slt, {counter}, {trips} : index")
        chosen = [self.random.choice([*inner[-2:], *before]) for _ in range(count)]
        self.line(f"scf.condition({more}) {counter}, {', '.join(chosen)} : {types}")
        arguments = ", ".join(f"{a}: {self.tensor}" for a in after)
        self.line(f"}} do {{\n^bb0({inner_counter}: index, {arguments}):")
        inner = self.block([*pool, *after], self.random.randint(0, 3), depth + 1)
        self.line(f"{next_counter} = arith.addi {inner_counter}, %c1 : index")
        chosen = [self.random.choice([*inner[-2:], *after]) for _ in range(count)]
        self.line(f"scf.yield {next_counter}, {', '.join(chosen)} : {types}")
        self.line("}")
        return results

    def growing(self, pool: Sequence[str]) -> str:
        """Emit a loop whose value grows, then fold it back to the common length."""
        x, n = self.dynamic(self.random.choice(pool))
        result, argument, m, nm, grown, part = (self.name() for _ in range(6))
        t = "tensor<?x4xf32>"
        self.line(
            f"{result} = scf.for {self.name()} = %c0 to %c2 step %c1 "
            f"iter_args({argument} = {x}) -> ({t}) {{"
        )
        self.line(f"{m} = tensor.dim {argument}, %c0 : {t}")
        self.line(f"{nm} = arith.addi {n}, {m} : index")
        self.line(
            f"{grown} = func.call @cat({x}, {argument}, {n}, {m}, {nm}) "
            f": ({t}, {t}, index, index, index) -> {t}"
        )
        self.line(f"scf.yield {grown} : {t}\n}}")
        self.line(f"{part} = tensor.extract_slice {result}[{n}, 0] [{n}, 4] [1, 1] : {t} to {t}")
        return self.back(part)

    def state(self, pool: Sequence[str]) -> str:
        """Emit an update of the state; return its value before."""
        old, fresh = self.name(), self.name()
        self.line(f"{old} = ml_program.global_load @state : tensor<4xf32>")
        x, n = self.dynamic(self.random.choice(pool))
        t = "tensor<?x4xf32>"
        other = self.name()
        if self.random.random() < 0.5:
            self.line(
                f"{other}, {fresh} = func.call @pair({x}, {n}) : ({t}, index) -> "
                f"({t}, tensor<4xf32>)"
            )
        else:
            wide, sum_, flat = self.name(), self.name(), self.name()
            self.line(
                f"{wide} = tensor.expand_shape {old} [[0, 1]] output_shape [1, 4] "
                ": tensor<4xf32> into tensor<1x4xf32>"
            )
            self.line(f"{flat} = tensor.cast {wide} : tensor<1x4xf32> to {t}")
            self.line(f"{sum_} = func.call @mix({flat}, %c1) : ({t}, index) -> {t}")
            added = self.name()
            self.line(f"{added} = func.call @add({flat}, {sum_}, %c1) : ({t}, {t}, index) -> {t}")
            one, row = self.name(), self.name()
            self.line(f"{one} = tensor.cast {added} : {t} to tensor<1x4xf32>")
            self.line(
                f"{row} = tensor.collapse_shape {one} [[0, 1]] : tensor<1x4xf32> into tensor<4xf32>"
            )
            fresh = row
        self.line(f"ml_program.global_store @state = {fresh} : tensor<4xf32>")
        result = self.name()
        self.line(
            f"{result} = func.call @scale({x}, {old}, {n}) : ({t}, tensor<4xf32>, index) -> {t}"
        )
        return self.back(result)

    def block(self, pool: list[str], steps: int, depth: int) -> list[str]:
        """Emit ``steps`` random operations; return all values."""
        for _ in range(steps):
            choice = self.random.random()
            if choice < 0.5 or depth > 2:
                pool.append(self.dispatch(pool))
            elif choice < 0.58:
                pool.append(self.reshape(pool))
            elif choice < 0.7:
                pool += self.branch(pool, depth)
            elif choice < 0.8:
                pool += self.loop(pool, depth)
            elif choice < 0.88:
                pool += self.while_loop(pool, depth)
            elif choice < 0.94:
                pool.append(self.growing(pool))
            else:
                pool.append(self.state(pool))
        return pool

    def module(self) -> str:
        """Return the text of a module with one function."""
        pool = self.block(["%x", "%y"], self.random.randint(3, 12), 0)
        results = [self.random.choice(pool[-6:]) for _ in range(self.random.randint(1, 4))]
        types = ", ".join([self.tensor] * len(results))
        dims = '{iree.dims = ["n"]}' if self.tensor == "tensor<?x4xf32>" else ""
        body = "\n".join(self.lines)
        return f"""
ml_program.global private mutable @state(dense<[1.0, 0.5, -1.0, 0.25]> : tensor<4xf32>)
    : tensor<4xf32>
func.func @main(%x: {self.tensor} {dims}, %y: {self.tensor} {dims}) -> ({types}) {{
%c0 = arith.constant 0 : index
%c1 = arith.constant 1 : index
%c2 = arith.constant 2 : index
%c3 = arith.constant 3 : index
%two = arith.constant 2 : i64
%n = arith.constant 5 : index
%w = "flow.parameter"() {{key = "w"}} : () -> tensor<4xf32>
%k = arith.constant dense<[1.0, -0.5, 0.75, -0.25]> : tensor<4xf32>
{body}
return {", ".join(results)} : {types}
}}
"""


@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
@pytest.mark.parametrize("seed", range(40))
def test_random_programs_agree(seed: int, static: bool) -> None:
    text = Generator(seed, static=static).module()
    rng = np.random.default_rng(seed)
    rows = 6 if static else int(rng.integers(1, 9))
    x, y = (rng.normal(size=(rows, 4)).astype(np.float32) for _ in range(2))
    check(text, x, y, calls=2)
