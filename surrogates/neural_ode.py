"""A latent neural differential equation, several at once: what a cell carries becomes a point and a context, levels of the
medium move the point, and readouts are read from it.

A change from outside starts a transient that relaxes over decades of time, from seconds to hours. So the point moves in
the logarithm of time since the last change, s = ln(1 + (t - t_change) / RISE): dz/ds = g(z, levels, context, s), which is
smooth enough for few steps of fixed length (Runge-Kutta by torchdiffeq; between nodes the cubic through both ends and
their slopes). Steps of fixed length on a grid that starts at the change give the same course in one step or in several,
within the error of the method. After Chen et al. 2018, arXiv 1806.07366 (neural ODE) and Rubanova et al. 2019, arXiv 1907.03907
(latent ODE); an ensemble's disagreement as a sign of error: Lakshminarayanan et al. 2017, arXiv 1612.01474.

Legend: `E` networks of the ensemble, `B` rows, `F` features, `L` levels, `R` readouts, `H` latent, `C` context, `T` times, `K` nodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from torchdiffeq import odeint

from surrogates.shape import Shape

_BEFORE_SILU = 1.7  # gain of layers before a SiLU, which halves what passes
_PLAIN = ("encode_straight", "begin", "field_end", "read_end")


class _Linear(nn.Module):
    """One linear map per network: `[E, B, in]` → `[E, B, out]`."""

    def __init__(self, networks: int, inputs: int, outputs: int, *, bias: bool = True, gain: float = 1.0) -> None:
        super().__init__()
        bound = gain / math.sqrt(max(inputs, 1))
        self.weight = nn.Parameter(torch.empty(networks, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(networks, 1, outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return torch.bmm(x, self.weight) if self.bias is None else torch.baddbmm(self.bias, x, self.weight)


class NeuralODE(nn.Module):
    """An ensemble of latent neural ODEs of one shape.

    Args:
        shape: the architecture.
        bounded: which readouts never fall below 0, one per readout.
    """

    def __init__(self, shape: Shape, *, bounded: Sequence[bool]) -> None:
        super().__init__()
        self.shape = shape
        made = {
            name: _Linear(shape.networks, inputs, outputs, bias=bias, gain=1.0 if name in _PLAIN else _BEFORE_SILU)
            for name, (inputs, outputs, bias) in shape.layers.items()
        }
        self.encode_wide, self.encode_deep = made["encode_wide"], made["encode_deep"]
        self.encode_straight, self.begin = made["encode_straight"], made["begin"]
        self.drive_context, self.drive_levels = made["drive_context"], made["drive_levels"]
        self.field_latent, self.field_middle = made["field_latent"], made["field_middle"]
        self.field_end = made["field_end"]
        self.field_clock = nn.Parameter(torch.empty(shape.networks, 1, shape.hidden).uniform_(-0.5, 0.5))
        self.read_latent, self.read_context = made["read_latent"], made["read_context"]
        self.read_end = made["read_end"]
        self._bounded = torch.tensor([bool(b) for b in bounded])

    def encode(self, features: Tensor, initial: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Point `[E, B, H]`, context `[E, B, C]` and anchor `[E, B, 3R]` of cells.

        Args:
            features: scaled `[B, F]`.
            initial: readouts before any change, in units of their spans `[B, R]`; decoding the point gives them back.
        """
        x = torch.cat([features, initial], dim=-1).repeat(self.shape.networks, 1, 1)
        context = self.encode_deep(silu(self.encode_wide(x))) + self.encode_straight(x)
        point = self.begin(context)
        return point, context, torch.cat([x[..., self.shape.features :], self._look(point, context)], dim=-1)

    def drive(self, context: Tensor, levels: Tensor) -> Tensor:
        """What pushes the point while levels stand still `[E, B, W]`.

        Args:
            levels: scaled `[B, L]`.
        """
        return self.drive_context(context) + self.drive_levels(levels.repeat(self.shape.networks, 1, 1))

    def advance(
        self, drive: Tensor, point: Tensor, *, since: float, t0: float, t1: float, times: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """The point at `t1` `[E, B, H]`, and at `times` within `t0` … `t1` `[T, E, B, H]`.

        Args:
            since: when the last change was made.
        """
        clock = [math.log1p(max(t - since, 0.0) / self.shape.rise) for t in (t0, t1, *times)]
        start, end, looks = clock[0], clock[1], clock[2:]
        if end <= start:
            return point, point.expand(len(looks), *point.shape)
        nodes = self._nodes(start, end)
        grid = torch.tensor(nodes, dtype=point.dtype)

        def slope(s: Tensor, z: Tensor) -> Tensor:
            return self._slope(s, z, drive)

        points = odeint(slope, point, grid, method="rk4")
        assert isinstance(points, Tensor)
        if not looks:
            return points[-1], points[:0]
        return points[-1], self._between(nodes, points, drive, looks)

    def read(self, points: Tensor, context: Tensor, anchor: Tensor) -> Tensor:
        """Readouts in units of their spans `[E, B, T, R]` from points `[T, E, B, H]`.

        y = y(start) (1 + a(z) - a(z(start))) + b(z) - b(z(start)): some of what happens to a cell scales what it had.
        """
        count = len(points)
        if not count:
            return context.new_zeros(*context.shape[:2], 0, self.shape.readouts)
        rows = points.permute(1, 0, 2, 3).flatten(1, 2)
        start, *before = anchor.repeat(1, count, 1).chunk(3, dim=-1)
        share, shift = self._look(rows, context.repeat(1, count, 1)).chunk(2, dim=-1)
        seen = start * (1.0 + share - before[0]) + shift - before[1]
        # in training the bound would hide a readout's slope wherever it starts at 0
        values = seen if self.training else torch.where(self._bounded, seen.clamp(min=0.0), seen)
        return values.unflatten(1, (count, -1)).transpose(1, 2)

    def _nodes(self, start: float, end: float) -> list[float]:
        step = self.shape.step
        between = [k * step for k in range(math.floor(start / step), math.ceil(end / step) + 1)]
        return [start, *(s for s in between if start + 1e-3 * step < s < end - 1e-3 * step), end]

    def _slope(self, s: Tensor, z: Tensor, drive: Tensor) -> Tensor:
        """dz/ds `[E, B, H]`; `s` is one number, or one per row `[B, 1]`."""
        x = silu(self.field_latent(z) + drive + s * self.field_clock)
        return self.field_end(silu(self.field_middle(x)))

    def _between(self, nodes: list[float], points: Tensor, drive: Tensor, looks: Sequence[float]) -> Tensor:
        """Hermite's cubic between nodes, at `looks`: `[T, E, B, H]`."""
        count, rows = len(nodes), points.shape[2]
        grid = torch.tensor(nodes, dtype=points.dtype)
        flat = points.permute(1, 0, 2, 3).flatten(1, 2)
        clock = grid.repeat_interleave(rows)[:, None]
        slopes = self._slope(clock, flat, drive.repeat(1, count, 1)).unflatten(1, (count, rows)).transpose(0, 1)
        times = torch.tensor(looks, dtype=points.dtype)
        left = torch.clamp(torch.searchsorted(grid, times, right=True) - 1, 0, count - 2)
        width = (grid[left + 1] - grid[left])[:, None, None, None]
        u = ((times - grid[left])[:, None, None, None] / width).clamp(0.0, 1.0)
        a, b, da, db = points[left], points[left + 1], slopes[left] * width, slopes[left + 1] * width
        return a + u * (da + u * (3 * (b - a) - 2 * da - db + u * (2 * (a - b) + da + db)))

    def _look(self, points: Tensor, context: Tensor) -> Tensor:
        return self.read_end(silu(self.read_latent(points) + self.read_context(context)))
