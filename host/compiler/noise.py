# SPDX-License-Identifier: Apache-2.0
"""The noise that an operand's steps cause at the output of the linear it meets, and steps that make it small."""

from dataclasses import dataclass

import torch
from torch import Tensor

from golden.spec.model import BLOCK
from golden.spec.tables import BLOCK_SHIFT_MAX, WEIGHT_MAX

BYTE_REACH = 127.5
"""What a block of exponent 0 reaches on either side."""
EXPONENT_WASTE = 3 / torch.log(torch.tensor(4.0)).item()
"""Mean of 4**(ceil(x) - x): what whole exponents cost against fractional ones."""
QUIET = 0.4
"""Variance granted to every channel, relative to the mean."""
COMPENSATION = 0.3
"""Noise of compensated rounding relative to rounding to nearest."""
NORM_POWER = 24
"""A differentiable stand-in for the largest weight of a row."""


@dataclass(frozen=True)
class Noise:
    """``size`` [T, C]: distance of sampled values from their centre; ``weight`` [O, C] in magnitude; ``gain`` [C] the
    sum of its squares over outputs; ``variance`` [C] of the values, as far as compensated rounding cannot hide it;
    ``limit``: largest magnitude of a weight's code.
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
        variance = values.double().var(0, unbiased=False)
        # Channels that calibration hardly moved may move in the next image.
        variance = COMPENSATION * (variance + QUIET * variance.mean())
        few = values[::max(1, len(values) // tokens)].double() - centre
        picked = weight[::max(1, len(weight) // rows)]
        scale = len(weight) / len(picked)
        return cls(few.abs().float(), picked.abs().float() * scale ** 0.5, weight.square().sum(0).float(),
                   variance.float(), wide, limit)

    def expected(self, step: Tensor, smooth: bool = False) -> Tensor:
        """Mean squared error summed over the outputs, from rounding operand and weights."""
        step = step.float()
        power = self.gain * step.square() / 12
        if not self.wide:
            top = (self.size / step).unflatten(-1, (-1, BLOCK)).amax(-1) / BYTE_REACH  # [T, blocks]
            if smooth:
                times = EXPONENT_WASTE * top.clamp(min=EXPONENT_WASTE ** -0.5).square()
            else:
                times = 4.0 ** torch.ceil(torch.log2(top.clamp(min=1e-9))).clamp(0, BLOCK_SHIFT_MAX)
            power = times.mean(0) * power.unflatten(-1, (-1, BLOCK)).sum(-1)
        scaled = self.weight * step
        if smooth:
            largest = scaled.detach().amax(1, keepdim=True).clamp(min=1e-30)
            rows = ((scaled / largest) ** NORM_POWER).sum(1) ** (2 / NORM_POWER) * largest[:, 0].square()
        else:
            rows = scaled.amax(1).square()
        return power.sum() + rows.sum() / self.limit ** 2 / 12 * (self.variance / step.square()).sum()

    def descend(self, step: Tensor, floor: Tensor, steps: int) -> Tensor:
        """``step`` after gradient descent on its logarithm, the best seen; never below ``floor``."""
        best, least, floor = step, float(self.expected(step)), floor.float()
        with torch.enable_grad():
            log = step.float().log().detach().requires_grad_(True)
            optimiser = torch.optim.Adam([log], lr=0.05)
            for i in range(steps):
                optimiser.zero_grad()
                self.expected(torch.maximum(log.exp(), floor), smooth=True).log().backward()
                optimiser.step()
                if i % 10 == 9:
                    now = torch.maximum(log.detach().exp(), floor)
                    value = float(self.expected(now))
                    if value < least:
                        best, least = now.double(), value
        return best
