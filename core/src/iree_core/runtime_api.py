"""Running compiled modules: :func:`load` a module file and call its functions.

Needs no compiler; nothing of the kind is imported here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iree_core.errors import InvocationError
from iree_core.hal import Buffer, BufferView, Device, Region
from iree_core.hal.observe import observed
from iree_core.hal.registry import open_device
from iree_core.modulefile import ModuleFile, Variant
from iree_core.variants import choose_variant, first_usable
from iree_core.vm import arguments
from iree_core.vm.host_calls import HostFunction
from iree_core.vm.instance import Instance, public_functions
from iree_core.vm.program import TensorType
from iree_core.vm.straight import straight_call


class Function:
    """A function of a loaded module; call it with arrays.

    It takes numpy arrays, anything with ``__dlpack__`` (torch and jax tensors) or a buffer, and
    lists of numbers, by position or by name, and returns one array or a tuple of them.

    Attributes:
        name: as in the model.
        inputs, outputs: names, element types and shapes; a dimension that is a name is free.
    """

    def __init__(self, instance: Instance, number: int) -> None:
        self._instance, self._number = instance, number
        self._body = instance.program.functions[number]
        self.name, self.inputs, self.outputs = (
            self._body.name,
            self._body.inputs,
            self._body.outputs,
        )
        self._arguments = [arguments.Argument(self._body, n) for n in range(len(self.inputs))]
        self._dimensions = arguments.Dimensions(self._body)
        self._call: Callable[..., Any] = self._first_call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function.

        Raises:
            InvocationError: wrong arguments, naming what was expected and what was given.
            DeviceError: out of memory, or the device failed.
        """
        return self._call(*args, **kwargs)

    def __repr__(self) -> str:
        takes = ", ".join(_describe(type_) for type_ in self.inputs)
        gives = ", ".join(_describe(type_) for type_ in self.outputs)
        return f"<function {self.name}({takes}) -> ({gives})>"

    def _first_call(self, *args: Any, **kwargs: Any) -> Any:
        """Prepare the shortest way to call the function, then use it."""
        convert = [argument.to_array for argument in self._arguments]
        self._call = straight_call(self._instance, self._number, convert) or self._general_call
        return self._call(*args, **kwargs)

    def _general_call(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != len(self.inputs):
            args = arguments.bind(self._body, args, kwargs)
        buffers: list[Buffer] = []
        shapes: list[tuple[int, ...]] = []
        for argument, value in zip(self._arguments, args, strict=True):
            if isinstance(value, BufferView) and value.fence is not None:
                self._instance.wait_for(value.fence)
            buffer, shape = argument.to_buffer(value, self._instance.device)
            buffers.append(buffer)
            shapes.append(shape)
        sizes = self._dimensions.bind(shapes)
        results, numbers = self._instance.invoke(self._number, buffers, sizes)
        return self._wrap(results, numbers, sizes)

    def _wrap(
        self, buffers: tuple[Buffer, ...], integers: tuple[int, ...], sizes: list[int]
    ) -> Any:
        device, fence = self._instance.device, self._instance.fence()
        shapes = self._dimensions.results([*sizes, *integers[len(buffers) :]])
        results = tuple(
            arguments.wrap_result(device, buffer, offset, type_, shape, fence)
            for type_, buffer, offset, shape in zip(
                self.outputs, buffers, integers, shapes, strict=False
            )
        )
        return results[0] if len(results) == 1 else results


def _describe(type_: TensorType) -> str:
    text = arguments.format_type(type_.dtype, type_.shape)
    return f"{type_.name}: {text}" if type_.name else text


class LoadedModule:
    """A module on a device; its functions are attributes, its state is its own.

    ``module.main(x)`` calls a function, ``module["main"]`` reaches one whose name is no
    identifier.
    """

    def __init__(
        self,
        file: ModuleFile,
        device: Device,
        host_functions: Mapping[str, HostFunction] | None = None,
        variant: Variant | None = None,
    ) -> None:
        """Load ``variant`` of ``file``, or the first one that fits ``device``.

        Raises:
            ModuleFileError: none fits, or it is damaged.
            UsageError: a function of Python that it calls is not in ``host_functions``.
            DeviceError: out of memory.
        """
        self._file, self._device = file, device
        self._variant = variant or choose_variant(file, device)
        program = file.program(self._variant)
        executable = None
        if self._variant.executable is not None:
            info = self._variant.executable
            executable = device.load_executable(
                file.image(self._variant), info.entries, format=info.format
            )
        used = file.parameters_of(self._variant)
        regions = [Region(part.key, part.offset, part.nbytes) for part in used]
        self._instance = Instance(
            program, observed(device), executable, file.constants, regions, host_functions
        )
        self._functions = {
            body.name: Function(self._instance, number)
            for number, body in public_functions(program)
        }
        for name, function in self._functions.items():
            if name not in _RESERVED and not name.startswith("_"):
                self.__dict__[name] = function  # found without __getattr__, which is slow

    @property
    def device(self) -> Device:
        """Where the module runs."""
        return self._device

    @property
    def variant(self) -> Variant:
        """Which of the file's variants runs: for what it was compiled."""
        return self._variant

    @property
    def file(self) -> ModuleFile:
        """What it was loaded from, with its reflection."""
        return self._file

    @property
    def functions(self) -> dict[str, Function]:
        """The functions by name."""
        return dict(self._functions)

    def reset(self) -> None:
        """Set the state (caches, variables) to what it was when the module was loaded."""
        self._instance.reset()

    def state(self) -> dict[str, NDArray[np.uint8]]:
        """Return the bytes of the state (caches, variables) by name, copied."""
        return self._instance.read_state()

    def __getitem__(self, name: str) -> Function:
        try:
            return self._functions[name]
        except KeyError:
            raise self._unknown(name) from None

    def __getattr__(self, name: str) -> Function:
        # Only reached where there is no such attribute; dunder lookups expect this exception.
        functions = self.__dict__.get("_functions", {})
        if name in functions:
            return functions[name]
        if name.startswith("__") or not functions:
            raise AttributeError(name)
        raise self._unknown(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __contains__(self, name: object) -> bool:
        return name in self._functions

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._functions})

    def __repr__(self) -> str:
        functions = ", ".join(repr(function) for function in self._functions.values())
        return f"<module {self._file.name!r} on {self._device.name}: {functions}>"

    def _unknown(self, name: str) -> UnknownFunctionError:
        known = ", ".join(self._functions) or "none"
        return UnknownFunctionError(
            f"The module has no function {name!r}.",
            where=self._file.origin,
            hint=f"It has: {known}.",
        )


