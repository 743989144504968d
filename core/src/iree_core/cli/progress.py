"""Shows a compilation as it proceeds: a live line on a terminal, else one line per phase."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from iree_core.passes.state import Progress

if TYPE_CHECKING:
    import rich.progress


class ProgressDisplay:
    """A context in which it can be given to :func:`iree_core.compile` as ``progress``."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._started = time.monotonic()
        self._phase = ""
        self._live: rich.progress.Progress | None = None

    def __enter__(self) -> ProgressDisplay:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
            )
            from rich.progress import Progress as Live

            self._live = Live(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._live.add_task(self._title, total=None)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Progress) -> None:
        """Show ``event``."""
        if self._live is not None:
            self._live.update(
                self._task,
                description=f"{self._title}: {event.phase} {event.step}".rstrip(),
                completed=event.done,
                total=event.total or None,
            )
        elif event.phase != self._phase:
            seconds = time.monotonic() - self._started
            print(f"[{seconds:6.1f} s] {self._title}: {event.phase}", file=sys.stderr, flush=True)
        elif event.total and event.done == event.total and event.step in ("dispatches",):
            seconds = time.monotonic() - self._started
            print(
                f"[{seconds:6.1f} s] {self._title}: {event.total} distinct dispatches compiled",
                file=sys.stderr,
                flush=True,
            )
        self._phase = event.phase
