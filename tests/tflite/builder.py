"""Small ``.tflite`` models, built with the object interface of the schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

TYPES = {
    "f32": 0, "f16": 1, "i32": 2, "ui8": 3, "i64": 4, "i1": 6, "i16": 7, "c64": 8, "i8": 9,
    "f64": 10, "ui64": 12, "resource": 13, "ui32": 15, "ui16": 16, "i4": 17,
}  # fmt: skip
DTYPES = {
    "f32": np.float32, "f16": np.float16, "i32": np.int32, "ui8": np.uint8, "i64": np.int64,
    "i1": np.bool_, "i16": np.int16, "c64": np.complex64, "i8": np.int8, "f64": np.float64,
    "ui64": np.uint64, "ui32": np.uint32, "ui16": np.uint16,
}  # fmt: skip


@dataclass(frozen=True)
class T:
    """One tensor: an input where ``low`` and ``high`` bound random contents, a constant where
    ``data`` is given, else an output.

    ``scale`` and ``zero`` may be one number or one per index along ``axis``.
    """

    kind: str = "f32"
    shape: tuple[int, ...] = ()
    low: float = -1.0
    high: float = 1.0
    data: Any = None
    scale: Any = None
    zero: Any = 0
    axis: int = 0
    signature: tuple[int, ...] | None = None
    variable: bool = False
    given: bool = True

    def random(self, rng: np.random.Generator) -> NDArray:
        """Return contents between the bounds."""
        if self.kind == "i1":
            return rng.integers(0, 2, self.shape).astype(np.bool_)
        if self.kind.startswith("f"):
            return rng.uniform(self.low, self.high, self.shape).astype(DTYPES[self.kind])
        if self.kind == "c64":
            parts = rng.uniform(self.low, self.high, (2, *self.shape))
            return (parts[0] + 1j * parts[1]).astype(np.complex64)
        return rng.integers(int(self.low), int(self.high) + 1, self.shape).astype(DTYPES[self.kind])


class Graph:
    """One subgraph under construction."""

    def __init__(self, model: Model, name: str) -> None:
        self.model = model
        self.made = schema.SubGraphT()
        self.made.name = name
        self.made.tensors, self.made.operators = [], []
        self.made.inputs, self.made.outputs = [], []

    def tensor(self, name: str, t: T) -> int:
        """Add a tensor and return its number."""
        made = schema.TensorT()
        made.name, made.type = name, TYPES[t.kind]
        made.shape = [max(d, 1) if t.signature else d for d in t.shape]
        if t.data is not None:
            array = np.asarray(t.data, DTYPES[t.kind]) if t.kind != "i4" else np.asarray(t.data)
            made.shape = list(array.shape)
            made.buffer = self.model.buffer(pack_nibbles(array) if t.kind == "i4" else array)
        if t.signature is not None:
            made.shapeSignature = list(t.signature)
        made.isVariable = t.variable
        if t.scale is not None:
            q = schema.QuantizationParametersT()
            q.scale = [float(s) for s in np.atleast_1d(t.scale)]
            zero = np.broadcast_to(np.atleast_1d(t.zero), len(q.scale))
            q.zeroPoint = [int(z) for z in zero]
            q.quantizedDimension = t.axis
            made.quantization = q
        self.made.tensors.append(made)
        return len(self.made.tensors) - 1

    def op(
        self, operator: str, inputs: Sequence[int], outputs: Sequence[int], options: str = "",
        /, **fields: Any,
    ) -> None:  # fmt: skip
        """Add an operator; ``fields`` are its options as the schema's object names them."""
        made = schema.OperatorT()
        made.opcodeIndex = self.model.opcode(operator)
        made.inputs, made.outputs = list(inputs), list(outputs)
        if options:
            second = not hasattr(schema.BuiltinOptions, options)
            table = schema.BuiltinOptions2 if second else schema.BuiltinOptions
            value = getattr(schema, f"{options}T")()
            for key, field in fields.items():
                assert hasattr(value, key), f"{options} has no field {key}"
                setattr(value, key, field)
            if second:
                made.builtinOptions2Type, made.builtinOptions2 = getattr(table, options), value
            else:
                made.builtinOptionsType, made.builtinOptions = getattr(table, options), value
        self.made.operators.append(made)


def pack_nibbles(array: NDArray) -> NDArray:
    """Return 4-bit integers two to a byte, the lower bits first."""
    flat = array.reshape(-1).astype(np.int8) & 15
    if flat.size % 2:
        flat = np.append(flat, 0)
    return (flat[0::2] | (flat[1::2] << 4)).astype(np.uint8)


class Model:
    """A model under construction."""

    def __init__(self, version: int = 1) -> None:
        self._version = version
        self._made = schema.ModelT()
        self._made.version = 3
        self._made.subgraphs, self._made.operatorCodes = [], []
        self._made.buffers, self._made.signatureDefs = [schema.BufferT()], []
        self._codes: dict[str, int] = {}
        self.graphs: list[Graph] = []

    def graph(self, name: str = "main") -> Graph:
        """Add a subgraph."""
        self.graphs.append(Graph(self, name))
        return self.graphs[-1]

    def buffer(self, array: NDArray) -> int:
        """Add a buffer and return its number."""
        made = schema.BufferT()
        made.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self._made.buffers.append(made)
        return len(self._made.buffers) - 1

    def opcode(self, name: str) -> int:
        """Return the place of an operator code; ``custom:NAME`` is a custom operator."""
        if name not in self._codes:
            made = schema.OperatorCodeT()
            if name.startswith("custom:"):
                code, made.customCode = 32, name.removeprefix("custom:")
            else:
                code = getattr(schema.BuiltinOperator, name)
            made.builtinCode, made.deprecatedBuiltinCode = code, min(code, 127)
            made.version = self._version
            self._codes[name] = len(self._made.operatorCodes)
            self._made.operatorCodes.append(made)
        return self._codes[name]

    def signature(
        self, key: str, graph: int, inputs: dict[str, int], outputs: dict[str, int]
    ) -> None:
        """Add a signature."""
        made = schema.SignatureDefT()
        made.signatureKey, made.subgraphIndex = key, graph
        made.inputs, made.outputs = _maps(inputs), _maps(outputs)
        self._made.signatureDefs.append(made)

    def build(self) -> bytes:
        """Return the file."""
        self._made.subgraphs = [g.made for g in self.graphs]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._made.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _maps(entries: dict[str, int]) -> list[schema.TensorMapT]:
    made = []
    for name, place in entries.items():
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, place
        made.append(entry)
    return made


def single(
    op: str,
    inputs: Sequence[T | None],
    outputs: Sequence[T],
    options: str = "",
    *,
    version: int = 1,
    bodies: Sequence[Callable[[Graph], None]] = (),
    **fields: Any,
) -> bytes:
    """Return a model of one operator; inputs without contents are the model's.

    ``bodies`` fill the graphs that it refers to, numbered from 1.
    """
    model = Model(version)
    graph = model.graph()
    for number, body in enumerate(bodies, 1):
        body(model.graph(f"body{number}"))
    places = []
    for number, t in enumerate(inputs):
        places.append(-1 if t is None else graph.tensor(f"x{number}", t))
        if t is not None and t.data is None and not t.variable:
            graph.made.inputs.append(places[-1])
    results = [graph.tensor(f"y{number}", t) for number, t in enumerate(outputs)]
    graph.made.outputs = results
    graph.op(op, places, results, options, **fields)
    return model.build()
