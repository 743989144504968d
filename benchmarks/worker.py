"""One runtime with one model in one process; talks JSON lines with ``compare.py``.

``worker.py RUNTIME BUILT MODEL THREADS``: loads, answers one line of facts, then for each line
``SECONDS`` on standard input runs for about that long and answers with the times of each call.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from runtimes import RUNTIMES
from workloads import example_inputs


def main() -> None:
    """Serve one runtime until standard input ends."""
    name, built, model, threads = sys.argv[1:5]
    inputs = example_inputs(Path(model))
    runtime = RUNTIMES[name]()
    runtime.prepare(int(threads))
    start = time.perf_counter()
    call = runtime.load(Path(built), int(threads), inputs)
    loaded = time.perf_counter() - start
    results = [np.asarray(r) for r in call()]
    np.savez(sys.argv[5], *results)
    _answer({"load": loaded, "peak_rss": _peak()})
    for line in sys.stdin:
        _answer({"times": _run(call, float(line)), "peak_rss": _peak()})


def _run(call, seconds: float) -> list[tuple[float, float]]:
    times = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        cpu, wall = time.process_time(), time.perf_counter()
        call()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return times[:2000]


def _peak() -> int:
    # Not ru_maxrss: a child starts with its parent's.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status tells no peak of memory")


def _answer(facts: dict) -> None:
    print("RESULT " + json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
