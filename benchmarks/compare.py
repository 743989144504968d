"""Measures this project beside IREE, ONNX Runtime and OpenVINO, all in one run.

    python benchmarks/compare.py [--models main,decoding,unet] [--threads 1,2] [--out DIR]

``--models`` takes models and groups of ``workloads.py``; all of them run by default. The machine
may be noisy: every runtime is measured in several short rounds, one after the other in turn, and
the median of the best round counts. Prints a table per thread count; writes ``results.json`` and
a plot of the ratios. Needs ``benchmarks/requirements.txt``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from runtimes import RUNTIMES, timed_build
from workloads import GROUPS, chosen, model_path, tokens_per_second

HERE = Path(__file__).resolve().parent
ON_CPU = ("ours", "iree", "ort", "openvino")


@dataclass
class Row:
    """What was measured of one runtime on one model with one number of threads."""

    model: str
    runtime: str
    threads: int
    milliseconds: float = float("nan")
    build_seconds: float = 0.0
    load_milliseconds: float = float("nan")
    module_megabytes: float = 0.0
    peak_megabytes: float = float("nan")
    error: float = float("nan")
    rounds: list[float] = field(default_factory=list)
    processor_milliseconds: float = float("inf")


class Worker:
    """A runtime in its own process."""

    def __init__(self, runtime: str, built: Path, model: Path, threads: int, out: Path) -> None:
        self.results = out / f"{model.stem}.{runtime}.{threads}.npz"
        command = [sys.executable, str(HERE / "worker.py"), runtime, str(built), str(model)]
        self.process = subprocess.Popen(
            [*command, str(threads), str(self.results)], cwd=HERE, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.facts = self._read()

    def run(self, seconds: float) -> dict:
        """Run for about ``seconds`` and return the times of each call."""
        assert self.process.stdin is not None
        print(seconds, file=self.process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _read(self) -> dict:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("RESULT "):
                return json.loads(line[7:])
        raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")


def measure(model: str, runtimes: list[str], threads: int, out: Path, rounds: int) -> list[Row]:
    """Measure all runtimes on one model, in turn."""
    path = model_path(model, out / "models")
    rows, workers = [], {}
    for name in runtimes:
        row = Row(model, name, threads)
        rows.append(row)
        try:
            built, row.build_seconds = timed_build(RUNTIMES[name](), path, out)
            row.module_megabytes = built.stat().st_size / 1e6
            worker = Worker(name, built, path, threads, out)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            print(f"{model}: {name}: {error}", file=sys.stderr)
            continue
        row.load_milliseconds = worker.facts["load"] * 1e3
        workers[name] = worker
    for _ in range(rounds):
        for row in rows:
            if row.runtime in workers:
                facts = workers[row.runtime].run(1.0)
                wall, processor = zip(*facts["times"], strict=True)
                row.rounds.append(statistics.median(wall) * 1e3)
                spent = statistics.median(processor) * 1e3
                row.processor_milliseconds = min(row.processor_milliseconds, spent)
                row.peak_megabytes = facts["peak_rss"] / 1e6
    reference = workers["ort"].results if "ort" in workers else None
    for row in rows:
        if row.rounds:
            row.milliseconds = min(row.rounds)
        if reference and row.runtime in workers:
            row.error = difference(workers[row.runtime].results, reference)
    for worker in workers.values():
        worker.close()
    return rows


def table(rows: list[Row]) -> str:
    """Return the rows of one thread count as text, one line per model."""
    names = list(dict.fromkeys(r.runtime for r in rows))
    lines = [
        f"{'model':18}" + "".join(f"{n:>12}" for n in names) + f"{'best/ours':>12}{'error':>10}"
    ]
    for model in dict.fromkeys(r.model for r in rows):
        mine = {r.runtime: r for r in rows if r.model == model}
        cells = "".join(f"{mine[n].milliseconds:12.3f}" for n in names)
        others = [r.milliseconds for n, r in mine.items() if n != "ours" and r.rounds]
        ours = mine.get("ours")
        ratio = min(others) / ours.milliseconds if ours and others else float("nan")
        lines.append(f"{model:18}{cells}{ratio:12.2f}{ours.error if ours else 0:10.1e}")
    return "\n".join(lines)


def speeds(rows: list[Row]) -> str:
    """Return tokens per second of the models that make one per call, empty without any."""
    found = [(r, tokens_per_second(r.model, r.milliseconds)) for r in rows]
    lines = [f"{r.model:18}{r.runtime:>10}{speed:9.1f}" for r, speed in found if speed is not None]
    return "\n".join(["\nTokens per second\n", *lines]) if lines else ""


def costs(rows: list[Row]) -> str:
    """Return build time, load time, size and memory as text."""
    lines = [f"{'model':18}{'runtime':>10}{'build s':>9}{'load ms':>9}{'MB':>8}{'peak MB':>9}"]
    lines += [
        f"{r.model:18}{r.runtime:>10}{r.build_seconds:9.1f}{r.load_milliseconds:9.1f}"
        f"{r.module_megabytes:8.1f}{r.peak_megabytes:9.0f}"
        for r in rows
    ]
    return "\n".join(lines)


def plot(rows: list[Row], path: Path) -> None:
    """Draw the speed of every runtime relative to ours."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    models = list(dict.fromkeys(r.model for r in rows))
    names = [n for n in dict.fromkeys(r.runtime for r in rows) if n != "ours"]
    threads = sorted({r.threads for r in rows})
    figure, axes = pyplot.subplots(len(threads), 1, figsize=(10, 4 * len(threads)), squeeze=False)
    for count, axis in zip(threads, axes[:, 0], strict=True):
        found = {(r.model, r.runtime): r.milliseconds for r in rows if r.threads == count}
        for number, name in enumerate(names):
            ratios = [found.get((m, name), np.nan) / found.get((m, "ours"), np.nan) for m in models]
            places = np.arange(len(models)) + (number - len(names) / 2) * 0.25
            axis.bar(places, ratios, 0.25, label=RUNTIMES[name].name, align="edge")
        axis.axhline(1.0, color="black", linewidth=0.8)
        axis.set_xticks(np.arange(len(models)), models, rotation=20)
        axis.set_ylabel("latency / ours")
        axis.set_title(f"{count} thread{'s' if count > 1 else ''} (above 1: we are faster)")
        axis.legend()
    figure.tight_layout()
    figure.savefig(path)


def difference(found: Path, reference: Path) -> float:
    """Return the largest error of any result, relative to the largest reference value."""
    worst = 0.0
    with np.load(found) as a, np.load(reference) as b:
        for x, y in zip(a.values(), b.values(), strict=True):
            scale = max(float(np.abs(y).max()), 1e-30)
            worst = max(worst, float(np.abs(x.astype(np.float64) - y).max()) / scale)
    return worst


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=chosen, default=chosen(",".join(GROUPS)))
    parser.add_argument("--runtimes", default=",".join(ON_CPU))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"))
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for threads in map(int, options.threads.split(",")):
        for model in options.models:
            print(f"{model}, {threads} threads ...", file=sys.stderr, flush=True)
            runtimes = options.runtimes.split(",")
            rows += measure(model, runtimes, threads, out, options.rounds)
        print(f"\nMilliseconds per call, {threads} threads\n")
        print(table([r for r in rows if r.threads == threads]))
        print(speeds([r for r in rows if r.threads == threads]))
    print("\nCosts\n\n" + costs([r for r in rows if r.threads == rows[0].threads]))
    (out / "results.json").write_text(json.dumps([asdict(r) for r in rows], indent=1))
    plot(rows, out / "ratios.png")


if __name__ == "__main__":
    main()
