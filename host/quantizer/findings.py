# SPDX-License-Identifier: Apache-2.0
"""Calibration findings: places where the integer model clips or deviates from float, with the loss in dB."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

CLIPPED_DB = 45.0
"""Clipping with a higher SQNR than this costs less than rounding does."""
STREAM_DB = 18.0
"""A residual stream with a lower SQNR is reported; whole 8-bit models reach 25 to 35 dB."""
WORSE_DB = 6.0
"""How much worse a later block must be to be reported as well."""
NEAR = 1.25
"""A format whose limit is below this factor times the calibrated maximum may clip other pictures."""
FEW_PICTURES = 8
"""With fewer calibration pictures most ranges are unreliable."""


@dataclass(frozen=True)
class Finding:
    """One reported problem. ``place`` is a tensor's name or ``calibration``; ``text`` describes the problem; ``share``:
    share of clipped values (None where none is), ``sqnr``: SQNR in dB at that place.
    """

    place: str
    text: str
    share: float | None = None
    sqnr: float | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def decibels(wanted: Tensor, came: Tensor) -> float:
    """Power of ``wanted`` over power of the difference, in dB; infinite where they are equal."""
    wanted = wanted.double()
    noise, power = float((came - wanted).square().sum()), float(wanted.square().sum())
    return 10 * math.log10(power / noise) if noise and power else math.inf if not noise else -math.inf


class Findings:
    """Checks of calibration values; every :class:`Finding` is passed to ``report`` at once."""

    def __init__(self, report: Callable[[Finding], None] | None):
        self.report, self.reported = report or (lambda finding: None), STREAM_DB + WORSE_DB

    def clip(self, place: str, what: str, values: Tensor, low: float, high: float,
             unit: Tensor | float = 1.0, least: float = CLIPPED_DB) -> Tensor:
        """``values`` (in steps of ``unit``, which may differ from channel to channel) clipped to ``low..high``;
        reported where that leaves less than ``least`` dB.
        """
        result = values.clamp(low, high)
        if not values.numel() or (float(values.min()) >= low and float(values.max()) <= high):
            return result
        clipped = values != result
        share, left = float(clipped.double().mean()), decibels(values * unit, result * unit)
        if left < least:
            worst = float(torch.where(clipped, values / torch.where(values < 0, low, high), 0.0).max())
            self.report(Finding(place, f"{what} reach {worst:.3g} times what the format holds; {100 * share:.2g} % of "
                                       f"them are clipped, which alone leaves {left:.1f} dB.", share, left))
        return result

    def top(self, place: str, what: str, reached: float, limit: float) -> None:
        """Reports codes up to ``reached`` where the format ends below ``limit``, or nearly so."""
        if reached >= limit:
            self.report(Finding(place, f"{what} reach {reached / limit:.3g} times what the format holds and are "
                                       f"clipped: the largest cannot be told apart."))
        else:
            self.near(place, what, reached, limit)

    def near(self, place: str, what: str, reached: float, limit: float) -> None:
        """Reports values up to ``reached`` where the largest format ends at ``limit`` and leaves little headroom."""
        if NEAR * reached > limit >= reached:
            self.report(Finding(place, f"{what} reach {reached:.4g} of the {limit:.4g} that the format holds: those of "
                                       f"other pictures may be clipped."))

    def stream(self, place: str, wanted: Tensor, came: Tensor) -> None:
        """Compares the integer stream (or logits) [..., C] with the float one: SQNR of the whole and of the median
        token, since a few tokens with large values can hide the others.
        """
        noise, power = (came - wanted).square().mean(-1), wanted.square().mean(-1)
        tokens = torch.where(noise > 0, power / noise, math.inf).median()
        left = min(decibels(wanted, came), 10 * math.log10(max(float(tokens), 1e-30)))
        if left < self.reported - WORSE_DB:
            self.reported = left
            self.report(Finding(place, f"the integer values are {left:.1f} dB from the float ones on the calibration "
                                       f"pictures; a good model has {STREAM_DB:g} dB at the very least.", None, left))

    def pictures(self, count: int) -> None:
        """Reports too small a number of calibration pictures."""
        if count < FEW_PICTURES:
            self.report(Finding("calibration", f"{count} picture{'s are' if count > 1 else ' is'} too few to know the "
                                               f"range of each channel; {FEW_PICTURES} or more are wanted, each fewer "
                                               "costs other pictures some dB."))
