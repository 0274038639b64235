# SPDX-License-Identifier: Apache-2.0
"""Token pruning: what the class token pays to each token, and which tokens are kept for it."""

import numpy as np

from golden.ops.arith import DomainError, check_range, integers, sat
from golden.ops.attention import Attention, mix, scores
from golden.ops.epilogue import affine
from golden.ops.operand import Operand
from golden.ops.softmax import softmax
from golden.spec.machine import TN
from golden.spec.tables import WEIGHT_MAX
from golden.spec.tiling import tiles

CLASS_PARAMETERS = {"gain": np.ones(TN, np.int64), "offset": np.zeros(TN, np.int64), "shift2": 0}
"""Parameters with which programs make the scores: 127 * 256 is all of one head's attention. Where that much comes
together of several heads a score saturates, which no more tokens than heads can reach: they are kept, since a program
keeps as many patches at least (``golden.spec.model``)."""


def class_attention(q: Operand, k: np.ndarray, record: Attention) -> np.ndarray:
    """Probabilities of the query ``q`` [1, heads * head_dim] summed over the heads, int16 [32 * tiles of keys].

    As attention with 127 times the unit matrix for V: in each head ``u_k = sat16(rsh(127 p_k * R, 23 + sh))``, 0
    beyond the last key, ``v = rsh(u * gain + offset, shift2)`` with the 32 gains and offsets of ``record`` for each 32
    keys; heads add up in their order, ``x = sat16(x + v)``.
    """
    keys, count, dim = len(k), tiles(len(k)), q.shape[1] // record.heads
    if q.wide or q.shape[0] != 1 or k.dtype != np.int8 or k.shape[1:] != q.shape[1:] or q.shape[1] % record.heads:
        raise DomainError(f"Class attention needs one 8-bit query and int8 keys with the same channels in "
                          f"{record.heads} heads, not {q.bytes.dtype} {q.shape}, {k.dtype} {k.shape}.")
    multiplier = check_range(integers(record.score_multiplier, "score_multiplier"), 0, 65535, "score_multiplier")
    gain, offset = (np.tile(channel, count) for channel in (record.gain, record.offset))
    unit, values = WEIGHT_MAX * np.eye(keys, count * TN, dtype=np.int8), q.values()
    total = np.zeros((1, count * TN), np.int64)
    for h in range(record.heads):
        part = slice(h * dim, (h + 1) * dim)
        rows = softmax(scores(values[:, part], k[:, part], multiplier[h], record.shift1), wide_p=record.wide_p,
                       p_shift=record.p_shift)
        v = affine(mix(rows.p, rows.total, unit), gain, offset, record.shift2)
        total = sat(total + v, 16, "class attention")
    return np.asarray(total[0], np.int16)


def kept(score, first: int, keep: int) -> np.ndarray:
    """Numbers, ascending, of the ``keep`` tokens that are kept: the first ``first`` ones, and those with the largest
    scores of the others; of equal ones the first.

    >>> kept([0, 5, 9, 5, 5, 7], 1, 4).tolist()
    [0, 1, 2, 5]
    """
    score = check_range(integers(score, "score"), -(1 << 15), (1 << 15) - 1, "scores")
    if not 0 <= first <= keep <= len(score):
        raise DomainError(f"Of {len(score)} tokens {keep} cannot be kept, the first {first} among them.")
    best = first + np.argsort(-score[first:], kind="stable")[:keep - first]
    return np.concatenate([np.arange(first), np.sort(best)])
