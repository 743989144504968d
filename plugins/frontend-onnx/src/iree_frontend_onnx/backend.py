"""The ONNX project's backend interface (``onnx.backend.base.Backend``) on top of the compiler.

::

    from iree_frontend_onnx.backend import IreeBackend

    outputs = IreeBackend.run_model(model, [x], device="CPU")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.backend.base import Backend, BackendRep, namedtupledict


class IreeRep(BackendRep):
    """A compiled model, loaded."""

    def __init__(self, module: Any, model: onnx.ModelProto) -> None:
        self._module = module
        constants = {t.name for t in model.graph.initializer}
        self._inputs = [i.name for i in model.graph.input if i.name not in constants]
        self._outputs = [o.name for o in model.graph.output]

    def run(
        self, inputs: Sequence[NDArray] | Mapping[str, NDArray], **kwargs: Any
    ) -> tuple[NDArray, ...]:
        """Run the model on arrays in the order of its inputs (or by name).

        Returns:
            one array per output, as a named tuple.
        """
        if isinstance(inputs, Mapping):
            inputs = [inputs[name] for name in self._inputs]
        results = self._module.main(*[np.asarray(x) for x in inputs])
        if not isinstance(results, (tuple, list)):
            results = [results]
        return namedtupledict("Outputs", self._outputs)(*[np.asarray(r) for r in results])


class IreeBackend(Backend):
    """Compiles ONNX models for the host's CPU."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> IreeRep:
        """Compile and load ``model``; options go to :func:`iree_core.compile`.

        Raises:
            UnsupportedOperatorError: naming every node that is not supported.
        """
        import iree_core

        super().prepare(model, device, **kwargs)
        return IreeRep(iree_core.load(iree_core.compile(model, frontend="onnx", **kwargs)), model)

    @classmethod
    def run_model(
        cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any
    ) -> tuple[Any, ...]:
        """Compile, load and run ``model`` once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...] | None:
        """Compile, load and run one node on ``inputs``."""
        arrays = [np.asarray(x) for x in inputs]
        names = [name for name in node.input if name]
        given = [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in zip(names, arrays, strict=True)
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = onnx.helper.make_graph([node], "node", given, outputs)
        version = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid(node.domain, version)]
        )
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        return cls.run_model(model, arrays, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Tell whether models can run on ``device`` (the CPU)."""
        return device.split(":")[0].upper() == "CPU"


prepare = IreeBackend.prepare
run_model = IreeBackend.run_model
run_node = IreeBackend.run_node
supports_device = IreeBackend.supports_device
