# SPDX-License-Identifier: Apache-2.0
"""What calibration saw that the integer model does badly: where, by how much, and what it costs."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

CLIPPED_DB = 45.0
"""Clipping that leaves more than this is no worse than the rounding beside it."""
STREAM_DB = 18.0
"""A residual stream further from the float one is worth a word; whole models of 8 bits reach 25 to 35 dB."""
WORSE_DB = 6.0
"""How much worse a later block must be to be named as well."""
NEAR = 1.25
"""A format that ends below so many times what calibration saw may clip the next picture."""
FEW_PICTURES = 8
"""Fewer calibration pictures leave most ranges to guessing."""


@dataclass(frozen=True)
class Finding:
    """One place that calibration found wanting. ``place`` is a tensor's name or ``calibration``; ``text`` says what;
    ``share`` of the values is clipped (None where none is), ``sqnr`` in dB is what that place is left with.
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
    """Hands every finding to ``report`` as it is made."""

    def __init__(self, report: Callable[[Finding], None] | None):
        self.report, self.heard = report or (lambda finding: None), STREAM_DB + WORSE_DB

    def clip(self, place: str, what: str, values: Tensor, low: float, high: float,
             unit: Tensor | float = 1.0) -> Tensor:
        """``values`` (in steps of ``unit``, which may differ from channel to channel) clipped to ``low..high``."""
        result = values.clamp(low, high)
        if not values.numel() or (float(values.min()) >= low and float(values.max()) <= high):
            return result
        clipped = values != result
        share, left = float(clipped.double().mean()), decibels(values * unit, result * unit)
        if left < CLIPPED_DB:
            worst = float(torch.where(clipped, values / torch.where(values < 0, low, high), 0.0).max())
            self.report(Finding(place, f"{what} reach {worst:.3g} times what the format holds; {100 * share:.2g} % of "
                                       f"them are clipped, which alone leaves {left:.1f} dB.", share, left))
        return result

    def top(self, place: str, what: str, reached: float, limit: float) -> None:
        """Codes reach ``reached`` where the format ends below ``limit``."""
        if reached >= limit:
            self.report(Finding(place, f"{what} reach {reached / limit:.3g} times what the format holds and are "
                                       f"clipped: the largest cannot be told apart."))
        else:
            self.near(place, what, reached, limit)

    def near(self, place: str, what: str, reached: float, limit: float) -> None:
        """Values reach ``reached`` where the largest format ends at ``limit``."""
        if NEAR * reached > limit >= reached:
            self.report(Finding(place, f"{what} reach {reached:.4g} of the {limit:.4g} that the format holds: those of "
                                       f"other pictures may be clipped."))

    def stream(self, place: str, wanted: Tensor, came: Tensor) -> None:
        """The integer stream (or logits) [..., C] against the float one: all of it, and most of its tokens, lest a few
        loud ones hide the others.
        """
        noise, power = (came - wanted).square().mean(-1), wanted.square().mean(-1)
        tokens = torch.where(noise > 0, power / noise, math.inf).median()
        left = min(decibels(wanted, came), 10 * math.log10(max(float(tokens), 1e-30)))
        if left < self.heard - WORSE_DB:
            self.heard = left
            self.report(Finding(place, f"the integer values are {left:.1f} dB from the float ones on the calibration "
                                       f"pictures; a good model has {STREAM_DB:g} dB at the very least.", None, left))

    def pictures(self, count: int) -> None:
        """So many calibration pictures."""
        if count < FEW_PICTURES:
            self.report(Finding("calibration", f"{count} picture{'s are' if count > 1 else ' is'} too few to know the "
                                               f"range of each channel; {FEW_PICTURES} or more are wanted, each fewer "
                                               "costs other pictures some dB."))
