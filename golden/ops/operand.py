# SPDX-License-Identifier: Apache-2.0
"""Operands of the array: 8-bit blocks with a common exponent, or 16-bit values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from golden.ops.arith import DomainError, block_quantize, integers, sat
from golden.spec.model import BLOCK


@dataclass(frozen=True)
class Operand:
    """Matrix [tokens, channels] of operand values. Blocks: ``bytes`` int8 or uint8 ``[N, K]`` with ``exp`` uint8
    ``[N, ceil(K / 32)]``, value = byte << e. Wide: ``bytes`` int16 ``[N, K]`` (two byte planes in the machine) with
    ``exp`` None.
    """

    bytes: np.ndarray
    exp: np.ndarray | None = None

    def __post_init__(self):
        if self.bytes.ndim != 2:
            raise DomainError(f"An operand is a matrix (tokens, channels), not of shape {self.bytes.shape}.")
        if self.exp is None:
            if self.bytes.dtype != np.int16:
                raise DomainError(f"A wide operand must be int16, not {self.bytes.dtype}.")
            return
        wanted = (self.bytes.shape[0], -(-self.bytes.shape[1] // BLOCK))
        if self.bytes.dtype not in (np.int8, np.uint8) or self.exp.dtype != np.uint8 or self.exp.shape != wanted:
            raise DomainError(f"A block operand needs int8 or uint8 bytes and uint8 exponents of shape {wanted}, not "
                              f"{self.bytes.dtype} and {self.exp.dtype} {self.exp.shape}.")

    @classmethod
    def in_blocks(cls, v) -> "Operand":
        """``v`` [N, K] quantized to blocks: see :func:`golden.ops.arith.block_quantize`."""
        return cls(*block_quantize(v))

    @classmethod
    def in_16_bits(cls, v) -> "Operand":
        """``v`` [N, K] as a 16-bit operand, ``sat16(v)``."""
        return cls(sat(v, 16, "wide").astype(np.int16))

    @classmethod
    def pixels(cls, codes: np.ndarray) -> "Operand":
        """Unsigned bytes [N, K] with exponents 0."""
        return cls(codes, np.zeros((codes.shape[0], -(-codes.shape[1] // BLOCK)), np.uint8))

    @property
    def wide(self) -> bool:
        return self.exp is None

    @property
    def shape(self) -> tuple[int, int]:
        return self.bytes.shape

    def values(self) -> np.ndarray:
        """Operand values, ``byte << e`` or int16, as int32 ``[N, K]``."""
        values = self.bytes.astype(np.int32)
        if self.exp is None:
            return values
        return values << np.repeat(self.exp.astype(np.int32), BLOCK, axis=1)[:, :values.shape[1]]

    def planes(self) -> tuple[np.ndarray, np.ndarray]:
        """High (int8) and low (uint8) byte planes of a wide operand."""
        if self.exp is not None:
            raise DomainError("Only a wide operand has two byte planes.")
        return (self.bytes >> 8).astype(np.int8), (self.bytes & 255).astype(np.uint8)

    def take(self, tokens) -> "Operand":
        """The rows ``tokens``, in their order (gather)."""
        tokens = integers(tokens, "tokens") if np.size(tokens) else np.zeros(0, np.int64)
        return Operand(self.bytes[tokens], None if self.exp is None else self.exp[tokens])


def joined(parts: Sequence[Operand]) -> Operand:
    """The rows of all ``parts``, one after the other."""
    exps = [part.exp for part in parts if part.exp is not None]
    return Operand(np.concatenate([part.bytes for part in parts]), np.concatenate(exps) if exps else None)


def to_operand(v, wide: bool) -> Operand:
    """``v`` [N, K] converted to an operand: 16-bit when ``wide``, else blocks."""
    return Operand.in_16_bits(v) if wide else Operand.in_blocks(v)
