"""Whole training steps: twenty of them follow PyTorch's loss within 1e-4."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import nn
from torch.nn import functional

import iree_frontend_torch


def mlp() -> tuple[nn.Module, torch.Tensor]:
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8)), torch.randn(16, 16)


def cnn() -> tuple[nn.Module, torch.Tensor]:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8),
    )  # fmt: skip
    return model.train(), torch.randn(16, 3, 16, 16)


def loss(model: Callable[..., torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(model(x), y)


Parameters = Iterable[torch.Tensor]
OPTIMIZERS: dict[str, Callable[[Parameters], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05),
    "momentum": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-2, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-3),
}


QUICK = [(mlp, "adam"), (cnn, "momentum")]
CASES = [
    pytest.param(b, o, marks=[] if (b, o) in QUICK else [pytest.mark.slow])
    for b in (mlp, cnn)
    for o in OPTIMIZERS
]


@pytest.mark.parametrize("build,optimizer", CASES)
def test_twenty_steps(build: Callable[[], tuple[nn.Module, torch.Tensor]], optimizer: str) -> None:
    torch.manual_seed(0)
    model, x = build()
    y = torch.randint(0, 8, (16,))
    reference = copy.deepcopy(model)
    expected = OPTIMIZERS[optimizer](reference.parameters())
    step = iree_frontend_torch.training_step(
        model, loss, OPTIMIZERS[optimizer](model.parameters()), x, y,
        target="llvm-cpu", device="local-sync",
    )  # fmt: skip
    for _ in range(20):
        value = loss(reference, x, y)
        value.backward()
        expected.step()
        expected.zero_grad()
        assert step(x, y).item() == pytest.approx(value.item(), rel=1e-4)
    model.load_state_dict(step.state_dict(), strict=False)
    for name, buffer in reference.named_buffers():
        torch.testing.assert_close(model.get_buffer(name), buffer, rtol=1e-3, atol=1e-4)


def language_loss(
    model: Callable[..., torch.Tensor], tokens: torch.Tensor, following: torch.Tensor
) -> torch.Tensor:
    logits = model(input_ids=tokens, use_cache=False).logits
    return functional.cross_entropy(logits.flatten(0, 1), following.flatten())


@pytest.mark.slow
def test_twenty_steps_of_a_small_llama() -> None:
    import transformers

    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2,
        )
    ).train()  # fmt: skip
    tokens, following = torch.randint(0, 64, (2, 4, 16))
    reference = copy.deepcopy(model)
    expected = torch.optim.AdamW(reference.parameters(), 1e-3)
    step = iree_frontend_torch.training_step(
        model, language_loss, torch.optim.AdamW(model.parameters(), 1e-3), tokens, following,
        target="llvm-cpu", device="local-sync",
    )  # fmt: skip
    for _ in range(20):
        value = language_loss(reference, tokens, following)
        value.backward()
        expected.step()
        expected.zero_grad()
        assert step(tokens, following).item() == pytest.approx(value.item(), rel=1e-4)
