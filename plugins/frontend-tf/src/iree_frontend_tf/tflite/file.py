"""Reads a ``.tflite`` FlatBuffer into plain data, checked: every index, offset and size is valid.

The accessors of the ``tflite`` package do not verify, so everything but the bytes of buffers is
read here, once, and what lies outside of the file or contradicts itself is an error. Buffers are
only located; their bytes stay in the memory-mapped file.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import tflite
from numpy.typing import NDArray

from iree_core.errors import ImportModelError
from iree_core.lowering import element as elements
from iree_core.lowering.element import ElementType

_MAX_RANK = 64
_ELEMENTS: dict[int, ElementType] = {
    0: elements.F32, 1: elements.F16, 2: elements.I32, 3: elements.U8, 4: elements.I64,
    6: elements.BOOL, 7: elements.I16, 8: elements.COMPLEX64, 9: elements.I8, 10: elements.F64,
    11: elements.COMPLEX128, 12: elements.U64, 15: elements.U32, 16: elements.U16,
    17: elements.I4, 18: elements.BF16,
}  # fmt: skip


@dataclass(frozen=True)
class Quantization:
    """``real = scale * (stored - zero_point)``, one pair or one per index along ``axis``."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int

    @property
    def per_channel(self) -> bool:
        """Whether there is more than one scale."""
        return self.scale.size > 1


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a graph as declared.

    Attributes:
        element: None for strings, resources and variants.
        kind: the name of its type in the schema.
        dims: sizes; None where the signature leaves one open.
        buffer: number of the buffer with its contents, 0 for none.
        is_variable: it keeps its contents from call to call.
        sparsity: accessor of how its contents are stored sparsely, None where they are not.
    """

    name: str
    element: ElementType | None
    kind: str
    dims: tuple[int | None, ...]
    buffer: int
    quantization: Quantization | None
    is_variable: bool
    sparsity: Any

    @property
    def is_resource(self) -> bool:
        """Whether it is a handle of a variable or a table."""
        return self.kind in ("RESOURCE", "VARIANT")


@dataclass(frozen=True)
class OperatorInfo:
    """One operator of a graph.

    Attributes:
        name: as in the schema's ``BuiltinOperator``, or the custom operator's own.
        inputs: numbers of tensors, -1 for an absent one.
        options: accessor of its options table, None without one.
    """

    name: str
    custom: bool
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    options: Any


@dataclass(frozen=True)
class Graph:
    """One subgraph."""

    name: str
    tensors: tuple[TensorInfo, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[OperatorInfo, ...]


@dataclass(frozen=True)
class Signature:
    """A public entry: names of inputs and outputs, in order, with the tensors they are."""

    key: str
    graph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Model:
    """A model file.

    Attributes:
        buffers: offset and size in bytes of each buffer in the file.
    """

    path: Path
    graphs: tuple[Graph, ...]
    signatures: tuple[Signature, ...]
    buffers: tuple[tuple[int, int], ...]
    data: mmap.mmap

    def bytes_of(self, buffer: int) -> NDArray[np.uint8]:
        """Return a view of the bytes of a buffer."""
        offset, size = self.buffers[buffer]
        return np.frombuffer(self.data, np.uint8, size, offset)


def read(path: Path) -> Model:
    """Read and check the model at ``path``.

    Raises:
        ImportModelError: it is no TFLite model, or damaged.
    """
    if path.stat().st_size < 16:
        raise _damaged(path, "it is too short")
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if data[4:8] != b"TFL3":
        raise ImportModelError(
            f"{path.name} is no TFLite model: it lacks the identifier TFL3.",
            where=str(path),
            hint="Convert the model with tf.lite.TFLiteConverter.",
        )
    try:
        return _Reader(path, data).model()
    except _Invalid as problem:
        raise _damaged(path, str(problem)) from None
    # What the accessors raise where an offset leads out of the file.
    except (struct.error, IndexError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise _damaged(path, f"an offset leads out of the file ({error})") from error


def _damaged(path: Path, why: str) -> ImportModelError:
    return ImportModelError(
        f"{path.name} is damaged: {why}.",
        where=str(path),
        hint="Copy or convert the model again.",
    )


class _Invalid(Exception):
    """Contents that contradict themselves."""


class _StablehloCaseOptions:
    """Accessor of a table that the ``tflite`` package does not know yet."""

    def Init(self, data: Any, position: int) -> None:
        self._tab = flatbuffers.table.Table(data, position)

    def BranchSubgraphIndices(self, place: int) -> int:
        vector = self._tab.Vector(self._tab.Offset(4))
        return int(self._tab.Get(flatbuffers.number_types.Int32Flags, vector + 4 * place))

    def BranchSubgraphIndicesLength(self) -> int:
        field = self._tab.Offset(4)
        return int(self._tab.VectorLen(field)) if field else 0


# Entries of the schema that the package lacks.
_NEWER = {
    "BuiltinOperator": {209: "STABLEHLO_CASE"},
    "BuiltinOptions2": {23: "StablehloCaseOptions"},
}
_NEWER_TABLES = {"StablehloCaseOptions": _StablehloCaseOptions}


@cache
def _names(table: str) -> Mapping[int, str]:
    enum = getattr(tflite, table)
    known = {v: k for k, v in vars(enum).items() if isinstance(v, int) and k[0] != "_"}
    return _NEWER.get(table, {}) | known


class _Reader:
    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path, self._data = path, data
        self._root = tflite.Model.GetRootAs(data, 0)
        self._buffers = [self._buffer(i) for i in range(self._count(self._root.BuffersLength()))]

    def model(self) -> Model:
        root = self._root
        count = self._count(root.SubgraphsLength())
        if not count:
            raise _Invalid("it has no graph")
        codes = [root.OperatorCodes(i) for i in range(self._count(root.OperatorCodesLength()))]
        graphs = tuple(self._graph(root.Subgraphs(i), codes) for i in range(count))
        signatures = tuple(
            self._signature(root.SignatureDefs(i), graphs)
            for i in range(self._count(root.SignatureDefsLength()))
        )
        return Model(self._path, graphs, signatures, tuple(self._buffers), self._data)

    def _count(self, number: int) -> int:
        # Every entry of a vector takes at least four bytes.
        if not 0 <= number <= len(self._data) // 4:
            raise _Invalid("a list is longer than the file")
        return number

    def _buffer(self, number: int) -> tuple[int, int]:
        buffer = self._root.Buffers(number)
        offset, size = int(buffer.Offset()), int(buffer.Size())
        if offset <= 1:
            field = buffer._tab.Offset(4)
            if not field:
                return 0, 0
            offset, size = buffer._tab.Vector(field), buffer._tab.VectorLen(field)
        if offset < 0 or size < 0 or offset + size > len(self._data):
            raise _Invalid(f"buffer {number} reaches past its end (is it cut off?)")
        return offset, size

    def _graph(self, graph: Any, codes: list[Any]) -> Graph:
        name = _text(graph.Name())
        tensors = tuple(
            self._tensor(graph.Tensors(i), i) for i in range(self._count(graph.TensorsLength()))
        )

        def positions(get: Any, length: int, *, absent: bool = False) -> tuple[int, ...]:
            found = tuple(int(get(i)) for i in range(self._count(length)))
            low = -1 if absent else 0
            if not all(low <= p < len(tensors) for p in found):
                raise _Invalid(f"graph {name!r} refers to a tensor that it does not have")
            return found

        def operator(number: int) -> OperatorInfo:
            op = graph.Operators(number)
            if not 0 <= op.OpcodeIndex() < len(codes):
                raise _Invalid(f"operator {number} of graph {name!r} has no operator code")
            code = codes[op.OpcodeIndex()]
            builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            custom = builtin == tflite.BuiltinOperator.CUSTOM
            title = _text(code.CustomCode()) if custom else _names("BuiltinOperator").get(builtin)
            options = _options(op)
            if builtin == tflite.BuiltinOperator.STABLEHLO_CUSTOM_CALL and options is not None:
                custom, title = True, _text(options.CallTargetName())
            return OperatorInfo(
                title or f"operator code {builtin}",
                custom,
                code.Version(),
                positions(op.Inputs, op.InputsLength(), absent=True),
                positions(op.Outputs, op.OutputsLength(), absent=True),
                positions(op.Intermediates, op.IntermediatesLength(), absent=True),
                options,
            )

        return Graph(
            name,
            tensors,
            positions(graph.Inputs, graph.InputsLength()),
            positions(graph.Outputs, graph.OutputsLength()),
            tuple(operator(i) for i in range(self._count(graph.OperatorsLength()))),
        )

    def _tensor(self, tensor: Any, number: int) -> TensorInfo:
        name = _text(tensor.Name()) or f"tensor{number}"
        for length in (tensor.ShapeLength(), tensor.ShapeSignatureLength()):
            if not 0 <= length <= _MAX_RANK:
                raise _Invalid(f"tensor {name!r} has a rank of {length}")
        shape = [int(tensor.Shape(i)) for i in range(tensor.ShapeLength())]
        open_ = [int(tensor.ShapeSignature(i)) for i in range(tensor.ShapeSignatureLength())]
        if any(d < -1 for d in (*shape, *open_)) or (open_ and len(open_) != len(shape)):
            raise _Invalid(f"tensor {name!r} has an impossible shape")
        kind = tensor.Type()
        if kind not in _names("TensorType"):
            raise _Invalid(f"tensor {name!r} is of a type with the unknown number {kind}")
        dims = tuple(None if d < 0 else d for d in (open_ or shape))
        info = TensorInfo(
            name,
            _ELEMENTS.get(kind),
            _names("TensorType")[kind],
            dims,
            tensor.Buffer(),
            self._quantization(tensor.Quantization(), name),
            bool(tensor.IsVariable()),
            tensor.Sparsity(),
        )
        self._check_size(info)
        return info

    def _check_size(self, info: TensorInfo) -> None:
        if not 0 <= info.buffer < len(self._buffers):
            raise _Invalid(f"tensor {info.name!r} refers to a buffer that is not there")
        size = self._buffers[info.buffer][1]
        if not size or info.element is None or info.sparsity is not None:
            return
        count = prod(d or 0 for d in info.dims)
        bits = 8 if info.element.kind == "bool" else info.element.bits
        if (count * bits + 7) // 8 != size:
            raise _Invalid(
                f"tensor {info.name!r} of {count} elements of {info.kind} has {size} bytes"
            )

    def _quantization(self, found: Any, name: str) -> Quantization | None:
        if found is None or not found.ScaleLength():
            return None
        count = self._count(found.ScaleLength())
        scale = np.array([found.Scale(i) for i in range(count)], np.float32)
        zeros = self._count(found.ZeroPointLength())
        if zeros not in (0, 1, count):
            raise _Invalid(f"tensor {name!r} has {count} scales but {zeros} zero points")
        zero = np.array([found.ZeroPoint(i) for i in range(zeros)] or [0], np.int64)
        return Quantization(
            scale, np.broadcast_to(zero, scale.shape), int(found.QuantizedDimension())
        )

    def _signature(self, found: Any, graphs: tuple[Graph, ...]) -> Signature:
        key, number = _text(found.SignatureKey()), int(found.SubgraphIndex())
        if not 0 <= number < len(graphs):
            raise _Invalid(f"signature {key!r} refers to a graph that is not there")

        def entries(get: Any, length: int) -> tuple[tuple[str, int], ...]:
            pairs = tuple(
                (_text(get(i).Name()), int(get(i).TensorIndex()))
                for i in range(self._count(length))
            )
            if not all(0 <= place < len(graphs[number].tensors) for _, place in pairs):
                raise _Invalid(f"signature {key!r} refers to a tensor that is not there")
            return pairs

        return Signature(
            key,
            number,
            entries(found.Inputs, found.InputsLength()),
            entries(found.Outputs, found.OutputsLength()),
        )


def _options(op: Any) -> Any:
    for table, kind, field in (
        ("BuiltinOptions", op.BuiltinOptionsType(), op.BuiltinOptions()),
        ("BuiltinOptions2", op.BuiltinOptions2Type(), op.BuiltinOptions2()),
    ):
        name = _names(table).get(kind, "NONE")
        accessor = getattr(tflite, name, _NEWER_TABLES.get(name))
        if field is not None and name != "NONE" and accessor is not None:
            options = accessor()
            options.Init(field.Bytes, field.Pos)
            return options
    return None


def _text(found: bytes | None) -> str:
    return (found or b"").decode("utf-8", "replace")
