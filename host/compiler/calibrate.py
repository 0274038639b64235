# SPDX-License-Identifier: Apache-2.0
"""Steps and offsets of operands, from the values that calibration images produce and the weights they meet."""

from dataclasses import dataclass

import torch
from torch import Tensor

from golden.spec.model import BLOCK
from golden.spec.quantized import weight_limit
from golden.spec.tables import BLOCK_SHIFT_MAX, WEIGHT_MAX
from host.compiler.folds import Scale
from host.compiler.noise import BYTE_REACH, Noise

INT16_MAX = 32767


@dataclass(frozen=True)
class Policy:
    """How ranges become steps. ``key_margin``, ``wide_margin``: room for images unlike the calibration's where no
    block exponent helps; ``headroom``: how far beyond its calibrated range a block operand must reach at the largest
    exponent.
    """

    key_margin: float = 1.2
    wide_margin: float = 8.0
    headroom: float = 4.0
    ratio: float = 1e-2
    """Narrowest range that gets a step of its own, relative to the widest of the tensor."""
    hidden_ratio: float = 0.3
    """The same behind GELU, where a neuron that calibration never woke may be woken by the next image."""
    flatness: tuple[float, ...] = (1.0, 0.85, 0.7, 0.5, 0.25, 0.0)
    """Candidates for g in ``step ~ range ** g``: 1 favours the operand, 0 the weights it meets."""
    finer: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
    """Candidates for log2 of how much finer the steps are than the calibrated range needs without exponents."""
    descent: int = 60
    """Steps of the gradient descent that refines operand steps."""
    tokens: int = 4096


def extent(values: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Centre and half range (float64) of each channel of ``values`` [T, C]; ranges at least ``ratio`` of the widest."""
    low, high = values.amin(0).double(), values.amax(0).double()
    half = (high - low) / 2
    return (low + high) / 2, half.clamp(min=max(float(half.max()) * ratio, 1e-9))


def key_scale(values: Tensor, policy: Policy) -> Scale:
    """Scale of K or V: int8 without exponent."""
    centre, half = extent(values, policy.ratio)
    return Scale(half * policy.key_margin / WEIGHT_MAX, centre)


def query_finer(values: Tensor, heads: int, policy: Policy) -> Tensor:
    """log2 [H] of how much finer than its range a head's Q is best stepped, for ``values`` [T, H * d] scaled to at most
    1 in magnitude.
    """
    few = values[::max(1, len(values) // policy.tokens)].double()
    size = few.abs().unflatten(-1, (heads, -1, BLOCK)).amax(-1).clamp(min=1e-9)  # [T, H, blocks]
    finer = torch.tensor(policy.finer, dtype=torch.float64)
    power = torch.ceil(torch.log2(size[..., None]) + finer).clamp(0, BLOCK_SHIFT_MAX)
    noise = (4.0 ** (power - finer)).mean((0, 2))  # [H, candidates]
    return finer[noise.argmin(-1)]


def operand_scale(values: Tensor, weight: Tensor, wide: bool, policy: Policy, hidden: bool = False,
                  bits: int = 8) -> Scale:
    """Scale of an operand with calibrated ``values`` [T, C] (real) that meets ``weight`` [O, C] of so many ``bits``.

    Steps that follow the channels' ranges make the operand exact and the weights uneven, equal steps the other way
    round. The best of a few compromises ``step ~ range ** flatness`` starts a gradient descent on the noise expected
    at the linear's output (:class:`host.compiler.noise.Noise`).
    """
    centre, half = extent(values, policy.hidden_ratio if hidden else policy.ratio)
    noise = Noise.of(values, centre, weight, wide, weight_limit(bits))
    reach, room = (INT16_MAX, policy.wide_margin) if wide else (BYTE_REACH * 2 ** BLOCK_SHIFT_MAX, policy.headroom)
    floor = half * room / reach
    candidates = []
    for flat in policy.flatness:
        shape = half ** flat
        shape = shape * (half / shape).max()
        candidates += [torch.maximum(shape / (reach / room if wide else BYTE_REACH * 2.0 ** finer), floor)
                       for finer in ((0.0,) if wide else policy.finer)]
    best = min(candidates, key=lambda step: float(noise.expected(step)))
    return Scale(noise.descend(best, floor, policy.descent), centre)


def gain_grid(scale: Scale, unit: Tensor | float, limit: int) -> tuple[Tensor, Tensor, int, Scale]:
    """``gain``, ``offset``, ``shift`` of ``v = rsh(g * gain + offset, shift)`` for g in steps of ``unit``, and the
    scale that these integers make: its step is re-derived from the rounded gain, so that rounding it costs nothing.
    """
    ratio = unit / scale.step
    shift = int(torch.floor(torch.log2(INT16_MAX / ratio.max())).clamp(0, limit))
    gain = torch.round(ratio * 2.0 ** shift).clamp(1, INT16_MAX)
    step = unit * 2.0 ** shift / gain
    offset = torch.round(-scale.offset / step * 2.0 ** shift).clamp(-(2.0 ** 31), 2.0 ** 31 - 1)
    return gain, offset, shift, Scale(step, -offset * step / 2.0 ** shift)
