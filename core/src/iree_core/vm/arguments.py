"""Between Python and the host program: checks what a call is given, wraps what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from iree_core import dtypes
from iree_core.errors import InvocationError, IreeError
from iree_core.hal import Buffer, BufferView, Device, dlpack
from iree_core.hal.host import HostDevice
from iree_core.vm.program import Function, TensorType
from iree_core.vm.verify import dimension_names, result_names


class Argument:
    """One input: turns what the caller passes into bytes of the right type and shape."""

    def __init__(self, function: Function, position: int) -> None:
        self.type = function.inputs[position]
        self.label = f"argument {position}"
        if self.type.name:
            self.label = f"argument {self.type.name!r}"
        self._where = f"function {function.name!r}"
        self._dtype = dtypes.canonical(self.type.dtype)
        self._native = dtypes.to_numpy(self._dtype) if dtypes.is_native(self._dtype) else None
        self._rank = len(self.type.shape)
        self._fixed = [(n, dim) for n, dim in enumerate(self.type.shape) if isinstance(dim, int)]

    def to_array(self, value: Any) -> NDArray:
        """Return ``value`` as a contiguous numpy array of the type and static dimensions.

        Raises:
            InvocationError: it has another type or shape, naming both.
        """
        if isinstance(value, np.ndarray) and value.dtype == dtypes.to_numpy(self.type.dtype):
            array = value
        else:
            data, shape = self.to_bytes(value)
            array = data.view(dtypes.to_numpy(self.type.dtype)).reshape(shape)
        self._check_shape(array.shape)
        return array if array.flags.c_contiguous else np.array(array, order="C")

    def to_bytes(self, value: Any) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        """Return the bytes of ``value`` and its shape; copies only what is not dense.

        Raises:
            InvocationError: it has another type or shape, naming both.
        """
        if type(value) is np.ndarray and value.dtype is self._native:  # the short way
            self._check_shape(value.shape)
            dense = value if value.flags.c_contiguous else np.array(value, order="C")
            return dense.reshape(-1).view(np.uint8), value.shape
        data, dtype, shape = self._take(value)
        if dtype != self._dtype:
            self._mismatch(dtype, shape)
        self._check_shape(shape)
        return data, shape

    def to_buffer(self, value: Any, device: Device) -> tuple[Buffer, tuple[int, ...]]:
        """Return ``value`` as memory of ``device``, and its shape.

        Raises:
            InvocationError: it has another type or shape, naming both.
            DeviceError: out of memory.
        """
        if (
            isinstance(value, BufferView)
            and device.allocator.owns(value.buffer)
            and not value.offset
        ):
            if value.dtype != self._dtype:
                self._mismatch(value.dtype, value.shape)
            self._check_shape(value.shape)
            return value.buffer, value.shape
        if not isinstance(value, np.ndarray | BufferView) and hasattr(value, "__dlpack_device__"):
            found = self._guard(device.allocator.import_tensor, value)
            if found is not None:
                buffer, dtype, shape = found
                if dtype != self._dtype:
                    self._mismatch(dtype, shape)
                self._check_shape(shape)
                return buffer, shape
        data, shape = self.to_bytes(value)
        return device.allocator.import_host(data), shape

    def _take(self, value: Any) -> tuple[NDArray[np.uint8], str, tuple[int, ...]]:
        if isinstance(value, BufferView):
            value.wait()
            return value._bytes(), value.dtype, value.shape
        if isinstance(value, np.ndarray | np.generic):
            return self._take_numpy(np.asarray(value))
        if hasattr(value, "to_host"):
            return self._take_numpy(value.to_host())
        if hasattr(value, "__dlpack__"):
            return self._guard(dlpack.import_tensor, value)
        return self._take_numpy(self._convert(value))

    def _guard(self, take: Callable[[Any], Any], value: Any) -> Any:
        """Call ``take(value)``, which asks another library, and say what went wrong."""
        try:
            return take(value)
        except IreeError as error:
            raise InvocationError(
                f"{self._title()}: {error.what}", where=self._where, hint=error.hint
            ) from None
        except Exception as error:  # whatever the other library raises
            raise InvocationError(
                f"{self._title()} does not give its data: {error}", where=self._where
            ) from error

    def _take_numpy(self, array: NDArray) -> tuple[NDArray[np.uint8], str, tuple[int, ...]]:
        dtype = dtypes.from_numpy(array.dtype)
        if dtype is None:
            self._mismatch(str(array.dtype), array.shape)
        dense = array if array.flags.c_contiguous else np.array(array, order="C")
        return dense.reshape(-1).view(np.uint8), dtype, array.shape

    def _convert(self, value: Any) -> NDArray:
        """Return a number, nested lists, or an object with a buffer as an array."""
        try:
            found = np.asarray(value)
        except (TypeError, ValueError) as error:
            raise InvocationError(
                f"{self._title()} is no array: {error}.", where=self._where
            ) from None
        if found.dtype == object or not isinstance(
            value, bool | int | float | complex | list | tuple
        ):
            return found
        # Numbers of Python have no element type of their own: they take the declared one, as
        # long as no fraction, sign or imaginary part is lost.
        wanted = dtypes.to_numpy(self.type.dtype)
        kinds = "biufc"
        if wanted.kind in kinds and kinds.find(found.dtype.kind) > kinds.find(wanted.kind):
            unsigned = found.dtype.kind == "i" and wanted.kind == "u"
            if not unsigned or (found.size and found.min() < 0):
                return found
        try:
            with np.errstate(over="ignore"):
                converted = found.astype(wanted)
        except (TypeError, ValueError, OverflowError):
            return found
        if (
            found.dtype.kind in "iu"
            and wanted.kind in "iu"
            and not np.array_equal(found, converted)
        ):
            raise InvocationError(
                f"{self._title()} has numbers that do not fit {self.type.dtype}.",
                where=self._where,
            )
        return converted

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if len(shape) != self._rank:
            self._mismatch(self.type.dtype, shape)
        for axis, size in self._fixed:
            if shape[axis] != size:
                self._mismatch(self.type.dtype, shape)

    def _title(self) -> str:
        return self.label[0].upper() + self.label[1:]

    def _mismatch(self, dtype: str, shape: tuple[int, ...]) -> NoReturn:
        raise InvocationError(
            f"{self._title()}: expected {format_type(self.type.dtype, self.type.shape)}, "
            f"got {format_type(dtype, shape)}.",
            where=self._where,
            hint=None
            if dtype == self.type.dtype
            else f"Convert it first, e.g. x.astype({_numpy_name(self.type.dtype)!r}).",
        )


def _numpy_name(dtype: str) -> str:
    try:
        return dtypes.to_numpy(dtype).name
    except InvocationError:
        return dtype


def format_type(dtype: str, shape: Sequence[int | str]) -> str:
    """Return a tensor type in the notation of the command line, e.g. ``2x3xf32``."""
    return "x".join(map(str, (*shape, dtype)))


def bind(
    function: Function, positional: Sequence[Any], named: Mapping[str, Any]
) -> tuple[Any, ...]:
    """Return the inputs in order.

    Raises:
        InvocationError: too many, too few, unknown or repeated arguments.
    """
    names = [type_.name for type_ in function.inputs]
    where = f"function {function.name!r}"
    signature = ", ".join(
        f"{t.name or f'argument {n}'}: {format_type(t.dtype, t.shape)}"
        for n, t in enumerate(function.inputs)
    )
    hint = f"It takes ({signature})."
    if len(positional) > len(names):
        raise InvocationError(
            f"Expected {len(names)} arguments, got {len(positional)}.", where=where, hint=hint
        )
    values: dict[int, Any] = dict(enumerate(positional))
    for name, value in named.items():
        if name not in names:
            raise InvocationError(f"There is no argument {name!r}.", where=where, hint=hint)
        if names.index(name) in values:
            raise InvocationError(f"Argument {name!r} is given twice.", where=where)
        values[names.index(name)] = value
    missing = [repr(name) or str(n) for n, name in enumerate(names) if n not in values]
    if missing:
        given = len(values)
        raise InvocationError(
            f"Expected {len(names)} arguments, got {given}: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing.",
            where=where,
            hint=hint,
        )
    return tuple(values[n] for n in range(len(names)))


class Dimensions:
    """The named dimensions of a function: taken from the inputs, put into the results."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._names = dimension_names(function)
        places = [
            (position, axis, dim)
            for position, type_ in enumerate(function.inputs)
            for axis, dim in enumerate(type_.shape)
            if isinstance(dim, str)
        ]
        first = {dim: (position, axis) for position, axis, dim in reversed(places)}
        self._first = [first[name] for name in self._names]
        self._others = [
            (position, axis, self._names.index(dim))
            for position, axis, dim in places
            if first[dim] != (position, axis)
        ]
        every = [*self._names, *result_names(function)]
        self._results = [
            [(dim, -1) if isinstance(dim, int) else (0, every.index(dim)) for dim in type_.shape]
            for type_ in function.outputs
        ]

    def bind(self, shapes: Sequence[tuple[int, ...]]) -> list[int]:
        """Return the sizes of the inputs' dimension names, in register order.

        Raises:
            InvocationError: one name would have two sizes.
        """
        sizes = [shapes[position][axis] for position, axis in self._first]
        for position, axis, number in self._others:
            if shapes[position][axis] != sizes[number]:
                self._conflict(position, axis, number, sizes[number], shapes[position])
        return sizes

    def results(self, sizes: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the results' shapes, given the inputs' sizes and those the function returned."""
        return [
            tuple(size if number < 0 else sizes[number] for size, number in shape)
            for shape in self._results
        ]

    def _conflict(
        self, position: int, axis: int, number: int, size: int, shape: tuple[int, ...]
    ) -> NoReturn:
        type_, owner = self._function.inputs[position], self._first[number][0]
        raise InvocationError(
            f"Argument {type_.name!r}: expected {size} along axis {axis}, the size of dimension "
            f"{self._names[number]!r} in argument {self._function.inputs[owner].name!r}, got "
            f"{shape[axis]} ({format_type(type_.dtype, shape)}).",
            where=f"function {self._function.name!r}",
        )


def wrap_result(
    device: Device,
    buffer: Buffer,
    offset: int,
    type_: TensorType,
    shape: tuple[int, ...],
    fence: Any,
) -> Any:
    """Return a result: a numpy array where the device shares the host's memory, else a view.

    A result in memory that something else refers to (an input, constants, state) is copied.
    """
    view = BufferView(buffer, offset, type_.dtype, shape, fence)
    if not buffer.exclusive:
        view.wait()
        data = buffer.read(offset, view.nbytes)
        buffer = device.allocator.allocate(data.nbytes)
        buffer.write(0, data)
        view = BufferView(buffer, 0, type_.dtype, shape)
    buffer.exclusive = False  # a second result in the same memory would be copied
    if isinstance(device, HostDevice) and dtypes.has_numpy(type_.dtype):
        return view.to_host()
    return view
