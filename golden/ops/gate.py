# SPDX-License-Identifier: Apache-2.0
"""Gate: 16-bit weights as two array columns, top-k of the logits, base-2 softmax into expert weights."""

from dataclasses import dataclass

import numpy as np

from golden.ops.arith import DomainError, check_range, integers, reciprocal, rsh, sat, wrap32
from golden.ops.matmul import matmul
from golden.ops.operand import Operand
from golden.ops.saturation import note
from golden.ops.softmax import ceil_log2, exp2_below
from golden.spec.machine import MAX_EXPERTS, MAX_TOP_K
from golden.spec.tables import GATE_RADIX_LOG2, GATE_WEIGHT_MAX, LOG2_FRAC, RECIPROCAL_BITS, SCORE_BITS

_HALF = 1 << (GATE_RADIX_LOG2 - 1)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Parameters of one GATE, named as in the ISA: ``multiplier`` uint16 and ``shift1`` bring a logit to log2 units."""

    top_k: int
    renormalise: bool
    multiplier: int
    shift1: int


def split(values) -> tuple[np.ndarray, np.ndarray]:
    """``(high, low)`` with ``value = high * 128 + low``, low in [-64, 63], int64.

    >>> [part.tolist() for part in split([16319, -16319, 64, -64, -65])]
    [[127, -127, 1, 0, -1], [63, -63, -64, -64, 63]]
    """
    values = integers(values, "values")
    high = (values + _HALF) >> GATE_RADIX_LOG2
    return high, values - (high << GATE_RADIX_LOG2)


def gate_logits(normalized: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """``logit = s_high * 128 + s_low`` int64 [N, E]: normalized int16 [N, D], weight int16 [E, D], bias int64 [E].

    Each of ``s_high``, ``s_low`` is an int32 accumulator with its part of the bias.
    """
    check_range(integers(weight, "weight"), -GATE_WEIGHT_MAX, GATE_WEIGHT_MAX, "gate weights")
    operand = Operand(normalized)
    parts = []
    for w, b in zip(split(weight), split(bias), strict=True):
        parts.append(wrap32(matmul(operand, w.astype(np.int8)) + b))
    return combine(*parts)


def combine(s_high, s_low) -> np.ndarray:
    """``logit = s_high * 128 + s_low``."""
    return (integers(s_high, "s_high") << GATE_RADIX_LOG2) + integers(s_low, "s_low")


def route(logits, record: Gate) -> tuple[np.ndarray, np.ndarray]:
    """Logits int64 [N, E] -> chosen experts int64 [N, top_k], best first, ties to the lower index, and their weights
    uint16 [N, top_k], 16 fraction bits.

    ``t = sat20(rsh(logit * multiplier, shift1))``, ``m = ceil(max t / 256)``, ``p = exp2_below(256 m - t)`` over all
    experts or, with ``renormalise``, over the chosen ones; ``weight = min(65535, rsh(p * R, 15 + sh))``, (R, sh) the
    reciprocal of their sum.
    """
    logits = integers(logits, "logits")
    experts = logits.shape[-1]
    if not 1 <= experts <= MAX_EXPERTS or not 1 <= record.top_k <= min(MAX_TOP_K, experts):
        raise DomainError(f"A gate takes 1..{MAX_EXPERTS} experts and chooses 1..{MAX_TOP_K} of them, "
                          f"not {record.top_k} of {experts}.")
    if not 0 <= record.multiplier <= 65535:
        raise DomainError(f"multiplier must lie in 0..65535, not {record.multiplier}.")
    check_range(logits, -(1 << 39), 1 << 39, "logits")
    chosen = np.argsort(-logits, axis=-1, kind="stable")[:, :record.top_k]
    t = sat(rsh(logits * record.multiplier, record.shift1), SCORE_BITS, "score")
    if record.renormalise:
        t = np.take_along_axis(t, chosen, -1)
    p = exp2_below((ceil_log2(t.max(-1, keepdims=True)) << LOG2_FRAC) - t).astype(np.int64)
    r, sh = reciprocal(p.sum(-1, keepdims=True))
    if not record.renormalise:
        p = np.take_along_axis(p, chosen, -1)
    exact = rsh(p * r, RECIPROCAL_BITS - 1 + sh)
    weight = np.minimum(exact, 65535)
    note("weight", exact, weight)
    return chosen, weight.astype(np.uint16)
