# SPDX-License-Identifier: Apache-2.0
"""Constant tables and fixed-point positions, shared by gateware ROMs and integer reference models."""


BLOCK_SHIFT_MAX = 3
"""Largest exponent of an operand block: its bytes stand for byte * 2**e, e in 0..3."""
BLOCK_SHIFT_BITS = 2
WEIGHT_MAX = 127
"""Weights, K and V are int8 without -128, so that four packed products of a 9-bit operand fit 18 bits."""
UNSIGNED_MAX = 255
"""Largest byte of a map between two convolutions."""

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
