# SPDX-License-Identifier: Apache-2.0
"""Exact integer matrix products on floating-point BLAS, used only where a bound proves every partial sum exact; packed
weights."""

import numpy as np

from golden.ops.arith import DomainError, wrap32
from golden.ops.operand import Operand
from golden.spec.tables import WEIGHT_LEVELS


def exact_matmul(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """``x @ w^T`` over the last axes, int64: x ``[..., N, K]``, w ``[..., O, K]`` -> ``[..., N, O]``.

    Every product and every partial sum, in whatever order BLAS takes them, is an integer of magnitude at most
    ``B >= sum |x| |w|``: exact in float32 while B < 2**24, in float64 while B < 2**53. B is the smallest of three
    bounds (Hoelder's inequality for 1-inf, inf-1 and 2-2 norms). Raises :class:`DomainError` beyond 2**53.
    """
    if x.dtype.kind not in "iu" or w.dtype.kind not in "iu" or x.shape[-1] != w.shape[-1]:
        raise DomainError(f"An exact product needs integer matrices with the same inputs, not {x.dtype} {x.shape} "
                          f"and {w.dtype} {w.shape}.")
    wide = np.matmul if x.ndim > 2 or w.ndim > 2 else np.dot
    if x.size == 0 or w.size == 0:
        return wide(x.astype(np.int64), w.swapaxes(-1, -2).astype(np.int64))
    xf, wf = x.astype(np.float32), w.astype(np.float32)
    top = max(_peak(x), _peak(w))
    bound = _bound(xf, wf) if top < 1 << 24 else float("inf")
    if bound >= 1 << 24:
        xf, wf = x.astype(np.float64), w.astype(np.float64)
        if _peak(x) * _peak(w) * x.shape[-1] >= 1 << 53:
            raise DomainError(f"A product of {x.shape[-1]} inputs up to {_peak(x)} and {_peak(w)} may leave 53 bits.")
    return wide(xf, wf.swapaxes(-1, -2)).astype(np.int64)


def _peak(a: np.ndarray) -> int:
    return max(abs(int(a.min())), abs(int(a.max())))


def _bound(x: np.ndarray, w: np.ndarray) -> float:
    """An upper bound of ``sum |x| |w|``, enlarged by more than the rounding of its own evaluation."""
    ax, aw = np.abs(x), np.abs(w)
    hoelder = min(ax.sum(-1).max() * aw.max(), ax.max() * aw.sum(-1).max(),
                  float(np.sqrt(np.square(x).sum(-1).max())) * float(np.sqrt(np.square(w).sum(-1).max())))
    return float(hoelder) * 1.001


def matmul(operand: Operand, weight: np.ndarray) -> np.ndarray:
    """``acc = sum over inputs of (byte << e) * weight``, modulo 2**32 as a signed number: operand [N, K], weight int8
    [O, K] -> int64 [N, O].
    """
    if weight.dtype != np.int8:
        raise DomainError(f"Weights must be int8, not {weight.dtype}.")
    return wrap32(exact_matmul(operand.bytes if operand.wide else operand.values(), weight))


_LEVELS = np.array(WEIGHT_LEVELS, np.int8)


def packed(rows: np.ndarray) -> np.ndarray:
    """Inverse of :func:`unpacked`. Raises :class:`DomainError` for a weight that has no code."""
    codes = np.full(256, 255, np.uint8)
    codes[_LEVELS.view(np.uint8)[::-1]] = np.arange(len(_LEVELS))[::-1]  # of two codes the lower one
    pairs = codes[rows].reshape(-1, 2, rows.shape[-1])
    if (pairs > 15).any():
        raise DomainError(f"A packed weight is one of {sorted(set(WEIGHT_LEVELS))}, "
                          f"not {rows.view(np.int8)[codes[rows] > 15][0]}.")
    return pairs[:, 0] | pairs[:, 1] << 4


def unpacked(rows: np.ndarray) -> np.ndarray:
    """Step rows uint8 ``[2 n, bytes]`` of the packed rows ``[n, bytes]``: the low four bits of a byte are the code of a
    weight of one step, the high four that of the same place in the next one. A code stands for one of
    :data:`golden.spec.tables.WEIGHT_LEVELS`.

    >>> unpacked(np.array([[0x51, 0xF0]], np.uint8)).view(np.int8).tolist()
    [[1, 0], [6, -12]]
    """
    codes = np.stack([rows & 15, rows >> 4], axis=1)
    return _LEVELS[codes].reshape(-1, rows.shape[-1]).view(np.uint8)
