"""``iree compile`` and ``iree import``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from iree_core.cli.options import compile_arguments, compile_options
from iree_core.cli.profile import compile_profile
from iree_core.cli.progress import ProgressDisplay
from iree_core.compiler_service import CompiledModule, compile
from iree_core.errors import UsageError


@click.command("compile", short_help="Compile a model to a module file.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write.")
@compile_options
@click.option("--compile-to", metavar="PHASE", help="Stop after a phase and print the IR.")
@click.option("--from-phase", metavar="PHASE", help="Start with a phase, from printed IR.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Compiler processes.")
@click.option("--profile", is_flag=True, help="Print where time and memory of compiling went.")
def compile_command(
    model: Path,
    output: Path | None,
    compile_to: str | None,
    from_phase: str | None,
    threads: int,
    profile: bool,
    **options: Any,
) -> None:
    """Compile MODEL to a module file (or to MLIR, with --compile-to).

    The frontend is found from the file's content, the target defaults to this machine's
    processor with all its features, and optimisation is on.
    """
    if output is None and compile_to is None:
        raise UsageError("Where should the module go?", hint="Say `-o FILE.vmfb`.")
    module = compile_shown(
        model,
        output=output,
        compile_to=compile_to,
        from_phase=from_phase,
        threads=threads,
        **compile_arguments(options),
    )
    if output is None:
        sys.stdout.write(module.path.read_text())
    elif compile_to is None:
        print(f"{output}: {module.report.summary(name_fallbacks=False)}")
    if profile:
        print(compile_profile(module.report), file=sys.stderr)


@click.command("import", short_help="Print a model as MLIR.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write.")
@click.option(
    "--save-parameters",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the weights there, in safetensors.",
)
@compile_options
def import_command(
    model: Path, output: Path | None, save_parameters: Path | None, **options: Any
) -> None:
    """Print MODEL as MLIR after the input phase: linalg on tensors, not yet optimised.

    Large constants are named, not printed; `iree compile FILE.mlir --parameters FILE` reads
    what --save-parameters wrote.
    """
    module = compile_shown(
        model,
        output=output,
        compile_to="input",
        save_parameters=save_parameters,
        **compile_arguments(options),
    )
    if output is None:
        sys.stdout.write(module.path.read_text())


def compile_shown(model: Path, **arguments: Any) -> CompiledModule:
    """Compile with progress on standard error, then name what the user should know."""
    with ProgressDisplay(model.name) as display:
        module = compile(model, progress=display, **arguments)
    if arguments.get("fallback") != "allow":
        for note in module.report.fallbacks:
            print(f"iree: warning: off the fast path: {note}", file=sys.stderr)
    for note in module.report.notes:
        print(f"iree: note: {note}", file=sys.stderr)
    return module
