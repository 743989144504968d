"""What drivers of devices with a queue share: errors of a whole device, waiting, and options."""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from iree_core.errors import DeviceError, ModuleFileError, UsageError
from iree_core.hal.buffer import Buffer
from iree_core.hal.device import CommandBuffer, Device, Executable
from iree_core.hal.kernels import KernelExecutable
from iree_core.hal.parts import PartedBuffer
from iree_core.hal.recording import Recorded, RecordedCommands
from iree_core.hal.sync import Semaphore, Timepoint
from iree_core.vm.program import CommandList

TIMEOUT = 600.0
"""Seconds after which a submission counts as hung, where the user says nothing else."""

# Waits are cut in steps, so that a failure from elsewhere and Ctrl-C are noticed.
_STEP = 0.5


class QueueDevice(Device):
    """A device that can be lost: from then on everything on it raises the same error.

    Attributes:
        timeout: seconds after which work counts as hung.
    """

    timeout: float

    def __init__(self, name: str, format: str, description: str, timeout: float) -> None:
        self.name, self.description, self.timeout = name, description, timeout
        self._format = format
        self._error: DeviceError | None = None
        self._process = os.getpid()

    @property
    def error(self) -> DeviceError | None:
        """Why the device cannot be used any more, None while it can."""
        if self._error is None and os.getpid() != self._process:
            self._error = DeviceError(
                f"{self.description} was opened before this process was forked off another.",
                hint="Load the module in the process that runs it, or start processes with "
                "multiprocessing's method 'spawn'.",
            )
        return self._error

    def fail(self, error: DeviceError) -> DeviceError:
        """Make everything on this device raise ``error`` from now on; return the first such."""
        self._error = self.error or error
        return self._error

    def timed_out(self, seconds: float) -> DeviceError:
        """Fail the device because its work takes too long."""
        return self.fail(
            DeviceError(
                f"{self.description} did not finish its work in {seconds:g} s.",
                hint="Open the device with a larger ?timeout=SECONDS if the work takes that long.",
            )
        )

    def collect(self) -> None:
        """Let go of what finished work used."""

    def accepts(self, format: str, target: str) -> str | None:
        """Return None if ``format`` is the driver's."""
        return None if format == self._format else f"{self.name} runs {self._format}, not {format}"

    def load_executable(
        self, data: memoryview, entries: Sequence[tuple[str, int]], *, format: str
    ) -> Executable:
        """Load every kernel of an image."""
        reason = self.accepts(format, "")
        if reason is not None:
            raise ModuleFileError(f"The executable does not run here: {reason}.")
        return self.load(data, entries)

    @abstractmethod
    def load(self, data: memoryview, entries: Sequence[tuple[str, int]]) -> Executable:
        """Load every kernel of an image of the driver's format."""

    def record(self, commands: CommandList, executable: Executable | None) -> RecordedCommands[Any]:
        """Check ``commands``; they are recorded when their first operands are known."""
        assert executable is None or isinstance(executable, KernelExecutable)
        return RecordedCommands(commands, executable, partial(self.recording, commands, executable))

    @abstractmethod
    def recording(
        self,
        commands: CommandList,
        executable: KernelExecutable[Any] | None,
        buffers: Sequence[PartedBuffer],
        params: Sequence[int],
    ) -> Recorded:
        """Record ``commands`` for certain buffers and parameters."""

    def submit(
        self,
        commands: CommandBuffer,
        buffers: Sequence[Buffer],
        params: Sequence[int],
        *,
        wait: Sequence[Timepoint] = (),
        signal: Sequence[Timepoint] = (),
    ) -> None:
        """Check the operands and hand the work to the queue; the host waits for other devices."""
        if self.error is not None:
            raise self.error
        if len(buffers) != commands.slots or len(params) != commands.params:
            raise DeviceError(
                f"The command buffer takes {commands.slots} buffers and {commands.params} "
                f"parameters, not {len(buffers)} and {len(params)}."
            )
        if not all(map(self.allocator.owns, buffers)):
            raise DeviceError(f"A buffer is not in the memory of {self.description}.")
        if not all(isinstance(s, QueueSemaphore) and s.device is self for s, _ in signal):
            raise DeviceError("A submission signals a semaphore of another device.")
        assert isinstance(commands, RecordedCommands)
        ordered = [(semaphore, value) for semaphore, value in wait if self.orders(semaphore)]
        for semaphore, value in wait:
            if not self.orders(semaphore):
                semaphore.wait(value)
            elif isinstance(semaphore, QueueSemaphore):
                semaphore.check()
        self.enqueue(commands, buffers, params, ordered, signal)

    def orders(self, semaphore: Semaphore) -> bool:
        """Tell whether the queue itself can wait for ``semaphore``."""
        return isinstance(semaphore, QueueSemaphore) and semaphore.device is self

    @abstractmethod
    def enqueue(
        self,
        commands: RecordedCommands[Any],
        buffers: Sequence[Any],
        params: Sequence[int],
        waits: Sequence[tuple[Any, int]],
        signals: Sequence[tuple[Any, int]],
    ) -> None:
        """Hand work to the queue; everything is of this device, or what the queue orders.

        Without ``signals`` it returns when the work is done.

        Raises:
            DeviceError: out of memory, or the device is lost.
        """


