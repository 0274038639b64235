# SPDX-License-Identifier: Apache-2.0
"""Bounds of a base-2 softmax in fixed point against the real softmax, shared by the softmax unit and the gate."""

import math

import numpy as np

from golden.spec.tables import EXP_ONE, EXP_TABLE, LOG2_FRAC, RECIPROCAL_BITS

SCORE_ERROR = 0.5 / (1 << LOG2_FRAC) + math.log2(1 + 0.5 / min(EXP_TABLE))
"""Of the logarithm of a power, base 2: half a step of its score, and the rounding of the table's entry."""
RECIPROCAL_ERROR = 1 / ((1 << RECIPROCAL_BITS - 1) - 1)
"""Relative error of a reciprocal: its argument and its result are cut to RECIPROCAL_BITS bits, which moves the result
by less than one in 2**15, up or down."""


def of_scores(p, input_error=0.0) -> np.ndarray:
    """What scores that are off by SCORE_ERROR, and by ``input_error`` (natural logarithms), make of probabilities
    ``p``.

    One power grows by at most r = 2**(2 error) against all others: p r / (p r + 1 - p) - p <= p (1 - p) (r - 1); where
    it shrinks instead, the others grow.
    """
    return p * (1 - p) * (2.0 ** (2 * (SCORE_ERROR + np.asarray(input_error) / math.log(2))) - 1)


def of_truncation(p, total, *, one: float = 1.0, all_: float) -> np.ndarray:
    """What integers make of probabilities ``p`` whose powers sum to ``total``: each power is off by ``one`` at most,
    their sum by ``all_``: |(p total + one) / (total - all_) - p| = (one + p all_) / (total - all_)."""
    return (one + p * all_) / (total - all_)


def least_total(z, input_error=0.0) -> np.ndarray:
    """The least sum of powers of logits ``z`` [..., keys], known to ``input_error``, as [..., 1]: the largest power is
    between 1/2 and 1 of EXP_ONE, as the distance of its logit to the next whole power of two says."""
    log2, error = np.asarray(z) / math.log(2), SCORE_ERROR + np.asarray(input_error) / math.log(2)
    reference = np.ceil(log2.max(-1, keepdims=True) + error)
    return EXP_ONE * (2.0 ** (log2 - reference - error)).sum(-1, keepdims=True)
