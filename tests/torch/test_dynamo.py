"""``torch.compile(backend="iree")``: graphs, sizes, gradients."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch._dynamo
from torch import nn
from torch.nn import functional

OPTIONS = {"target": "llvm-cpu", "device": "local-sync"}


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))


def graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def test_dynamic_sizes_compile_once() -> None:
    model = mlp().eval()
    fast = torch.compile(model, backend="iree", dynamic=True, options=OPTIONS)
    with torch.no_grad():
        for batch in (4, 7, 33):
            x = torch.randn(batch, 16)
            torch.testing.assert_close(fast(x), model(x), rtol=1e-5, atol=1e-5)
    assert graphs() == 1


def test_parameters_are_shared(tmp_path: Path) -> None:
    model = mlp().eval()
    fast = torch.compile(model, backend="iree", options=OPTIONS)
    x = torch.randn(4, 16)
    with torch.no_grad():
        before = fast(x)
        model[0].weight.mul_(2)
        after = fast(x)
        assert not torch.equal(before, after)
        torch.testing.assert_close(after, model(x), rtol=1e-5, atol=1e-5)
    assert graphs() == 1
    assert len(list(tmp_path.rglob("*.vmfb"))) == 1


def test_graph_breaks_and_sizes_as_numbers() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        y = x * 2 + 1
        if y.sum() > 0:
            y = y.sin()
        return y.cos() * x.shape[0]

    fast = torch.compile(function, backend="iree", dynamic=True, options=OPTIONS)
    for rows in (3, 5):
        x = torch.randn(rows, 4)
        torch.testing.assert_close(fast(x), function(x), rtol=1e-5, atol=1e-5)


def test_training_follows_pytorch() -> None:
    reference = mlp()
    trained = copy.deepcopy(reference)
    fast = torch.compile(trained, backend="iree", options=OPTIONS)
    x, y = torch.randn(16, 16), torch.randint(0, 8, (16,))
    optimizers = [torch.optim.SGD(m.parameters(), 0.1) for m in (reference, trained)]
    for _ in range(5):
        losses = []
        for model, optimizer in zip((reference, fast), optimizers, strict=True):
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_an_unknown_option_is_named() -> None:
    fast = torch.compile(mlp(), backend="iree", options={"speed": "high"})
    with pytest.raises(Exception, match="no option 'speed'"):
        fast(torch.randn(4, 16))
