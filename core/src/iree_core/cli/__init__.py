"""The command ``iree``: finds the subcommand, turns errors into one paragraph and an exit code.

A subcommand's module is imported when it is called; no plugin is, unless a subcommand needs one.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iree_core import __version__
from iree_core.errors import IreeError

if TYPE_CHECKING:
    from collections.abc import Sequence

# name -> module below iree_core.cli, help line. The function is the name, with _command.
COMMANDS: dict[str, tuple[str, str]] = {
    "compile": ("compile", "Compile a model to a module file."),
    "run": ("run", "Run a function of a model or module file."),
    "benchmark": ("run", "Measure how long a function takes."),
    "tune": ("tune", "Measure which block sizes make a model fastest."),
    "import": ("compile", "Print a model as MLIR, before it is optimised."),
    "inspect": ("inspect", "Show what is in a module file, its memory plan and peak."),
    "plugins": ("listing", "List plugins: name, version, state, and what is wrong."),
    "targets": ("listing", "List targets to compile for."),
    "devices": ("listing", "List devices to run on."),
    "doctor": ("doctor", "Check the installation and say what to repair."),
}


class _Commands(click.Group):
    """The subcommands of the core, then those of plugins; a file name means ``compile``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module = import_module(f"iree_core.cli.{COMMANDS[cmd_name][0]}")
            return getattr(module, f"{cmd_name}_command")
        from iree_core.plugins import installed

        for commands in installed().call("iree_cli_commands"):
            for command in commands:
                if command.name == cmd_name:
                    return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, help) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = self.get_command(ctx, args[0])
        if command is None:
            ctx.fail(
                f"{args[0]!r} is neither a command nor a file. Commands: {', '.join(COMMANDS)}; "
                "plugins may add others."
            )
        return args[0], command, args[1:]


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`iree MODEL -o OUT` is short for `iree compile MODEL -o OUT`.",
)
@click.version_option(__version__, package_name="iree-core", prog_name="iree")
def cli() -> None:
    """Compile machine-learning models and run them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0, 1 for an error, 2 for a wrong use, 130 if interrupted."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit code."""
    try:
        with _terminable():
            result: Any = cli.main(_expand(arguments), prog_name="iree", standalone_mode=False)
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except IreeError as error:
        return _complain(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _complain("Interrupted.", 130)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read the output has gone; there is no one to tell
        return 141
    except MemoryError:
        return _complain("Memory ran out.", 1)


def _terminable() -> Any:
    """Make a termination signal an exception, so that unfinished files are removed."""
    import signal
    from contextlib import contextmanager

    @contextmanager
    def scope() -> Any:
        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGTERM, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    return scope()


def _expand(arguments: list[str]) -> list[str]:
    """Put ``compile`` before arguments that name a model instead of a command."""
    if not arguments or arguments[0] in COMMANDS:
        return arguments
    first = arguments[0]
    if first.startswith("-"):
        own = {"-h", "--help", "--version"}
        return arguments if first in own else ["compile", *arguments]
    looks_like_file = "." in first or "/" in first or Path(first).exists()
    return ["compile", *arguments] if looks_like_file else arguments


def _complain(text: str, code: int) -> int:
    print(f"iree: {text}", file=sys.stderr)
    return code
