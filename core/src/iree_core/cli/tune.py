"""``iree tune``: measure which block sizes make a model fastest here, for compilations to reuse."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from iree_core.cli.options import compile_arguments, compile_options, run_options
from iree_core.cli.run import is_module, prepare_module
from iree_core.errors import UsageError


@click.command("tune", short_help="Measure which block sizes make a model fastest.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The file to write."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=0.5,
    help="To measure every step for, at least.  [default: 0.5]",
)
@run_options
@compile_options
def tune_command(model: Path, output: Path, seconds: float, **options: Any) -> None:
    """Measure which block sizes make MODEL fastest on this device, and write them to a file.

    `iree compile --tuning FILE` uses it, for this model and others with the same dispatches.
    Takes minutes; the machine should do nothing else.
    """
    from iree_core.tuner import tune

    if is_module(model):
        raise UsageError(f"{model} is compiled already; give the model that it was made from.")
    compiling = compile_arguments(options)
    if compiling.pop("tuning") is not None:
        raise UsageError("A search starts without a tuning file.", hint="Leave --tuning out.")
    module, function, inputs = prepare_module(model, compiling, options)
    report = tune(
        model,
        inputs,
        module.device,
        function=function.name,
        seconds=seconds,
        progress=lambda line: print(f"iree: {line}", file=sys.stderr),
        **compiling,
    )
    report.table.save(output)
    print(
        f"{output}: {len(report.table.dispatches)} of {report.searched} dispatches gained, "
        f"{report.before * 1e3:.3f} -> {report.after * 1e3:.3f} ms, "
        f"{report.before / report.after:.2f} times as fast"
    )