class QueueSemaphore(Semaphore):
    """A timeline semaphore of such a device; the driver adds the payload."""

    def __init__(self, device: QueueDevice) -> None:
        self.device: QueueDevice = device
        self._error: DeviceError | None = None

    @abstractmethod
    def payload(self) -> int:
        """Return the current payload."""

    @abstractmethod
    def set_payload(self, value: int) -> None:
        """Raise the payload from the host."""

    @abstractmethod
    def wait_for(self, value: int, seconds: float) -> bool:
        """Block until the payload reaches ``value``; False after ``seconds``."""

    def check(self) -> None:
        """Raise the error that the semaphore was failed with, or that its device has."""
        error = self._error or self.device.error
        if error is not None:
            raise error

    def query(self) -> int:
        """Return the current payload."""
        self.check()
        return self.payload()

    def signal(self, value: int) -> None:
        """Raise the payload from the host."""
        if self._error is not None:
            return
        current = self.query()
        if value <= current:
            raise DeviceError(f"A semaphore at {current} cannot be signalled to {value}.")
        self.set_payload(value)

    def fail(self, error: DeviceError) -> None:
        """Make every wait raise ``error``."""
        self._error = error

    def wait(self, value: int, timeout: float | None = None) -> bool:
        """Block until the payload reaches ``value``."""
        self.check()
        limit = self.device.timeout if timeout is None else timeout
        end = time.monotonic() + limit
        while True:
            left = max(0.0, end - time.monotonic())
            reached = self.wait_for(value, min(left, _STEP))
            self.check()
            if reached:
                self.device.collect()
                return True
            if not left:
                break
        if timeout is not None:
            return False
        raise self.device.timed_out(limit)


class Choice(Protocol):
    """A device of the machine: its name, and why it is unusable, None if it is not."""

    @property
    def name(self) -> str: ...

    @property
    def unusable(self) -> str | None: ...


_C = TypeVar("_C", bound=Choice)


def choose(devices: Sequence[_C], path: str, kind: str) -> _C:
    """Return the device with number ``path``; the first usable one by default.

    Raises:
        DeviceError: there is none.
    """
    if path in ("", "default"):
        usable = [device for device in devices if device.unusable is None]
        if usable:
            return usable[0]
        reasons = "; ".join(f"{device.name}: {device.unusable}" for device in devices)
        raise DeviceError(
            f"No {kind} device of this machine is usable ({reasons or 'there is none'})."
        )
    if not path.isdecimal() or int(path) >= len(devices):
        raise DeviceError(
            f"There is no {kind} device {path!r}; this machine has {len(devices)}.",
            hint="`iree devices` lists them.",
        )
    return devices[int(path)]


def device_options(
    driver: str, options: Mapping[str, str] | None, *switches: str
) -> tuple[float, list[bool]]:
    """Return the timeout in seconds and the switches (``0`` or ``1``) that a user set.

    Raises:
        UsageError: an unknown option or a value that is none.
    """
    left = dict(options or {})
    timeout = _seconds(left.pop("timeout", None))
    values = {name: left.pop(name, "0") for name in switches}
    wrong = list(left) or [f"{n}={v}" for n, v in values.items() if v not in ("0", "1")]
    if wrong:
        known = ", ".join(["timeout=SECONDS", *(f"{name}=1" for name in switches)])
        raise UsageError(f"{driver} has no option {', '.join(wrong)}.", hint=f"It knows: {known}.")
    return timeout, [value == "1" for value in values.values()]


def _seconds(text: str | None) -> float:
    if text is None:
        return TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise UsageError(f"timeout is a number of seconds, not {text!r}.")
    return seconds
