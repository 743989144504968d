"""Which torch operators are to blame when a program does not convert: each is tried on its own."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from iree_core.errors import UnsupportedOperatorError
from iree_core.ir import func, ir
from iree_core.passes.diagnostics import describe_location, first_diagnostic

_TIME_LIMIT = 60.0
_STRUCTURE = ("torch.constant.", "torch.prim.", "torch_c.", "torch.tensor_static_info_cast")
_MAX_LISTED = 20

Convert = Callable[[ir.Module], None]


@dataclass
class _Case:
    """One operator with operands of certain types and constants, and where it is used."""

    op: ir.Operation
    name: str
    places: list[str]


def explain(module: ir.Module, convert: Convert) -> UnsupportedOperatorError | None:
    """Return an error that names every operator of ``module`` that ``convert`` rejects.

    Args:
        module: as it was before the conversion failed.
        convert: converts a module or raises; it is run in a forked child.

    Returns:
        None if every operator converts on its own, so that the reason is some other.
    """
    cases = list(_cases(module))
    reasons = _try(cases, convert)
    failed: dict[tuple[str, str], list[str]] = {}
    for case, reason in zip(cases, reasons, strict=True):
        if reason:
            failed.setdefault((case.name, reason), []).extend(case.places)
    if not failed:
        return None
    lines = []
    for number, ((name, reason), found) in enumerate(list(failed.items())[:_MAX_LISTED], 1):
        places = list(dict.fromkeys(filter(None, found)))
        where = f" at {', '.join(places[:3])}" if places else ""
        lines.append(f"[{number}] {name}{where}: {reason}.")
    more = f" And {len(failed) - _MAX_LISTED} more." if len(failed) > _MAX_LISTED else ""
    count = len(failed)
    return UnsupportedOperatorError(
        f"{count} torch operator{'s are' if count > 1 else ' is'} not supported. "
        + " ".join(lines)
        + more,
        hint="Write them with other operators, or pass decompositions to run_decompositions "
        "before exporting.",
    )


def _cases(module: ir.Module) -> Iterator[_Case]:
    """Yield the distinct operators."""
    found: dict[str, _Case] = {}

    def visit(op: ir.OpView) -> ir.WalkResult:
        name = op.operation.name
        if name == "torch.operator":
            name = ir.StringAttr(op.attributes["name"]).value
        if not name.startswith("torch.") or name.startswith(_STRUCTURE):
            return ir.WalkResult.ADVANCE
        key = _identity(op.operation)
        place = describe_location(op.location)
        if key in found:
            found[key].places.append(place)
        else:
            found[key] = _Case(op.operation, name.removeprefix("torch."), [place])
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    yield from found.values()


def _identity(op: ir.Operation) -> str:
    types = [str(v.type) for v in (*op.operands, *op.results)]
    constants = [_text(v) for v in op.operands]
    names = [str(op.attributes["name"])] if op.name == "torch.operator" else []
    return "|".join([op.name, *names, *types, *constants])


def _text(value: ir.Value) -> str:
    owner = value.owner
    if isinstance(owner, ir.Block):
        return ""
    if owner.operation.name.startswith("torch.constant."):
        return str(owner.attributes["value"]) if "value" in owner.attributes else "None"
    if owner.operation.name == "torch.prim.ListConstruct":
        return "[" + ",".join(map(_text, owner.operands)) + "]"
    return ""


def _alone(op: ir.Operation) -> ir.Module:
    """Return a module whose one function does nothing but ``op``."""
    arguments: list[ir.Value] = []
    constants: list[ir.Operation] = []

    def need(value: ir.Value) -> None:
        owner = value.owner
        if not isinstance(owner, ir.Block) and owner.operation.name.startswith(
            ("torch.constant.", "torch.prim.ListConstruct")
        ):
            for operand in owner.operands:
                need(operand)
            if owner not in constants:
                constants.append(owner)
        elif value not in arguments:
            arguments.append(value)

    for operand in op.operands:
        need(operand)
    with op.context, ir.Location.unknown():
        module = ir.Module.create()
        results = [r.type for r in op.results]
        with ir.InsertionPoint(module.body):
            function = func.FuncOp("main", ([a.type for a in arguments], results))
        block = function.add_entry_block()
        known = dict(zip(arguments, block.arguments, strict=True))
        with ir.InsertionPoint(block):
            for original in (*constants, op):
                copy = original.clone().operation
                for position, operand in enumerate(original.operands):
                    copy.operands[position] = known[operand]
                known.update(zip(original.results, copy.results, strict=True))
            func.ReturnOp([known[r] for r in op.results])
    return module


def _try(cases: list[_Case], convert: Convert) -> list[str]:
    """Return, per case, why it does not convert, "" if it does."""
    reasons: list[str] = []
    while len(reasons) < len(cases):
        reasons += _try_from(cases[len(reasons) :], convert)
    return reasons


def _try_from(cases: list[_Case], convert: Convert) -> list[str]:
    """Try cases in a forked child until one kills it; that one is the last of the answers."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _serve(cases, convert, write_end)
    os.close(write_end)
    lines = _lines(read_end, child)
    os.waitpid(child, 0)
    reasons = [json.loads(line) for line in lines if line]
    if len(reasons) < len(cases):
        reasons.append("the conversion crashes or takes too long")
    return reasons


def _lines(descriptor: int, child: int) -> list[bytes]:
    deadline = time.monotonic() + _TIME_LIMIT
    parts = []
    with os.fdopen(descriptor, "rb", buffering=0) as pipe:
        while True:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            part = pipe.read(1 << 16) if ready else b""
            if not part:
                if not ready:
                    os.kill(child, signal.SIGKILL)
                break
            parts.append(part)
    return b"".join(parts).split(b"\n")[:-1]


def _serve(cases: list[_Case], convert: Convert, write_end: int) -> None:
    try:
        # What conversions print about failures is for their developers, not for the user.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        with os.fdopen(write_end, "wb", buffering=0) as pipe:
            for case in cases:
                pipe.write(json.dumps(_reason(case, convert)).encode() + b"\n")
    finally:  # nothing may escape a forked child
        os._exit(0)


def _reason(case: _Case, convert: Convert) -> str:
    try:
        convert(_alone(case.op))
    except Exception as error:
        message, _ = first_diagnostic(error)
        if message.startswith("failed to legalize operation"):
            return "there is no lowering for these operands"
        return message.rstrip(".").partition("\n")[0]
    return ""
