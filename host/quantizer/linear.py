# SPDX-License-Identifier: Apache-2.0
"""Quantization of one linear (or the same linear of all experts) with calibration samples."""

from dataclasses import dataclass

import torch
from torch import Tensor

from golden.spec.isa import Opcode, bounds
from golden.spec.quantized import PACKED_BITS, weight_limit
from host.quantizer import emulation
from host.quantizer.rounding import (
    ACC_MAX,
    clipping_steps,
    fit_accumulator,
    multiplier_grid,
    round_compensated,
    round_nearest,
    row_steps,
)

_, MULTIPLIER_SHIFT_MAX = bounds(Opcode.LINEAR, "shift1")
COARSER, TRIES = 1.1, 24
"""Factor by which a row's step grows while its rounded codes could overflow an accumulator, and the most attempts."""


@dataclass(frozen=True)
class Rounding:
    """Rounding options of weights: ``compensate`` carries each column's error to later ones, with ``damping`` of the
    mean moment added to every input's, or ``packed_damping`` where weights are packed. ``prior`` is the weight of the
    background where an expert has samples itself.
    """

    compensate: bool = True
    damping: float = 0.1
    packed_damping: float = 0.3
    prior: float = 0.3


@dataclass(frozen=True)
class Inputs:
    """Input statistics of one linear: ``count`` operand rows, their ``mean`` [I] and the sum of the products
    of their deviations from it, ``moment`` [I, I]; float64, from exact integer sums.
    """

    count: int
    mean: Tensor
    moment: Tensor

    @classmethod
    def of(cls, a: Tensor) -> "Inputs":
        """Operand values ``a`` [T, I], integers; T may be 0."""
        total, products = a.new_zeros(a.shape[1]).double(), a.new_zeros(a.shape[1], a.shape[1]).double()
        for start in range(0, len(a), emulation.ROWS):
            rows = a[start:start + emulation.ROWS].double()
            total += rows.sum(0)
            products += rows.T @ rows
        mean = total / max(1, len(a))
        moment = products - mean[:, None] * total
        # A constant input has moment 0; rounding errors of the subtraction are cleared.
        noise = 1e-12 * products.diagonal().amax()
        return cls(len(a), mean, torch.where(moment.abs() > noise, moment, 0.0))

    def blended(self, background: "Inputs", prior: float) -> "Inputs":
        """With ``prior`` of the background's moment (as of at least 64 rows); its mean too where there were no rows."""
        moment = self.moment + background.moment * (prior * max(self.count, 64) / background.count)
        return Inputs(self.count, self.mean if self.count >= 2 else background.mean, moment)


@dataclass(frozen=True)
class LinearCodes:
    """Integer tensors of a linear in float64: weight [E, O, I], bias and multiplier [E, O]."""

    weight: Tensor
    bias: Tensor
    multiplier: Tensor
    shift: int

    def run(self, a: Tensor, expert: int = 0) -> Tensor:
        """``u`` of operand values [T, I], before it is clipped to 16 bits."""
        return emulation.linear(a, self.weight[expert], self.bias[expert], self.multiplier[expert], self.shift)


def fit_linear(inputs: list[Inputs], wanted: Tensor, weight: Tensor, bias: Tensor, out_step: Tensor | float,
               operand_max: int, rounding: Rounding, background: Inputs | None = None, bits: int = 8) -> LinearCodes:
    """Integer tensors such that ``u * out_step`` is close to ``weight @ a + bias``, and ``wanted`` [E, O] in the mean.

    ``weight`` [E, O, I] and ``bias`` [E, O] act on operand values; ``inputs`` has one entry an expert. An expert
    without inputs uses the mean result of its float weights on the ``background``, which also replaces inputs that
    hardly occurred in calibration. ``bits``: width of the weights.
    """
    if background is not None:
        own = torch.tensor([[entry.count >= 2] for entry in inputs])
        wanted = torch.where(own, wanted, (weight @ background.mean[:, None])[..., 0] + bias)
        inputs = [entry.blended(background, rounding.prior) for entry in inputs]
    mean, moment = torch.stack([entry.mean for entry in inputs]), torch.stack([entry.moment for entry in inputs])
    out_step = torch.as_tensor(out_step, dtype=torch.float64).expand(bias.shape)
    constant = (wanted - (weight @ mean[..., None])[..., 0]).abs()
    least = (weight.abs().sum(-1) * operand_max + constant) / ACC_MAX  # what the accumulators allow
    damping = rounding.packed_damping if bits == PACKED_BITS else rounding.damping
    step = torch.maximum(row_steps(weight, weight_limit(bits)), least * 1.01)
    if bits == PACKED_BITS and rounding.compensate:
        grid = multiplier_grid(step, out_step, MULTIPLIER_SHIFT_MAX)
        step = torch.maximum(clipping_steps(weight, grid.step, moment, damping, bits), least * 1.01)
    for _ in range(TRIES):
        grid = multiplier_grid(step, out_step, MULTIPLIER_SHIFT_MAX)
        if rounding.compensate:
            codes = round_compensated(weight, grid.step, moment, damping, bits)
        else:
            codes = round_nearest(weight, grid.step, bits)
        # The bias corrects the mean error of the rounded weights.
        bias_codes = torch.round((wanted - grid.step * (codes @ mean[..., None])[..., 0]) / grid.step)
        fits = fit_accumulator(codes, bias_codes, operand_max)
        if bool(fits.all()):
            break
        step = torch.where(fits, step, grid.step * COARSER)
    # A bias that no step fits is clamped: its results are clipped to 16 bits in any case.
    room = ACC_MAX - codes.abs().sum(-1) * operand_max
    return LinearCodes(codes, torch.clamp(bias_codes, -room, room), grid.multiplier, grid.shift)
