# SPDX-License-Identifier: Apache-2.0
"""Epilogue of a LINEAR: bias, multiplier, activation, affine or expert weight, conversion for the destination."""

from dataclasses import dataclass

import numpy as np

from golden.ops.activation import activate
from golden.ops.arith import DomainError, check_range, clip_weight, integers, rsh, sat, wrap32
from golden.ops.operand import Operand
from golden.ops.saturation import note
from golden.spec.tables import UNSIGNED_MAX


@dataclass(frozen=True, kw_only=True)
class Epilogue:
    """Parameters of one LINEAR, named as in the ISA. Per output channel: ``bias`` int32, ``multiplier`` uint16,
    ``gain`` int16, ``offset`` int32. ``affine`` and ``gate_weight`` exclude each other.
    """

    bias: np.ndarray
    multiplier: np.ndarray
    shift1: int
    activation: int = 0
    affine: bool = False
    gate_weight: bool = False
    gain: np.ndarray | None = None
    offset: np.ndarray | None = None
    shift2: int = 0
    act_shift: int = 0

    def __post_init__(self):
        if self.affine and self.gate_weight:
            raise DomainError("An epilogue multiplies by a gain or by an expert weight, not by both.")
        if self.activation and self.gate_weight:
            raise DomainError("An expert weight multiplies a result without an activation.")
        if self.affine and (self.gain is None or self.offset is None):
            raise DomainError("An affine epilogue needs gain and offset.")


def requantize(acc, bias, multiplier, shift1: int) -> np.ndarray:
    """``u = sat16(rsh((acc + bias) * multiplier, shift1))``; acc and acc + bias int32, multiplier 0..65535.

    >>> requantize([3, -3, 1 << 30], 0, 1, 1).tolist()  # 1.5 -> 2, -1.5 -> -1, saturated
    [2, -1, 32767]
    """
    s = wrap32(integers(acc, "acc") + integers(bias, "bias"))
    return sat(rsh(s * check_range(integers(multiplier, "multiplier"), 0, 65535, "multiplier"), shift1), 16, "u")


def affine(g, gain, offset, shift2: int) -> np.ndarray:
    """``v = rsh(g * gain + offset, shift2)``.

    >>> affine([3, -3], 1, 0, 1).tolist(), affine([10], -2, 5, 0).tolist()
    ([2, -1], [-15])
    """
    return rsh(integers(g, "g") * integers(gain, "gain") + integers(offset, "offset"), shift2)


def weighted(u, expert_weight, shift2: int) -> np.ndarray:
    """``v = rsh(u * expert_weight, shift2)``: u [n, O], expert_weight uint16 [n], 16 fraction bits."""
    weight = check_range(integers(expert_weight, "expert_weight"), 0, 65535, "expert weights")
    return rsh(integers(u, "u") * weight[:, None], shift2)


def epilogue(acc, record: Epilogue, expert_weight=None) -> np.ndarray:
    """Accumulators int64 [N, O] -> ``v`` int64 [N, O], before the destination's clipping.

    ``expert_weight`` uint16 [N] is given exactly where the record has ``gate_weight`` set.
    """
    if record.gate_weight == (expert_weight is None):
        raise DomainError("Expert weights are wanted exactly where the epilogue has gate_weight set.")
    u = requantize(acc, record.bias, record.multiplier, record.shift1)
    if record.gate_weight:
        return weighted(u, expert_weight, record.shift2)
    g = activate(u, record.activation, record.act_shift)
    return affine(g, record.gain, record.offset, record.shift2) if record.affine else g


def to_residual(v, x=None) -> np.ndarray:
    """``sat16((x or 0) + v)``, int16."""
    v = integers(v, "v")
    return sat(v if x is None else v + integers(x, "x"), 16, "residual").astype(np.int16)


def to_key_value(v) -> np.ndarray:
    """``v`` clipped to [-127, 127], int8: destinations KEY and VALUE."""
    return clip_weight(v)


def to_unsigned(v) -> Operand:
    """``v`` [N, O] clipped to [0, 255], unsigned bytes with exponents 0: destination UNSIGNED8, ReLU included. Only
    values above 255 count as clipped.

    >>> to_unsigned([[-5, 3, 300]]).bytes.tolist()
    [[0, 3, 255]]
    """
    positive = np.maximum(integers(v, "v"), 0)
    codes = np.minimum(positive, UNSIGNED_MAX)
    note("unsigned", positive, codes)
    return Operand.pixels(codes.astype(np.uint8))
