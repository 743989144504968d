"""A program on a device: recorded command lists, state, and functions ready to be called."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iree_core.errors import DeviceError
from iree_core.hal import Buffer, CommandBuffer, Device, Executable, Fence, Region
from iree_core.vm import host_calls
from iree_core.vm.host_calls import HostFunction
from iree_core.vm.program import Function, Program
from iree_core.vm.translate import Translated, translate


class Instance:
    """One loaded program; its state is its own.

    Calls from several threads are safe: what a call needs is its own, and functions that touch
    state run one at a time.

    Attributes:
        program: verified.
        device: where it runs.
        constants: the module's read-only data on the device.
        commands: the recorded command lists.
    """

    def __init__(
        self,
        program: Program,
        device: Device,
        executable: Executable | None,
        constants: NDArray[np.uint8],
        regions: Sequence[Region] = (),
        host_functions: Mapping[str, HostFunction] | None = None,
    ) -> None:
        """Record the command lists of a verified program and set the state to its start.

        Args:
            program: verified.
            device: where it is to run.
            executable: its kernels, loaded there.
            constants: the module's read-only data.
            regions: what the program uses of it.
            host_functions: what it calls back.

        Raises:
            DeviceError: out of memory.
            UsageError: a host function that the program calls is not there.
        """
        host_calls.require(program, host_functions or {})
        self._host_calls = host_calls.HostCalls(host_functions or {})
        self.program, self.device = program, device
        self.constants = device.allocator.import_constants(constants, regions)
        self.commands: list[CommandBuffer] = [
            device.record(commands, executable) for commands in program.command_lists
        ]
        self._executable = executable
        self._initial = constants
        self._state: list[Buffer] = []
        self._stream = device.create_stream()
        self._lock = threading.RLock()
        self._stateful = _stateful_functions(program)
        self._functions: list[Translated] = [
            self._translate_when_called(number) for number in range(len(program.functions))
        ]
        self.reset()

    @property
    def state(self) -> Sequence[Buffer]:
        """The buffers of the program's globals."""
        return self._state

    def reset(self) -> None:
        """Set the state to what it was when the program was loaded."""
        with self._lock:
            self._stream.synchronize()
            self._state[:] = [self._start_of(number) for number in range(len(self.program.globals))]

    def read_state(self) -> dict[str, NDArray[np.uint8]]:
        """Return copies of the bytes of the program's globals by name."""
        with self._lock:
            self._stream.synchronize()
            return {
                info.name: buffer.read(0, info.nbytes)
                for info, buffer in zip(self.program.globals, self._state, strict=True)
            }

    def invoke(
        self, number: int, buffers: Sequence[Buffer], integers: Sequence[int]
    ) -> tuple[tuple[Buffer, ...], tuple[int, ...]]:
        """Call function ``number``; the results are complete once :meth:`fence` is reached.

        Raises:
            InvocationError: a check of the program failed.
            DeviceError: out of memory, or the device failed.
        """
        if number not in self._stateful:
            return self._functions[number](*buffers, *integers)
        with self._lock:
            return self._functions[number](*buffers, *integers)

    def wait_for(self, fence: Fence) -> None:
        """Let the next call run after work of others."""
        self._stream.wait_for(fence)

    def is_stateful(self, number: int) -> bool:
        """Tell whether function ``number`` or one it calls reads or writes state."""
        return number in self._stateful

    def fence(self) -> Any:
        """Return the fence of all work submitted so far, None if it is complete."""
        return self._stream.fence()

    def _start_of(self, number: int) -> Buffer:
        state = self.program.globals[number]
        buffer = self.device.allocator.allocate(state.nbytes)
        if state.offset is None:
            start = np.broadcast_to(np.uint8(0), state.nbytes)
        else:
            start = self._initial[state.offset : state.offset + state.nbytes]
        buffer.write(0, start)
        buffer.exclusive = False
        return buffer

    def _set_state(self, number: int, buffer: Buffer) -> None:
        needed = self.program.globals[number].nbytes
        if buffer.nbytes < needed:
            raise DeviceError(
                f"The state {self.program.globals[number].name!r} takes {needed} bytes, the "
                f"model stores {buffer.nbytes}."
            )
        buffer.exclusive = False
        self._state[number] = buffer

    def _translate_when_called(self, number: int) -> Translated:
        """Return a function that puts the translated one in its place and calls it."""

        def first_call(*arguments: Any) -> tuple[tuple, tuple]:
            function = self.program.functions[number]
            buffers = sum(isinstance(argument, Buffer) for argument in arguments)
            counts = (len(arguments) - buffers, buffers)
            self._functions[number] = translate(function, counts, self._environment())
            return self._functions[number](*arguments)

        return first_call

    def _environment(self) -> dict[str, Any]:
        stream = self._stream
        return {
            "allocate": self.device.allocator.allocate,
            "constants": self.constants,
            "state": self._state,
            "set_global": self._set_state,
            "write": _write,
            "synchronize": stream.synchronize,
            "execute": stream.execute,
            "commands": self.commands,
            "functions": self._functions,
            "call_host": self._host_calls.call,
            "arenas": [],
            "take_arena": self._take_arena,
        }

    def _take_arena(self, idle: list[Buffer], nbytes: int) -> Buffer:
        """Return an idle arena of at least ``nbytes``; one that is too small is dropped."""
        try:
            arena = idle.pop()
        except IndexError:
            arena = None
        if arena is None or arena.nbytes < nbytes:
            arena = self.device.allocator.allocate(nbytes)
            arena.exclusive = False
        return arena


def _write(buffer: Buffer, offset: int, data: bytes) -> None:
    buffer.write(offset, np.frombuffer(data, np.uint8))


def _stateful_functions(program: Program) -> set[int]:
    """Return the functions that touch globals, themselves or through what they call."""
    touching = {
        number
        for number, function in enumerate(program.functions)
        if any(i.op in ("get_global", "set_global") for i in function.instructions)
    }
    while True:
        callers = {
            number
            for number, function in enumerate(program.functions)
            if any(i.op == "call" and i.args[0] in touching for i in function.instructions)
        }
        if callers <= touching:
            return touching
        touching |= callers


def public_functions(program: Program) -> list[tuple[int, Function]]:
    """Return the functions a user can call, with their numbers."""
    return [(n, function) for n, function in enumerate(program.functions) if function.public]
