"""Operator lowerings, one file per family; see ``iree_frontend_onnx.registry``."""
