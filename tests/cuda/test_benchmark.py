"""``benchmarks/on_cuda.py`` on the stand-in, torch and XLA on the CPU: small sizes, all sides."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.cuda.harness import stand_in
from tests.models import zoo

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def script(name: str) -> ModuleType:
    """Import a script; its own name would hide a package of that name."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    paths = [*sys.path]
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = paths
    return module


cuda = script("on_cuda")


def machine(target: str = "cuda:sm_80") -> Any:
    return cuda.Machine(stand_in()[1], target, "cpu", "cpu")


def bert() -> tuple[Any, Callable[..., Any]]:
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=64, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=64, max_position_embeddings=16,
    )  # fmt: skip
    model = transformers.BertModel(config)
    return model, lambda m, ids, mask: m(input_ids=ids, attention_mask=mask).last_hidden_state


TEXT = ("int64", (1, 8))
BERT = zoo.Entry(bert, {"input_ids": TEXT, "attention_mask": TEXT}, {}, high=40)


@pytest.mark.parametrize("kind", ["tf32"])
def test_products(kind: str) -> None:
    row = cuda.product(kind, 64, machine(), 1, 1)
    assert set(row.seconds) == {"ours", "cuBLAS"} and row.difference < 1e-2
    assert cuda.describe(row).startswith(f"matmul-64    {kind:5} ")
    assert not stand_in()[0].faults


@pytest.mark.slow
def test_a_network_beside_its_peers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any) -> Any:
        raise ImportError("there is no triton\nat all")

    monkeypatch.setattr(cuda, "_inductor", missing)
    row = cuda.network("bert", "f32", BERT, machine(), 1, 1)
    assert set(row.seconds) == {"ours", "torch", "XLA"}
    assert capsys.readouterr().out == "  without torch.compile: there is no triton\n"
    assert not stand_in()[0].faults


@pytest.mark.slow
def test_it_starts_and_says_what_it_needs() -> None:
    command = [sys.executable, str(FOLDER / "on_cuda.py"), "--sizes=", "--models="]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if torch.cuda.is_available():
        assert done.returncode == 0 and torch.cuda.get_device_name() in done.stdout
    else:
        assert done.stderr == "This needs a GPU, and a torch for CUDA.\n"


def test_wrong_results_are_an_error() -> None:
    ones = torch.ones(4)
    with pytest.raises(SystemExit, match="x: results differ"):
        cuda.difference("x", ones * 1.1, ones, cuda.KINDS["f16"])
    with pytest.raises(SystemExit, match="results differ"):
        cuda.difference("x", ones * float("nan"), ones, cuda.KINDS["f16"])


def resnet() -> Any:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 32], depths=[1, 2], num_labels=5
    )
    return transformers.ResNetForImageClassification(config)


@pytest.mark.slow
def test_the_models_in_jax_are_those_in_torch() -> None:
    xla = script("xla")
    torch.manual_seed(0)
    image = torch.randn(1, 3, 40, 40)
    ids, mask = torch.arange(8)[None], torch.tensor([[1] * 6 + [0] * 2])
    model, call = bert()
    for name, one, expected, inputs in (
        ("resnet50", (m := resnet().eval()), lambda: m(image).logits, [image]),
        ("bert", model.eval(), lambda: call(model, ids, mask), [ids, mask]),
    ):
        with torch.no_grad():
            wanted = expected().numpy()
        weights = {key: value.numpy() for key, value in one.state_dict().items()}
        found = xla.compile_model(name, weights, [x.numpy() for x in inputs], "cpu")()
        np.testing.assert_allclose(np.asarray(found), wanted, atol=2e-5, rtol=2e-4)
