# SPDX-License-Identifier: Apache-2.0
"""Noise model: quantization noise of an operand at the output of its linear, and steps that minimise it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from golden.spec.model import BLOCK
from golden.spec.tables import BLOCK_SHIFT_MAX, WEIGHT_MAX

BYTE_RANGE = 127.5
"""Largest magnitude, in steps, that a block with exponent 0 represents."""
EXPONENT_WASTE = 2.164
"""Mean of 4**(ceil(x) - x), 3 / ln 4: noise of whole exponents relative to fractional ones."""
VARIANCE_FLOOR = 0.4
"""Variance added to every channel, relative to the mean."""
COMPENSATION = 0.3
"""Noise of compensated rounding relative to rounding to nearest."""
NORM_POWER = 24
"""Power of the norm that replaces the largest weight of a row, to be differentiable."""
LEAST = 1e-150
"""Noise below this counts as 0."""


def sampled(rows: Tensor, count: int) -> Tensor:
    """About ``count`` evenly spaced ``rows`` [T, ...], as float64."""
    return rows[::max(1, len(rows) // count)].double()


def first_least(values: list[float]) -> int:
    """Index of the least of ``values``, the first one among equals up to rounding."""
    least = min(values)
    return next(i for i, value in enumerate(values) if value <= least + 1e-9 * abs(least))


@dataclass(frozen=True)
class Noise:
    """Noise of one operand and its linear. ``size`` [T, C]: distance of sampled values from their centre; ``weight``
    [O, C] in magnitude; ``gain`` [C] the sum of its squares over outputs; ``variance`` [C] of the values, less what
    compensated rounding removes; ``limit``: largest magnitude of a weight's code. All float64.
    """

    size: Tensor
    weight: Tensor
    gain: Tensor
    variance: Tensor
    wide: bool
    limit: int

    @classmethod
    def of(cls, values: Tensor, centre: Tensor, weight: Tensor, wide: bool, limit: int = WEIGHT_MAX,
           tokens: int = 1024, rows: int = 1024) -> "Noise":
        """``values`` [T, C] and their ``centre`` [C], multiplied by ``weight`` [O, C]; float64."""
        variance = values.var(0, unbiased=False)
        # Channels that hardly vary in calibration may vary in other images.
        variance = COMPENSATION * (variance + VARIANCE_FLOOR * variance.mean())
        few, picked = sampled(values, tokens) - centre, sampled(weight, rows)
        scale = (len(weight) / len(picked)) ** 0.5
        return cls(few.abs(), picked.abs() * scale, weight.square().sum(0), variance, wide, limit)

    def expected(self, step: Tensor) -> float:
        """Mean squared error summed over the outputs, from rounding operand and weights."""
        power = self.gain * step.square() / 12
        if not self.wide:
            top = (self.size / step).unflatten(-1, (-1, BLOCK)).amax(-1) / BYTE_RANGE  # [T, blocks]
            times = 4.0 ** torch.ceil(torch.log2(top.clamp(min=1e-9))).clamp(0, BLOCK_SHIFT_MAX)
            power = times.mean(0) * power.unflatten(-1, (-1, BLOCK)).sum(-1)
        rows = (self.weight * step).amax(1).square()
        return float(power.sum() + rows.sum() / self.limit ** 2 / 12 * (self.variance / step.square()).sum())

    def slope(self, step: Tensor) -> Tensor:
        """Derivative [C] of the logarithm of a smooth :meth:`expected` by the logarithm of each step."""
        power = self.gain * step.square() / 12
        if self.wide:
            first, by_first = power.sum(), 2 * power
        else:
            top, place = (self.size / step).unflatten(-1, (-1, BLOCK)).max(-1)  # [T, blocks]
            top = top / BYTE_RANGE
            loud = top > EXPONENT_WASTE ** -0.5
            square = torch.where(loud, EXPONENT_WASTE * top.square(), 1.0)
            times, block = square.mean(0), power.unflatten(-1, (-1, BLOCK)).sum(-1)
            falls = torch.zeros(*block.shape, BLOCK, dtype=step.dtype)
            falls.scatter_add_(1, place.T, torch.where(loud, -2 * square, 0.0).T / len(top))
            by_first = 2 * power * times.repeat_interleave(BLOCK) + (falls * block[:, None]).flatten()
            first = (times * block).sum()
        scaled = self.weight * step
        largest = scaled.amax(1, keepdim=True).clamp(min=LEAST)
        part = (scaled / largest).square()
        part = (part * part * part).square().square()  # the 24th power
        whole = part.sum(1)
        rows = (whole ** (2 / NORM_POWER) * largest[:, 0].square())
        relative = self.variance / step.square()
        scale = 1 / self.limit ** 2 / 12
        by_rows = 2 * ((rows / whole)[:, None] * part).sum(0)
        second = rows.sum() * relative.sum() * scale
        by_second = scale * (by_rows * relative.sum() - 2 * relative * rows.sum())
        return (by_first + by_second) / (first + second).clamp(min=LEAST)

    def optimise(self, step: Tensor, floor: Tensor, steps: int, rate: float = 0.05) -> Tensor:
        """``step`` after gradient descent (Adam) on its logarithm, the best seen; never below ``floor``."""
        best, least = step, self.expected(step)
        if least < LEAST:
            return step
        log, mean, square = step.log(), torch.zeros_like(step), torch.zeros_like(step)
        for i in range(1, steps + 1):
            now = torch.maximum(log.exp(), floor)
            slope = torch.where(log.exp() >= floor, self.slope(now), 0.0)
            mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope.square()
            log = log - rate * (mean / (1 - 0.9 ** i)) / ((square / (1 - 0.999 ** i)).sqrt() + 1e-8)
            if i % 10 == 0:
                now = torch.maximum(log.exp(), floor)
                value = self.expected(now)
                if value < least:
                    best, least = now, value
        return best
