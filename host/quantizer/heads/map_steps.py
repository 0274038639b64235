# SPDX-License-Identifier: Apache-2.0
"""Steps of a task head's operands, whose value 0 must mean 0: a convolution pads with it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from golden.spec.tables import UNSIGNED_MAX
from host.quantizer.noise import COMPENSATION, VARIANCE_FLOOR, Noise, first_least
from host.quantizer.operand_steps import INT16_MAX, INT32_MAX

LEAST_GAIN = 16
"""Gains below this are too coarse to derive a step from."""


@dataclass(frozen=True)
class MapPolicy:
    """Options for choosing the steps of maps. ``clips``: candidates for the range of a channel of unsigned bytes,
    relative to its largest calibrated value, of which the one with the least squared error is taken; ``wide_margin``:
    headroom of a 16-bit map; ``ratio``: smallest range of a channel, relative to the median of all.
    """

    clips: tuple[float, ...] = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
    wide_margin: float = 4.0
    ratio: float = 0.1
    flatness: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25, 0.0)
    """Candidates for g in ``step ~ range ** g``, as in :class:`host.quantizer.operand_steps.Policy`."""
    descent: int = 60


def _clipped_range(values: Tensor, top: Tensor, clips: tuple[float, ...]) -> Tensor:
    """Range [C] of unsigned bytes with the least squared error on ``values`` [T, C]; ``top`` [C]: largest ones."""
    errors = []
    for clip in clips:
        step = (clip * top / UNSIGNED_MAX).clamp(min=1e-30)
        codes = torch.round(values / step).clamp(max=UNSIGNED_MAX)
        errors.append((codes * step - values).square().mean(0))
    best = torch.stack(errors).argmin(0)
    return top * torch.tensor(clips, dtype=top.dtype)[best]


def map_step(values: Tensor, top: Tensor, weight: Tensor, wide: bool, policy: MapPolicy) -> Tensor:
    """Step [C] (float64) of each channel of a map of positive ``values`` [T, C] (samples, float64), of which ``top``
    [C] are the largest, multiplied by ``weight`` [O, C, k, k].

    Steps follow the ranges, as far as the weights that they are folded into do not lose more by it
    (:func:`host.quantizer.operand_steps.operand_scale`).
    """
    size = top * policy.wide_margin if wide else _clipped_range(values, top, policy.clips)
    typical = float(size[size > 0].median()) if bool((size > 0).any()) else 1.0
    floor = size.clamp(min=policy.ratio * typical) / (INT16_MAX if wide else UNSIGNED_MAX)
    variance = values.var(0, unbiased=False)
    variance = COMPENSATION * (variance + VARIANCE_FLOOR * variance.mean()) * weight[0, 0].numel()
    square = weight.double().square().sum((2, 3))
    noise = Noise(values, weight.abs().amax((2, 3)), square.sum(0), variance, True, 127)
    candidates = []
    for flat in policy.flatness:
        shape = floor ** flat
        candidates.append(shape * (floor / shape).max())
    best = candidates[first_least([noise.expected(step) for step in candidates])]
    return noise.optimise(best, floor, policy.descent)


def norm_grid(step: Tensor, gain: Tensor, offset: Tensor, limit: int) -> tuple[Tensor, Tensor, int, Tensor]:
    """``gain``, ``offset``, ``shift`` of ``v = rsh(n * gain + offset, shift)`` with v * step = n * ``gain`` +
    ``offset``, and the step that these integers make. Gains may be negative or 0.
    """
    ratio, start = gain / step, offset / step
    most = min(INT16_MAX / max(float(ratio.abs().max()), 1e-9), INT32_MAX / max(2 * float(start.abs().max()), 1.0))
    shift = int(torch.floor(torch.log2(torch.tensor(most, dtype=torch.float64))).clamp(0, limit))
    codes = torch.round(ratio * 2.0 ** shift).clamp(-INT16_MAX, INT16_MAX)
    step = torch.where(codes.abs() >= LEAST_GAIN, gain * 2.0 ** shift / torch.where(codes == 0, 1.0, codes), step)
    return codes, torch.round(offset / step * 2.0 ** shift).clamp(-INT32_MAX - 1, INT32_MAX), shift, step


