"""A device that runs commands one by one and tells plugins about each dispatch.

It stands in for the real device only while a plugin implements ``iree_observe_dispatch``; without
one nothing here is on the path of a call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from iree_core.hal.buffer import Buffer
from iree_core.hal.device import CommandBuffer, Device, Executable, Stream
from iree_core.hal.sync import Fence, Semaphore, Timepoint
from iree_core.plugins import installed
from iree_core.vm.program import Command, CommandList, Dispatch


@dataclass(frozen=True)
class DispatchEvent:
    """A dispatch has run.

    Attributes:
        name: the executable's entry point.
        device: where it ran.
        work_items: how many it consisted of.
        seconds: from its submission until it was complete.
    """

    name: str
    device: str
    work_items: int
    seconds: float


def observed(device: Device) -> Device:
    """Return ``device``, or one that reports to the plugins that want to know of dispatches."""
    plugins = installed()
    if not plugins.listens("iree_observe_dispatch"):
        return device
    return observing(device, lambda event: plugins.call("iree_observe_dispatch", event=event))


def observing(device: Device, report: Callable[[DispatchEvent], object]) -> Device:
    """Return a device that runs commands one by one on ``device`` and reports each dispatch."""
    return _ObservedDevice(device, report)


class _ObservedCommandBuffer(CommandBuffer):
    """Every command recorded on its own."""

    def __init__(self, commands: CommandList, executable: Executable | None, device: Device):
        self.slots, self.params = commands.slots, commands.params
        self.names = executable.entries if executable is not None else ()
        self.whole = device.record(commands, executable)
        self.parts = [
            (command, device.record(CommandList((command,), self.slots, self.params), executable))
            for command in commands.commands
        ]


class _ObservedStream(Stream):
    """Runs each command to its end before the next."""

    def __init__(self, device: Device, report: Callable[[DispatchEvent], object]) -> None:
        self._base, self._name, self._report = device.create_stream(), device.name, report

    def fence(self) -> Fence | None:
        return self._base.fence()

    def synchronize(self) -> None:
        self._base.synchronize()

    def wait_for(self, fence: Fence) -> None:
        self._base.wait_for(fence)

    def execute(
        self, commands: CommandBuffer, buffers: Sequence[Buffer], params: Sequence[int]
    ) -> None:
        """Run ``commands`` now and report its dispatches."""
        assert isinstance(commands, _ObservedCommandBuffer)
        for command, recorded in commands.parts:
            started = time.perf_counter()
            self._base.execute(recorded, buffers, params)
            self._base.synchronize()
            if isinstance(command, Dispatch):
                seconds = time.perf_counter() - started
                items = _work_items(command, params)
                name = commands.names[command.entry]
                self._report(DispatchEvent(name, self._name, items, seconds))


class _ObservedDevice(Device):
    """Hands everything to another device, except what records and runs commands."""

    def __init__(self, device: Device, report: Callable[[DispatchEvent], object]) -> None:
        self._device, self._report = device, report
        self.name, self.description = device.name, device.description
        self.allocator = device.allocator

    def accepts(self, format: str, target: str) -> str | None:
        return self._device.accepts(format, target)

    def load_executable(
        self, data: memoryview, entries: Sequence[tuple[str, int]], *, format: str
    ) -> Executable:
        return self._device.load_executable(data, entries, format=format)

    def record(self, commands: CommandList, executable: Executable | None) -> CommandBuffer:
        return _ObservedCommandBuffer(commands, executable, self._device)

    def create_semaphore(self, initial: int = 0) -> Semaphore:
        return self._device.create_semaphore(initial)

    def create_stream(self) -> Stream:
        return _ObservedStream(self._device, self._report)

    def submit(
        self,
        commands: CommandBuffer,
        buffers: Sequence[Buffer],
        params: Sequence[int],
        *,
        wait: Sequence[Timepoint] = (),
        signal: Sequence[Timepoint] = (),
    ) -> None:
        """Submit all commands at once, unobserved: their end is not waited for here."""
        assert isinstance(commands, _ObservedCommandBuffer)
        self._device.submit(commands.whole, buffers, params, wait=wait, signal=signal)


def _work_items(command: Command, params: Sequence[int]) -> int:
    assert isinstance(command, Dispatch)
    kind, value = command.grid
    return value if kind == "imm" else params[value]
