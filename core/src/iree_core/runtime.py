"""The names of IREE's Python runtime API with the same meaning, on this runtime.

Code written after IREE's guides runs after a change of import::

    from iree_core import runtime as ireert

    config = ireert.Config("local-sync")
    context = ireert.SystemContext(config=config)
    context.add_vm_module(ireert.VmModule.from_flatbuffer(config.vm_instance, data))
    result = context.modules.module.main(x)
    np.asarray(result)

:mod:`iree_core.runtime_api` is the shorter way; this module only forwards to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import DTypeLike, NDArray

from iree_core import dtypes
from iree_core.errors import DeviceError, InvocationError, IreeError, UsageError
from iree_core.hal import BufferView, Device, Driver, dlpack
from iree_core.hal.registry import choose_device, open_device, parse_device
from iree_core.modulefile import ModuleFile
from iree_core.plugins import installed
from iree_core.runtime_api import Function, LoadedModule, UnknownFunctionError

__all__ = [
    "BoundModule",
    "BoundModules",
    "Config",
    "DeviceArray",
    "HalBufferView",
    "HalDevice",
    "HalDriver",
    "SystemContext",
    "VmInstance",
    "VmModule",
    "asdevicearray",
    "get_device",
    "get_driver",
    "get_first_device",
    "load_vm_flatbuffer",
    "load_vm_flatbuffer_file",
    "load_vm_module",
    "load_vm_modules",
    "query_available_drivers",
]

HalBufferView, HalDevice, HalDriver = BufferView, Device, Driver


def query_available_drivers() -> list[str]:
    """Return the names of the installed drivers."""
    return installed().names("driver")


def get_driver(device_uri: str) -> Driver:
    """Return the driver of ``DRIVER`` or ``DRIVER://PATH``.

    Raises:
        UsageError: there is none of that name.
        PluginError: it is broken.
    """
    return installed().driver(parse_device(device_uri)[0])


def get_device(device_uri: str, cache: bool = True) -> Device:
    """Return the device at ``DRIVER://PATH?PARAMS``; the same one each time if ``cache``.

    Raises:
        UsageError: an unknown driver or parameter.
        DeviceError: it does not open.
    """
    return open_device(device_uri, cached=cache)


def get_first_device(device_uris: Sequence[str] | None = None, cache: bool = True) -> Device:
    """Return the first device of a list that opens.

    Without a list, those in the environment's ``IREE_DEFAULT_DEVICE`` (separated by commas), or
    the best one of this machine.

    Raises:
        DeviceError: none of them opens, with the reason for each.
    """
    default = os.environ.get("IREE_DEFAULT_DEVICE")
    if device_uris is None and default is None:
        return choose_device(())
    if device_uris is None:
        device_uris = (default or "").split(",")
    reasons = []
    for uri in device_uris:
        try:
            return get_device(uri.strip(), cache)
        except IreeError as error:
            reasons.append(f"{uri}: {error}")
    raise DeviceError(f"No device of the list opens. {' '.join(reasons)}")


class VmInstance:
    """Stands for the process-wide virtual machine; it has no state here."""


class Config:
    """What a context runs on.

    Attributes:
        device: the device.
        vm_instance: for :class:`VmModule`.
        default_vm_modules: always empty here; the HAL needs no module of its own.
    """

    def __init__(self, driver_name: str | None = None, *, device: Device | None = None) -> None:
        """Open the first of ``driver_name`` (a list separated by commas), or take ``device``.

        Raises:
            UsageError: both are given.
            DeviceError: no device opens.
        """
        if driver_name is not None and device is not None:
            raise UsageError("Either driver_name or device can be given, not both.")
        names = None if driver_name is None else driver_name.split(",")
        self.device = device or get_first_device(names)
        self.vm_instance = VmInstance()
        self.default_vm_modules: tuple[VmModule, ...] = ()


class VmModule:
    """A module file in memory, not loaded on a device yet."""

    def __init__(self, file: ModuleFile, destroyed: Callable[[], Any] | None = None) -> None:
        self._file, self._destroyed = file, destroyed

    def __del__(self) -> None:
        if self._destroyed is not None:
            self._destroyed()

    @staticmethod
    def from_flatbuffer(
        instance: VmInstance, buffer: bytes | bytearray | memoryview, warn_if_copy: bool = True
    ) -> VmModule:
        """Read a module from memory, which must not change meanwhile.

        Raises:
            ModuleFileError: it is no module file.
        """
        return VmModule(ModuleFile.from_bytes(buffer))

    from_buffer = from_flatbuffer

    @staticmethod
    def copy_buffer(instance: VmInstance, buffer: bytes | bytearray | memoryview) -> VmModule:
        """Read a module from a copy of memory.

        Raises:
            ModuleFileError: it is no module file.
        """
        return VmModule(ModuleFile.from_bytes(bytes(buffer)))

    @staticmethod
    def mmap(
        instance: VmInstance,
        filepath: str | os.PathLike[str],
        destroy_callback: Callable[[], Any] | None = None,
    ) -> VmModule:
        """Map a module file; ``destroy_callback`` is called when the module goes.

        Raises:
            ModuleFileError: it is not there, or no module file.
        """
        return VmModule(ModuleFile.open(os.fspath(filepath)), destroy_callback)

    @property
    def name(self) -> str:
        """The module's name, ``module`` by default."""
        return self._file.name

    @property
    def function_names(self) -> list[str]:
        """The names of its functions."""
        return [function.name for function in self._file.functions]

    @property
    def file(self) -> ModuleFile:
        """The module file."""
        return self._file

    def __repr__(self) -> str:
        return f"<VmModule {self.name} : [{', '.join(self.function_names)}]>"


