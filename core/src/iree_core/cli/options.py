"""Options that several commands share, and how they reach :func:`iree_core.compile`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from iree_core.errors import UsageError

_F = TypeVar("_F", bound=Callable[..., Any])


def compile_options(function: _F) -> _F:
    """Add the options of a compilation; ``compile_arguments`` reads them."""
    for option in reversed(
        [
            click.option("--frontend", metavar="NAME", help="Who reads the model [from content]."),
            click.option(
                "--frontend-option",
                "frontend_options",
                multiple=True,
                metavar="KEY=VALUE",
                help="An option of the frontend.",
            ),
            click.option(
                "--parameters",
                multiple=True,
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="Weights that an .mlir file names, in safetensors.",
            ),
            click.option(
                "--target",
                multiple=True,
                metavar="NAME[:OPTIONS]",
                help="What to compile for; several are tried in this order [this machine].",
            ),
            click.option(
                "-O",
                "opt_level",
                type=click.IntRange(0, 3),
                default=3,
                help="0: compile fast, 3: run fast.  [default: 3]",
            ),
            click.option(
                "--fallback",
                type=click.Choice(["error", "warn", "allow"]),
                default="warn",
                help="Where a dispatch leaves the fast path.  [default: warn]",
            ),
            click.option(
                "--embed-ir",
                type=click.Choice(["auto", "on", "off"]),
                default="auto",
                help="Keep the IR in the module, for other targets.  [default: where small]",
            ),
            click.option(
                "--reuse/--no-reuse",
                default=True,
                help="Take dispatches that were compiled before.  [default: reuse]",
            ),
            click.option(
                "--tuning",
                type=click.Path(dir_okay=False, path_type=Path),
                metavar="FILE",
                help="Block sizes that `iree tune` measured.",
            ),
            click.option(
                "--dump-dir",
                type=click.Path(file_okay=False, path_type=Path),
                help="Write the IR after every pass there.",
            ),
        ]
    ):
        function = option(function)
    return function


def compile_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options of :func:`compile_options` out and return them for ``compile``."""
    names = (
        *("frontend", "parameters", "target", "opt_level", "fallback", "embed_ir", "reuse"),
        *("tuning", "dump_dir"),
    )
    arguments = {name: options.pop(name) for name in names}
    arguments["target"] = list(arguments["target"]) or None
    arguments["frontend_options"] = pairs(options.pop("frontend_options"), "--frontend-option")
    return arguments


def pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    """Return ``KEY=VALUE`` texts as a dictionary.

    Raises:
        UsageError: one without ``=``.
    """
    result = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{option}={text} is not of the form KEY=VALUE.")
        result[key] = value
    return result


def run_options(function: _F) -> _F:
    """Add the options that choose a device, a function and its inputs."""
    for option in reversed(
        [
            click.option("--device", metavar="NAME", help="Where to run [the best there is]."),
            click.option("--threads", type=click.IntRange(min=1), help="Of the device [all]."),
            click.option("--function", metavar="NAME", help="Which function [the first]."),
            click.option(
                "--input",
                "inputs",
                multiple=True,
                metavar="VALUE",
                help="2x3xf32=1 2 3 4 5 6, 2x3xf32=@x.npy or @x.npy; once per input [random].",
            ),
            click.option(
                "--dim",
                "dims",
                multiple=True,
                metavar="NAME=SIZE",
                help="Size of a dynamic dimension of random inputs [1].",
            ),
        ]
    ):
        function = option(function)
    return function
