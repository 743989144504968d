"""A stand-in for libcuda that keeps to its rules and runs kernels on the CPU.

Every function is a C callback with the prototype of the real one, so arguments go the way they
go to the driver. Calls are recorded and checked: a context has to be current, handles have to
exist, work that is captured does not run, copies stay inside allocations. Kernels are executed
by :mod:`tests.cuda.machine`. With ``hold`` streams keep their work until ``release`` is called or
somebody asks for an event; then only what comes before that event happens, so that whatever is
not ordered by streams and events goes wrong.
"""

from __future__ import annotations

import ctypes
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from tests.cuda import asynchronous, machine

from iree_backend_cuda import cu
from iree_backend_cuda.driver import CudaDevice, CudaDriver

INVALID_CONTEXT, INVALID_HANDLE, ILLEGAL_ADDRESS, CAPTURE_UNSUPPORTED = 201, 400, 700, 900
_EM_CUDA = 190  # the machine of a cubin, which is an ELF file
# Bytes of shared memory that a block has, and KiB that it may ask for, by capability.
_STATIC_SHARED = 48 << 10
_SHARED_LIMITS = {75: 64, 80: 163, 87: 163, 90: 227, 100: 227}
_ATTRIBUTES = {cu.MULTIPROCESSOR_COUNT: 4, cu.COMPUTE_MODE: 0}


class Failure(Exception):
    """A function is to return this error."""

    def __init__(self, result: int) -> None:
        super().__init__(result)
        self.result = result


