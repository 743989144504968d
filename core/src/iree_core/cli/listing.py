"""``iree plugins``, ``iree targets`` and ``iree devices``."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from iree_core.errors import IreeError
from iree_core.plugins import PluginInfo, installed


@click.command("plugins", short_help="List plugins.")
@click.option("-v", "--verbose", is_flag=True, help="Show tracebacks of broken plugins.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def plugins_command(verbose: bool, as_json: bool) -> None:
    """List every installed plugin: role, name, package, version, state, and what is wrong.

    Each is loaded to find out whether it works.
    """
    infos = [installed().check(info) for info in installed().infos()]
    if as_json:
        fields = ("role", "name", "distribution", "version", "state", "cause")
        print(json.dumps([{field: getattr(info, field) for field in fields} for info in infos]))
        return
    if not infos:
        print("No plugin is installed. `pip install iree-backend-llvm` adds the CPU.")
        return
    rows = [
        (info.role, info.name, f"{info.distribution} {info.version}", info.state) for info in infos
    ]
    title, *lines = table(("role", "name", "package", "state"), rows)
    print(title)
    for info, line in zip(infos, lines, strict=True):
        print(line)
        if info.cause:
            print(f"    {info.cause}")
        if verbose and info.traceback:
            print("    " + info.traceback.rstrip().replace("\n", "\n    "))


@click.command("targets", short_help="List targets to compile for.")
def targets_command() -> None:
    """List the targets `--target` takes, and what each resolves to on this machine."""
    rows = [(info.name, _resolved(info)) for info in installed().infos("backend")]
    print("\n".join(table(("target", "default"), rows)))


@click.command("devices", short_help="List devices to run on.")
def devices_command() -> None:
    """List the devices `--device` takes on this machine."""
    rows = []
    for info in installed().infos("driver"):
        try:
            found = installed().driver(info.name).query_devices()
        except IreeError as error:
            rows.append((info.name, str(error)))
            continue
        rows += [
            (f"{info.name}://{device.path}" if device.path else info.name, device.description)
            for device in found
        ] or [(info.name, "nothing found")]
    print("\n".join(table(("device", "description"), rows)))


def _resolved(info: PluginInfo) -> str:
    try:
        return installed().backend(info.name).resolve("").spec
    except IreeError as error:
        return str(error)


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return lines with aligned columns; the header comes first."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    title = "  ".join(cell.upper().ljust(w) for cell, w in zip(header, widths, strict=True))
    return [line.rstrip() for line in [title, *lines]]
