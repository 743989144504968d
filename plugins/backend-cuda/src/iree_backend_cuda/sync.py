"""Events of CUDA and the timeline semaphores made of them.

A point of a semaphore that the device is to signal is an event in a stream. Such a point is
*promised* from when the work before it has been submitted; work that waits for it can be
submitted from then on, and the device orders them.
"""

from __future__ import annotations

import ctypes
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from iree_backend_cuda import cu
from iree_core.errors import DeviceError
from iree_core.hal.queue import QueueSemaphore

if TYPE_CHECKING:
    from iree_backend_cuda.driver import CudaDevice

_SPIN_SECONDS = 200e-6
_LONGEST_NAP = 1e-3


class Event:
    """A point in a stream; reached from the start if it is never recorded.

    Attributes:
        device: whose stream.
        handle: the CUevent.
        stream: where it was recorded.
    """

    def __init__(self, device: CudaDevice) -> None:
        self.device, self.stream = device, 0
        self.handle = device.take_event()
        weakref.finalize(self, device.give_back_event, self.handle).atexit = False

    def record(self, stream: int) -> None:
        """Put the event behind everything in ``stream``."""
        self.stream = stream
        self.device.guarded(self.device.api.EventRecord, self.handle, stream)

    def reached(self) -> bool:
        """Whether everything before it is done."""
        with self.device.current():
            return self.device.guarded(self.device.api.EventQuery, self.handle) == cu.SUCCESS

    def wait(self, seconds: float) -> bool:
        """Wait until it is reached; False after ``seconds``."""
        start = time.monotonic()
        nap = 20e-6
        while not self.reached():
            waited = time.monotonic() - start
            if waited >= seconds:
                return False
            if waited > _SPIN_SECONDS:
                time.sleep(min(nap, seconds - waited))
                nap = min(2 * nap, _LONGEST_NAP)
        return True


class CudaSemaphore(QueueSemaphore):
    """A timeline semaphore that streams of one device, and the host, signal."""

    device: CudaDevice

    def __init__(self, device: CudaDevice, initial: int) -> None:
        super().__init__(device)
        self._value = initial
        self._promised: list[tuple[int, Event]] = []
        self._callbacks: list[tuple[int, Callable[[], None]]] = []
        self._changed = threading.Condition(threading.RLock())

    def payload(self) -> int:
        """Return the current payload."""
        with self._changed:
            while self._promised and self._promised[0][1].reached():
                self._value = self._promised.pop(0)[0]
            return self._value

    def set_payload(self, value: int) -> None:
        """Raise the payload from the host."""
        with self._changed:
            self._value = value
            self._promised = [point for point in self._promised if point[0] > value]
        self._notify(value)

    def promise(self, value: int, event: Event) -> None:
        """Let ``event`` stand for ``value``."""
        with self._changed:
            self._promised.append((value, event))
        self._notify(value)

    def fail(self, error: DeviceError) -> None:
        """Make every wait raise ``error``."""
        with self._changed:
            self._error = error
            last = max((value for value, _ in self._callbacks), default=0)
        self._notify(last)

    def _notify(self, value: int) -> None:
        with self._changed:
            ready = [callback for point, callback in self._callbacks if point <= value]
            self._callbacks = [entry for entry in self._callbacks if entry[0] > value]
            self._changed.notify_all()
        for callback in ready:
            callback()

    def event(self, value: int) -> Event | None:
        """Return the event that stands for a promised value; None if it is reached.

        Raises:
            LookupError: nothing that was submitted signals it.
            DeviceError: the semaphore was failed.
        """
        with self._changed:
            if self.query() >= value:
                return None
            for point, event in self._promised:
                if point >= value:
                    return event
        raise LookupError(value)

    def on_promised(self, value: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` once ``value`` is promised, reached or failed, at once if it is."""
        with self._changed:
            try:
                self.event(value)
            except LookupError:
                self._callbacks.append((value, callback))
                return
            except DeviceError:
                pass  # the callback asks again and meets the error
        callback()

    def wait_for(self, value: int, seconds: float) -> bool:
        """Block until the payload reaches ``value``, or something is promised that does."""
        with self._changed:
            try:
                event = self.event(value)
            except LookupError:
                self._changed.wait(seconds)
                return False
        return event is None or (event.wait(seconds) and self.payload() >= value)


def make_event(device: CudaDevice) -> int:
    """Return a fresh CUevent."""
    made = ctypes.c_void_p()
    device.guarded(device.api.EventCreate, cu.pointer(made), cu.EVENT_DISABLE_TIMING)
    assert made.value is not None
    return made.value