class FakeCuda:
    """The library.

    Attributes:
        calls: names of the functions called, in order.
        launches: entry point, blocks and threads of every kernel that ran.
        memory: what device pointers refer to.
        fail: results that functions are to return the next time.
        hold: streams keep their work.
        lazy: asking whether an event is reached makes it happen.
        faults: what kernels did wrong.
        cubins: machine code that was loaded.
    """

    def __init__(self, arch: int = 80, devices: int = 1, version: int = 12040) -> None:
        self.arch, self.devices, self.version = arch, devices, version
        self.calls: list[str] = []
        self.launches: list[tuple[str, int, int]] = []
        self.memory = machine.Memory()
        self.fail: dict[str, int] = {}
        self.hold = self.lazy = False
        self.faults: list[str] = []
        self._contexts: list[int] = []
        self._handles: dict[int, Any] = {}
        self._next = 0x1000
        self._pinned: dict[int, Any] = {}
        self._kept: list[Any] = []
        self._broken = 0
        self.cubins: list[bytes] = []
        self._shared: dict[int, int] = {}
        self._make_functions()

    def count(self, name: str) -> int:
        """Return how often a function was called."""
        return Counter(self.calls)[name]

    def _make_functions(self) -> None:
        later = {name: kinds for name, (kinds, _) in cu.LATER.items()}
        for name, kinds in (cu.FUNCTIONS | later).items():
            prototype = ctypes.CFUNCTYPE(ctypes.c_int32, *(cu._KINDS[kind] for kind in kinds))
            setattr(self, "cu" + name, prototype(self._wrap(name)))

    def _wrap(self, name: str) -> Callable[..., int]:
        method = getattr(self, "_" + name.removesuffix("_v2"))
        free = name.startswith(("Init", "Driver", "Device", "GetError", "CtxP"))

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            try:
                if name in self.fail:
                    raise Failure(self.fail.pop(name))
                if self._broken and not name.startswith(("GetError", "CtxP")):
                    raise Failure(self._broken)
                if not free and not self._contexts:
                    raise Failure(INVALID_CONTEXT)
                method(*(0 if a is None else a for a in arguments))
            except Failure as failure:
                return failure.result
            except Exception as error:  # an exception must not cross the C callback
                self.faults.append(f"cu{name}: {error!r}")
                return 999
            return 0

        return call

    def _new(self, what: Any) -> int:
        self._next += 0x10
        self._handles[self._next] = what
        return self._next

    def _get(self, handle: int, kind: type) -> Any:
        found = self._handles.get(handle)
        if not isinstance(found, kind):
            raise Failure(INVALID_HANDLE)
        return found

    @staticmethod
    def _write(pointer: int, kind: Any, value: int) -> None:
        kind.from_address(pointer).value = value

    # Devices and contexts.

    def _Init(self, flags: int) -> None:
        if not self.devices:
            raise Failure(cu.NO_DEVICE)

    def _DriverGetVersion(self, out: int) -> None:
        self._write(out, ctypes.c_int32, self.version)

    def _DeviceGetCount(self, out: int) -> None:
        self._write(out, ctypes.c_int32, self.devices)

    def _DeviceGet(self, out: int, number: int) -> None:
        self._write(out, ctypes.c_int32, number)

    def _DeviceGetName(self, out: int, size: int, device: int) -> None:
        ctypes.memmove(out, b"Stand-in\0", 9)

    def _DeviceGetAttribute(self, out: int, which: int, device: int) -> None:
        major, minor = divmod(self.arch, 10)
        known = _ATTRIBUTES | {cu.COMPUTE_MAJOR: major, cu.COMPUTE_MINOR: minor}
        self._write(out, ctypes.c_int32, known[which])

    def _DeviceTotalMem(self, out: int, device: int) -> None:
        self._write(out, ctypes.c_size_t, 8 << 30)

    def _DevicePrimaryCtxRetain(self, out: int, device: int) -> None:
        self._write(out, ctypes.c_void_p, 0xC000 + device)

    def _DevicePrimaryCtxRelease(self, device: int) -> None:
        pass

    def _CtxPushCurrent(self, context: int) -> None:
        self._contexts.append(context)

    def _CtxPopCurrent(self, out: int) -> None:
        self._write(out, ctypes.c_void_p, self._contexts.pop())

    def _GetErrorName(self, result: int, out: int) -> None:
        text = ctypes.create_string_buffer(f"CUDA_ERROR_{result}".encode())
        self._kept.append(text)
        self._write(out, ctypes.c_void_p, ctypes.addressof(text))

    def _GetErrorString(self, result: int, out: int) -> None:
        raise Failure(cu.INVALID_VALUE)

    # Memory.

    def _MemAlloc(self, out: int, nbytes: int) -> None:
        if nbytes > 1 << 30:
            raise Failure(cu.OUT_OF_MEMORY)
        self._write(out, ctypes.c_uint64, self.memory.allocate(nbytes))

    def _MemFree(self, address: int) -> None:
        self.memory.free(address)

    def _MemHostAlloc(self, out: int, nbytes: int, flags: int) -> None:
        area = (ctypes.c_uint8 * nbytes)()
        self._pinned[ctypes.addressof(area)] = area
        self._write(out, ctypes.c_void_p, ctypes.addressof(area))

    def _MemFreeHost(self, address: int) -> None:
        del self._pinned[address]

    def _MemcpyHtoDAsync(self, target: int, source: int, nbytes: int, stream: int) -> None:
        def run() -> None:
            data = ctypes.string_at(source, nbytes)
            self.memory.view(target, nbytes)[:] = np.frombuffer(data, np.uint8)

        self._enqueue(stream, run)

    def _MemcpyDtoHAsync(self, target: int, source: int, nbytes: int, stream: int) -> None:
        def run() -> None:
            data = self.memory.view(source, nbytes).tobytes()
            ctypes.memmove(target, data, nbytes)

        self._enqueue(stream, run)

    def _MemcpyDtoDAsync(self, target: int, source: int, nbytes: int, stream: int) -> None:
        def run() -> None:
            data = self.memory.view(source, nbytes).copy()
            self.memory.view(target, nbytes)[:] = data

        self._enqueue(stream, run)

    def _fill(self, target: int, number: int, size: int, count: int, stream: int) -> None:
        if target % size:
            raise Failure(cu.INVALID_VALUE)
        data = np.frombuffer(number.to_bytes(size, "little") * count, np.uint8)

        def run() -> None:
            self.memory.view(target, data.nbytes)[:] = data

        self._enqueue(stream, run)

    def _MemsetD8Async(self, target: int, number: int, count: int, stream: int) -> None:
        self._fill(target, number, 1, count, stream)

    def _MemsetD16Async(self, target: int, number: int, count: int, stream: int) -> None:
        self._fill(target, number, 2, count, stream)

    def _MemsetD32Async(self, target: int, number: int, count: int, stream: int) -> None:
        self._fill(target, number, 4, count, stream)

    def _MemsetD2D32Async(
        self, target: int, pitch: int, number: int, width: int, height: int, stream: int
    ) -> None:
        for row in range(height):
            self._fill(target + row * pitch, number, 4, width, stream)

    # Kernels.

    def _ModuleLoadDataEx(
        self, out: int, image: int, count: int, options: int, values: int
    ) -> None:
        if ctypes.string_at(image, 4) == b"\x7fELF":
            self._write(out, ctypes.c_void_p, self._new(self._machine_code(image)))
            return
        text = ctypes.string_at(image).decode()
        if ".version" not in text:
            raise Failure(cu.INVALID_PTX)
        self._write(out, ctypes.c_void_p, self._new(machine.parse(text)))

    def _machine_code(self, image: int) -> machine.Program:
        """Check that a cubin is for this device; its kernel cannot run here."""
        header = struct.unpack("<16sHHIQQQIHHHHHH", ctypes.string_at(image, 64))
        kind, flags, where, size, count = header[2], header[7], header[6], header[11], header[12]
        if kind != _EM_CUDA or flags & 0xFF != self.arch:
            raise Failure(cu.NO_BINARY)
        self.cubins.append(ctypes.string_at(image, where + size * count))
        return machine.Program("kernel", [], 0)

    def _ModuleGetFunction(self, out: int, module: int, name: int) -> None:
        program = self._get(module, machine.Program)
        if ctypes.string_at(name).decode() != program.name:
            raise Failure(500)
        self._write(out, ctypes.c_void_p, module)

    def _FuncSetAttribute(self, function: int, attribute: int, value: int) -> None:
        program = self._get(function, machine.Program)
        limit = _SHARED_LIMITS.get(self.arch, 99) << 10
        if attribute != cu.FUNCTION_MAX_DYNAMIC_SHARED or program.shared_bytes + value > limit:
            raise Failure(cu.INVALID_VALUE)
        self._shared[function] = value

    def _TensorMapEncodeTiled(
        self, out: int, kind: int, rank: int, address: int, *arrays: int
    ) -> None:
        """Check what the driver's reference demands, and write a map for the stand-in."""
        *pointers, interleave, swizzle, _, fill = arrays
        counts, longs, words = (rank, rank - 1, rank, rank), ctypes.c_uint64, ctypes.c_uint32
        sizes, strides, box, steps = (
            tuple((element * count).from_address(pointer)) if count else ()
            for element, count, pointer in zip(
                (longs, longs, words, words), counts, pointers, strict=True
            )
        )
        element = {6: 2, 7: 4, 9: 2}[kind]
        fits = self.arch >= 90 and out % 64 == 0 and address % 16 == 0 and 1 <= rank <= 5
        fits &= all(0 < size <= 1 << 32 for size in sizes) and all(0 < n <= 256 for n in box)
        fits &= all(s % 16 == 0 and 0 < s < 1 << 40 for s in strides) and set(steps) == {1}
        fits &= (interleave, swizzle, fill) == (0, 3, 0) and box[0] * element <= 128
        if not fits:
            raise Failure(cu.INVALID_VALUE)
        data = asynchronous.TensorMap(address, element, sizes, strides, box).pack()
        ctypes.memmove(out, data, len(data))

    def _ModuleUnload(self, module: int) -> None:
        del self._handles[module]

    def _LaunchKernel(self, function: int, *rest: int) -> None:
        blocks, gy, gz, threads, by, bz, shared, stream, parameters, extra = rest
        program = self._get(function, machine.Program)
        if shared > self._shared.get(function, _STATIC_SHARED):
            raise Failure(cu.INVALID_VALUE)
        assert (gy, gz, by, bz, extra) == (1, 1, 1, 1, 0) and threads == program.threads
        pointers = (ctypes.c_void_p * max(1, len(program.parameters))).from_address(parameters)
        arguments = [
            ctypes.string_at(pointers[n] or 0, size)
            for n, (_, size) in enumerate(program.parameters)
        ]

        def run() -> None:
            self.launches.append((program.name, blocks, threads))
            machine.run(program, self.memory, arguments, blocks, shared)

        self._enqueue(stream, run)

    # Streams, events, graphs.

    def _StreamCreate(self, out: int, flags: int) -> None:
        self._write(out, ctypes.c_void_p, self._new(_Stream()))

    def _StreamDestroy(self, stream: int) -> None:
        del self._handles[stream]

    def _enqueue(self, stream: int, work: Callable[[], None]) -> None:
        found = self._get(stream, _Stream)
        if found.capture is not None:
            found.capture.append(work)
            return
        found.work.append((None, work))
        if not self.hold:
            self.release()

    def release(self) -> None:
        """Let all streams do what they can."""
        moved = True
        while moved:
            moved = False
            for stream in [s for s in self._handles.values() if isinstance(s, _Stream)]:
                while stream.work and (stream.work[0][0] is None or stream.work[0][0].done):
                    moved = True
                    self._do(stream.work.pop(0)[1])

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (machine.PtxError, ValueError) as error:
            self.faults.append(str(error))
            self._broken = ILLEGAL_ADDRESS

    def _StreamSynchronize(self, stream: int) -> None:
        found = self._get(stream, _Stream)
        point = _Point(found)
        found.work.append((None, point.reach))
        self._run_until(point)

    def _StreamWaitEvent(self, stream: int, event: int, flags: int) -> None:
        point = self._get(event, _Event).point
        found = self._get(stream, _Stream)
        if found.capture is not None:
            raise Failure(CAPTURE_UNSUPPORTED)
        found.work.append((point, lambda: None))
        if not self.hold:
            self.release()

    def _EventCreate(self, out: int, flags: int) -> None:
        self._write(out, ctypes.c_void_p, self._new(_Event()))

    def _EventDestroy(self, event: int) -> None:
        del self._handles[event]

    def _EventRecord(self, event: int, stream: int) -> None:
        point = self._get(event, _Event).point = _Point(self._get(stream, _Stream))
        self._enqueue(stream, point.reach)

    def _EventQuery(self, event: int) -> None:
        point = self._get(event, _Event).point
        if not point.done:
            if self.lazy:
                self._run_until(point)
            raise Failure(cu.NOT_READY)

    def _EventSynchronize(self, event: int) -> None:
        self._run_until(self._get(event, _Event).point)

    def _run_until(self, point: _Point) -> None:
        """Do what comes before a point, and nothing else."""
        while not point.done:
            assert point.stream is not None
            before, work = point.stream.work[0]
            if before is not None:
                self._run_until(before)
            point.stream.work.pop(0)
            self._do(work)

    def _StreamBeginCapture(self, stream: int, mode: int) -> None:
        self._get(stream, _Stream).capture = []

    def _StreamEndCapture(self, stream: int, out: int) -> None:
        found = self._get(stream, _Stream)
        self._write(out, ctypes.c_void_p, self._new(list(found.capture)))
        found.capture = None

    def _GraphInstantiateWithFlags(self, out: int, graph: int, flags: int) -> None:
        self._write(out, ctypes.c_void_p, self._new(tuple(self._get(graph, list))))

    def _GraphLaunch(self, graph: int, stream: int) -> None:
        for work in self._get(graph, tuple):
            self._enqueue(stream, work)

    def _GraphDestroy(self, graph: int) -> None:
        del self._handles[graph]

    def _GraphExecDestroy(self, graph: int) -> None:
        del self._handles[graph]


class _Point:
    """Something in a stream that is reached."""

    def __init__(self, stream: _Stream | None = None) -> None:
        self.stream, self.done = stream, stream is None

    def reach(self) -> None:
        self.done = True


class _Event:
    """A CUevent: the last point that it was recorded at."""

    def __init__(self) -> None:
        self.point = _Point()


class _Stream:
    """A CUstream: work with what it waits for, and what is captured."""

    def __init__(self) -> None:
        self.work: list[tuple[_Point | None, Callable[[], None]]] = []
        self.capture: list[Callable[[], None]] | None = None


@contextmanager
def installed(fake: FakeCuda) -> Iterator[FakeCuda]:
    """Let the driver find ``fake`` in place of libcuda."""
    load = cu._load
    cu._load = lambda: fake
    cu.api.cache_clear()
    try:
        yield fake
    finally:
        cu._load = load
        cu.api.cache_clear()


def open_device(**options: Any) -> tuple[FakeCuda, CudaDevice]:
    """Return a stand-in and its first device, which keeps working outside of ``installed``."""
    fake = FakeCuda(**options)
    with installed(fake):
        return fake, CudaDriver().create_device()
