"""The copy of the IR that a module file carries, to be lowered again for another target.

It is taken after ``global-optimization``, the last phase whose result means the same everywhere:
what follows forms dispatches and plans memory for one target. Weights stay references to the
module's own data, so it costs a few kilobytes. How a weight lies in memory is part of its type
(:mod:`iree_core.layout`), so it can be undone when the copy is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np

from iree_core.errors import ImportModelError
from iree_core.interfaces import ImportedModel
from iree_core.ir import ir, run_pipeline
from iree_core.layout import PackedLayout, layout_of
from iree_core.lowering import element
from iree_core.modulefile import ModuleFile
from iree_core.modulefile.flatbuffer import IDENTIFIER
from iree_core.params import ParameterStore
from iree_core.passes.input.load import parse_module
from iree_core.passes.scheduling.constants import INITIAL

TAKEN_AFTER = "global-optimization"
# Running this phase twice changes nothing but what depends on the target: how weights are packed.
LOWERED_FROM = "global-optimization"


def is_module_file(path: Path) -> bool:
    """Tell from its first bytes whether ``path`` is a module file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(12)[8:] == IDENTIFIER


@dataclass(frozen=True)
class PortableIr:
    """MLIR bytecode, and the keys of the parameters that it names."""

    bytecode: bytes
    keys: frozenset[str]


def copy_of(module: ir.Module) -> ir.Module:
    """Return a copy of ``module`` in the same context."""
    return ir.Module.parse(_bytecode(module), context=module.context)


def take(module: ir.Module) -> PortableIr:
    """Return a copy of ``module``, without locations."""
    copy = copy_of(module)
    run_pipeline(copy, "builtin.module(strip-debuginfo)")
    return PortableIr(_bytecode(copy), frozenset(_keys(copy)))


def _bytecode(module: ir.Module) -> bytes:
    content = BytesIO()
    module.operation.write_bytecode(content)
    return content.getvalue()


def _keys(module: ir.Module) -> Iterator[str]:
    """Yield the key of every parameter that ``module`` names."""
    yield from (_key(op) for op in _parameter_operations(module))
    yield from (_initial_key(op) for op in _states_with_values(module))


def _parameter_operations(module: ir.Module) -> list[ir.Operation]:
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.operation.name == "flow.parameter":
            found.append(op.operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    return found


def _states_with_values(module: ir.Module) -> list[ir.Operation]:
    return [op.operation for op in module.body.operations if INITIAL in op.attributes]


def _key(op: ir.Operation) -> str:
    return ir.StringAttr(op.attributes["key"]).value


def _initial_key(op: ir.Operation) -> str:
    return ir.StringAttr(op.attributes[INITIAL]).value


def load(path: Path, context: ir.Context) -> ImportedModel:
    """Return the IR inside a module file, its weights dense and read from the file's pages.

    Raises:
        ModuleFileError: the file is damaged, or holds no IR.
        ImportModelError: this version of MLIR cannot read the IR, or it does not fit the data.
    """
    file = ModuleFile.open(path)
    module = parse_module(file.ir(), context, f"the IR in {path}")
    weights = _Weights(file)
    with context, ir.Location.unknown():
        for op in _parameter_operations(module):
            kind = ir.RankedTensorType(op.results[0].type)
            op.attributes["key"] = ir.StringAttr.get(weights.add(_key(op), kind))
            if kind.encoding is not None:
                op.results[0].set_type(ir.RankedTensorType.get(kind.shape, kind.element_type))
        for op in _states_with_values(module):
            kind = ir.RankedTensorType(ir.TypeAttr(op.attributes["type"]).value)
            op.attributes[INITIAL] = ir.StringAttr.get(weights.add(_initial_key(op), kind))
    return ImportedModel(module, weights.store)


class _Weights:
    """The parameters of a module file as entries of a store, their layouts undone."""

    def __init__(self, file: ModuleFile) -> None:
        self.store = ParameterStore()
        self._file = file
        self._stored = {parameter.key: parameter for parameter in file.parameters}
        self._names: dict[tuple[str, PackedLayout | None], str] = {}

    def add(self, key: str, kind: ir.RankedTensorType) -> str:
        """Return the key in the store of what ``key`` is in the file, a tensor of type ``kind``.

        Raises:
            ImportModelError: the file has nothing of that key and size.
        """
        layout = layout_of(kind)
        if (key, layout) not in self._names:
            self._names[key, layout] = self._insert(key, kind, layout)
        return self._names[key, layout]

    def _insert(self, key: str, kind: ir.RankedTensorType, layout: PackedLayout | None) -> str:
        shape, dtype = tuple(kind.shape), element.from_name(str(kind.element_type)).numpy
        stored_shape = shape if layout is None else layout.storage_shape(shape)
        parameter = self._stored.get(key)
        nbytes = int(np.prod(stored_shape, dtype=np.int64)) * dtype.itemsize
        if parameter is None or parameter.nbytes != nbytes:
            raise ImportModelError(
                f"The IR in {self._file.origin} names {nbytes} bytes of {key!r}, which the file "
                "does not hold.",
                hint="Compile the model that the module was made from.",
            )
        data = np.frombuffer(self._file.read(parameter), dtype).reshape(stored_shape)
        name = key.partition("#packed")[0] if layout is not None else key
        while name in self.store:
            name += "+"
        if layout is None:
            return self.store.add(name, data)
        return self.store.derive(name, shape, dtype, partial(layout.unpack, data, shape))
