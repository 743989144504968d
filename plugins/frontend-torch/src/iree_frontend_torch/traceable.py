"""Functions that ``torch.export`` refuses to trace, and what is traced in their place.

It refuses those that look at the data (to check it, or because a size depends on it) and some that
its own rules of shapes are wrong or missing for. Where the result is determined without, another
way to it is traced. Only for ``strict=False``: TorchDynamo sees no modes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten
_INSTEAD: dict[Any, Callable[..., Any]] = {}


def trace(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None,
    *, dynamic_shapes: Any = None, strict: bool = False,
) -> ExportedProgram:  # fmt: skip
    """Return what ``torch.export.export`` does, for more programs.

    Raises:
        Exception: whatever ``torch.export.export`` raises on a program it cannot trace.
    """
    with _Instead():
        return torch.export.export(
            module, args, kwargs or {}, dynamic_shapes=dynamic_shapes, strict=strict
        )


class _Instead(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        other = _INSTEAD.get(function)
        if other is not None:
            found = other(*args, **(kwargs or {}))
            if found is not NotImplemented:
                return found
        return function(*args, **(kwargs or {}))


def _instead_of(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register what is traced; it may return NotImplemented for cases that it leaves alone."""

    def keep(other: Callable[..., Any]) -> Callable[..., Any]:
        _INSTEAD.update(dict.fromkeys(functions, other))
        return other

    return keep


@_instead_of(aten.numel, aten.numel.default)
def _number_of_elements(x: Tensor) -> Any:
    return math.prod(x.shape)


@_instead_of(aten.convolution_backward, aten.convolution_backward.default)
def _convolution_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias_sizes: Any, stride: Any, padding: Any,
    dilation: Any, transposed: bool, output_padding: Any, groups: int, output_mask: Any,
) -> Any:  # fmt: skip
    if bias_sizes is not None:
        return NotImplemented
    return aten.convolution_backward(
        grad, x, weight, [grad.shape[1]], stride, padding, dilation, transposed, output_padding,
        groups, output_mask,
    )  # fmt: skip


@_instead_of(
    torch.fake_quantize_per_tensor_affine,
    aten.fake_quantize_per_tensor_affine,
    aten.fake_quantize_per_tensor_affine.default,
)
def _fake_quantize(x: Tensor, scale: Any, zero_point: Any, low: int, high: int) -> Any:
    known = all(isinstance(size, int) for size in x.shape)
    if known or isinstance(scale, Tensor) or isinstance(zero_point, Tensor):
        return NotImplemented
    # As its kernel: by the reciprocal in single precision, half to even.
    inverse = 1.0 / torch.full([], scale, dtype=torch.float32)
    number = (torch.round(x.float() * inverse) + zero_point).clamp(low, high)
    return ((number - zero_point) * scale).to(x.dtype)


@_instead_of(torch.cov, Tensor.cov)
def _covariance(
    x: Tensor, *, correction: int = 1, fweights: Tensor | None = None,
    aweights: Tensor | None = None,
) -> Any:  # fmt: skip
    rows = x.reshape(1, -1) if x.dim() < 2 else x
    if rows.shape[1] == 0:
        return NotImplemented
    weights = fweights
    if aweights is not None:
        weights = aweights if fweights is None else aweights * fweights
    if weights is None:
        total: Any = rows.shape[1]
        mean = rows.mean(1, keepdim=True)
        norm: Any = max(total - correction, 0)
    else:
        total = weights.sum()
        mean = (rows * weights).sum(1, keepdim=True) / total
        norm = total - correction
        if aweights is not None and correction:
            norm = total - correction * (weights * aweights).sum() / total
        norm = norm.clamp(min=0)
    centred = rows - mean
    other = centred if weights is None else centred * weights
    return ((centred @ other.mT.conj()) / norm).squeeze()


@_instead_of(torch.corrcoef, Tensor.corrcoef)
def _correlation(x: Tensor) -> Any:
    covariance = _covariance(x)
    if covariance is NotImplemented or covariance.dim() == 0:
        return NotImplemented if covariance is NotImplemented else covariance / covariance
    deviation = covariance.diagonal().real.sqrt() if x.is_complex() else (
        covariance.diagonal().sqrt())  # fmt: skip
    scaled = covariance / deviation.unsqueeze(1) / deviation.unsqueeze(0)
    return scaled if x.is_complex() else scaled.clamp(-1, 1)


