"""Runs one function over many jobs in forked children that may hang or die.

MLIR and LLVM can abort or loop on unusual input, and MLIR holds the GIL. A child costs a fork of
a process that has everything imported, and takes job after job; one that dies or exceeds its
time costs the job it was given.

The process that forks is the compile worker: one thread, no framework. A child of a process with
threads must not touch what they may hold locked; so a child runs ``work`` and nothing else, leaves
the objects it inherits alone (no finaliser of theirs runs) and ends without clean-up.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why a job has no result: one sentence."""

    reason: str


@dataclass
class _Child:
    pid: int
    pipe: Connection
    job: int | None = None
    deadline: float = 0.0


class ForkPool(Generic[Job, Result]):
    """Children that each run ``work(job)``; results and exceptions come back by pickle."""

    def __init__(self, work: Callable[[Job], Result], size: int, timeout: float) -> None:
        self._work, self._size, self._timeout = work, size, timeout
        self._children: list[_Child] = []

    def run(
        self, jobs: Sequence[Job], done: Callable[[int, Result | Failure], None] | None = None
    ) -> list[Result | Failure]:
        """Return the result of every job in order, or why it has none.

        Args:
            jobs: handed out in order to whichever child is free.
            done: called in this process with the position and outcome of each finished job.
        """
        outcomes: dict[int, Result | Failure] = {}
        waiting = deque(range(len(jobs)))
        try:
            while len(outcomes) < len(jobs):
                self._hand_out(jobs, waiting)
                for position, outcome in self._collect():
                    outcomes[position] = outcome
                    if done is not None:
                        done(position, outcome)
        finally:
            for child in list(self._children):
                self._end(child)
        return [outcomes[position] for position in range(len(jobs))]

    def _hand_out(self, jobs: Sequence[Job], waiting: deque[int]) -> None:
        idle = [child for child in self._children if child.job is None]
        while waiting and (idle or len(self._children) < self._size):
            child = idle.pop() if idle else self._fork()
            child.job, child.deadline = waiting.popleft(), time.monotonic() + self._timeout
            with suppress(ConnectionError):  # of a dead child, _collect tells
                child.pipe.send(jobs[child.job])

    def _collect(self) -> list[tuple[int, Result | Failure]]:
        """Wait for the next results, deaths or time limits."""
        busy = {child.pipe: child for child in self._children if child.job is not None}
        remaining = min(child.deadline for child in busy.values()) - time.monotonic()
        ready = wait(list(busy), timeout=max(0.0, remaining))
        finished: list[tuple[int, Result | Failure]] = []
        for pipe, child in busy.items():
            assert child.job is not None
            if pipe in ready:
                outcome: Result | Failure
                try:
                    outcome = pipe.recv()
                except (EOFError, ConnectionError):
                    outcome = Failure(f"the compiler {self._end(child)}")
            elif time.monotonic() >= child.deadline:
                self._end(child)
                outcome = Failure(f"it took more than {self._timeout:g} s")
            else:
                continue
            finished.append((child.job, outcome))
            child.job = None
        return finished

    def _fork(self) -> _Child:
        ours, theirs = Pipe()
        pid = os.fork()
        if pid == 0:
            for other in self._children:
                other.pipe.close()
            ours.close()
            self._serve(theirs)
        theirs.close()
        child = _Child(pid, ours)
        self._children.append(child)
        return child

    def _serve(self, pipe: Connection) -> None:
        """Work until the parent closes the pipe; never returns into the parent's code."""
        gc.freeze()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = 0
        try:
            while True:
                job = pipe.recv()
                try:
                    outcome: Result | Failure = self._work(job)
                except Exception as error:
                    outcome = Failure(_one_line(error))
                pipe.send(outcome)
        except (EOFError, ConnectionError):
            pass  # the parent has no more work
        except BaseException:
            status = 1
        finally:
            os._exit(status)

    def _end(self, child: _Child) -> str:
        """Kill a child and return how it had ended, as the end of a sentence."""
        child.pipe.close()
        self._children.remove(child)
        os.kill(child.pid, signal.SIGKILL)
        _, status = os.waitpid(child.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return f"died of {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def _one_line(error: Exception) -> str:
    from iree_core.errors import IreeError
    from iree_core.passes.diagnostics import first_diagnostic

    return str(error) if isinstance(error, IreeError) else first_diagnostic(error)[0]
