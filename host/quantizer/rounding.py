# SPDX-License-Identifier: Apache-2.0
"""Weight rounding: row steps that the 16-bit multiplier represents exactly, and compensated rounding."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from golden.spec.tables import ACC_LIMIT, WEIGHT_MAX

MULTIPLIER_MAX = 65535
ACC_MAX = ACC_LIMIT - 1
PANEL = 32
"""Columns rounded between two updates of all later columns."""


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


def row_steps(weight: Tensor, limit: int = WEIGHT_MAX) -> Tensor:
    """Steps that bring the largest weight of each row [..., O, I] to ``limit``; 0 for a row of zeros."""
    return weight.abs().amax(-1) / limit


def round_nearest(weight: Tensor, step: Tensor, limit: int = WEIGHT_MAX) -> Tensor:
    """Nearest codes in [-limit, limit] of ``weight`` [..., O, I] on row steps [..., O]."""
    return torch.round(weight / step[..., None]).clamp(-limit, limit)


def round_compensated(weight: Tensor, step: Tensor, moment: Tensor, damping: float = 0.01,
                      limit: int = WEIGHT_MAX) -> Tensor:
    """Codes that keep ``(weight - codes * step) moment (...)^T`` small: each column's rounding error is carried to the
    columns not yet rounded (GPTQ, arXiv 2210.17323, columns in descending order of their moment).

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
            code = torch.round(column).clamp(-limit, limit)
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
