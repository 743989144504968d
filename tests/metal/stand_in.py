"""Stands in for Apple's Metal framework: records the calls, and does what they ask on the CPU.

Only what the driver may call exists, under the names that PyObjC gives it; anything else is an
AttributeError. Arguments are held to the rules of Apple's documentation. Kernels are compiled by
:mod:`tests.metal.cpu`. A test can make the device refuse memory, fail work, or never start it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from tests.metal import cpu

from iree_backend_metal.framework import Framework

_GUARD = 64
_PATTERN = 0xC3
_MOST_SET_BYTES = 4096
_MOST_THREADGROUP_MEMORY = 32 << 10


class Error:
    """An NSError."""

    def __init__(self, text: str) -> None:
        self._text = text

    def localizedDescription(self) -> str:
        return self._text


class Contents:
    """What PyObjC returns for a pointer to memory of unknown size."""

    def __init__(self, data: np.ndarray) -> None:
        self._data = data

    def as_buffer(self, length: int) -> memoryview:
        assert 0 <= length <= self._data.size
        return memoryview(self._data)[:length]


class Buffer:
    """An MTLBuffer with guard bytes behind it."""

    def __init__(self, length: int, private: bool) -> None:
        whole = np.full(length + _GUARD + 4096, _PATTERN, np.uint8)
        start = -whole.ctypes.data % 4096
        self.bytes = whole[start : start + length]
        self.guard = whole[start + length : start + length + _GUARD]
        self._private = private

    def contents(self) -> Contents | None:
        return None if self._private else Contents(self.bytes)

    def length(self) -> int:
        return self.bytes.size


class CompileOptions:
    """An MTLCompileOptions of macOS 14."""

    @classmethod
    def alloc(cls) -> type[CompileOptions]:
        return cls

    @classmethod
    def init(cls) -> CompileOptions:  # type: ignore[misc]
        return cls()

    def respondsToSelector_(self, selector: str) -> bool:
        return selector == "setFastMathEnabled:"

    def setFastMathEnabled_(self, enabled: bool) -> None:
        assert enabled is False, "generated code needs IEEE arithmetic"


class State:
    """An MTLComputePipelineState."""

    def __init__(self, name: str, kernel: cpu.Kernel) -> None:
        self.name, self.kernel = name, kernel

    def maxTotalThreadsPerThreadgroup(self) -> int:
        return self.kernel.threads


class Library:
    """An MTLLibrary; its functions are the kernels themselves."""

    def __init__(self, kernels: dict[str, cpu.Kernel]) -> None:
        self._kernels = kernels

    def newFunctionWithName_(self, name: str) -> State | None:
        return State(name, self._kernels[name]) if name in self._kernels else None


class Event:
    """An MTLSharedEvent."""

    def __init__(self, device: Device) -> None:
        self._device, self._value = device, 0

    def signaledValue(self) -> int:
        return self._value

    def setSignaledValue_(self, value: int) -> None:
        self._value = value
        self._device.advance()

    def waitUntilSignaledValue_timeoutMS_(self, value: int, milliseconds: int) -> bool:
        assert isinstance(milliseconds, int)
        return self._value >= value


class Encoder:
    """What both kinds of encoders do: take commands until they are ended."""

    def __init__(self, work: CommandBuffer) -> None:
        self._work, self._open = work, True
        assert work.encoder is None, "two encoders at a time"
        work.encoder = self

    def endEncoding(self) -> None:
        assert self._open
        self._open, self._work.encoder = False, None

    def _record(self, name: str, arguments: tuple[Any, ...], call: Callable[[], None]) -> None:
        assert self._open, "an encoder was used after its end"
        self._work.device.calls.append((name, arguments))
        self._work.steps.append(call)


class ComputeEncoder(Encoder):
    """A serial MTLComputeCommandEncoder."""

    def __init__(self, work: CommandBuffer) -> None:
        super().__init__(work)
        self._state: State | None = None
        self._places: dict[int, tuple[Buffer, int]] = {}
        self._bytes: dict[int, bytes] = {}

    def setComputePipelineState_(self, state: State) -> None:
        assert isinstance(state, State)
        self._state = state

    def setBuffer_offset_atIndex_(self, buffer: Buffer, offset: int, index: int) -> None:
        assert 0 <= index < 31 and 0 <= offset < buffer.length() and offset % 16 == 0
        self._places[index] = (buffer, offset)
        self._bytes.pop(index, None)

    def setBytes_length_atIndex_(self, data: bytes, length: int, index: int) -> None:
        assert 0 <= index < 31 and len(data) == length <= _MOST_SET_BYTES
        self._bytes[index] = data
        self._places.pop(index, None)

    def dispatchThreadgroups_threadsPerThreadgroup_(
        self, groups: tuple[int, int, int], threads: tuple[int, int, int]
    ) -> None:
        state, places, constants = self._state, dict(self._places), dict(self._bytes)
        assert state is not None and min(*groups, *threads) > 0
        assert groups[1:] == threads[1:] == (1, 1) and threads[0] <= state.kernel.threads

        def call() -> None:
            # Bytes are the kernel's own, as Metal copies them.
            copies = {n: np.frombuffer(data, np.uint8).copy() for n, data in constants.items()}
            addresses = []
            for number in range(max(state.kernel.buffers, default=-1) + 1):
                if number in copies:
                    addresses.append(copies[number].ctypes.data)
                else:
                    buffer, offset = places[number]
                    addresses.append(buffer.bytes.ctypes.data + offset)
            state.kernel.run(addresses, groups[0], threads[0])
            for buffer, _ in places.values():
                assert (buffer.guard == _PATTERN).all(), "a kernel wrote past the end of a buffer"

        self._record("dispatch", (state.name, groups[0], threads[0], len(places)), call)


class BlitEncoder(Encoder):
    """An MTLBlitCommandEncoder of macOS."""

    def copyFromBuffer_sourceOffset_toBuffer_destinationOffset_size_(
        self, source: Buffer, start: int, target: Buffer, place: int, size: int
    ) -> None:
        assert size > 0 and start % 4 == place % 4 == size % 4 == 0
        assert start + size <= source.length() and place + size <= target.length()

        def call() -> None:
            target.bytes[place : place + size] = source.bytes[start : start + size]

        self._record("copy", (start, place, size), call)

    def fillBuffer_range_value_(self, buffer: Buffer, area: tuple[int, int], value: int) -> None:
        start, size = area
        assert size > 0 and start % 4 == size % 4 == 0 and start + size <= buffer.length()
        assert 0 <= value < 128, "PyObjC takes a signed char"

        def call() -> None:
            buffer.bytes[start : start + size] = value

        self._record("fill", (start, size, value), call)


class CommandBuffer:
    """An MTLCommandBuffer: encoded, committed once, run in order."""

    def __init__(self, device: Device, queue: int) -> None:
        self.device, self.queue = device, queue
        self.encoder: Encoder | None = None
        self.steps: list[Callable[[], None]] = []
        self.waits: list[tuple[Event, int]] = []
        self._signals: list[tuple[Event, int]] = []
        self._status = Metal.MTLCommandBufferStatusNotEnqueued
        self._error: Error | None = None

    def computeCommandEncoder(self) -> ComputeEncoder:
        return ComputeEncoder(self)

    def blitCommandEncoder(self) -> BlitEncoder:
        return BlitEncoder(self)

    def encodeWaitForEvent_value_(self, event: Event, value: int) -> None:
        assert self.encoder is None and not self.steps, "waits come first"
        self.waits.append((event, value))

    def encodeSignalEvent_value_(self, event: Event, value: int) -> None:
        assert self.encoder is None
        self._signals.append((event, value))

    def commit(self) -> None:
        assert self.encoder is None and self._status == Metal.MTLCommandBufferStatusNotEnqueued
        self._status = Metal.MTLCommandBufferStatusCommitted
        self.device.calls.append(("commit", ()))
        self.device.work.append(self)
        self.device.advance()

    def status(self) -> int:
        return self._status

    def error(self) -> Error | None:
        return self._error

    def waitUntilCompleted(self) -> None:
        assert self._status >= Metal.MTLCommandBufferStatusCompleted, "a test would wait for ever"

    def ready(self) -> bool:
        """Whether everything it waits for has been signalled."""
        return all(event.signaledValue() >= value for event, value in self.waits)

    def run(self) -> None:
        """Do everything that was encoded."""
        if self.device.failure is not None:
            self._error = Error(self.device.failure)
            self._status = Metal.MTLCommandBufferStatusError
            return
        for step in self.steps:
            step()
        self._status = Metal.MTLCommandBufferStatusCompleted
        for event, value in self._signals:
            event.setSignaledValue_(value)


class Queue:
    """An MTLCommandQueue."""

    def __init__(self, device: Device, number: int) -> None:
        self._device, self._number = device, number

    def commandBuffer(self) -> CommandBuffer:
        return CommandBuffer(self._device, self._number)


class Device:
    """An MTLDevice.

    Attributes:
        calls: names and arguments of the commands encoded and of commits.
        work: what is committed and has not run.
        failure: why work fails, if it does.
        stuck: work never starts.
        most: bytes that can be allocated at once.
    """

    def __init__(self, name: str = "Apple M1 (stand-in)", families: int = 1008) -> None:
        self._name, self._families = name, families
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.work: list[CommandBuffer] = []
        self.failure: str | None = None
        self.stuck = False
        self.most = 1 << 32
        self._queues = 0

    def name(self) -> str:
        return self._name

    def registryID(self) -> int:
        return id(self)

    def supportsFamily_(self, family: int) -> bool:
        return 1001 <= family <= self._families

    def hasUnifiedMemory(self) -> bool:
        return True

    def maxBufferLength(self) -> int:
        return 1 << 33

    def recommendedMaxWorkingSetSize(self) -> int:
        return 5 << 30

    def newCommandQueue(self) -> Queue:
        self._queues += 1
        return Queue(self, self._queues)

    def newSharedEvent(self) -> Event:
        return Event(self)

    def newBufferWithLength_options_(self, length: int, options: int) -> Buffer | None:
        assert length > 0 and options in (0, Metal.MTLResourceStorageModePrivate)
        private = options == Metal.MTLResourceStorageModePrivate
        return Buffer(length, private) if length <= self.most else None

    def newLibraryWithSource_options_error_(
        self, source: str, options: CompileOptions, error: None
    ) -> tuple[Library | None, Error | None]:
        assert isinstance(source, str) and isinstance(options, CompileOptions) and error is None
        assert cpu.threadgroup_bytes(source) <= _MOST_THREADGROUP_MEMORY
        try:
            return Library(cpu.build(source)), None
        except AssertionError as refused:
            return None, Error(str(refused))

    def newComputePipelineStateWithFunction_error_(
        self, function: State, error: None
    ) -> tuple[State, None]:
        assert isinstance(function, State) and error is None
        return function, None

    def advance(self) -> None:
        """Run what is committed, as far as it does not wait: of each queue in order.

        Queues that were made earlier go first, so that what only happens to be committed earlier,
        to another queue, comes too late.
        """
        while not self.stuck:
            first: dict[int, CommandBuffer] = {}
            for work in self.work:
                first.setdefault(work.queue, work)
            ready = [work for _, work in sorted(first.items()) if work.ready()]
            if not ready:
                return
            self.work.remove(ready[0])
            ready[0].run()


class Metal:
    """The module ``Metal``: the constants of MTLResource.h and MTLCommandBuffer.h, and functions.

    Attributes:
        devices: what a test put in.
    """

    MTLResourceStorageModeShared = 0
    MTLResourceStorageModePrivate = 32
    MTLCommandBufferStatusNotEnqueued = 0
    MTLCommandBufferStatusCommitted = 2
    MTLCommandBufferStatusCompleted = 4
    MTLCommandBufferStatusError = 5
    MTLCompileOptions = CompileOptions

    def __init__(self, devices: list[Device]) -> None:
        self.devices = devices

    def MTLCreateSystemDefaultDevice(self) -> Device | None:
        return self.devices[0] if self.devices else None

    def MTLCopyAllDevices(self) -> tuple[Device, ...]:
        return tuple(reversed(self.devices))

    def MTLSizeMake(self, width: int, height: int, depth: int) -> tuple[int, int, int]:
        return width, height, depth


def framework(*devices: Device) -> Framework:
    """Return a framework with these devices."""

    @contextlib.contextmanager
    def pool() -> Iterator[None]:
        yield

    return Framework(Metal(list(devices)), pool)
