# SPDX-License-Identifier: Apache-2.0
"""One linear (or the same linear of all experts) from float weights to integer tensors, on calibration samples."""

from dataclasses import dataclass

import torch
from torch import Tensor

from golden.spec.quantized import weight_limit
from golden.spec.tables import BLOCK_SHIFT_MAX
from host.compiler import batch
from host.compiler.rounding import fit_accumulator, mult_grid, round_compensated, round_nearest, row_steps

MULT_SHIFT_MAX = 47
ACC_LIMIT = 2 ** 31
WIDE_MAX, BLOCK_MAX, PIXEL_MAX = 1 << 15, 128 << BLOCK_SHIFT_MAX, 255
"""Largest magnitude of an operand value, for the proof that accumulators stay below 2**31."""


@dataclass(frozen=True)
class Rounding:
    """How weights are rounded: ``compensate`` carries each column's error to later ones, with ``damping`` of the mean
    moment added to every input's. ``prior`` is the weight of the background where an expert has samples of its own.
    """

    compensate: bool = True
    damping: float = 0.1
    prior: float = 0.3


@dataclass(frozen=True)
class Samples:
    """What one linear saw: operand values ``a`` [T, I] and wanted results ``target`` [T, O] (float32)."""

    a: Tensor
    target: Tensor


@dataclass(frozen=True)
class LinearCodes:
    """Integer tensors of a linear: weight [E, O, I] and mult [E, O] in float32, bias [E, O] in float64."""

    weight: Tensor
    bias: Tensor
    mult: Tensor
    shift: int

    def run(self, a: Tensor, expert: int = 0) -> Tensor:
        return batch.linear(a, self.weight[expert], self.bias[expert].float(), self.mult[expert], self.shift)


def moments(a: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and centred moment of inputs [T, I], float64."""
    mean = a.mean(0, dtype=torch.float64)
    centred = a - mean.float()
    return mean, (centred.T @ centred).double()


def fit_linear(samples: list[Samples], weight: Tensor, bias: Tensor, out_step: Tensor | float, operand_max: int,
               rounding: Rounding, background: Tensor | None = None, bits: int = 8) -> LinearCodes:
    """Integer tensors such that ``u * out_step`` is close to every sample's target, and right in the mean.

    ``weight`` [E, O, I] and ``bias`` [E, O] act on operand values; ``samples`` has one entry an expert. ``background``
    inputs [T, I] stand in for experts that calibration hardly visited; ``bits`` of the weights. Raises
    :class:`ValueError` when no step keeps the accumulators within 32 bits.
    """
    means, inputs, wanted = [], [], []
    common = None if background is None else moments(background)
    for e, sample in enumerate(samples):
        count = len(sample.a)
        if count >= 2 or common is None:
            mean, moment = moments(sample.a)
            target = sample.target.mean(0, dtype=torch.float64)
        else:
            mean, moment = common[0], torch.zeros_like(common[1])
            target = weight[e] @ mean + bias[e]
        if common is not None:
            moment = moment + common[1] * (rounding.prior * max(count, 64) / len(background))
        means.append(mean)
        inputs.append(moment)
        wanted.append(target)
    mean, moment, wanted = torch.stack(means), torch.stack(inputs), torch.stack(wanted)
    out_step = torch.as_tensor(out_step, dtype=torch.float64).expand(bias.shape)
    limit = weight_limit(bits)
    step = row_steps(weight, limit)
    for _ in range(8):
        grid = mult_grid(step, out_step, MULT_SHIFT_MAX)
        if rounding.compensate:
            codes = round_compensated(weight, grid.step, moment, rounding.damping, limit)
        else:
            codes = round_nearest(weight, grid.step, limit)
        # What rounding the weights shifts in the mean, the bias takes back.
        bias_codes = torch.round((wanted - grid.step * (codes @ mean[..., None])[..., 0]) / grid.step)
        fits = fit_accumulator(codes, bias_codes, operand_max)
        if bool(fits.all()):
            return LinearCodes(codes.float(), bias_codes, grid.mult.float(), grid.shift)
        step = torch.where(fits, step, grid.step * 1.5)
    raise ValueError("No weight step keeps the accumulators of a linear within 32 bits; its weights or biases are "
                     "absurdly large. Check the checkpoint.")
