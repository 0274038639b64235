# SPDX-License-Identifier: Apache-2.0
"""Steps and offsets of operands, from calibration values and the weights that multiply them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from golden.ops.arith import INT16
from golden.spec.model import BLOCK
from golden.spec.tables import ACC_LIMIT, BLOCK_SHIFT_MAX, WEIGHT_MAX
from host.quantizer.folding import Scale
from host.quantizer.noise import BYTE_RANGE, Noise, first_least, sampled

INT16_MAX, INT32_MAX = INT16[1], ACC_LIMIT - 1


@dataclass(frozen=True)
class Policy:
    """Options for choosing steps from ranges. ``key_margin``, ``wide_margin``: headroom for other images in formats
    without block exponent; ``headroom``: range of a block operand at the largest exponent relative to its calibrated
    range.
    """

    key_margin: float = 1.2
    wide_margin: float = 8.0
    headroom: float = 4.0
    normalized_room: float = 1.5
    act_room: float = 1.25
    """Headroom of normalized values and activation inputs beyond their calibrated range before they are clipped."""
    ratio: float = 1e-2
    """Smallest channel range used as it is, relative to the largest of the tensor; smaller ones are raised to it."""
    hidden_ratio: float = 0.3
    """The same after an activation, where a neuron that was inactive during calibration may be active in other
    images."""
    still: float = 1e-3
    """Smallest range of a tensor, relative to its largest magnitude."""
    flatness: tuple[float, ...] = (1.0, 0.85, 0.7, 0.5, 0.25, 0.0)
    """Candidates for g in ``step ~ range ** g``: 1 favours the operand, 0 the weights."""
    finer: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
    """Candidates for log2 of how much finer the steps are than the calibrated range needs without exponents."""
    descent: int = 60
    """Steps of the gradient descent that refines operand steps."""
    tokens: int = 4096
    """Tokens used for the statistics."""


def extent(values: Tensor, unit: Tensor | float, ratio: float, still: float) -> tuple[Tensor, Tensor]:
    """Centre and half range (float64) of each channel of ``values`` [T, C] in steps of ``unit``; ranges at least
    ``ratio`` of the widest, and 1 where all values are zero.
    """
    low, high = values.amin(0).double() * unit, values.amax(0).double() * unit
    half = (high - low) / 2
    widest = max(float(half.max()), still * float(torch.maximum(high, -low).max())) or 1.0
    return (low + high) / 2, half.clamp(min=widest * ratio)


def key_scale(values: Tensor, policy: Policy) -> Scale:
    """Scale of K or V: int8 without exponent."""
    centre, half = extent(values, 1.0, policy.ratio, policy.still)
    return Scale(half * policy.key_margin / WEIGHT_MAX, centre)


def query_finer(values: Tensor, heads: int, policy: Policy) -> Tensor:
    """log2 [H] of how much smaller a head's Q step should be than its range requires, for ``values`` [T, H * d] scaled
    to at most 1 in magnitude.
    """
    few = sampled(values, policy.tokens)
    size = few.abs().unflatten(-1, (heads, -1, BLOCK)).amax(-1).clamp(min=1e-9)  # [T, H, blocks]
    finer = torch.tensor(policy.finer, dtype=torch.float64)
    power = torch.ceil(torch.log2(size[..., None]) + finer).clamp(0, BLOCK_SHIFT_MAX)
    noise = (4.0 ** (power - finer)).mean((0, 2))  # [H, candidates]
    return finer[[first_least(row.tolist()) for row in noise]]


def operand_scale(values: Tensor, unit: Tensor | float, weight: Tensor, wide: bool, policy: Policy,
                  hidden: bool = False, bits: int = 8, centred: bool = True) -> Scale:
    """Scale of an operand with calibrated ``values`` [T, C] in steps of ``unit``, multiplied by ``weight`` [O, C] of
    ``bits`` bits. ``centred``: whether offsets bring the middle of each channel's range to 0; otherwise they are 0.

    Steps proportional to the channels' ranges quantize the operand well and the weights badly, equal steps the other
    way round. The best of a few compromises ``step ~ range ** flatness`` starts a gradient descent on the noise
    expected at the linear's output (:class:`host.quantizer.noise.Noise`).
    """
    centre, half = extent(values, unit, policy.hidden_ratio if hidden else policy.ratio, policy.still)
    if not centred:
        centre, half = torch.zeros_like(centre), half + centre.abs()
    noise = Noise.of(sampled(values, policy.tokens) * unit, centre, weight, wide, (1 << bits - 1) - 1)
    limit, room = (INT16_MAX, policy.wide_margin) if wide else (BYTE_RANGE * 2 ** BLOCK_SHIFT_MAX, policy.headroom)
    floor = half * room / limit
    candidates = []
    for flat in policy.flatness:
        shape = half ** flat
        shape = shape * (half / shape).max()
        candidates += [torch.maximum(shape / (limit / room if wide else BYTE_RANGE * 2.0 ** finer), floor)
                       for finer in ((0.0,) if wide else policy.finer)]
    best = candidates[first_least([noise.expected(step) for step in candidates])]
    return Scale(noise.optimise(best, floor, policy.descent), centre)


def gain_grid(scale: Scale, unit: Tensor | float, limit: int) -> tuple[Tensor, Tensor, int, Scale]:
    """``gain``, ``offset``, ``shift`` of ``v = rsh(g * gain + offset, shift)`` for g in steps of ``unit``, and the
    scale that these integers make: its step is re-derived from the rounded gain, so that rounding it costs nothing.
    The shift is as large as gains and offsets allow.
    """
    ratio, start = unit / scale.step, (scale.offset / scale.step).abs()
    most = min(INT16_MAX / float(ratio.max()), INT32_MAX / max(2 * float(start.max()), 1.0))
    shift = int(torch.floor(torch.log2(torch.tensor(most, dtype=torch.float64))).clamp(0, limit))
    gain = torch.round(ratio * 2.0 ** shift).clamp(1, INT16_MAX)
    step = unit * 2.0 ** shift / gain
    offset = torch.round(-scale.offset / step * 2.0 ** shift).clamp(-INT32_MAX - 1, INT32_MAX)
    return gain, offset, shift, Scale(step, -offset * step / 2.0 ** shift)
