"""Reading ONNX files: weights stay where they are, shapes are inferred on what remains."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path, PurePath

import numpy as np
import onnx
import onnx.version_converter
from numpy.typing import NDArray

from iree_core.errors import ImportModelError
from iree_core.lowering.element import ElementType
from iree_core.lowering.values import INLINE_LIMIT, Constant
from iree_core.params import ParameterStore
from iree_frontend_onnx.elements import from_onnx
from iree_frontend_onnx.in_place import read_without_weights


class Model:
    """An ONNX model with its weights registered but not read.

    Attributes:
        proto: the model; large initializers are only declared in its graph.
        opsets: operator-set versions by domain ("" for the standard one).
        functions: model-local functions by (domain, name).
    """

    def __init__(self, proto: onnx.ModelProto, parameters: ParameterStore, folder: Path) -> None:
        self.folder = folder
        self._parameters = parameters
        self._constants: dict[int, list[tuple[str, Constant]]] = {}
        self.opsets = {
            "" if o.domain == "ai.onnx" else o.domain: o.version for o in proto.opset_import
        }
        self.functions = {(f.domain, f.name): f for f in proto.functions}
        self._source = proto
        constants = self._read_initializers(proto.graph)
        self.proto = _infer_shapes(proto)
        self._constants[id(self.proto.graph)] = constants
        self.graph = self.proto.graph

    def initializers(self, graph: onnx.GraphProto) -> list[tuple[str, Constant]]:
        """Return the named constants of ``graph`` (the model's or a body)."""
        if graph is self.graph:
            return self._constants[id(self.proto.graph)]
        return self._read_initializers(graph)

    def converted(self, version: int) -> Model | None:
        """Return the model converted to another operator-set version, if ONNX's converter can."""
        if self.opsets.get("") == 8 and any(n.op_type == "Scan" for n in self.graph.node):
            # The converter takes Scan of version 8 (with a batch) for that of version 9.
            return None
        light = onnx.ModelProto()
        light.CopyFrom(self.proto)
        names = {t.name for t in light.graph.initializer}
        heavy = [t for t in self._source.graph.initializer if t.name not in names]
        # The converter looks at initializers' types only.
        light.graph.input.extend(
            onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in heavy
        )
        try:
            made = onnx.version_converter.convert_version(light, version)
        except Exception:  # Conversion is an aid; without it the first report stands.
            return None
        model = Model(made, self._parameters, self.folder)
        kept = self._constants[id(self.proto.graph)]
        model._constants[id(model.proto.graph)] += [(n, c) for n, c in kept if n not in names]
        return model

    def _read_initializers(self, graph: onnx.GraphProto) -> list[tuple[str, Constant]]:
        return [
            (t.name, constant_from_proto(t, self._parameters, self.folder))
            for t in graph.initializer
        ]


def load(path: Path, parameters: ParameterStore) -> Model:
    """Read an ONNX file.

    Raises:
        ImportModelError: it is no ONNX model, or a file with its weights is missing.
    """
    try:
        proto = onnx.ModelProto.FromString(read_without_weights(path))
    except OSError:
        raise
    except Exception as error:
        raise ImportModelError(
            f"{path.name} cannot be read as an ONNX model: {error}",
            where=str(path),
            hint="Check that the file was saved completely, e.g. with onnx.checker.check_model.",
        ) from error
    if not proto.opset_import or not proto.HasField("graph"):
        raise ImportModelError(f"{path.name} holds no ONNX graph.", where=str(path))
    return Model(proto, parameters, path.parent)


def constant_from_proto(
    proto: onnx.TensorProto, parameters: ParameterStore, folder: Path
) -> Constant:
    """Return an initializer as a constant that is read when needed.

    Raises:
        ImportModelError: its type has no numeric elements, or its external file is damaged.
    """
    try:
        element = from_onnx(proto.data_type)
    except TypeError as error:
        raise ImportModelError(str(error), where=f"initializer {proto.name!r}") from None
    shape = tuple(proto.dims)
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        return _external(proto, element, shape, parameters, folder)
    return Constant(proto.name or "constant", shape, element, _reader(proto, element, shape))


def _reader(
    proto: onnx.TensorProto, element: ElementType, shape: tuple[int, ...]
) -> Callable[[], NDArray]:
    cache: list[NDArray] = []

    def read() -> NDArray:
        if not cache:
            if proto.HasField("raw_data") and element.bits >= 8 and element.kind != "complex":
                cache.append(np.frombuffer(proto.raw_data, element.numpy).reshape(shape))
            else:
                cache.append(onnx.numpy_helper.to_array(proto).astype(element.numpy, copy=False))
        return cache[0]

    return read


def _external(
    proto: onnx.TensorProto,
    element: ElementType,
    shape: tuple[int, ...],
    parameters: ParameterStore,
    folder: Path,
) -> Constant:
    entries = {e.key: e.value for e in proto.external_data}
    location = PurePath(entries.get("location", ""))
    path = folder / location
    # Where the path leads (downloads are often links) is up to the user; what the model says
    # must stay in its folder.
    if location.is_absolute() or ".." in location.parts or not path.is_file():
        raise ImportModelError(
            f"The weights of {proto.name!r} are in {entries.get('location')!r}, which is no file "
            "in the model's folder.",
            hint="Keep the model and its external data files together.",
        )
    offset = int(entries.get("offset", 0))
    packed = element.bits < 8 and element.kind != "bool"
    count = prod(shape)
    stored = ((count * element.bits + 7) // 8,) if packed else shape
    key = f"{proto.name}#packed" if packed else proto.name
    try:
        parameters.add_file_range(
            key, path, offset, stored, np.dtype(np.uint8) if packed else element.numpy
        )
    except ValueError as error:
        raise ImportModelError(str(error), where=f"initializer {proto.name!r}") from None

    def read() -> NDArray:
        array = parameters.read(key)
        return _unpack(array, element, shape) if packed else array

    return Constant(proto.name, shape, element, read, key=None if packed else key)


def _unpack(data: NDArray, element: ElementType, shape: tuple[int, ...]) -> NDArray:
    """Take sub-byte elements apart, first one in the low bits (ONNX's order)."""
    per_byte = 8 // element.bits
    shifts = np.arange(per_byte, dtype=np.uint8) * element.bits
    parts = (data[:, None] >> shifts) & ((1 << element.bits) - 1)
    flat = parts.reshape(-1)[: prod(shape)]
    if element.kind == "signed":
        flat = flat.astype(np.int8)
        flat = np.where(flat >> (element.bits - 1), flat - (1 << element.bits), flat)
    if element.is_float:
        return flat.view(element.numpy).reshape(shape)
    return flat.astype(element.numpy).reshape(shape)


def _infer_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with inferred types, its large initializers turned into declarations."""
    light = onnx.ModelProto(ir_version=max(proto.ir_version, 4), producer_name=proto.producer_name)
    light.opset_import.extend(proto.opset_import)
    light.functions.extend(proto.functions)
    graph = light.graph
    graph.name = proto.graph.name
    graph.node.extend(proto.graph.node)
    graph.output.extend(proto.graph.output)
    graph.value_info.extend(proto.graph.value_info)
    graph.sparse_initializer.extend(proto.graph.sparse_initializer)
    names = {t.name for t in proto.graph.initializer}
    graph.input.extend(i for i in proto.graph.input if i.name not in names)
    weights = []
    for tensor in proto.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL and prod(tensor.dims) < INLINE_LIMIT:
            graph.initializer.append(tensor)
        else:
            weights.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    count = len(graph.input)
    graph.input.extend(weights)
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True)
    except Exception:  # Inference is an aid: what it cannot do, the lowerings find out.
        inferred = light
    del inferred.graph.input[count:]
    return inferred
