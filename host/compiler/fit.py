# SPDX-License-Identifier: Apache-2.0
"""One linear (or the same linear of all experts) from float weights to integer tensors, on calibration samples."""

from dataclasses import dataclass

import torch
from torch import Tensor

from host.compiler import batch
from host.compiler.rounding import fit_accumulator, mult_grid, round_compensated, round_nearest, row_steps

MULT_SHIFT_MAX = 47
WIDE_MAX, BLOCK_MAX, PIXEL_MAX = 32768, 128 << 3, 255
"""Largest magnitude of an operand value, for the proof that accumulators stay below 2**31."""


@dataclass(frozen=True)
class Rounding:
    """How weights are rounded. ``damping`` and ``ridge`` are relative to the mean moment of the inputs; ``refit`` in
    0..1 is how far weights move to undo errors that calibration shows in their inputs.
    """

    compensate: bool = True
    damping: float = 0.1
    refit: float = 0.0
    ridge: float = 0.1
    prior: float = 0.05
    exact: bool = False


@dataclass(frozen=True)
class Samples:
    """What one linear saw: operand values ``a`` [T, I] and wanted results ``target`` [T, O] (float32)."""

    a: Tensor
    target: Tensor

    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean of a, its centred moment and the mean of the target (float64)."""
        mean = self.a.mean(0, dtype=torch.float64)
        centred = self.a - mean.float()
        return mean, (centred.T @ centred).double(), self.target.mean(0, dtype=torch.float64)


@dataclass(frozen=True)
class LinearCodes:
    """Integer tensors of a linear, float32 for the batch arithmetic: weight [E, O, I], bias and mult [E, O]."""

    weight: Tensor
    bias: Tensor
    mult: Tensor
    shift: int

    def run(self, a: Tensor, expert: int = 0) -> Tensor:
        return batch.linear(a, self.weight[expert], self.bias[expert], self.mult[expert], self.shift)


def fit_linear(samples: list[Samples], weight: Tensor, bias: Tensor, out_step: Tensor | float, operand_max: int,
               rounding: Rounding, background: Samples | None = None) -> LinearCodes:
    """Integer tensors such that ``u * out_step`` is close to every sample's target.

    ``weight`` [E, O, I] and ``bias`` [E, O] act on operand values; ``samples`` has one entry an expert. ``background``
    inputs, weighted by ``rounding.prior``, stand in for experts that calibration hardly visited.
    """
    means, moments, wanted = [], [], []
    prior = background.moments() if background is not None else None
    for e, sample in enumerate(samples):
        count = len(sample.a)
        if count >= 2:
            mean, moment, target = sample.moments()
            if rounding.refit:
                weight = weight.clone()
                weight[e] = _refit(sample, mean, moment, weight[e], bias[e], rounding)
        else:
            mean, moment, target = prior[0], torch.zeros_like(prior[1]), weight[e] @ prior[0] + bias[e]
        if prior is not None:
            moment = moment + prior[1] * (rounding.prior * max(count, 64) / len(background.a))
        means.append(mean), moments.append(moment), wanted.append(target)
    mean, moment, wanted = torch.stack(means), torch.stack(moments), torch.stack(wanted)
    out_step = torch.as_tensor(out_step, dtype=torch.float64).expand(bias.shape)
    step = row_steps(weight)
    for _ in range(8):
        grid = mult_grid(step, out_step, MULT_SHIFT_MAX)
        if rounding.exact:
            codes = weight / grid.step[..., None]
        elif rounding.compensate:
            codes = round_compensated(weight, grid.step, moment, rounding.damping)
        else:
            codes = round_nearest(weight, grid.step)
        bias_codes = torch.round((wanted - grid.step * (codes @ mean[..., None])[..., 0]) / grid.step)
        fits = fit_accumulator(codes, bias_codes, operand_max)
        if bool(fits.all()):
            break
        step = torch.where(fits, step, grid.step * 1.5)
    else:
        raise ValueError("No weight step keeps the accumulators of a linear within 32 bits; its weights or biases are "
                         "absurdly large. Check the checkpoint.")
    return LinearCodes(codes.float(), bias_codes.float(), grid.mult.float(), grid.shift)


def _refit(sample: Samples, mean: Tensor, moment: Tensor, weight: Tensor, bias: Tensor, rounding: Rounding) -> Tensor:
    """``weight`` moved towards the least-squares answer for the operands as they really come, with a ridge."""
    residual = sample.target - (sample.a @ weight.T.float() + bias.float())
    residual = residual - residual.mean(0)
    cross = (residual.T @ (sample.a - mean.float())).double()
    ridge = rounding.ridge * moment.diagonal().mean()
    system = moment + ridge * torch.eye(len(moment), dtype=torch.float64)
    return weight + rounding.refit * torch.linalg.solve(system, cross.T).T
