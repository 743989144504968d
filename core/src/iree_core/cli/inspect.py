"""``iree inspect``: signatures, sizes, and the memory plan of a module file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from iree_core.cli.listing import table
from iree_core.compiler_service import format_size
from iree_core.inspect import describe_plan
from iree_core.modulefile import ModuleFile, Signature, Variant
from iree_core.vm.program import (
    Command,
    Copy,
    Dispatch,
    Fill,
    Function,
    Instruction,
    Operand,
    Program,
    TensorType,
)


@click.command("inspect", short_help="Show what is in a module file.")
@click.argument("module", type=click.Path(path_type=Path))
@click.option("-v", "--verbose", is_flag=True, help="Show every command and instruction.")
@click.option("--ir", is_flag=True, help="Print the embedded IR instead.")
def inspect_command(module: Path, verbose: bool, ir: bool) -> None:
    """Show what is in MODULE: functions, targets, data, the memory plan and its peak."""
    opened = ModuleFile.open(module)
    if ir:
        print(_embedded_ir(opened, module), end="")
        return
    made = ", ".join(f"{name} {version}" for name, version in dict(opened.versions).items())
    print(f"{module}: {format_size(module.stat().st_size)}, made with {made}")
    print("\nFunctions")
    for signature in opened.functions:
        print(f"  {describe(signature)}")
    _print_data(opened)
    print(f"\nIR: {_describe_ir(opened)}")
    if len(opened.variants) > 1:
        print("\nVariants, of which the first runs that a device here takes")
        for variant in opened.variants:
            used = sum(parameter.nbytes for parameter in opened.parameters_of(variant))
            print(f"  {variant.backend}: {variant.target}, uses {format_size(used)} of the data")
    for variant in opened.variants:
        _print_variant(opened, variant, verbose)


def _describe_ir(module: ModuleFile) -> str:
    if not module.ir_nbytes:
        return "not embedded"
    return (
        f"{format_size(module.ir_nbytes)}; `iree inspect --ir` prints it, "
        "`iree compile FILE --target` lowers it for another target"
    )


def _embedded_ir(module: ModuleFile, path: Path) -> str:
    """Return the IR in a module file as text; the compiler decodes it in a process of its own."""
    from iree_core.compiler_service import compile

    module.ir()  # says what is wrong before the compiler is started
    printed = compile(path, compile_to="input")
    return printed.path.read_text()


def describe(signature: Signature) -> str:
    """Return ``main(x: 1x3x224x224xf32) -> (y: 1x1000xf32)``."""
    inputs = ", ".join(_tensor(kind) for kind in signature.inputs)
    outputs = ", ".join(_tensor(kind) for kind in signature.outputs)
    return f"{signature.name}({inputs}) -> ({outputs})"


def _tensor(kind: TensorType) -> str:
    return f"{kind.name}: " + "x".join([*(str(d) for d in kind.shape), kind.dtype])


def _print_data(module: ModuleFile) -> None:
    total = sum(parameter.nbytes for parameter in module.parameters)
    print(f"\nData: {format_size(total)} in {len(module.parameters)} tensors")
    largest = sorted(module.parameters, key=lambda parameter: -parameter.nbytes)[:5]
    for parameter in largest:
        print(f"  {format_size(parameter.nbytes):>10}  {parameter.key or '(inline constants)'}")


def _print_variant(module: ModuleFile, variant: Variant, verbose: bool) -> None:
    program = module.program(variant)
    used = sum(parameter.nbytes for parameter in module.parameters_of(variant))
    print(f"\nTarget {variant.backend}: {variant.target}")
    names: tuple[str, ...] = ()
    if variant.executable is not None:
        names = tuple(name for name, _ in variant.executable.entries)
        image = variant.executable
        print(f"  code: {format_size(image.nbytes)}, {image.format}, {len(names)} kernels")
    commands = Counter(
        type(command).__name__.lower()
        for listed in program.command_lists
        for command in listed.commands
    )
    counted = ", ".join(f"{count} of kind {kind}" for kind, count in commands.items())
    print(f"  commands: {counted or 'none'}, in {len(program.command_lists)} lists")
    print("\n  Memory plan")
    for line in table(("function", "arena", "allocated besides"), memory_plan(program)):
        print(f"  {line}")
    for function in program.functions:
        print()
        for line in describe_plan(program, function):
            print(f"  {line}")
    state = sum(item.nbytes for item in program.globals)
    print(f"  state: {format_size(state)} in {len(program.globals)} variables")
    print(f"  peak beside inputs: {peak(program, used)}")
    if verbose:
        for line in listing(program, names):
            print(f"  {line}".rstrip())


def memory_plan(program: Program) -> list[tuple[str, str, str]]:
    """Return, of each function, name, arena size and what it allocates besides."""
    rows = []
    for function in program.functions:
        arenas = _sizes(function, "arena")
        allocations = _sizes(function, "alloc")
        rows.append((function.name, _sum(arenas), _sum(allocations)))
    return rows


def peak(program: Program, constants: int) -> str:
    """Return the most memory one call needs beside its inputs, as far as it is static."""
    static, dynamic = 0, False
    for function in program.functions:
        sizes = _sizes(function, "arena") + _sizes(function, "alloc")
        static = max(static, sum(size for size in sizes if size is not None))
        dynamic = dynamic or None in sizes
    total = format_size(constants + static + sum(item.nbytes for item in program.globals))
    return f"{total}, and what depends on dimensions" if dynamic else total


def _sizes(function: Function, op: str) -> list[int | None]:
    """Return the bytes each ``op`` asks for; None where that is computed at run time."""
    written = Counter(_written(instruction) for instruction in function.instructions)
    constants = {
        instruction.args[0]: instruction.args[1]
        for instruction in function.instructions
        if instruction.op == "const" and written[instruction.args[0]] == 1
    }
    found: list[int | None] = []
    for instruction in function.instructions:
        if instruction.op == op:
            size = constants.get(instruction.args[1])
            found.append(size if isinstance(size, int) else None)
    return found


def _written(instruction: Instruction) -> object:
    from iree_core.vm.program import OPCODES

    kinds = OPCODES[instruction.op]
    return instruction.args[0] if kinds.startswith("I") else None


def listing(program: Program, names: Sequence[str]) -> Iterator[str]:
    """Yield every command and instruction of ``program``, a line each.

    Args:
        program: a host program.
        names: of the executable's entry points.
    """
    for number, listed in enumerate(program.command_lists):
        yield ""
        yield f"Command list {number}: {listed.slots} buffers, {listed.params} parameters"
        yield from (f"  {_command(command, names)}" for command in listed.commands)
    for function in program.functions:
        yield ""
        yield f"Function {function.name}"
        for position, instruction in enumerate(function.instructions):
            arguments = ", ".join(str(argument) for argument in instruction.args)
            yield f"  {position:4d}  {instruction.op} {arguments}".rstrip()


def _command(command: Command, names: Sequence[str]) -> str:
    if isinstance(command, Dispatch):
        bindings = " ".join(f"b{b.slot}+{_operand(b.offset)}" for b in command.bindings)
        scalars = " ".join(_operand(scalar) for scalar in command.scalars)
        return f"dispatch {names[command.entry]}[{_operand(command.grid)}] {bindings} {scalars}"
    if isinstance(command, Copy):
        source, target = command.source, command.target
        return (
            f"copy b{source.slot}+{_operand(source.offset)} -> "
            f"b{target.slot}+{_operand(target.offset)}, {_operand(command.length)} bytes"
        )
    assert isinstance(command, Fill)
    target = command.target
    return f"fill b{target.slot}+{_operand(target.offset)}, {_operand(command.length)} bytes"


def _operand(operand: Operand) -> str:
    kind, value = operand
    return str(value) if kind == "imm" else f"p{value}"


def _sum(sizes: list[int | None]) -> str:
    static = format_size(sum(size for size in sizes if size is not None))
    dynamic = sizes.count(None)
    if not dynamic:
        return static
    return f"{static} + {dynamic} by dimensions" if len(sizes) > dynamic else "by dimensions"
