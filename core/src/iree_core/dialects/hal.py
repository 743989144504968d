"""The ``hal`` dialect: a host function after scheduling, on buffers instead of tensors.

A ``!hal.buffer`` value is a range of bytes that begins somewhere in an allocation and is as long
as its users need::

    %arena = "hal.arena"(%c4096) : (index) -> !hal.buffer
    %x = "hal.subview"(%arena, %c1024) : (!hal.buffer, index) -> !hal.buffer
    "hal.dispatch"(%input, %x, %n) {entry = @main_dispatch_0,
        operandSegmentSizes = array<i32: 1, 1, 1>} : (!hal.buffer, !hal.buffer, index) -> ()

Public functions keep their names; their arguments are first the sizes that the signature names
(``index``), then one buffer per tensor. They return one buffer per tensor, then the sizes whose
names occur in outputs only. The signature itself is in the attributes ``iree.inputs`` and
``iree.outputs``, one string per tensor: ``name:dtype[dim,dim]``.
"""

from collections.abc import Sequence
from typing import Any

from iree_core.ir import ext, ir

INPUTS = "iree.inputs"
OUTPUTS = "iree.outputs"


class Hal(ext.Dialect, name="hal"):
    """Dialect handle; :func:`iree_core.ir.make_context` loads it."""


class BufferType(Hal.Type, name="buffer"):
    """A range of bytes on the device."""


def _buffer() -> ir.Type:
    return BufferType.get()


class ConstantOp(Hal.Operation, name="constant", traits=[ext.Pure]):
    """Read-only bytes: the array that the parameter store holds under ``key``."""

    key: ir.StringAttr
    result: ext.Result[BufferType] = ext.result(default_factory=_buffer)


class TransientOp(Hal.Operation, name="transient"):
    """Memory for ``size`` bytes, undefined at first, that has no place yet.

    ``writer`` is ``device`` or ``host``. What the host writes is its own from the beginning of
    the block on, so that the host need not wait for the device.
    """

    writer: ir.StringAttr
    size: ext.Operand[ir.IndexType]
    result: ext.Result[BufferType] = ext.result(default_factory=_buffer)


class ArenaOp(Hal.Operation, name="arena"):
    """The one block of memory in which a call keeps its planned intermediate values."""

    size: ext.Operand[ir.IndexType]
    result: ext.Result[BufferType] = ext.result(default_factory=_buffer)


class AllocOp(Hal.Operation, name="alloc"):
    """A fresh allocation of ``size`` bytes that lives as long as anyone refers to it."""

    size: ext.Operand[ir.IndexType]
    result: ext.Result[BufferType] = ext.result(default_factory=_buffer)


class SubviewOp(Hal.Operation, name="subview", traits=[ext.Pure]):
    """The bytes of ``source`` from ``offset`` on."""

    source: ext.Operand[BufferType]
    offset: ext.Operand[ir.IndexType]
    result: ext.Result[BufferType] = ext.result(default_factory=_buffer)


class DispatchOp(Hal.Operation, name="dispatch"):
    """Run the dispatch ``entry``; the outputs are written, the inputs read."""

    entry: ir.FlatSymbolRefAttr
    inputs: Sequence[ext.Operand[BufferType]]
    outputs: Sequence[ext.Operand[BufferType]]
    scalars: Sequence[ext.Operand[Any]]


class CopyOp(Hal.Operation, name="copy"):
    """Copy ``length`` bytes from the start of ``source`` to the start of ``target``."""

    source: ext.Operand[BufferType]
    target: ext.Operand[BufferType]
    length: ext.Operand[ir.IndexType]


class FillOp(Hal.Operation, name="fill"):
    """Fill the first ``length`` bytes of ``target`` with the bytes of ``pattern`` (hexadecimal)."""

    pattern: ir.StringAttr
    target: ext.Operand[BufferType]
    length: ext.Operand[ir.IndexType]


class LoadOp(Hal.Operation, name="load"):
    """Read one element of type ``dtype`` at byte ``offset`` into the host program."""

    dtype: ir.StringAttr
    source: ext.Operand[BufferType]
    offset: ext.Operand[ir.IndexType]
    result: ext.Result[Any]


class StoreOp(Hal.Operation, name="store"):
    """Write one element at byte ``offset``; the target's transient has the writer ``host``."""

    dtype: ir.StringAttr
    value: ext.Operand[Any]
    target: ext.Operand[BufferType]
    offset: ext.Operand[ir.IndexType]


class LoadGlobalOp(Hal.Operation, name="load_global"):
    """The buffer that holds the state called ``variable``."""

    variable: ir.StringAttr
    result: ext.Result[BufferType] = ext.result(default_factory=_buffer)


class StoreGlobalOp(Hal.Operation, name="store_global"):
    """Make ``source`` the buffer that holds the state called ``variable``."""

    variable: ir.StringAttr
    source: ext.Operand[BufferType]


class CheckOp(Hal.Operation, name="check"):
    """Fail the call with ``message`` unless ``condition`` holds."""

    message: ir.StringAttr
    condition: ext.Operand[Any]


class CallHostOp(Hal.Operation, name="call_host"):
    """Call the function of Python ``callee`` of ``signature`` (see ``iree_core.vm.host_calls``).

    It reads the inputs and writes the outputs; ``sizes`` are what the signature leaves open.
    """

    callee: ir.StringAttr
    signature: ir.StringAttr
    inputs: Sequence[ext.Operand[BufferType]]
    outputs: Sequence[ext.Operand[BufferType]]
    sizes: Sequence[ext.Operand[ir.IndexType]]
