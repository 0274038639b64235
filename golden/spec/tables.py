# SPDX-License-Identifier: Apache-2.0
"""Constant tables and fixed-point positions, shared by gateware ROMs and integer reference models."""


BLOCK_SHIFT_MAX = 3
"""Largest exponent of an operand block: its bytes stand for byte * 2**e, e in 0..3."""
BLOCK_SHIFT_BITS = 2
WEIGHT_MAX = 127
"""Weights, K and V are int8 without -128, so that four packed products of a 9-bit operand fit 18 bits."""
WEIGHT_LEVELS = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
"""Weights that the codes of packed weights stand for: twice the 4-bit floating-point numbers E2M1 of the OCP
microscaling formats (sign, two bits of exponent, one of mantissa). Code 8, minus zero, is not written."""
ACC_LIMIT = 1 << 31
"""Accumulators and ``acc + bias`` are int32 and wrap; the checks of a quantized model prove that they
stay strictly within +-2**31."""
PIXEL_PEAK = 255
"""Largest magnitude of a pixel operand, unsigned bytes with exponent 0."""
UNSIGNED_MAX = 255
"""Largest byte of a map between two convolutions."""
BLOCK_PEAK = 128 << BLOCK_SHIFT_MAX
"""Largest magnitude of an element of a block operand."""
WIDE_PEAK = 1 << 15
"""Largest magnitude of an element of a 16-bit operand."""
PROB8_PEAK = 255
"""Largest 8-bit probability."""

RESIDUAL_FRAC = 9
"""Default fraction bits of the residual stream (int16) and of logits; a plan may choose others."""
RESIDUAL_FRACS = range(0, 15)
"""Fraction bits that a plan may choose for these: ranges of +-32768 down to +-2."""
NORMALIZED_FRAC = 11
"""Fraction bits of a normalised channel (int16) with ``normalized_shift`` 0; one less for each step of it."""

LOG2_FRAC = 8
"""Fraction bits of an attention score or gate logit in log2 units."""
SCORE_BITS = 20
"""Bits of an attention score or gate logit in log2 units, sign included: +-2048, so natural logits up to +-1419."""
EXP_ONE = 65280
"""2**0 in the exponential's output."""
EXP_TABLE = tuple(round(EXP_ONE * 2.0 ** (-i / (1 << LOG2_FRAC))) for i in range(1 << LOG2_FRAC))
"""2**(-i / 256) for the fractional part; the integer part is a right shift."""
EXPONENTIAL_BITS = 16
"""Bits of the exponential's output: shifted right by this many places and more it is 0."""
SCORE_REFERENCE_MIN = -1 << SCORE_BITS - 1 - LOG2_FRAC
"""Running reference of a softmax row before its first chunk."""
PROB_CARRY_START = 128
"""Initial rounding remainder of each key lane when 16-bit probabilities are rounded to 8 bits."""

RECIPROCAL_BITS = 16
"""A reciprocal is floor((2**31 - 1) / n) of an n normalised to [2**15, 2**16)."""
RSQRT_RADICAND_BITS = 34
"""Variances are normalised by a power of four into [2**32, 2**34) before the square root."""
ATTENTION_FRAC = 8
"""Fraction bits of an attention output, in steps of V, before its affine."""
GATE_RADIX_LOG2 = 7
"""A gate weight is high * 2**7 + low, two array columns."""
GATE_WEIGHT_MAX = 127 * 128 + 63
GATE_WEIGHT_FRAC = 16
"""Fraction bits of an expert's weight (uint16, saturating at 65535)."""


def operand_peak(wide: bool) -> int:
    """Largest magnitude of an element of a 16-bit or a block operand."""
    return WIDE_PEAK if wide else BLOCK_PEAK


def probabilities_fit(tokens: int, wide: bool, p_shift: int) -> bool:
    """Whether no accumulator of P V over ``tokens`` keys can leave 32 bits: with 16-bit probabilities that
    ``p_shift`` shifts right, if ``wide``, or with 8-bit ones."""
    return tokens * (EXP_ONE >> p_shift if wide else PROB8_PEAK) * WEIGHT_MAX < ACC_LIMIT


def least_p_shift(tokens: int, wide: bool) -> int:
    """The smallest ``p_shift`` with which :func:`probabilities_fit`; 0 for 8-bit probabilities, which have none."""
    return next(shift for shift in range(EXPONENTIAL_BITS) if not wide or probabilities_fit(tokens, wide, shift))
