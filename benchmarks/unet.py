"""A U-Net as diffusion models use it: residual blocks, time embedding, attention below."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (64, 128, 256)
TIME = 256


class Block(nn.Module):
    """Two convolutions after group normalisation and SiLU; the time is added between them."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(32, channels), nn.GroupNorm(32, out)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.time = nn.Linear(TIME, out)
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Return [batch, out, height, width] for [batch, channels, height, width]."""
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = hidden + self.time(F.silu(time))[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(hidden)))


class Attention(nn.Module):
    """Self-attention of all pixels, 4 heads."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return what has the shape of ``x``: [batch, channels, height, width]."""
        batch, channels, height, width = x.shape
        rows = self.norm(x).flatten(2).transpose(1, 2)
        parts = self.qkv(rows).view(batch, height * width, 3, 4, channels // 4)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.out(mixed).transpose(1, 2).view(batch, channels, height, width)


class UNet(nn.Module):
    """Predicts the noise in ``sample`` [batch, 4, 64, 64] at ``timestep`` [batch]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(WIDTHS[0], TIME), nn.SiLU(), nn.Linear(TIME, TIME))
        self.first = nn.Conv2d(4, WIDTHS[0], 3, padding=1)
        pairs = list(zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False))
        self.down = nn.ModuleList(Block(a, b) for a, b in pairs)
        self.shrink = nn.ModuleList(nn.Conv2d(w, w, 3, 2, 1) for w in WIDTHS[:-1])
        self.middle = nn.ModuleList([Block(WIDTHS[-1], WIDTHS[-1]), Block(WIDTHS[-1], WIDTHS[-1])])
        self.attention = Attention(WIDTHS[-1])
        self.up = nn.ModuleList(Block(2 * b, a) for a, b in reversed(pairs))
        self.norm, self.last = nn.GroupNorm(32, WIDTHS[0]), nn.Conv2d(WIDTHS[0], 4, 3, padding=1)

    def forward(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """Return [batch, 4, 64, 64]."""
        half = WIDTHS[0] // 2
        rates = torch.exp(torch.arange(half) * (-math.log(10000) / half))
        angles = timestep[:, None] * rates[None]
        time = self.embed(torch.cat([angles.sin(), angles.cos()], dim=1))
        x, kept = self.first(sample), []
        for level, block in enumerate(self.down):
            x = block(x, time)
            kept.append(x)
            if level < len(self.shrink):
                x = self.shrink[level](x)
        x = self.middle[1](self.attention(self.middle[0](x, time)), time)
        for level, block in enumerate(self.up):
            if level:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, kept.pop()], dim=1), time)
        return self.last(F.silu(self.norm(x)))