class DeviceArray(NDArrayOperatorsMixin):
    """A result or argument on a device that behaves like a numpy array when it is touched."""

    def __init__(self, device: Device, value: NDArray | BufferView) -> None:
        self._device = device
        self._view = value if isinstance(value, BufferView) else None
        self._host = None if isinstance(value, BufferView) else value

    @property
    def is_host_accessible(self) -> bool:
        """Whether the elements are in host memory by now."""
        return self._host is not None

    def to_host(self) -> NDArray:
        """Return the elements as a numpy array, transferring them if necessary.

        Raises:
            DeviceError: computing them failed.
        """
        if self._host is None:
            assert self._view is not None
            self._host = self._view.to_host()
        return self._host

    @property
    def shape(self) -> tuple[int, ...]:
        """The dimensions."""
        return self._host.shape if self._view is None else self._view.shape  # type: ignore[union-attr]

    @property
    def dtype(self) -> np.dtype:
        """The element type."""
        return self._host.dtype if self._view is None else dtypes.to_numpy(self._view.dtype)  # type: ignore[union-attr]

    def astype(self, dtype: DTypeLike, **options: Any) -> NDArray:
        """Return a converted copy, on the host."""
        return self.to_host().astype(dtype, **options)

    def reshape(self, *shape: Any) -> NDArray:
        """Return the elements in another shape, on the host."""
        return self.to_host().reshape(*shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        return np.array(self.to_host(), dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        values = [x.to_host() if isinstance(x, DeviceArray) else x for x in inputs]
        if options.get("out") is not None:
            options["out"] = tuple(
                x.to_host() if isinstance(x, DeviceArray) else x for x in options["out"]
            )
        return getattr(ufunc, method)(*values, **options)

    def __dlpack__(self, **options: Any) -> Any:
        if self._view is not None:
            return self._view.__dlpack__(**options)
        return self.to_host().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.HOST_DEVICE if self._view is None else self._view.__dlpack_device__()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.to_host())

    def __len__(self) -> int:
        return len(self.to_host())

    def __getitem__(self, index: Any) -> Any:
        return self.to_host()[index]

    def __float__(self) -> float:
        return float(self.to_host())

    def __int__(self) -> int:
        return int(self.to_host())

    def __bool__(self) -> bool:
        return bool(self.to_host())

    def __reduce__(self) -> tuple[Any, ...]:
        return np.array, (self.to_host(),)

    def __repr__(self) -> str:
        return f"<DeviceArray: shape={list(self.shape)}, dtype={self.dtype}>"


def asdevicearray(
    device: Device, a: Any, dtype: DTypeLike | None = None, *, implicit_host_transfer: bool = False
) -> DeviceArray:
    """Return ``a`` (anything like an array) on ``device``.

    ``implicit_host_transfer`` is accepted for compatibility: transfers back always happen when
    the elements are touched.

    Raises:
        InvocationError: its element type has no equivalent.
        DeviceError: out of memory.
    """
    if isinstance(a, DeviceArray) and dtype is None:
        return a
    array = np.array(a, dtype=dtype, order="C")  # a copy: the caller may change its own
    name = dtypes.from_numpy(array.dtype)
    if name is None:
        raise InvocationError(f"There is no element type for numpy's {array.dtype}.")
    buffer = device.allocator.import_host(array.reshape(-1).view(np.uint8))
    return DeviceArray(device, BufferView(buffer, 0, name, array.shape))


class FunctionInvoker:
    """A function whose results are :class:`DeviceArray`."""

    def __init__(self, device: Device, function: Function) -> None:
        self._device, self._function = device, function

    @property
    def vm_function(self) -> Function:
        """The function itself."""
        return self._function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function; raises what :class:`iree_core.runtime_api.Function` does."""
        result = self._function(*map(_unwrap, args), **{k: _unwrap(v) for k, v in kwargs.items()})
        if isinstance(result, tuple):
            return tuple(DeviceArray(self._device, value) for value in result)
        return DeviceArray(self._device, result)

    def __repr__(self) -> str:
        return repr(self._function)


def _unwrap(value: Any) -> Any:
    if isinstance(value, DeviceArray):
        return value._view if value._view is not None else value._host
    return value


class BoundModule:
    """A module loaded in a context: ``module.main(x)`` or ``module["main"](x)``."""

    def __init__(self, context: SystemContext, vm_module: VmModule) -> None:
        self._vm_module = vm_module
        self._loaded = LoadedModule(vm_module.file, context.config.device)
        self._functions = {
            name: FunctionInvoker(context.config.device, function)
            for name, function in self._loaded.functions.items()
        }

    @property
    def name(self) -> str:
        """The module's name."""
        return self._vm_module.name

    @property
    def vm_module(self) -> VmModule:
        """What it was loaded from."""
        return self._vm_module

    def __getitem__(self, name: str) -> FunctionInvoker:
        try:
            return self._functions[name]
        except KeyError:
            known = ", ".join(self._functions) or "none"
            raise UnknownFunctionError(
                f"Module {self.name!r} has no function {name!r}.", hint=f"It has: {known}."
            ) from None

    def __getattr__(self, name: str) -> FunctionInvoker:
        if name.startswith("__") or "_functions" not in self.__dict__:
            raise AttributeError(name)
        return self[name]

    def __repr__(self) -> str:
        return f"<BoundModule {self._vm_module!r}>"


class BoundModules(dict[str, BoundModule]):
    """The modules of a context, as attributes and items."""

    def __getattr__(self, name: str) -> BoundModule:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class SystemContext:
    """Modules that run together on one device.

    Attributes:
        config: the configuration.
        modules: what was loaded, by name.
    """

    def __init__(
        self, vm_modules: Sequence[VmModule] | None = None, config: Config | None = None
    ) -> None:
        """Load ``vm_modules``; without any, modules can be added later.

        Raises:
            ModuleFileError: a module does not run on the device.
        """
        self.config = config or Config()
        self.modules = BoundModules()
        self.is_dynamic = True
        self.add_vm_modules(vm_modules or ())
        self.is_dynamic = vm_modules is None

    @property
    def instance(self) -> VmInstance:
        """The virtual machine."""
        return self.config.vm_instance

    def add_vm_modules(self, vm_modules: Sequence[VmModule]) -> None:
        """Load several modules.

        Raises:
            UsageError: a name is taken, or the context was made with its modules.
            ModuleFileError: a module does not run on the device.
        """
        if not self.is_dynamic:
            raise UsageError("Modules cannot be added to a context that was made with modules.")
        for vm_module in vm_modules:
            if vm_module.name in self.modules:
                raise UsageError(f"The context has a module {vm_module.name!r} already.")
            self.modules[vm_module.name] = BoundModule(self, vm_module)

    def add_vm_module(self, vm_module: VmModule) -> None:
        """Load one module; raises like :meth:`add_vm_modules`."""
        self.add_vm_modules((vm_module,))


def load_vm_modules(*vm_modules: VmModule, config: Config | None = None) -> list[BoundModule]:
    """Load modules into a context of their own."""
    context = SystemContext(vm_modules, config)
    return [context.modules[vm_module.name] for vm_module in vm_modules]


def load_vm_module(vm_module: VmModule, config: Config | None = None) -> BoundModule:
    """Load a module into a context of its own."""
    return load_vm_modules(vm_module, config=config)[0]


def load_vm_flatbuffer(
    vm_flatbuffer: bytes, *, driver: str | None = None, backend: str | None = None
) -> BoundModule:
    """Load a module from bytes on the first device of ``driver``.

    Raises:
        UsageError: neither or both of ``driver`` and ``backend`` are given.
    """
    config = _config(driver, backend)
    return load_vm_module(VmModule.copy_buffer(config.vm_instance, vm_flatbuffer), config)


def load_vm_flatbuffer_file(
    path: str | os.PathLike[str],
    *,
    driver: str | None = None,
    backend: str | None = None,
    destroy_callback: Callable[[], Any] | None = None,
) -> BoundModule:
    """Load a module file on the first device of ``driver``, like :func:`load_vm_flatbuffer`."""
    config = _config(driver, backend)
    return load_vm_module(VmModule.mmap(config.vm_instance, path, destroy_callback), config)


def _config(driver: str | None, backend: str | None) -> Config:
    if (driver is None) == (backend is None):
        raise UsageError("Either driver or backend has to be given.")
    # A backend by name: its code is found by format, so the best driver for this machine.
    return Config(driver)
