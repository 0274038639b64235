# SPDX-License-Identifier: Apache-2.0
"""Batch emulation of the machine's arithmetic in PyTorch, for error measurements of the quantizer.

Every value is an integer stored in a float: float32 for operands, results and probabilities (below 2**24), float64 for
products and sums (below 2**53). So rounding happens only where the machine rounds, sums do not depend on their order,
and results equal the bit-exact reference models of ``golden/ops``. One exception: the sum of a token's experts is
clipped once when it is added to the residual stream, not expert by expert.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from golden.ops import activation as activation_reference
from golden.ops.arith import INT16, reciprocal, rsqrt
from golden.spec.machine import SLICE
from golden.spec.model import BLOCK
from golden.spec.tables import (
    ATTENTION_FRAC,
    BLOCK_SHIFT_MAX,
    EXP_TABLE,
    EXPONENTIAL_BITS,
    LOG2_FRAC,
    NORMALIZED_FRAC,
    PROB_CARRY_START,
    RECIPROCAL_BITS,
    SCORE_BITS,
)

_, INT16_MAX = INT16
ROWS = 2048
"""Tokens whose products are computed in float64 at a time."""
_EXP = torch.tensor(EXP_TABLE, dtype=torch.int32)
_RECIPROCAL_FRAC = 31
_ROOT_FRAC = 33


def by_rows(function, *tensors: Tensor) -> Tensor:
    """``function`` of float64 rows of ``tensors`` [T, ...], :data:`ROWS` at a time; its results as float32."""
    starts = range(0, max(1, len(tensors[0])), ROWS)
    return torch.cat([function(*(t[start:start + ROWS].double() for t in tensors)).float() for start in starts])


def round_half_up(v: Tensor) -> Tensor:
    return torch.floor(v + 0.5)


def sat16(v: Tensor) -> Tensor:
    return v.clamp(-INT16_MAX - 1, INT16_MAX)


def sat_score(t: Tensor) -> Tensor:
    limit = 2.0 ** (SCORE_BITS - 1)
    return t.clamp(-limit, limit - 1)


def exponents(v: Tensor) -> Tensor:
    """2**e of each block of 32 channels: [..., K] -> [..., K / 32, 1]."""
    blocks = v.unflatten(-1, (-1, BLOCK))
    high, low = blocks.amax(-1), blocks.amin(-1)
    scale = torch.ones_like(high)
    for e in range(BLOCK_SHIFT_MAX):
        # rsh(v, e) <= 127 means v < 127.5 * 2**e, rsh(v, e) >= -128 means v >= -128.5 * 2**e.
        scale = torch.where((high >= 127.5 * 2.0 ** e) | (low < -128.5 * 2.0 ** e), 2.0 ** (e + 1), scale)
    return scale[..., None]


def block_quantize(v: Tensor) -> Tensor:
    """Block quantization: values byte << e of integers ``v`` [..., K] in blocks of 32."""
    scale = exponents(v)
    blocks = v.unflatten(-1, (-1, BLOCK))
    return (round_half_up(blocks / scale).clamp(-128, 127) * scale).flatten(-2)


def operand(v: Tensor, wide: bool) -> Tensor:
    return sat16(v) if wide else block_quantize(v)


def normalized(x: Tensor, eps: int, normalized_shift: int = 0) -> Tensor:
    """Normalized values in steps of 2**(normalized_shift - 11) of residual codes [T, D]; ``eps`` as in NORM."""
    def rows(x: Tensor) -> Tensor:
        dim, total = x.shape[-1], x.sum(-1, keepdim=True)
        variance = (dim * x.square().sum(-1, keepdim=True) - total.square() + eps).clamp(min=1)
        r, j = (torch.from_numpy(part).double() for part in rsqrt(variance.numpy().astype(np.int64)))
        scale = r * 2.0 ** (j + NORMALIZED_FRAC - _ROOT_FRAC - normalized_shift)
        return sat16(round_half_up((dim * x - total) * scale))
    return by_rows(rows, x)


def affine(g: Tensor, gain: Tensor, offset: Tensor, shift: int, wide: bool) -> Tensor:
    """Operand values of ``rsh(g * gain + offset, shift)``: g [T, C] integers, gain and offset [C] float64."""
    scale = 2.0 ** -shift
    return by_rows(lambda rows: operand(round_half_up((rows * gain + offset) * scale), wide), g)


def linear(a: Tensor, weight: Tensor, bias: Tensor, multiplier: Tensor, shift: int) -> Tensor:
    """``u`` of operand values [T, I], before it is clipped to 16 bits; weight [O, I], bias and multiplier [O]
    float64."""
    scale = multiplier * 2.0 ** -shift
    return by_rows(lambda rows: round_half_up((rows @ weight.T + bias) * scale), a)


@lru_cache
def _activation_table(code: int, act_shift: int) -> Tensor:
    codes = np.arange(-INT16_MAX - 1, INT16_MAX + 1)
    return torch.from_numpy(activation_reference.activate(codes, code, act_shift).astype(np.float32))


def activate(u: Tensor, code: int, act_shift: int = 0) -> Tensor:
    """The activation ``code`` of 16-bit codes with 9 - ``act_shift`` fraction bits, in 14 (``none``: as they are)."""
    places = u.to(torch.int32) + (INT16_MAX + 1)
    return _activation_table(code, act_shift).index_select(0, places.flatten()).view(u.shape)


def exp2_parts(t: Tensor, reference: Tensor) -> Tensor:
    """``EXP[f & 255] >> (f >> 8)``, int32, for f = 256 * reference - t."""
    f = (reference * 2.0 ** LOG2_FRAC - t).to(torch.int32)
    value = _EXP.index_select(0, (f & ((1 << LOG2_FRAC) - 1)).flatten()).view(f.shape)
    return value >> (f >> LOG2_FRAC).clamp(max=EXPONENTIAL_BITS)


def probabilities(t: Tensor, wide: bool, p_shift: int) -> Tensor:
    """Integer probabilities [..., N] of scores [..., N] with 8 fraction bits.

    The running references of chunks differ by whole powers of two, so the last reference alone gives the same result.
    """
    q = exp2_parts(t, torch.ceil(t.amax(-1, keepdim=True) * 2.0 ** -LOG2_FRAC))
    if wide:
        return q >> p_shift
    keys = q.shape[-1]
    padded = torch.nn.functional.pad(q, (0, -keys % SLICE)).unflatten(-1, (-1, SLICE))
    total = (padded.cumsum(-2) + PROB_CARRY_START) >> 8
    return torch.diff(total, dim=-2, prepend=torch.zeros_like(total[..., :1, :])).flatten(-2)[..., :keys]


def inverse(total: Tensor) -> Tensor:
    """Result of :func:`golden.ops.arith.reciprocal` as float64: about 1 / total."""
    r, sh = (torch.from_numpy(part).double() for part in reciprocal(total.numpy().astype(np.int64)))
    return r * 2.0 ** -(_RECIPROCAL_FRAC + sh)


def scores(q: Tensor, k: Tensor, scale: Tensor) -> Tensor:
    """Unclipped attention scores [B, H, N, N]: q, k [B, H, N, d] values, ``scale`` [H] = multiplier / 2**shift."""
    return round_half_up((q.double() @ k.double().mT) * scale[:, None, None])


def mix(t: Tensor, v: Tensor, wide_p: bool, p_shift: int) -> Tensor:
    """``u`` of one attention, [B, H, N, d] in steps of V / 256: ``t`` scores, v [B, H, N, d] values."""
    p = probabilities(sat_score(t), wide_p, p_shift).double()
    return sat16(round_half_up(p @ v.double() * (inverse(p.sum(-1, keepdim=True)) * 2.0 ** ATTENTION_FRAC))).float()


def route(logits: Tensor, scale: float, top_k: int, renormalise: bool) -> tuple[Tensor, Tensor]:
    """Chosen experts [T, k] and their weights (16 fraction bits) of integer logits [T, E] (float64)."""
    chosen = logits.sort(dim=-1, descending=True, stable=True).indices[:, :top_k]
    t = sat_score(round_half_up(logits * scale))
    t = t.gather(1, chosen) if renormalise else t
    p = exp2_parts(t, torch.ceil(t.amax(-1, keepdim=True) * 2.0 ** -LOG2_FRAC)).double()
    weight = round_half_up(p * (inverse(p.sum(-1, keepdim=True)) * 2.0 ** RECIPROCAL_BITS)).clamp(max=65535)
    return chosen, weight if renormalise else weight.gather(1, chosen)
