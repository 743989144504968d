"""Which variant of a module runs where: one module file may hold several, each for a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from iree_core.errors import DeviceError, ModuleFileError
from iree_core.hal import Device
from iree_core.hal.registry import choose_device
from iree_core.modulefile import ModuleFile, Variant

_T = TypeVar("_T")
_LOWER_AGAIN = (
    "`iree compile FILE.vmfb --target NAME -o OUT.vmfb` makes it from the IR in the module."
)


def choose_variant(file: ModuleFile, device: Device) -> Variant:
    """Return the first variant of ``file`` that runs on ``device``.

    Raises:
        ModuleFileError: none does, with the reason for each.
    """
    reasons = []
    for variant in file.variants:
        if variant.executable is None:
            return variant
        reason = device.accepts(variant.executable.format, variant.executable.target)
        if reason is None:
            return variant
        reasons.append(f"{variant.executable.target}: {reason}")
    raise ModuleFileError(
        f"The module does not run on {device.name}: {'; '.join(reasons) or 'it holds no code'}.",
        where=file.origin,
        hint=_LOWER_AGAIN if file.ir_nbytes else "Compile the model with --target for this device.",
    )


def first_usable(
    file: ModuleFile,
    options: Mapping[str, str] | None,
    use: Callable[[Device, Variant], _T],
) -> _T:
    """Return what ``use`` returns for the first variant that a device of this machine runs.

    Args:
        file: a module file.
        options: of the device.
        use: loads a variant on a device that takes its kind of code.

    Raises:
        DeviceError: no device here runs any of them, with the reason for each.
        UsageError: the devices have no such option.
        ModuleFileError: there is one variant, and its device lacks what it needs.
    """
    if len(file.variants) < 2:
        device = choose_device(_formats(file.variants), options)
        return use(device, choose_variant(file, device))
    reasons = []
    for variant in file.variants:
        try:
            device = choose_device(_formats([variant]), options)
            code = variant.executable
            reason = device.accepts(code.format, code.target) if code is not None else None
            if reason is None:
                return use(device, variant)
        except (DeviceError, ModuleFileError) as error:
            reason = error.what.removesuffix(".")
        reasons.append(f"{variant.backend}: {reason}.")
    raise DeviceError(
        f"No device here runs any of the module's {len(file.variants)} variants. "
        + " ".join(reasons),
        where=file.origin,
        hint="`iree devices` shows what is here.",
    )


def _formats(variants: Sequence[Variant]) -> set[str]:
    return {variant.executable.format for variant in variants if variant.executable is not None}
