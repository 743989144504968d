"""torch-mlir's ONNX conversions, run in a forked child: they can abort or hang."""

from __future__ import annotations

import os
import select
import signal
import time

import onnx

from iree_core.ir import count_operations, make_context, run_pipeline

TIME_LIMIT = 60.0
"""Seconds one node may take."""

_ALLOWED = {"builtin", "func", "linalg", "tensor", "arith", "math", "scf", "complex"}


def lower_one_node(model: bytes) -> str | None:
    """Return a module of one function in linalg on tensors for a one-node model, or None."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _run_child(model, write_end)
    os.close(write_end)
    text = _read_all(read_end, child)
    _, status = os.waitpid(child, 0)
    return text.decode() if status == 0 and text else None


def _read_all(descriptor: int, child: int) -> bytes:
    """Read until the child closes its end; kill it when its time is over."""
    deadline = time.monotonic() + TIME_LIMIT
    parts: list[bytes] = []
    with os.fdopen(descriptor, "rb", buffering=0) as pipe:
        while True:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                os.kill(child, signal.SIGKILL)
                return b""
            part = pipe.read(1 << 16)
            if not part:
                return b"".join(parts)
            parts.append(part)


def _run_child(model: bytes, write_end: int) -> None:
    code = 1
    try:
        # What conversions print about failures is for their developers, not for the user.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(_lower(onnx.ModelProto.FromString(model)).encode())
        code = 0
    except BaseException:  # The parent sees the exit status; nothing may escape a forked child.
        code = 1
    finally:
        os._exit(code)


def _lower(model: onnx.ModelProto) -> str:
    from torch_mlir.extras import onnx_importer

    context = make_context()
    info = onnx_importer.ModelInfo(model)
    module = info.create_module(context=context)
    onnx_importer.NodeImporter.define_function(info.main_graph, module.operation).import_all()
    run_pipeline(module, "builtin.module(torch-onnx-to-torch-backend-pipeline)")
    run_pipeline(module, "builtin.module(torch-backend-to-linalg-on-tensors-backend-pipeline)")
    module.operation.verify()
    strange = {n for n in count_operations(module) if n.split(".")[0] not in _ALLOWED}
    if strange:
        raise RuntimeError(f"left over: {sorted(strange)}")
    return str(module)
