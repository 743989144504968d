"""Opens devices by what users type: ``local-task``, ``cuda://1``, ``local-task?threads=2``.

The drivers themselves are plugins.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl

from iree_core.errors import DeviceError, UsageError
from iree_core.hal.device import Device
from iree_core.plugins import installed

# By process, too: threads and queues of a device do not survive a fork.
_devices: dict[tuple[int, str, str, tuple[tuple[str, str], ...]], Device] = {}
_lock = threading.Lock()


def parse_device(text: str) -> tuple[str, str, dict[str, str]]:
    """Return driver, path and options of ``DRIVER[://PATH][?KEY=VALUE&...]``.

    Raises:
        UsageError: it has another form.
    """
    head, _, query = text.partition("?")
    driver, _, path = head.partition("://")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if not driver or (query and not options):
        raise UsageError(
            f"{text!r} is no device.", hint="Use DRIVER, DRIVER://PATH or DRIVER?threads=2."
        )
    return driver, path, options


def open_device(
    text: str, options: Mapping[str, str] | None = None, *, cached: bool = True
) -> Device:
    """Return the device ``text`` names; the same one each time if ``cached``.

    A forked process gets devices of its own.

    Raises:
        UsageError: an unknown driver or option.
        PluginError: the driver's plugin is broken.
        DeviceError: there is no such device, or it does not open.
    """
    name, path, parsed = parse_device(text)
    parsed |= options or {}
    if not cached:
        return installed().driver(name).create_device(path, parsed)
    key = (os.getpid(), name, path, tuple(sorted(parsed.items())))
    with _lock:
        if key not in _devices:
            _devices[key] = installed().driver(name).create_device(path, parsed)
        return _devices[key]


def choose_device(formats: Iterable[str], options: Mapping[str, str] | None = None) -> Device:
    """Return the best device here for executables of any of ``formats``.

    Raises:
        DeviceError: no driver takes any of them, or those that do have no usable device.
    """
    wanted = set(formats)
    plugins = installed()
    drivers = sorted(plugins.working("driver", plugins.driver), key=lambda driver: -driver.rank)
    reasons = []
    for driver in drivers:
        if wanted and not wanted & set(driver.formats):
            continue
        try:
            if driver.query_devices():
                return open_device(driver.name, options)
            reasons.append(f"{driver.name}: it finds no device")
        except DeviceError as error:
            reasons.append(f"{driver.name}: {error.what}")
    code = ", ".join(sorted(wanted)) or "no"
    if reasons:
        raise DeviceError(
            f"No device here runs this module of {code} code. {' '.join(reasons)}",
            hint="`iree compile --target` makes modules for others.",
        )
    raise DeviceError(
        f"No installed driver runs this module: it holds {code} code, "
        f"and the drivers here are {', '.join(plugins.names('driver')) or 'none'}.",
        hint="`iree plugins` shows drivers that are broken; `iree compile --target` makes modules "
        "for others.",
    )
