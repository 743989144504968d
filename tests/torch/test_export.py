"""Exported programs: what comes out is what PyTorch gives, names and state included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim

import iree_core as iree
import iree_frontend_torch
from iree_core.errors import ImportModelError, InvocationError, UnsupportedOperatorError, UsageError

TARGET = {"target": "llvm-cpu", "device": "local-sync"}


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8)).eval()


def test_one_program_serves_all_batch_sizes_and_keeps_the_dimension_name() -> None:
    model = mlp()
    shapes = ({0: Dim("batch")},)
    program = iree_frontend_torch.export(model, torch.randn(4, 16), dynamic_shapes=shapes, **TARGET)
    assert program.loaded.main.inputs[0].shape == ("batch", 16)
    assert program.loaded.main.outputs[0].shape == ("batch", 8)
    for batch in (1, 7):
        x = torch.randn(batch, 16)
        torch.testing.assert_close(program(x), model(x).detach(), rtol=1e-5, atol=1e-5)


class Counter(nn.Module):
    """Adds up what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> dict[str, object]:
        self.total.add_(x)
        return {"twice": self.total * 2, "label": 3}


def test_buffers_are_state_that_survives_calls() -> None:
    program = iree_frontend_torch.export(Counter(), torch.ones(4), **TARGET)
    assert program(torch.ones(4))["twice"].tolist() == [2.0] * 4
    found = program(torch.ones(4))
    assert found["twice"].tolist() == [4.0] * 4 and found["label"] == 3
    program.reset()
    assert program(torch.ones(4))["twice"].tolist() == [2.0] * 4


def test_arguments_that_forward_changes_are_changed() -> None:
    def function(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x.add_(y)
        return x * 2

    program = iree_frontend_torch.export(function, torch.ones(4), torch.ones(4), **TARGET)
    x = torch.ones(4)
    assert program(x, torch.ones(4)).tolist() == [4.0] * 4
    assert x.tolist() == [2.0] * 4


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, pytest.param(torch.float64, marks=pytest.mark.slow)]
)
def test_other_float_types(dtype: torch.dtype) -> None:
    model, x = mlp().to(dtype), torch.randn(4, 16, dtype=dtype)
    program = iree_frontend_torch.export(model, x, **TARGET)
    found = program(x)
    assert found.dtype == dtype
    torch.testing.assert_close(found, model(x).detach(), rtol=2e-2, atol=2e-2)


class Views(nn.Module):
    """Splits and merges dimensions whose sizes are not known."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 32)

    def forward(self, i: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = self.table(i)
        batch, length = i.shape
        heads = x.view(batch, length, -1, 8).transpose(1, 2) * 2
        flat = x.view(-1, 32)
        return heads.transpose(1, 2).flatten(2), flat @ flat.T, flat.view(batch, length, 32) * 3


def test_views_of_dynamic_sizes() -> None:
    model = Views().eval()
    shapes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},)
    example = torch.randint(0, 10, (3, 5))
    program = iree_frontend_torch.export(model, example, dynamic_shapes=shapes, **TARGET)
    for size in ((3, 5), (2, 7), (1, 1)):
        i = torch.randint(0, 10, size)
        torch.testing.assert_close(program(i), model(i), rtol=1e-5, atol=1e-5)


def test_a_pt2_file_is_found_by_its_content_and_runs_on_the_command_line(tmp_path: Path) -> None:
    model, x = mlp(), torch.ones(4, 16)
    path = tmp_path / "model"
    with path.open("wb") as file:
        torch.export.save(torch.export.export(model, (x,)), file)
    command = [sys.executable, "-c", "from iree_core.cli import main; main()", "compile"]
    arguments = [str(path), "--target", "llvm-cpu", "-o", str(tmp_path / "m.vmfb")]
    subprocess.run([*command, *arguments], check=True, timeout=200)
    found = iree.load(tmp_path / "m.vmfb").main(x.numpy())
    np.testing.assert_allclose(found, model(x).detach(), rtol=1e-5, atol=1e-5)


def test_a_damaged_pt2_file_gives_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(mlp(), (torch.ones(4, 16),)), path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ImportModelError, match=r"cannot load|recognises"):
        iree.compile(path)


def test_every_unsupported_operator_is_named_with_its_line() -> None:
    class Strange(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.special.legendre_polynomial_p(x, 2)
            return torch.special.airy_ai(y)

    with pytest.raises(UnsupportedOperatorError) as caught:
        iree_frontend_torch.export(Strange(), torch.eye(3), **TARGET)
    text = str(caught.value)
    assert "legendre_polynomial_p" in text and "airy_ai" in text and "test_export.py:" in text


def test_wrong_uses_are_explained() -> None:
    program = iree_frontend_torch.export(mlp(), torch.randn(4, 16), **TARGET)
    with pytest.raises(InvocationError, match="structure"):
        program(torch.randn(4, 16), torch.randn(1))
    with pytest.raises(InvocationError, match="4x16xf32"):
        program(torch.randn(5, 16))
    with pytest.raises(UsageError, match="cannot be exported"):
        iree_frontend_torch.export(3)


def test_a_pt2_file_keeps_the_names_of_dimensions_that_save_gives_it(tmp_path: Path) -> None:
    shapes = ({0: Dim("batch")},)
    exported = torch.export.export(mlp(), (torch.ones(4, 16),), dynamic_shapes=shapes)
    iree_frontend_torch.save(exported, tmp_path / "mlp.pt2")
    module = iree.load(iree.compile(tmp_path / "mlp.pt2", target="llvm-cpu"))
    assert module.main.inputs[0].shape == ("batch", 16)
