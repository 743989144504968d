"""The models of the comparison as ONNX files, in groups, and inputs for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto
from operators import BASIC, OPERATORS

HERE = Path(__file__).resolve().parent
ZOO = HERE.parent / "tests" / "models" / "zoo.py"
IN_ZOO = ("mobilenetv2", "resnet50", "bert", "gpt2", "vit", "t5")
DECODING = ("gpt2-decode-64", "gpt2-decode-1000", "llama-decode-64", "llama-decode-1000")
QUANTISED = ("resnet50-int8", "bert-int8")
GROUPS: dict[str, tuple[str, ...]] = {
    "main": (*BASIC, *(name for name in IN_ZOO if name != "t5")),
    "decoding": DECODING,
    "networks": ("t5", "whisper-encoder", "unet"),
    "operators": tuple(OPERATORS),
    "quantised": QUANTISED,
}


def chosen(names: str) -> list[str]:
    """Return the models that a comma-separated list of groups and models names.

    Raises:
        ValueError: there is no such group or model.
    """
    found: list[str] = []
    for name in names.split(","):
        known = any(name in group for group in GROUPS.values())
        if not known and name not in GROUPS:
            groups = "; ".join(f"{group}: {', '.join(m)}" for group, m in GROUPS.items())
            raise ValueError(f"There is no model {name!r}. Known are {groups}")
        found += [name] if known else GROUPS[name]
    return list(dict.fromkeys(found))


def model_path(name: str, folder: Path) -> Path:
    """Return the ONNX file of a workload, writing it first where it does not exist."""
    path = folder / f"{name}.onnx"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    if small := {**BASIC, **OPERATORS}.get(name):
        onnx.save(small(), path)
    else:
        script = ZOO if name in IN_ZOO else HERE / "networks.py"
        subprocess.run([sys.executable, str(script), name, str(path)], check=True)
    return path


def example_inputs(path: Path) -> dict[str, np.ndarray]:
    """Return inputs for an ONNX file with static shapes, the same on every call.

    Integers are tokens below 1000, masks are ones, a time step is 500, all else is normally
    distributed.
    """
    rng = np.random.default_rng(0)
    graph = onnx.load(path, load_external_data=False).graph
    arrays: dict[str, np.ndarray] = {}
    for value in graph.input:
        kind = value.type.tensor_type
        shape = [d.dim_value for d in kind.shape.dim]
        if kind.elem_type == TensorProto.INT64:
            mask = "mask" in value.name
            arrays[value.name] = np.ones(shape, np.int64) if mask else rng.integers(0, 1000, shape)
        elif value.name == "timestep":
            arrays[value.name] = np.full(shape, 500, np.float32)
        else:
            arrays[value.name] = rng.standard_normal(shape, np.float32)
    return arrays


def tokens_per_second(name: str, milliseconds: float) -> float | None:
    """Return the speed of a model that makes one token per call, None for others."""
    return 1000 / milliseconds if name in DECODING else None
