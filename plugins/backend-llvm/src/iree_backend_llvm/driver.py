"""The CPU drivers: ``local-sync`` runs in the calling thread, ``local-task`` on all cores.

Both replay command lists with the C library's executor; Python's lock is released meanwhile.
Options: ``threads`` (``local-task`` only).
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Mapping, Sequence

from iree_backend_llvm.loader import (
    NativeExecutable,
    host_arch,
    library,
    list_execute,
    release,
)
from iree_core import hal
from iree_core.errors import DeviceError, ModuleFileError, UsageError
from iree_core.hal.host import HostBuffer, HostCommandBuffer, HostDevice
from iree_core.vm.program import Binding, Command, CommandList, Copy, Dispatch, Operand

MOST_THREADS = 1024
_DISPATCH, _COPY, _FILL = range(3)


class _Recording(ctypes.Structure):
    """``iree_recording`` of executor.c."""

    _fields_ = [("list", ctypes.c_void_p), ("pool", ctypes.c_void_p)]


class _Pool:
    """Owns the C thread pool; None stands for the calling thread alone."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.address: int | None = None
        if threads > 1:
            self.address = library().iree_pool_create(threads)
            if not self.address:
                raise DeviceError(f"The system does not start {threads} threads.")
            release(self, library().iree_pool_destroy, self.address)


class LocalCommandBuffer(HostCommandBuffer):
    """A command list in the C executor's form."""

    def __init__(
        self, commands: CommandList, executable: NativeExecutable | None, pool: _Pool
    ) -> None:
        """Encode ``commands``; raises ModuleFileError if they refer to what does not exist."""
        self._recording = _Recording()
        self.slots, self.params = commands.slots, commands.params
        self._owners = (executable, pool)
        native = library()
        self.function = list_execute()
        addresses = executable.addresses if executable else ()
        words = encode(commands.commands)
        entries = (ctypes.c_void_p * len(addresses))(*addresses)
        self._recording.list = native.iree_list_create(
            (ctypes.c_int64 * len(words))(*words),
            len(words),
            len(commands.commands),
            commands.slots,
            commands.params,
            entries,
            len(addresses),
        )
        if not self._recording.list:
            if ctypes.get_errno() == errno.ENOMEM:
                raise DeviceError("Out of memory while recording a command list.")
            raise ModuleFileError(
                "A command list refers to an entry point, buffer or parameter that does not exist."
            )
        release(self, native.iree_list_destroy, self._recording.list)
        self._recording.pool = pool.address
        self.handle = ctypes.byref(self._recording)

    def run(self, buffers: Sequence[HostBuffer], params: Sequence[int]) -> None:
        """Execute in this thread (and the pool's) and return when all is done."""
        addresses = (ctypes.c_void_p * self.slots)(*[buffer.address for buffer in buffers])
        numbers = (ctypes.c_int64 * self.params)(*params)
        self.check(self.function(self.handle, addresses, numbers))

    def check(self, status: int) -> None:
        """Raise the DeviceError that ``status`` stands for, if it is not 0."""
        if status:
            raise DeviceError(f"The CPU executor failed: {os.strerror(status)}.")


class LocalDevice(HostDevice):
    """The host's processor with a fixed number of threads."""

    def __init__(self, name: str, threads: int) -> None:
        """Start ``threads`` threads, the caller's being one of them.

        Raises:
            DeviceError: the C library does not load.
        """
        super().__init__()
        list_execute()
        self.name = name
        self._pool = _Pool(threads)
        self.threads = threads
        self.description = f"{host_arch()} processor, {threads} thread{'s' * (threads > 1)}"

    def accepts(self, format: str, target: str) -> str | None:
        """Return None if ``format`` is this machine's native code."""
        if format == native_format():
            return None
        return f"{self.name} on this machine runs {native_format()}, not {format}"

    def load_executable(
        self, data: memoryview, entries: Sequence[tuple[str, int]], *, format: str
    ) -> NativeExecutable:
        """Map an image's code into memory."""
        reason = self.accepts(format, "")
        if reason:
            raise ModuleFileError(f"The executable does not run here: {reason}.")
        return NativeExecutable(data, entries)

    def record(
        self, commands: CommandList, executable: hal.Executable | None
    ) -> LocalCommandBuffer:
        """Encode ``commands`` for the C executor."""
        assert executable is None or isinstance(executable, NativeExecutable)
        return LocalCommandBuffer(commands, executable, self._pool)


class LocalDriver(hal.Driver):
    """Opens the processor, as ``local-sync`` or as ``local-task``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.formats = (native_format(),)
        self.rank = 10 if name == "local-task" else 5

    def query_devices(self) -> list[hal.DeviceInfo]:
        """Return the one device there is."""
        threads = available_threads() if self.name == "local-task" else 1
        plural = "s" * (threads > 1)
        return [hal.DeviceInfo("", f"{host_arch()} processor, {threads} thread{plural}")]

    def create_device(
        self, path: str = "", options: Mapping[str, str] | None = None
    ) -> LocalDevice:
        """Open the processor; option ``threads`` is a number from 1 on."""
        if path not in ("", "0", "default"):
            raise DeviceError(f"{self.name} has no device {path!r}, only the default one.")
        options = dict(options or {})
        threads = _parse_threads(self.name, options.pop("threads", None))
        if options:
            raise UsageError(
                f"{self.name} has no option {', '.join(options)}.", hint="It knows: threads."
            )
        return LocalDevice(self.name, threads)


def native_format() -> str:
    """Return the format of executables with this machine's code."""
    return f"native-{host_arch()}"


def available_threads() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def encode(commands: Sequence[Command]) -> list[int]:
    """Return the words of ``commands`` as executor.c reads them."""
    words: list[int] = []
    for command in commands:
        if isinstance(command, Dispatch):
            _put_dispatch(words, command)
        elif isinstance(command, Copy):
            words += [_COPY, *_operand(command.length)]
            words += [*_binding(command.source), *_binding(command.target)]
        else:
            pattern = command.pattern * (8 // len(command.pattern))
            number = int.from_bytes(pattern, sys.byteorder, signed=True)
            words += [_FILL, *_operand(command.length), number, *_binding(command.target)]
    return words


def _put_dispatch(words: list[int], dispatch: Dispatch) -> None:
    words += [_DISPATCH, dispatch.entry, dispatch.grain]
    words += [*_operand(dispatch.grid), *_operand(dispatch.scratch)]
    words.append(len(dispatch.bindings))
    for binding in dispatch.bindings:
        words += _binding(binding)
    words.append(len(dispatch.scalars))
    for scalar in dispatch.scalars:
        words += _operand(scalar)


def _operand(operand: Operand) -> tuple[int, int]:
    return (operand[0] == "param", operand[1])


def _binding(binding: Binding) -> tuple[int, int, int]:
    return (binding.slot, *_operand(binding.offset))


def _parse_threads(driver: str, text: str | None) -> int:
    if driver == "local-sync":
        if text not in (None, "1"):
            raise UsageError(
                f"local-sync runs on one thread, not {text}.", hint="Use device local-task."
            )
        return 1
    if text is None:
        return available_threads()
    try:
        threads = int(text)
    except ValueError:
        threads = 0
    if not 1 <= threads <= MOST_THREADS:
        raise UsageError(f"threads is a number from 1 to {MOST_THREADS}, not {text!r}.")
    return threads
