"""Control flow operators of torch against eager PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._higher_order_ops.map import map as torch_map
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop
from torch.export import Dim

import iree_frontend_torch

N = {0: Dim("n")}


def branches(x: torch.Tensor) -> torch.Tensor:
    return torch.cond(x.sum() > 0, lambda x: x.sin(), lambda x: x.cos() + 1, (x,))


def doubling(i: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return while_loop(lambda i, x: i < 10, lambda i, x: (i + 1, x * 2), (i, x))


def recurrence(c: torch.Tensor, xs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return scan(lambda c, x: (c.tanh() + x, c * 2), c, xs)


def mapped(xs: torch.Tensor) -> torch.Tensor:
    return torch_map(lambda x: x.sin() * 2, xs)


CASES: list[tuple[Callable[..., Any], Any, list[tuple[torch.Tensor, ...]]]] = [
    (branches, None, [(torch.ones(4),), (-torch.ones(4),)]),
    (doubling, None, [(torch.tensor(0), torch.ones(4)), (torch.tensor(12), torch.ones(4))]),
    (recurrence, (None, N), [(torch.ones(4), torch.ones(k, 4)) for k in (10, 3)]),
    (mapped, (N,), [(torch.rand(k, 4),) for k in (10, 3)]),
]


@pytest.mark.parametrize("function,shapes,calls", CASES, ids=lambda c: getattr(c, "__name__", ""))
def test_control_flow(function: Callable[..., Any], shapes: Any, calls: Any) -> None:
    class Module(torch.nn.Module):
        def forward(self, *args: torch.Tensor) -> Any:
            return function(*args)

    if shapes is not None:
        shapes = (shapes,)
    program = iree_frontend_torch.export(
        Module(), *calls[0], dynamic_shapes=shapes, target="llvm-cpu", device="local-sync"
    )
    for args in calls:
        torch.testing.assert_close(program(*args), function(*args), rtol=1e-5, atol=1e-5)
