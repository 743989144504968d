"""Runs PyTorch's own operator database (OpInfo) through the compiler.

    python -m tests.torch.opinfo [--jobs 2] [--update] [NAME ...]

Every operator runs in a process of its own, with a time limit; its first samples in float32 are
compiled together as one program and compared with eager PyTorch. ``--update`` adds what passes to
``opinfo_passes.txt``, from which nothing is ever taken away.
"""

from __future__ import annotations

import argparse
import copy
import os
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

PASSES = Path(__file__).with_name("opinfo_passes.txt")
SAMPLES = 3
TIME_LIMIT = 90
OUT_OF_REACH = "not runnable: "
"""What starts the answer for an operator that PyTorch itself does not run on such a machine."""
# Their results are whatever was in memory.
UNDEFINED = {"empty", "empty_like", "empty_permuted", "empty_strided", "new_empty",
             "new_empty_strided"}  # fmt: skip


def operators() -> dict[str, Any]:
    """Return the operators that have samples in float32, by name with variant."""
    from torch.testing._internal.common_methods_invocations import op_db

    found = {}
    for op in op_db:
        if torch.float32 in op.dtypes and op.name not in UNDEFINED:
            variant = f".{op.variant_test_name}" if op.variant_test_name else ""
            found[op.name + variant] = op
    return found


class Samples(torch.nn.Module):
    """Calls an operator on several samples; their tensors are its arguments.

    Each result is reduced by the database's own function to what is determined of it: of
    eigenvectors, for one, the magnitudes.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        samples: list[tuple[Any, dict]],
        determined: list[Callable[[Any], Any]],
    ) -> None:
        super().__init__()
        self.function = function
        self.determined = determined
        leaves, self.spec = pytree.tree_flatten(samples)
        self.places = [n for n, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        self.tensors = [leaves[n] for n in self.places]
        self.leaves = [None if n in self.places else leaf for n, leaf in enumerate(leaves)]

    def forward(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        """Return all tensors that the calls give."""
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        samples = pytree.tree_unflatten(leaves, self.spec)
        results = [
            part(self.function(*args, **kwargs))
            for part, (args, kwargs) in zip(self.determined, samples, strict=True)
        ]
        return [r for r in pytree.tree_leaves(results) if isinstance(r, torch.Tensor)]


def samples_of(op: Any) -> Samples:
    """Return the module of an operator's first samples."""
    torch.manual_seed(0)
    taken, determined = [], []
    for sample in op.sample_inputs("cpu", torch.float32, requires_grad=False):
        if len(taken) == SAMPLES:
            break
        taken.append(((sample.input, *sample.args), dict(sample.kwargs)))
        determined.append(sample.output_process_fn_grad)
    return Samples(op.op, taken, determined)


def run(op: Any) -> str:
    """Return ``pass``, ``random`` where the results are not determined, or why it failed.

    Where PyTorch itself does not run it, the answer starts with ``OUT_OF_REACH``.
    """
    module = samples_of(op)
    try:
        module(*copy.deepcopy(module.tensors))
    except Exception as error:
        return f"{OUT_OF_REACH}{str(error).strip().partition(chr(10))[0][:200]}"
    expected = _eager(module)
    if not expected:
        return "random"
    try:
        with _other_seeds():
            _close(_eager(module), expected)
    except AssertionError:
        return "random"
    try:
        found = compiled(module)(*copy.deepcopy(module.tensors))
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
    try:
        _close(found, expected)
    except AssertionError as error:
        return f"wrong: {' '.join(str(error).split())[:200]}"
    return "pass"


@contextmanager
def _other_seeds() -> Iterator[None]:
    """Let the seeds that the database's functions set be others."""
    seed = torch.manual_seed
    torch.manual_seed = lambda number: seed(number + 1)
    try:
        yield
    finally:
        torch.manual_seed = seed


def _eager(module: Samples) -> list[torch.Tensor]:
    return [r.clone() for r in module(*copy.deepcopy(module.tensors))]


def _close(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


def compiled(module: Samples) -> Callable[..., list[torch.Tensor]]:
    """Compile in this process: it is forked, and may die."""
    import iree_core as iree
    from iree_core.compile_worker import compile_model
    from iree_core.compiler_service import CompileRequest
    from iree_core.passes.state import CompileOptions
    from iree_frontend_torch import bundle, exporting, importer
    from iree_frontend_torch.program import decompose, from_decomposed
    from iree_frontend_torch.traceable import trace

    exported = trace(module, tuple(module.tensors))
    decomposed = decompose(exported)
    calling = exporting.Calling(decomposed)
    imported, weights = importer.import_program(from_decomposed(decomposed), exporting.context())
    folder = Path(tempfile.mkdtemp())
    with bundle.written(imported, weights.arrays) as path:
        options = CompileOptions(threads=1, fallback="allow")
        compile_model(
            CompileRequest(path, "torch", {}, "llvm-cpu", options, folder / "m.vmfb", folder),
            lambda _: None,
        )
    loaded = iree.load(folder / "m.vmfb", device="local-sync")
    return lambda *args: calling.call(loaded.main, args, {})


def isolated(op: Any) -> str:
    """Like :func:`run`, in a forked child with a time limit."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        signal.alarm(TIME_LIMIT)
        answer = "the process failed"
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            answer = run(op)
        except BaseException as error:
            answer = f"{type(error).__name__}: {str(error)[:200]}"
        finally:
            os.write(write_end, answer.encode()[:4000])
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        # Workers of a killed child may hold the pipe open.
        _, status = os.waitpid(child, 0)
        os.set_blocking(pipe.fileno(), False)
        answer = pipe.read() or b""
    if status:
        return f"killed by signal {os.WTERMSIG(status)}"
    return answer.decode()


def prepare() -> None:
    """Import what every child needs."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    from iree_frontend_torch import exporting

    exporting.context()
    warm = torch.export.export(torch.nn.Linear(2, 2), (torch.randn(1, 2),))
    from iree_frontend_torch.program import decompose

    decompose(warm)


def run_all(names: list[str], jobs: int) -> Iterator[tuple[str, str, float]]:
    """Yield name, answer and seconds of every operator; ``jobs`` run at a time."""
    from concurrent.futures import ThreadPoolExecutor

    known = operators()

    def one(name: str) -> tuple[str, str, float]:
        started = time.perf_counter()
        return name, isolated(known[name]), time.perf_counter() - started

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, names)


def recorded() -> list[str]:
    """Return the operators that are known to pass."""
    return PASSES.read_text().split() if PASSES.exists() else []


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    prepare()
    counts: Counter[str] = Counter()
    passed = []
    for name, answer, seconds in run_all(options.names or sorted(operators()), options.jobs):
        kind = answer if answer in ("pass", "random") else "fail"
        kind = "not runnable" if answer.startswith(OUT_OF_REACH) else kind
        counts[kind] += 1
        if kind == "pass":
            passed.append(name)
        print(f"{name}\t{seconds:.1f}\t{answer}", flush=True)
        if options.update and kind == "pass":
            PASSES.write_text("\n".join(sorted({*recorded(), *passed})) + "\n")
    total = counts["pass"] + counts["fail"]
    print(f"{counts['pass']} of {total} pass ({100 * counts['pass'] / max(total, 1):.1f} %), "
          f"{counts['random']} have no determined result, "
          f"{counts['not runnable']} PyTorch does not run here", file=sys.stderr)  # fmt: skip


if __name__ == "__main__":
    main()
