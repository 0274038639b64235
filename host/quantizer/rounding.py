# SPDX-License-Identifier: Apache-2.0
"""Weight rounding: row steps that the 16-bit multiplier represents exactly, compensated rounding, and row steps that
clip."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from golden.spec.quantized import PACKED_BITS, weight_limit
from golden.spec.tables import ACC_LIMIT, WEIGHT_LEVELS

MULTIPLIER_MAX = 65535
ACC_MAX = ACC_LIMIT - 1
PANEL = 32
"""Columns rounded between two updates of all later columns."""
CLIPPING = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Candidates for the step of a row of packed weights, relative to the one that clips none."""


@dataclass(frozen=True)
class Grid:
    """Row steps of a weight matrix: ``step = multiplier * out_step / 2**shift``, ``step`` and ``multiplier`` [..., O].
    """

    step: Tensor
    multiplier: Tensor
    shift: int


def multiplier_grid(step: Tensor, out_step: Tensor, limit: int) -> Grid:
    """The finest representable row steps not below ``step`` (real units of the output per weight code).

    One shift for the whole tensor, as large as the largest multiplier and ``limit`` allow, so that multipliers use
    their 16 bits; the weights are rounded on the grid of the integer multiplier, whose rounding then causes no error.
    """
    ratio = step / out_step
    shift = int(np.clip(np.floor(np.log2(MULTIPLIER_MAX / max(float(ratio.max()), 2.0 ** -limit))), 0, limit))
    multiplier = torch.ceil(ratio * 2.0 ** shift - 1e-9).clamp(1, MULTIPLIER_MAX)
    return Grid(multiplier * out_step / 2.0 ** shift, multiplier, shift)


_LEVELS = torch.tensor(sorted(set(WEIGHT_LEVELS)), dtype=torch.float64)
_BETWEEN = (_LEVELS[1:] + _LEVELS[:-1]) / 2


def nearest(values: Tensor, bits: int) -> Tensor:
    """The weights of ``bits`` bits nearest to ``values``."""
    if bits == PACKED_BITS:
        return _LEVELS[torch.bucketize(values.double().contiguous(), _BETWEEN)].to(values.dtype)
    limit = weight_limit(bits)
    return torch.round(values).clamp(-limit, limit)


def row_steps(weight: Tensor, limit: int = weight_limit(8)) -> Tensor:
    """Steps that bring the largest weight of each row [..., O, I] to ``limit``; 0 for a row of zeros."""
    return weight.abs().amax(-1) / limit


def clipping_steps(weight: Tensor, step: Tensor, moment: Tensor, damping: float, bits: int) -> Tensor:
    """For each row that one of ``CLIPPING`` times ``step`` with which compensated rounding leaves the smallest error:
    finer steps for most weights, the largest ones clipped."""
    least, best = None, step
    mean = moment.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)
    damped = moment + torch.diag_embed((damping * mean).expand(*mean.shape[:-1], moment.shape[-1]))
    for factor in CLIPPING:
        error = weight - round_compensated(weight, step * factor, moment, damping, bits) * (step * factor)[..., None]
        loss = ((error @ damped) * error).sum(-1)
        better = torch.ones_like(loss, dtype=torch.bool) if least is None else loss < least
        best = torch.where(better, step * factor, best)
        least = loss if least is None else torch.minimum(loss, least)
    return best


def round_nearest(weight: Tensor, step: Tensor, bits: int = 8) -> Tensor:
    """Nearest codes of ``bits`` bits of ``weight`` [..., O, I] on row steps [..., O]."""
    return nearest(weight / step[..., None], bits)


def round_compensated(weight: Tensor, step: Tensor, moment: Tensor, damping: float = 0.01, bits: int = 8) -> Tensor:
    """Codes of ``bits`` bits that keep ``(weight - codes * step) moment (...)^T`` small: each column's rounding error
    is carried to the columns not yet rounded (GPTQ, arXiv 2210.17323, columns in descending order of their moment).

    weight [..., O, I], step [..., O], moment [..., I, I] (sum of the inputs' products) -> codes [..., O, I]. float64.
    """
    lead, (rows, columns) = weight.shape[:-2], weight.shape[-2:]
    scaled = (weight / step[..., None]).reshape(-1, rows, columns).double()
    moment = moment.reshape(-1, columns, columns).double()
    diagonal = moment.diagonal(dim1=-2, dim2=-1)
    order = diagonal.argsort(dim=-1, descending=True, stable=True)
    scaled = scaled.gather(2, order[:, None, :].expand_as(scaled))
    moment = moment.gather(1, order[:, :, None].expand_as(moment)).gather(2, order[:, None, :].expand_as(moment))
    floor = (damping * diagonal.mean(-1)).clamp(min=1e-12)
    moment = moment + torch.diag_embed(floor[:, None].expand(-1, columns))
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(moment)), upper=True)
    codes = torch.empty_like(scaled)
    for start in range(0, columns, PANEL):
        stop = min(start + PANEL, columns)
        panel, factor = scaled[:, :, start:stop].clone(), upper[:, start:stop, start:stop]
        errors = torch.empty_like(panel)
        for j in range(stop - start):
            column = panel[:, :, j]
            code = nearest(column, bits)
            codes[:, :, start + j] = code
            error = (column - code) / factor[:, None, j, j]
            panel[:, :, j + 1:] -= error[:, :, None] * factor[:, None, j, j + 1:]
            errors[:, :, j] = error
        scaled[:, :, stop:] -= errors @ upper[:, start:stop, stop:]
    back = order.argsort(dim=-1)
    return codes.gather(2, back[:, None, :].expand_as(codes)).reshape(*lead, rows, columns)


def fit_accumulator(codes: Tensor, bias: Tensor, operand_max: int) -> Tensor:
    """True for every row [..., O] whose accumulator cannot leave int32, whatever the operand."""
    return codes.abs().sum(-1) * operand_max + bias.abs() <= ACC_MAX
