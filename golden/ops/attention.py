# SPDX-License-Identifier: Apache-2.0
"""Attention, ``softmax(Q K^T) V`` in integers: scores are not stored, the output is divided by the row sum."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from golden.ops.arith import DomainError, check_range, integers, reciprocal, rsh, sat, wrap32
from golden.ops.epilogue import affine
from golden.ops.matmul import exact_matmul
from golden.ops.operand import Operand, to_operand
from golden.ops.softmax import softmax
from golden.spec.tables import SCORE_BITS, WEIGHT_MAX

_SHIFT = 23  # 31 of the reciprocal less ATTENTION_FRAC


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Parameters of one ATTENTION, named as in the ISA: ``score_multiplier`` uint16 [heads]; ``gain`` int16 and
    ``offset`` int32 [heads * head_dim].
    """

    score_multiplier: np.ndarray
    shift1: int
    gain: np.ndarray
    offset: np.ndarray
    shift2: int
    wide_p: bool = False
    wide: bool = False
    p_shift: int = 0

    @property
    def heads(self) -> int:
        return len(self.score_multiplier)


def scores(q: np.ndarray, k: np.ndarray, score_multiplier: int, shift1: int) -> np.ndarray:
    """``t = sat20(rsh(q.k * score_multiplier, shift1))`` of one head: q [Q, head_dim] values, k [keys, head_dim]."""
    return sat(rsh(wrap32(exact_matmul(q, k)) * int(score_multiplier), shift1), SCORE_BITS, "score")


def mix(p: np.ndarray, total: np.ndarray, v: np.ndarray) -> np.ndarray:
    """``u = sat16(rsh(sum_k p_k v_k * R, 23 + sh))``: the average of v under p, 8 fraction bits, int64 [Q, head_dim].

    p uint16 [Q, keys], total [Q] its row sums, v int8 [keys, head_dim]. (R, sh) is ``reciprocal(total)``.
    """
    acc = wrap32(exact_matmul(p, v.T))
    r, sh = reciprocal(total)
    return sat(rsh(acc * r[:, None], _SHIFT + sh[:, None]), 16, "u")


def attention(q: Operand, k: np.ndarray, v: np.ndarray, record: Attention,
              trace: Callable[[str, np.ndarray], None] | None = None) -> Operand:
    """Operand q [Q, heads * head_dim], k and v int8 [keys, heads * head_dim] -> Operand [Q, heads * head_dim].

    ``trace`` receives ``score`` int32 and ``prob`` uint16 [heads, Q, keys], ``sum`` int64 [heads, Q] and ``mix`` int16
    [Q, heads * head_dim] before gain and offset.
    """
    heads, width = record.heads, q.shape[1]
    if q.wide or k.dtype != np.int8 or v.dtype != np.int8 or k.shape != v.shape or k.shape[1:] != (width,):
        raise DomainError("Attention needs an 8-bit q and int8 k and v with the same channels, not "
                          f"{q.bytes.dtype} {q.shape}, {k.dtype} {k.shape} and {v.dtype} {v.shape}.")
    if width % heads:
        raise DomainError(f"{width} channels do not divide into {heads} heads.")
    check_range(k, -WEIGHT_MAX, WEIGHT_MAX, "k")
    check_range(v, -WEIGHT_MAX, WEIGHT_MAX, "v")
    score_multiplier = check_range(integers(record.score_multiplier, "score_multiplier"), 0, 65535, "score_multiplier")
    values, dim, found = q.values(), width // heads, []
    # One head at a time: the attention scores of one head fit the cache, those of all heads do not.
    out = np.empty((q.shape[0], width), np.int64)
    for h in range(heads):
        part = slice(h * dim, (h + 1) * dim)
        t = scores(values[:, part], k[:, part], score_multiplier[h], record.shift1)
        rows = softmax(t, wide_p=record.wide_p, p_shift=record.p_shift)
        out[:, part] = mix(rows.p, rows.total, v[:, part])
        if trace:
            found.append((t, rows))
    if trace:
        trace("score", np.stack([t for t, _ in found]).astype(np.int32))
        trace("prob", np.stack([rows.p for _, rows in found]))
        trace("sum", np.stack([rows.total for _, rows in found]))
        trace("mix", out.astype(np.int16))
    return to_operand(affine(out, record.gain, record.offset, record.shift2), record.wide)
