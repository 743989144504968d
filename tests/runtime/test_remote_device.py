"""The runtime on a device whose memory is not the host's and whose work is asynchronous.

:class:`RemoteDevice` is also the smallest driver there is: it shows what a driver has to do.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime import support
from tests.runtime.support import floats

import iree_core
from iree_core.errors import DeviceError
from iree_core.hal import (
    Allocator,
    Buffer,
    BufferView,
    CommandBuffer,
    Device,
    Executable,
    Fence,
    Timepoint,
)
from iree_core.hal.host import HostSemaphore
from iree_core.hal.registry import open_device
from iree_core.vm.program import CommandList

HOST = open_device("local-sync")


class RemoteBuffer(Buffer):
    """Memory that the host reaches by copies only."""

    __slots__ = ("inner",)

    def __init__(self, nbytes: int, exclusive: bool) -> None:
        self.inner = HOST.allocator.allocate(nbytes)
        self.nbytes, self.exclusive = nbytes, exclusive

    def read(self, offset: int, length: int) -> NDArray[np.uint8]:
        return self.inner.read(offset, length)

    def write(self, offset: int, data: NDArray[np.uint8]) -> None:
        self.inner.write(offset, data)


class RemoteAllocator(Allocator):
    copies = 0

    def allocate(self, nbytes: int) -> RemoteBuffer:
        return RemoteBuffer(nbytes, exclusive=True)

    def import_host(self, data: NDArray[np.uint8]) -> RemoteBuffer:
        self.copies += 1
        buffer = RemoteBuffer(data.nbytes, exclusive=False)
        buffer.write(0, data)
        return buffer

    def owns(self, buffer: Buffer) -> bool:
        return isinstance(buffer, RemoteBuffer)


class RemoteDevice(Device):
    """Runs submissions on a thread of its own, in the order in which they can start."""

    name, description = "remote", "a thread"

    def __init__(self) -> None:
        self.copying = RemoteAllocator()
        self.allocator = self.copying
        self.gate = threading.Event()
        self.gate.set()
        self._work: queue.Queue = queue.Queue()
        threading.Thread(target=self._run, daemon=True).start()

    def accepts(self, format: str, target: str) -> str | None:
        return HOST.accepts(format, target)

    def load_executable(
        self, data: memoryview, entries: Sequence[tuple[str, int]], *, format: str
    ) -> Executable:
        return HOST.load_executable(data, entries, format=format)

    def record(self, commands: CommandList, executable: Executable | None) -> CommandBuffer:
        return HOST.record(commands, executable)

    def create_semaphore(self, initial: int = 0) -> HostSemaphore:
        return HostSemaphore(initial)

    def submit(
        self,
        commands: CommandBuffer,
        buffers: Sequence[Buffer],
        params: Sequence[int],
        *,
        wait: Sequence[Timepoint] = (),
        signal: Sequence[Timepoint] = (),
    ) -> None:
        inner = [buffer.inner for buffer in buffers]  # type: ignore[attr-defined]
        self._work.put((commands, inner, tuple(params), wait, signal))

    def _run(self) -> None:
        while True:
            commands, buffers, params, wait, signal = self._work.get()
            self.gate.wait()
            HOST.submit(commands, buffers, params, wait=wait, signal=signal)


@pytest.fixture
def remote() -> RemoteDevice:
    return RemoteDevice()


def load(tmp_path: Path, program: object, device: Device, constants: tuple = ()) -> object:
    return iree_core.load(support.write(tmp_path / "m.vmfb", program, constants), device)  # type: ignore[arg-type]


def test_results_stay_on_the_device_until_asked_for(tmp_path: Path, remote: RemoteDevice) -> None:
    main = load(tmp_path, support.dynamic_program(), remote).main  # type: ignore[attr-defined]
    x = floats(1, 2, 3, 4)
    remote.gate.clear()
    first = main(x, x)
    second = main(first, x)
    assert isinstance(second, BufferView) and second.shape == (4,)
    assert second.fence is not None and not second.fence.wait(timeout=0.01)
    assert remote.copying.copies == 1 + 3  # the constants, x twice, x; not `first`
    remote.gate.set()
    np.testing.assert_array_equal(np.asarray(second), (x + x + 1) + x + 1)
    np.testing.assert_array_equal(np.from_dlpack(first), x + x + 1)


def test_static_functions_run_too(tmp_path: Path, remote: RemoteDevice) -> None:
    main = load(tmp_path, support.add_program(), remote).main  # type: ignore[attr-defined]
    np.testing.assert_array_equal(main([1, 2, 3, 4], y=[1, 1, 1, 1]), [2, 3, 4, 5])


def test_state_and_reads_wait_for_the_device(tmp_path: Path, remote: RemoteDevice) -> None:
    data = floats(1, 2, 3, 4)
    module = load(tmp_path, support.state_program(), remote, (data.tobytes(),))
    for calls in (1, 2, 3):
        total, count = module.main()  # type: ignore[attr-defined]
        assert np.asarray(count) == calls
        np.testing.assert_array_equal(total, data * calls)


def test_a_failure_shows_when_the_result_is_asked_for(tmp_path: Path, remote: RemoteDevice) -> None:
    main = load(tmp_path, support.add_program(), remote).main  # type: ignore[attr-defined]
    remote.gate.clear()
    result = main([1, 2, 3, 4], [1, 2, 3, 4])
    assert result.fence is not None
    result.fence.timepoints[0][0].fail(DeviceError("The device is lost."))
    remote.gate.set()
    with pytest.raises(DeviceError, match="lost"):
        np.asarray(result)


def test_fences_join() -> None:
    one, two = HostSemaphore(), HostSemaphore()
    fence = Fence.join([Fence(((one, 1), (two, 2))), Fence(((one, 3),))])
    assert sorted(value for _, value in fence.timepoints) == [2, 3]
    assert not fence.wait(timeout=0.01)
    fence.signal()
    assert fence.wait(timeout=1) and one.query() == 3
