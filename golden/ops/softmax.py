# SPDX-License-Identifier: Apache-2.0
"""Base-2 softmax in one pass over the attention scores, with a running reference that is a whole power of two."""

from dataclasses import dataclass

import numpy as np

from golden.ops.arith import DomainError, check_range, integers
from golden.spec.isa import Opcode, bounds
from golden.spec.machine import SLICE
from golden.spec.tables import (
    EXP_TABLE,
    EXPONENTIAL_BITS,
    LOG2_FRAC,
    PROB_CARRY_START,
    SCORE_BITS,
    SCORE_REFERENCE_MIN,
)

_EXP = np.array(EXP_TABLE, np.int32)


def ceil_log2(t) -> np.ndarray:
    """Smallest whole power of two, ``ceil(t / 256)``, not below a score ``t`` in log2 units.

    >>> ceil_log2([-256, -255, 0, 1, 256, 257]).tolist()
    [-1, 0, 0, 1, 1, 2]
    """
    return -(-np.asarray(t) >> LOG2_FRAC)


def exp2_below(f) -> np.ndarray:
    """``EXP[f & 255] >> (f >> 8)`` ~ 65280 * 2**(-f / 256) for a distance f >= 0 below the reference; 0 when
    ``f >> 8 >= 16``. int32.

    >>> exp2_below([0, 256, 255, 4095, 4096]).tolist()
    [65280, 32640, 32728, 0, 0]
    """
    f = np.asarray(f)
    whole = f >> LOG2_FRAC
    return np.where(whole >= EXPONENTIAL_BITS, 0,
                    _EXP[f & ((1 << LOG2_FRAC) - 1)] >> np.minimum(whole, EXPONENTIAL_BITS - 1).astype(np.int32))


@dataclass(frozen=True)
class Softmax:
    """Probabilities of rows of scores: ``p`` uint16 ``[..., keys]``, at most 255 unless wide; ``total`` int64 ``[...]``
    their sum; on request ``reference`` int64 ``[..., chunks]``, the running reference after each chunk.
    """

    p: np.ndarray
    total: np.ndarray
    reference: np.ndarray | None = None


def softmax(t, *, wide_p: bool, p_shift: int = 0, references: bool = False) -> Softmax:
    """Scores ``t``, codes of SCORE_BITS bits ``[..., keys]`` (log2 units, 8 fraction bits) -> :class:`Softmax`.

    A chunk is 16 consecutive keys, the last may be ragged; ``m_c = max(m_(c-1), ceil(max t of the chunk / 256))``,
    ``m_(-1) = -2048``; ``q_k = exp2_below(256 m_c - t_k) >> (m_last - m_c)``. 8 bit: in each of 16 key lanes
    ``s = q + carry; p = s >> 8; carry = s & 255``, carries start at 128. 16 bit: ``p = q >> p_shift``.

    Domain: at least one key; p_shift 0..14 (a larger one could leave a row without any probability).
    """
    t = check_range(integers(t, "t"), -(1 << SCORE_BITS - 1), (1 << SCORE_BITS - 1) - 1, "scores").astype(np.int32)
    keys = t.shape[-1]
    if keys < 1:
        raise DomainError("A softmax row needs at least one key.")
    least, most = bounds(Opcode.ATTENTION, "p_shift")
    if not least <= p_shift <= most or (p_shift and not wide_p):
        raise DomainError(f"p_shift must lie in {least}..{most}, and be 0 for 8-bit probabilities, not {p_shift}.")
    chunks = -(-keys // SLICE)
    top = np.maximum.reduceat(t, np.arange(0, keys, SLICE), axis=-1)  # [..., chunks]
    reference = np.maximum(np.maximum.accumulate(ceil_log2(top), axis=-1), SCORE_REFERENCE_MIN)
    rescale = np.minimum(reference[..., -1:] - reference, EXPONENTIAL_BITS)  # [..., chunks]
    p = np.empty(t.shape, np.uint16)
    before = np.full((*t.shape[:-1], SLICE), PROB_CARRY_START, np.int32)
    for c in range(chunks):
        part = slice(c * SLICE, min((c + 1) * SLICE, keys))
        q = exp2_below((reference[..., c:c + 1] << LOG2_FRAC) - t[..., part]) >> rescale[..., c:c + 1]
        if wide_p:
            p[..., part] = q >> p_shift
        else:
            s = q + before[..., :q.shape[-1]]
            p[..., part] = s >> 8
            before[..., :q.shape[-1]] = s & 255
    total = p.sum(-1, dtype=np.int64)
    return Softmax(p, total, reference.astype(np.int64) if references else None)
