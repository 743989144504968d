"""Our own MLIR dialects: ``flow`` (parameters, dispatches on tensors) and ``hal`` (buffers)."""
