"""Checks of command lists that drivers of kernel images share."""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.errors import ModuleFileError
from iree_core.hal.kernel_image import Entry
from iree_core.vm.program import CommandList, Copy, Dispatch


def check_commands(commands: CommandList, entries: Sequence[Entry]) -> None:
    """Check that everything ``commands`` refer to exists.

    Args:
        commands: what is about to be recorded.
        entries: the entry points of the executable.

    Raises:
        ModuleFileError: an entry point, operand, buffer or parameter that does not exist.
    """
    for command in commands.commands:
        if isinstance(command, Dispatch):
            bindings, operands = command.bindings, [*command.scalars, command.grid, command.scratch]
            valid = 0 <= command.entry < len(entries)
            if valid:
                entry = entries[command.entry]
                valid = len(command.scalars) == entry.scalars
                valid = valid and len(bindings) == len(entry.bindings)
        else:
            copies = isinstance(command, Copy)
            bindings = (command.source, command.target) if copies else (command.target,)  # type: ignore[union-attr]
            operands, valid = [command.length], True
        operands += [binding.offset for binding in bindings]
        valid = valid and all(0 <= binding.slot < commands.slots for binding in bindings)
        if not valid or any(k == "param" and not 0 <= n < commands.params for k, n in operands):
            raise ModuleFileError(
                "A command list refers to an entry point, buffer or parameter that does not exist."
            )
