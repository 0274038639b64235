# SPDX-License-Identifier: Apache-2.0
"""Steps and offsets of operands from the values that calibration images produce."""

from dataclasses import dataclass

import torch
from torch import Tensor

from golden.spec.tables import BLOCK_SHIFT_MAX, WEIGHT_MAX
from host.compiler.folds import Scale


@dataclass(frozen=True)
class Policy:
    """How ranges become steps.

    ``finer``: the whole calibrated range of a channel is ``2**finer`` times what a block of exponent 0 holds, so
    that ordinary tokens use finer steps and only outliers coarser ones. ``margin``: room for images unlike the
    calibration's where no exponent helps (K, V, wide operands).
    """

    finer: float = 1.0
    margin: float = 1.4
    wide_margin: float = 2.0
    min_ratio: float = 1e-3
    """Narrowest range that gets a step of its own, relative to the widest of the tensor."""


def extent(values: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and half range (float64) of each channel of ``values`` [..., channels]."""
    flat = values.flatten(0, -2)
    low, high = flat.amin(0).double(), flat.amax(0).double()
    return (low + high) / 2, (high - low) / 2


def _bounded(half: Tensor, ratio: float) -> Tensor:
    return half.clamp(min=max(float(half.max()) * ratio, 1e-9))


def block_scale(values: Tensor, policy: Policy) -> Scale:
    """Scale of an 8-bit block operand."""
    centre, half = extent(values)
    finer = 2.0 ** min(policy.finer, BLOCK_SHIFT_MAX)
    return Scale(_bounded(half, policy.min_ratio) / (127.5 * finer), centre)


def wide_scale(values: Tensor, policy: Policy) -> Scale:
    """Scale of a 16-bit operand."""
    centre, half = extent(values)
    return Scale(_bounded(half, policy.min_ratio) * policy.wide_margin / 32767, centre)


def key_scale(values: Tensor, policy: Policy) -> Scale:
    """Scale of K or V: int8 without exponent."""
    centre, half = extent(values)
    return Scale(_bounded(half, policy.min_ratio) * policy.margin / WEIGHT_MAX, centre)


def operand_scale(values: Tensor, wide: bool, policy: Policy) -> Scale:
    return wide_scale(values, policy) if wide else block_scale(values, policy)


def gain_grid(scale: Scale, unit: float, limit: int) -> tuple[Tensor, Tensor, int, Scale]:
    """``gain``, ``offset``, ``shift`` of ``v = rsh(g * gain + offset, shift)`` for g in steps of ``unit``, and the scale
    that these integers really make (its step re-derived from the rounded gain, so that rounding it costs nothing).
    """
    ratio = unit / scale.step
    shift = int(torch.floor(torch.log2(32767 / ratio.max())).clamp(0, limit))
    gain = torch.round(ratio * 2.0 ** shift).clamp(1, 32767)
    step = unit * 2.0 ** shift / gain
    offset = torch.round(-scale.offset / step * 2.0 ** shift).clamp(-(2.0 ** 31), 2.0 ** 31 - 1)
    return gain, offset, shift, Scale(step, -offset * step / 2.0 ** shift)