class UnknownFunctionError(InvocationError, AttributeError, KeyError):
    """A function that the module does not have; also what ``hasattr`` and ``in`` expect."""

    __str__ = Exception.__str__


# Names a function of the model cannot take as an attribute; module["reset"] reaches it.
_RESERVED = frozenset(("device", "file", "functions", "reset", "state", "variant"))


def load(
    module: str | os.PathLike[str] | bytes | ModuleFile | Any,
    device: str | Device | None = None,
    threads: int | None = None,
    host_functions: Mapping[str, HostFunction] | None = None,
) -> LoadedModule:
    """Load a compiled module.

    Args:
        module: path of a module file, its bytes, or what ``iree_core.compile`` returned.
        device: e.g. ``local-task``, ``cuda://1``; if None, the best one here for the first of
            the module's variants that any runs.
        threads: how many threads a CPU driver uses; all processors if None.
        host_functions: what the module calls back, by name: functions that take copies of the
            operands as numpy arrays and return None, an array, or a tuple of arrays.

    Raises:
        ModuleFileError: not a module file, damaged, or made for another machine.
        UsageError: an unknown device, or a host function that is missing.
        DeviceError: the device does not open, or is out of memory.
    """
    file = _open(module)
    if isinstance(device, Device):
        return LoadedModule(file, device, host_functions)
    options = {} if threads is None else {"threads": str(threads)}
    if device is not None:
        return LoadedModule(file, open_device(device, options), host_functions)
    return first_usable(
        file, options, lambda device, variant: LoadedModule(file, device, host_functions, variant)
    )


def _open(module: Any) -> ModuleFile:
    if isinstance(module, ModuleFile):
        return module
    if isinstance(module, bytes | bytearray | memoryview):
        return ModuleFile.from_bytes(module)
    if isinstance(module, str | os.PathLike):
        return ModuleFile.open(os.fspath(module))
    file = ModuleFile.open(module.path)
    file.source = module  # a temporary file lives as long as what was compiled into it
    return file
