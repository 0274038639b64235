# SPDX-License-Identifier: Apache-2.0
"""Scaled scores in log2 units for the exponential: the whole part rounded up, and the fraction below it."""

from amaranth.hdl import Signal, signed

from golden.spec.tables import LOG2_FRAC, SCORE_BITS, SCORE_REFERENCE_MIN

REFERENCE = signed(SCORE_BITS - LOG2_FRAC + 1)
"""A whole power of two, from SCORE_REFERENCE_MIN to its opposite."""
assert -1 << REFERENCE.width - 1 <= SCORE_REFERENCE_MIN


def rounded_up(score: Signal) -> tuple:
    """(whole part of ``score`` rounded up, how far the score lies below it in units of its last bit)."""
    return (score >> LOG2_FRAC) + score[:LOG2_FRAC].any(), (-score)[:LOG2_FRAC]
