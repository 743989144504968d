"""Calls that may crash, hang or exhaust memory, each in a forked child of this process."""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from iree_core.errors import IreeError

TIME_LIMIT = 240.0  # the largest network takes ten seconds where nothing else runs
MEMORY_LIMIT = 8 << 30

Job = TypeVar("Job")
Verdict = Literal["pass", "unsupported", "wrong", "defect", "crash", "timeout"]


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    Attributes:
        verdict: ``unsupported`` is an error raised on purpose, ``wrong`` an AssertionError,
            ``defect`` any other exception, ``crash`` the death of the process.
        message: the error, in one line.
        seconds: processor time, that of its own children included.
        value: what the function returned.
    """

    verdict: Verdict
    message: str = ""
    seconds: float = 0.0
    value: object = None


@dataclass
class _Child(Generic[Job]):
    job: Job
    pid: int
    pipe: int
    deadline: float
    data: bytes = b""


def run_all(
    function: Callable[[Job], object], jobs: Iterable[Job], parallel: int = 1
) -> Iterator[tuple[Job, Outcome]]:
    """Yield every job with how ``function`` of it ended, as they end."""
    waiting, children = iter(jobs), list[_Child[Job]]()
    exhausted = False
    while True:
        while not exhausted and len(children) < parallel:
            try:
                children.append(_fork(function, next(waiting)))
            except StopIteration:
                exhausted = True
        if not children:
            return
        soonest = min(child.deadline for child in children) - time.monotonic()
        ready, _, _ = select.select([c.pipe for c in children], [], [], max(0.0, soonest))
        for child in list(children):
            ended = child.pipe in ready and not _receive(child)
            late = time.monotonic() >= child.deadline
            if ended or late:
                children.remove(child)
                yield child.job, _outcome(child, late and not ended)


def isolated(function: Callable[[], object]) -> str | None:
    """Call ``function`` in a child; return None if it succeeds, else what went wrong."""
    ((_, outcome),) = run_all(lambda _: function(), [None])
    return None if outcome.verdict == "pass" else f"{outcome.verdict}: {outcome.message}"


def _fork(function: Callable[[Job], object], job: Job) -> _Child[Job]:
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
        _report(theirs, _call(function, job))
        os._exit(0)
    os.close(theirs)
    return _Child(job, pid, ours, time.monotonic() + TIME_LIMIT)


def _call(function: Callable[[Job], object], job: Job) -> Outcome:
    try:
        return Outcome("pass", value=function(job))
    except IreeError as error:
        return Outcome("unsupported", f"{type(error).__name__}: {_line(error)}")
    except AssertionError as error:
        return Outcome("wrong", _line(error))
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
        return Outcome("defect", f"{type(error).__name__}: {_line(error)} ({where})")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:600]


def _report(pipe: int, outcome: Outcome) -> None:
    times = os.times()
    seconds = times.user + times.system + times.children_user + times.children_system
    answer = Outcome(outcome.verdict, outcome.message, seconds, outcome.value)
    with os.fdopen(pipe, "wb") as file:
        pickle.dump(answer, file)


def _receive(child: _Child) -> bool:
    part = os.read(child.pipe, 1 << 16)
    child.data += part
    return bool(part)


def _outcome(child: _Child, late: bool) -> Outcome:
    os.close(child.pipe)
    if late:
        os.killpg(child.pid, signal.SIGKILL)
    _, status = os.waitpid(child.pid, 0)
    if late:
        return Outcome("timeout", f"no result after {TIME_LIMIT:g} s", TIME_LIMIT)
    if child.data:
        return pickle.loads(child.data)
    return Outcome("crash", f"the process died with status {os.waitstatus_to_exitcode(status)}")
