"""The measured search behind ``iree tune``: which block sizes make a model's dispatches fastest.

A coordinate descent over the choices of :mod:`iree_core.codegen.choices`, for all dispatches of a
model at once: every step compiles the model with one choice of each dispatch changed, and runs it
in alternation with the best so far, dispatch by dispatch, so that each is measured among its
neighbours, with the caches as they leave them, and noise of the machine meets both sides. What is
kept must be faster by a margin, and once more at the end than without any tuning.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from iree_core.compiler_service import CompiledModule, compile
from iree_core.errors import UsageError
from iree_core.hal import Device
from iree_core.hal.observe import DispatchEvent, observing
from iree_core.passes.state import Tunable
from iree_core.runtime_api import load
from iree_core.tuning import Tuned, TuningTable

# What is tried of every choice, as factors of the present value or, for rows, differences.
_FACTORS = {"cycles": (0.25, 0.5, 2.0, 4.0), "panels": (0.5, 2.0, 4.0), "slice": (0.0, 0.5, 2.0)}
_ROWS = (-4, -2, -1, 1, 2, 4)
_MARGIN = 0.98
_ROUNDS = 5
# Dispatches below this part of a call's time are not searched.
_PART = 0.005


@dataclass(frozen=True)
class TuningReport:
    """How a search went.

    Attributes:
        table: what was found.
        searched: how many dispatches were searched.
        before, after: seconds of a call without and with the table, measured in alternation.
    """

    table: TuningTable
    searched: int
    before: float
    after: float


def tune(
    model: Path,
    inputs: Sequence[NDArray],
    device: Device,
    *,
    function: str,
    seconds: float = 0.5,
    progress: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> TuningReport:
    """Search the block sizes of a model's dispatches on ``device``.

    Args:
        model: what :func:`iree_core.compile` takes.
        inputs: arguments of ``function``; with dynamic dimensions their sizes are tuned for.
        device: where to measure.
        function: which function of the model.
        seconds: how long to measure one pair of modules, at least.
        progress: called with a line of what is being done.
        options: further arguments of :func:`iree_core.compile`.

    Raises:
        UsageError: the target's schedules leave no choice.
        IreeError: the model cannot be compiled or run.
    """
    with tempfile.TemporaryDirectory(prefix="iree-tune-") as folder:
        search = _Search(model, inputs, device, function, seconds, Path(folder), options)
        for line in search.run():
            progress(line)
        return search.report()


class _Search:
    def __init__(
        self,
        model: Path,
        inputs: Sequence[NDArray],
        device: Device,
        function: str,
        seconds: float,
        folder: Path,
        options: Mapping[str, Any],
    ) -> None:
        self.model, self.inputs, self.device, self.function = model, inputs, device, function
        self.seconds, self.file, self.options = seconds, folder / "tuning.json", options
        self.first = self._compile({})
        self.target = self.first.report.targets[0]
        # By dispatch: the choices that are best so far.
        self.best: dict[str, dict[str, int]] = {}
        self.tunable: dict[str, Tunable] = {}

    def run(self) -> Iterator[str]:
        """Search; yield a line per step."""
        times = self._measure(self.first, self.first)[0]
        total = sum(times.values())
        self.tunable = {
            name: found
            for name, found in self.first.report.tunable.items()
            if times.get(name, 0.0) >= _PART * total
        }
        if not self.tunable:
            raise UsageError(
                f"No dispatch of {self.model.name} leaves a choice that could be measured.",
                hint="Contractions and convolutions for processors do (target llvm-cpu).",
            )
        self.best = {name: dict(found.choices) for name, found in self.tunable.items()}
        best = self.first
        for choice in ("rows", *_FACTORS):
            found: dict[str, tuple[float, dict[str, int]]] = {}
            for number in range(len(_proposals(choice, 1))):
                trial = {n: _changed(b, choice, number) for n, b in self.best.items()}
                if trial == self.best:
                    continue
                candidate = self._compile(trial)
                before, after = self._measure(best, candidate)
                taken = candidate.report.tunable
                for name in self.tunable:
                    ratio = after[name] / before[name]
                    if ratio < min(_MARGIN, found.get(name, (1.0, {}))[0]):
                        found[name] = (ratio, dict(taken[name].choices))
            for name, (_, choices) in found.items():
                self.best[name] = choices
            if found:
                best = self._compile(self.best)
            gained = ", ".join(f"{n} {1 / r:.2f}" for n, (r, _) in sorted(found.items()))
            yield f"{choice}: {gained or 'nothing gained'}"

    def report(self) -> TuningReport:
        """Return what is faster than without any tuning, measured once more."""
        before, after = self._measure(self.first, self._compile(self.best))
        table = TuningTable(self.target)
        for name, found in self.tunable.items():
            if after[name] < _MARGIN * before[name] and self.best[name] != found.choices:
                table.dispatches[found.key] = Tuned(
                    self.best[name], before[name] * 1e6, after[name] * 1e6, found.schedule
                )
        table.save(self.file)
        final = compile(self.model, tuning=self.file, **self.options)
        whole = self._whole(self.first, final)
        return TuningReport(table, len(self.tunable), *whole)

    def _compile(self, choices: Mapping[str, Mapping[str, int]]) -> CompiledModule:
        table = TuningTable()
        if choices:
            table.target = self.target
            for name, chosen in choices.items():
                found = self.tunable[name]
                table.dispatches[found.key] = Tuned(chosen, 0.0, 0.0, found.schedule)
        table.save(self.file)
        return compile(self.model, tuning=self.file, **self.options)

    def _measure(
        self, one: CompiledModule, other: CompiledModule
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Return the seconds of every dispatch in one call, the least of all rounds, of both."""
        events: list[DispatchEvent] = []
        watched = observing(self.device, events.append)
        calls = [getattr(load(m, device=watched), self.function) for m in (one, other)]
        least: list[dict[str, float]] = [{}, {}]

        def once(side: int) -> None:
            events.clear()
            calls[side](*self.inputs)
            seconds: dict[str, float] = defaultdict(float)
            for event in events:
                seconds[event.name] += event.seconds
            for name, value in seconds.items():
                least[side][name] = min(value, least[side].get(name, value))

        self._alternate(once)
        return least[0], least[1]

    def _whole(self, one: CompiledModule, other: CompiledModule) -> tuple[float, float]:
        """Return the seconds of a call, the least of all rounds, of both."""
        calls = [getattr(load(m, device=self.device), self.function) for m in (one, other)]
        least = [float("inf"), float("inf")]

        def once(side: int) -> None:
            started = time.perf_counter()
            calls[side](*self.inputs)
            least[side] = min(least[side], time.perf_counter() - started)

        self._alternate(once)
        return least[0], least[1]

    def _alternate(self, once: Callable[[int], None]) -> None:
        end, rounds = time.perf_counter() + self.seconds, 0
        while rounds < _ROUNDS or time.perf_counter() < end:
            # Who comes first finds the caches as the other left them.
            for side in (0, 1) if rounds % 2 else (1, 0):
                once(side)
            rounds += 1


def _proposals(choice: str, value: int) -> list[int]:
    if choice == "rows":
        return [max(1, value + step) for step in _ROWS]
    return [round(value * factor) for factor in _FACTORS[choice]]


def _changed(choices: Mapping[str, int], choice: str, number: int) -> dict[str, int]:
    """Return the choices with another value of one, where there is that choice."""
    if choice not in choices:
        return dict(choices)
    return {**choices, choice: _proposals(choice, choices[choice])[number]}
