# SPDX-License-Identifier: Apache-2.0
"""Layer norm of residual rows: two sums, an exact reciprocal square root, an affine per channel."""

from dataclasses import dataclass

import numpy as np

from golden.ops.arith import INT16, DomainError, check_range, integers, rsh, rsqrt, sat
from golden.ops.epilogue import affine
from golden.ops.operand import Operand, to_operand
from golden.spec.machine import MAX_NORM_DIM
from golden.spec.tables import NORMALIZED_FRAC, RESIDUAL_FRAC

_SHIFT = 33 - NORMALIZED_FRAC  # 33 fraction bits of the reciprocal root


@dataclass(frozen=True, kw_only=True)
class Norm:
    """Parameters of one NORM, named as in the ISA: ``gain`` int16 [D], ``offset`` int32 [D], ``eps`` in squared steps
    of the residual stream over D**2.
    """

    gain: np.ndarray
    offset: np.ndarray
    shift: int
    eps: int
    wide: bool = False
    normalized_shift: int = 0


def eps_code(eps: float, dim: int, frac: int = RESIDUAL_FRAC) -> int:
    """``round(eps * 4**frac * D**2)``: the float epsilon in units of V, for residual steps of 2**-frac."""
    return round(eps * (1 << 2 * frac) * dim * dim)


def normalise(x, eps: int, normalized_shift: int = 0) -> np.ndarray:
    """Normalized values int16 [N, D], step 2**(normalized_shift - 11), of residual rows x int16 [N, D].

    S1 = sum x, S2 = sum x^2, V = max(D * S2 - S1^2 + eps, 1), (r, j) = rsqrt(V),
    ``normalized = sat16(rsh((D * x - S1) * r, 22 - j + normalized_shift))``.

    Domain: D at most 1024, 0 <= eps < 2**40, normalized_shift 0..3.
    """
    x = check_range(integers(x, "x"), *INT16, "residuals")
    dim = x.shape[-1]
    if not 1 <= dim <= MAX_NORM_DIM:
        raise DomainError(f"A layer norm spans 1..{MAX_NORM_DIM} channels, not {dim}.")
    if not 0 <= int(eps) < 1 << 40:
        raise DomainError(f"eps must lie in 0..2**40 - 1, not {eps}.")
    s1, s2 = x.sum(-1, keepdims=True), (x * x).sum(-1, keepdims=True)
    r, j = rsqrt(np.maximum(dim * s2 - s1 * s1 + int(eps), 1))
    return sat(rsh((dim * x - s1) * r, _SHIFT - j + normalized_shift), 16, "normalized").astype(np.int16)


def layernorm(x, record: Norm) -> tuple[Operand, np.ndarray]:
    """Residual rows int16 [N, D] -> (operand of ``v = rsh(normalized * gain + offset, shift)``, normalized int16)."""
    normalized = normalise(x, record.eps, record.normalized_shift)
    return to_operand(affine(normalized, record.gain, record.offset, record.shift), record.wide), normalized