@_instead_of(torch.nn.functional.gaussian_nll_loss)
def _gaussian_loss(
    x: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    variance = var if isinstance(var, Tensor) else torch.full_like(x, var)
    if variance.dim() == x.dim() - 1:
        variance = variance.unsqueeze(-1)
    variance = variance.clamp(min=eps)
    loss = 0.5 * (variance.log() + (x - target) ** 2 / variance)
    loss = loss + 0.5 * math.log(2 * math.pi) if full else loss
    return {"mean": loss.mean, "sum": loss.sum, "none": lambda: loss}[reduction]()


@_instead_of(torch.combinations)
def _combinations(x: Tensor, r: int = 2, with_replacement: bool = False) -> Any:
    if not isinstance(x.shape[0], int):
        return NotImplemented
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    chosen = list(choose(range(x.shape[0]), r))
    place = torch.tensor(chosen, dtype=torch.int64).reshape(len(chosen), r)
    return x[place.reshape(-1)].reshape(place.shape)


@_instead_of(torch.narrow, Tensor.narrow)
def _narrow(x: Tensor, dim: int, start: Any, length: Any) -> Any:
    if not isinstance(start, Tensor):
        return NotImplemented
    first = torch.where(start < 0, start + x.shape[dim], start).reshape(1)
    return x.index_select(dim, first + torch.arange(length))


@_instead_of(torch.take, Tensor.take)
def _take(x: Tensor, index: Tensor) -> Any:
    flat, place = x.reshape(-1), index.reshape(-1)
    found = flat.index_select(0, torch.where(place < 0, place + flat.shape[0], place))
    return found.reshape(index.shape)


@_instead_of(torch.linalg.lstsq)
def _least_squares(
    a: Tensor, b: Tensor, rcond: float | None = None, *, driver: str | None = None
) -> Any:
    """Solve by the pseudo-inverse, which gives the shortest solution (LAPACK gelsd).

    Its residuals are those of matrices of full rank; the driver gelsy gives none.
    """
    driver = driver or "gelsy"
    rows, columns = a.shape[-2:]
    vector = a.dim() - 1 == b.dim()
    right = b.unsqueeze(-1) if vector else b
    limit = torch.finfo(a.dtype).eps * max(rows, columns) if rcond is None else rcond
    x = torch.linalg.pinv(a, rtol=limit) @ right
    nothing = a.new_zeros([0])
    residuals = nothing
    if rows > columns and driver != "gelsy":
        difference = a @ x - right
        residuals = (difference * difference.conj()).real if a.is_complex() else difference**2
        residuals = residuals.sum(-2)
    values = nothing
    rank = torch.empty([0], dtype=torch.int64)
    if driver != "gels":
        found = torch.linalg.svdvals(a)
        rank = (found > limit * found[..., :1]).sum(-1)
        values = found if driver in ("gelsd", "gelss") else nothing
    solution = x.squeeze(-1) if vector else x
    return torch.return_types.linalg_lstsq((solution, residuals, rank, values))


@_instead_of(torch.nn.functional.ctc_loss, torch.ctc_loss)
def _ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0,
    reduction: Any = "mean", zero_infinity: bool = False,
) -> Any:  # fmt: skip
    """Sum over all alignments, forwards in time (Graves et al. 2006)."""
    if log_probs.dim() == 2:
        if targets.dim() != 1:
            return NotImplemented
        log_probs, targets = log_probs.unsqueeze(1), targets.unsqueeze(0)
    if targets.dim() != 2 or targets.shape[1] == 0:
        return NotImplemented  # concatenated targets: how many there are depends on the data
    times = torch.as_tensor(input_lengths).reshape(-1)
    lengths = torch.as_tensor(target_lengths).reshape(-1)
    last = _ctc_scan(log_probs, targets, times, blank)
    ends = torch.stack([2 * lengths, (2 * lengths - 1).clamp(min=0)], 1)
    reached = last.gather(1, ends)
    only_blank = (lengths == 0).unsqueeze(1) & torch.tensor([[False, True]])
    loss = -torch.logsumexp(torch.where(only_blank, -math.inf, reached), 1)
    if zero_infinity:
        loss = torch.where(loss == math.inf, 0.0, loss)
    kind = {0: "none", 1: "mean", 2: "sum"}.get(reduction, reduction)
    if kind == "mean":
        return (loss / lengths.clamp(min=1)).mean()
    return loss.sum() if kind == "sum" else loss


def _ctc_scan(log_probs: Tensor, targets: Tensor, times: Tensor, blank: int) -> Tensor:
    """Return the logarithms of the sums [n, 2 s + 1] for labels with blanks between them."""
    from torch._higher_order_ops.scan import scan

    labels = torch.stack([torch.full_like(targets, blank), targets], 2).flatten(1)
    labels = torch.cat([labels, torch.full_like(targets[:, :1], blank)], 1).to(torch.int64)
    emitted = log_probs.gather(2, labels.unsqueeze(0).expand(log_probs.shape[0], -1, -1))
    place = torch.arange(labels.shape[1])
    before = torch.nn.functional.pad(labels[:, :-2], (2, 0), value=blank)
    jumps = (place >= 2) & (labels != blank) & (labels != before)
    jump = torch.where(jumps, 0.0, -math.inf).to(log_probs.dtype)
    first = torch.where(place < 2, emitted[0], -math.inf)
    active = torch.arange(1, log_probs.shape[0]).reshape(-1, 1, 1) < times.reshape(1, -1, 1)

    def step(sums: Tensor, now: Any) -> Any:
        emission, runs, allowed = now
        beside = torch.nn.functional.pad(sums[:, :-1], (1, 0), value=-math.inf)
        over = torch.nn.functional.pad(sums[:, :-2], (2, 0), value=-math.inf) + allowed
        total = torch.logsumexp(torch.stack([sums, beside, over]), 0) + emission
        made = torch.where(runs, total, sums)
        return made, made[:, :1].clone()

    each = jump.unsqueeze(0).expand(active.shape[0], -1, -1).clone()
    return scan(step, first, (emitted[1:], active, each))[0]
