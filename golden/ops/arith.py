# SPDX-License-Identifier: Apache-2.0
"""Integer arithmetic: rounding, saturation, block quantization, reciprocals and roots; exact, on int64."""

import numpy as np

from golden.ops.saturation import note
from golden.spec.model import BLOCK
from golden.spec.tables import ACC_LIMIT, BLOCK_SHIFT_MAX, RECIPROCAL_BITS, RSQRT_RADICAND_BITS, WEIGHT_MAX

INT16 = (-(1 << 15), (1 << 15) - 1)
INT8 = (-(1 << 7), (1 << 7) - 1)


class DomainError(ValueError):
    """An argument outside the domain of a hardware unit; the message names the argument and its value."""


def integers(values, name: str = "values") -> np.ndarray:
    """``values`` as int64. Raises :class:`DomainError` for floats: reference models take integers only."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise DomainError(f"{name} must be integers, not {array.dtype}.")
    return array.astype(np.int64)


def check_range(values: np.ndarray, low: int, high: int, name: str) -> np.ndarray:
    """``values`` unchanged. Raises :class:`DomainError` when one lies outside ``low..high``."""
    if np.size(values) and (np.min(values) < low or np.max(values) > high):
        raise DomainError(f"{name} must lie in {low}..{high}; they lie in {np.min(values)}..{np.max(values)}.")
    return values


def rsh(v, s) -> np.ndarray:
    """Rounding right shift, ``(v + (1 << s >> 1)) >> s``: floor(v / 2**s + 1/2), ties towards plus infinity.

    Domain: ``|v| < 2**62`` (not checked: the callers' widths prove it), ``0 <= s <= 63``; ``s`` may be an array.

    >>> rsh([5, 6, 7], 2).tolist()  # 1.25, 1.5 (tie), 1.75
    [1, 2, 2]
    >>> rsh([-5, -6, -7], 2).tolist()  # -1.25, -1.5 (tie goes up), -1.75
    [-1, -1, -2]
    >>> rsh([-3, 3], 0).tolist()
    [-3, 3]
    """
    v = integers(v, "v")
    if np.ndim(s) == 0:
        s = int(s)
        if not 0 <= s <= 63:
            raise DomainError(f"A right shift must lie in 0..63, not {s}.")
        return (v + (1 << s >> 1)) >> s
    s = check_range(integers(s, "s"), 0, 63, "right shifts")
    return (v + np.where(s > 0, np.int64(1) << np.maximum(s - 1, 0), 0)) >> s


def wrap32(v: np.ndarray) -> np.ndarray:
    """``v`` modulo 2**32 as a signed number, int64, as an accumulator does.

    >>> wrap32(np.array([(1 << 31) - 1, 1 << 31, -(1 << 31) - 1])).tolist()
    [2147483647, -2147483648, 2147483647]
    """
    return ((v + ACC_LIMIT) & (2 * ACC_LIMIT - 1)) - ACC_LIMIT


def sat(v, bits: int, kind: str = "") -> np.ndarray:
    """``v`` clipped to ``bits`` bits two's complement, as int64. ``kind`` names the clipping for the
    saturation counters.

    >>> sat([-32769, 40000, 5], 16).tolist()
    [-32768, 32767, 5]
    """
    v = integers(v, "v")
    result = np.clip(v, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    note(kind, v, result)
    return result


def clip_weight(v) -> np.ndarray:
    """``v`` clipped to the range of weights, K and V, [-127, 127], as int8."""
    v = integers(v, "v")
    result = np.clip(v, -WEIGHT_MAX, WEIGHT_MAX)
    note("key", v, result)
    return result.astype(np.int8)


def block_quantize(v) -> tuple[np.ndarray, np.ndarray]:
    """Block quantization: int64 ``[..., K]`` -> bytes int8 ``[..., K]`` and exponents uint8 ``[..., K / 32]`` with
    value = byte << e.

    ``e`` is the smallest exponent in 0..3 for which every ``rsh(v, e)`` of the block of 32 lies in [-128, 127]; at 3
    the bytes saturate. ``K`` must be a multiple of 32.

    >>> byte, e = block_quantize([[255] + [0] * 31])  # 255 / 2 = 127.5 rounds to 128: one halving is not enough
    >>> int(byte[0, 0]), int(e[0, 0])
    (64, 2)
    >>> byte, e = block_quantize([[-257] + [0] * 31])  # -128.5 is a tie and rounds up to -128
    >>> int(byte[0, 0]), int(e[0, 0])
    (-128, 1)
    """
    v = integers(v, "v")
    if v.ndim == 0 or v.shape[-1] % BLOCK:
        raise DomainError(f"Operand blocks have {BLOCK} channels; the last axis of {v.shape} is no multiple of it.")
    blocks = v.reshape(*v.shape[:-1], v.shape[-1] // BLOCK, BLOCK)
    # rsh is monotonic, so a block fits as soon as its extremes do.
    low, high = blocks.min(-1), blocks.max(-1)
    exponent = np.zeros(low.shape, np.int64)
    for e in range(BLOCK_SHIFT_MAX):
        exponent[(rsh(low, e) < INT8[0]) | (rsh(high, e) > INT8[1])] = e + 1
    byte = sat(rsh(blocks, exponent[..., None]), 8, "block").astype(np.int8)
    return byte.reshape(v.shape), exponent.astype(np.uint8)


def bit_length(v) -> np.ndarray:
    """Bits of a non-negative integer below 2**62, elementwise, as int64.

    >>> bit_length([0, 1, 255, 256, (1 << 61) - 1]).tolist()
    [0, 1, 8, 9, 61]
    """
    v = check_range(integers(v, "v"), 0, (1 << 62) - 1, "v")
    length = np.frexp(v.astype(np.float64))[1].astype(np.int64)
    # The conversion to float may have rounded up to the next power of two.
    return length - ((length > 0) & (v >> np.maximum(length - 1, 0) == 0))


def isqrt(v) -> np.ndarray:
    """floor(sqrt(v)) for 0 <= v < 2**52, as int64.

    >>> isqrt([0, 3, 4, (1 << 34) - 1]).tolist()
    [0, 1, 2, 131071]
    """
    v = check_range(integers(v, "v"), 0, (1 << 52) - 1, "v")
    root = np.sqrt(v.astype(np.float64)).astype(np.int64)
    # The estimate is off by at most one; these two lines make it exact, whatever the platform's sqrt does.
    root -= root * root > v
    root += (root + 1) * (root + 1) <= v
    return root


def reciprocal(total) -> tuple[np.ndarray, np.ndarray]:
    """``R`` and ``sh`` with R ~ 2**(31 + sh) / total: ``sh = bit_length(total) - 16``, ``Ln = total >> sh`` (or
    ``<< -sh``) in [2**15, 2**16), ``R = (2**31 - 1) // Ln``, 16 bits.

    Raises :class:`DomainError` for a total below 1.

    >>> [int(x) for x in reciprocal(1)], [int(x) for x in reciprocal(65535)]
    ([65535, -15], [32768, 0])
    """
    total = check_range(integers(total, "total"), 1, (1 << 62) - 1, "sums to be inverted")
    sh = bit_length(total) - RECIPROCAL_BITS
    normalised = np.where(sh >= 0, total >> np.maximum(sh, 0), total << np.maximum(-sh, 0))
    return ((1 << 31) - 1) // normalised, sh


def rsqrt(variance) -> tuple[np.ndarray, np.ndarray]:
    """``r`` and ``j`` with r ~ 2**(33 - j) / sqrt(variance): ``V' = variance * 4**j`` in [2**32, 2**34) (floor when
    j < 0), ``r = (2**33 - 1) // isqrt(V')``, 17 bits.

    Domain: 1 <= variance < 2**52.

    >>> [int(x) for x in rsqrt(1)], [int(x) for x in rsqrt(1 << 34)]
    ([131071, 16], [131071, -1])
    """
    variance = check_range(integers(variance, "variance"), 1, (1 << 52) - 1, "variances")
    # bit_length(V') must be 33 or 34 and j moves it by two.
    j = (RSQRT_RADICAND_BITS - bit_length(variance)) // 2
    radicand = np.where(j >= 0, variance << np.maximum(2 * j, 0), variance >> np.maximum(-2 * j, 0))
    return ((1 << 33) - 1) // isqrt(radicand), j
