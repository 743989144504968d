"""Loaded kernels of an image, each as the driver made it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from iree_core.errors import ModuleFileError
from iree_core.hal.device import Executable
from iree_core.hal.kernel_image import Entry


class Kernel(Protocol):
    """What a driver makes of an entry point."""

    @property
    def entry(self) -> Entry:
        """Its description."""


K = TypeVar("K", bound=Kernel)


class KernelExecutable(Executable, Generic[K]):
    """All kernels of a module.

    Attributes:
        kernels: one for each entry point, in dispatch order; equal ones are the same object.
    """

    def __init__(
        self,
        image: Sequence[Entry],
        entries: Sequence[tuple[str, int]],
        make: Callable[[str, Entry], K],
    ) -> None:
        """Make every kernel.

        Args:
            image: the kernels of an image.
            entries: names of entry points, and the numbers of their kernels.
            make: takes the name and the kernel.

        Raises:
            ModuleFileError: an entry point names a kernel that does not exist, or the device
                lacks what one needs.
            DeviceError: the driver refuses one.
        """
        if any(not 0 <= number < len(image) for _, number in entries):
            raise ModuleFileError("The module names a kernel that is not in its image.")
        self.entries = tuple(name for name, _ in entries)
        made: dict[int, K] = {}
        for name, number in entries:
            if number not in made:
                made[number] = make(name, image[number])
        self.kernels = [made[number] for _, number in entries]
