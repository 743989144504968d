"""Numbers computed from sizes and read from tensors, against eager PyTorch."""

from __future__ import annotations

import torch

import iree_frontend_torch

OPEN = dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)


def test_arithmetic_of_symbolic_sizes() -> None:
    def numbers(x: torch.Tensor) -> torch.Tensor:
        batch, _, rows, columns = x.shape
        scale = columns**-0.5 + 2**0.5 * rows**2 + torch.sym_sqrt(batch)
        bounds = max(rows, columns) + min(rows, 6) + abs(rows - 9) + columns % 3 + (rows << 1)
        return x * scale + bounds

    x = torch.randn(2, 3, 5, 8)
    program = iree_frontend_torch.export(numbers, x, dynamic_shapes=((OPEN,),))
    for given in (x, torch.randn(4, 3, 7, 12)):
        torch.testing.assert_close(program(given), numbers(given))


def test_attention_with_a_symbolic_head_size() -> None:
    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    q, k, v = torch.randn(3, 2, 3, 5, 8)
    program = iree_frontend_torch.export(attention, q, k, v, dynamic_shapes=((OPEN,) * 3,))
    given = tuple(torch.randn(3, 4, 3, 7, 12))
    torch.testing.assert_close(program(*given), attention(*given), rtol=1e-4, atol=1e-5)


def test_comparisons_of_numbers_read_from_tensors() -> None:
    def compared(a: torch.Tensor, b: torch.Tensor) -> list[bool]:
        x, y = float(a), int(b)
        return [x < y, x <= y, x != y, x > y, y < x, x == y]

    a, b = torch.tensor(1.5, dtype=torch.float64), torch.tensor(2)
    program = iree_frontend_torch.export(compared, a, b, strict=True)
    for pair in ((a, b), (torch.tensor(2.0, dtype=torch.float64), b)):
        assert program(*pair) == compared(*pair)
