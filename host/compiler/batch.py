# SPDX-License-Identifier: Apache-2.0
"""The machine's arithmetic on whole batches in float32: what the quantizer measures with while it chooses numbers.

Every value is an integer held in a float32, rounded and clipped at the same places as in ``golden/README.md``. Results
agree with the bit-exact twins but for rare ties of the last bit; nothing here decides what the machine must answer.
"""

import numpy as np
import torch
from torch import Tensor

from golden.spec.machine import SLICE
from golden.spec.model import BLOCK
from golden.spec.tables import (
    ATTENTION_FRAC,
    BLOCK_SHIFT_MAX,
    EXP_TABLE,
    GELU_DELTA,
    GELU_IN_FRAC,
    GELU_LIMIT,
    GELU_OUT_FRAC,
    GELU_STEP_LOG2,
    LOG2_FRAC,
    PROB_CARRY_START,
    SCORE_BITS,
    WEIGHT_MAX,
    XHAT_FRAC,
)

INT16_MAX = 32767
_EXP = torch.tensor(EXP_TABLE, dtype=torch.float32)
_DELTA = torch.tensor([*GELU_DELTA, 0, 0], dtype=torch.float32)


def as_float(array: np.ndarray) -> Tensor:
    """Integers as a float32 tensor."""
    return torch.from_numpy(np.asarray(array, np.float32))


def round_half_up(v: Tensor) -> Tensor:
    return torch.floor(v + 0.5)


def sat16(v: Tensor) -> Tensor:
    return v.clamp(-INT16_MAX - 1, INT16_MAX)


def sat_score(t: Tensor) -> Tensor:
    limit = 2.0 ** (SCORE_BITS - 1)
    return t.clamp(-limit, limit - 1)


def key_clip(v: Tensor) -> Tensor:
    return v.clamp(-WEIGHT_MAX, WEIGHT_MAX)


def exponents(v: Tensor) -> Tensor:
    """2**e of each block of 32 channels: [..., K] -> [..., K / 32, 1]."""
    blocks = v.unflatten(-1, (-1, BLOCK))
    # rsh(v, e) <= 127 means v < 127.5 * 2**e, rsh(v, e) >= -128 means v >= -128.5 * 2**e.
    size = torch.maximum(torch.floor(blocks.amax(-1)) / 127.5, -torch.ceil(blocks.amin(-1)) / 128.5)
    scale = torch.ones_like(size)
    for e in range(BLOCK_SHIFT_MAX):
        scale = torch.where(size >= 2.0 ** e, 2.0 ** (e + 1), scale)
    return scale[..., None]


def narrow(v: Tensor) -> Tensor:
    """Values byte << e of ``v`` [..., K] after narrowing in blocks of 32."""
    scale = exponents(v)
    blocks = v.unflatten(-1, (-1, BLOCK))
    return (round_half_up(blocks / scale).clamp(-128, 127) * scale).flatten(-2)


def operand(v: Tensor, wide: bool) -> Tensor:
    return sat16(v) if wide else narrow(v)


def xhat(x: Tensor, eps: float) -> Tensor:
    """Normalised channels in steps of 2**-11 of residual codes [..., D] of step 2**-9 (``eps`` in codes squared)."""
    centred = x - x.mean(-1, keepdim=True)
    root = torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)
    return sat16(round_half_up(centred * root * 2.0 ** XHAT_FRAC))


def affine(g: Tensor, gain: Tensor, offset: Tensor, shift: int) -> Tensor:
    scale = 2.0 ** -shift
    return round_half_up(g * (gain * scale) + offset * scale)


def linear(a: Tensor, weight: Tensor, bias: Tensor, mult: Tensor, shift: int) -> Tensor:
    """``u`` of operand values [T, I] and weights [O, I]."""
    return sat16(round_half_up((a @ weight.T + bias) * (mult * 2.0 ** -shift)))


def gelu(u: Tensor) -> Tensor:
    """14 fraction bits from 9."""
    step = GELU_IN_FRAC - GELU_STEP_LOG2
    magnitude = u.abs()
    index = torch.floor(magnitude * 2.0 ** -step).clamp(max=GELU_LIMIT << GELU_STEP_LOG2)
    fraction, place = magnitude - index * 2.0 ** step, index.long()
    low = _DELTA[place]
    delta = round_half_up(low + (_DELTA[place + 1] - low) * fraction * 2.0 ** -step)
    delta = torch.where(magnitude >= GELU_LIMIT << GELU_IN_FRAC, 0.0, delta)
    return u.clamp(min=0) * 2.0 ** (GELU_OUT_FRAC - GELU_IN_FRAC) - delta


def exp2_parts(t: Tensor, reference: Tensor) -> Tensor:
    """``EXP[f & 255] >> (f >> 8)`` for f = 256 * reference - t."""
    f = reference * 2.0 ** LOG2_FRAC - t
    whole = torch.floor(f * 2.0 ** -LOG2_FRAC)
    value = _EXP[(f - whole * 2.0 ** LOG2_FRAC).long()]
    return torch.floor(torch.ldexp(value, -whole.clamp(max=30)))


def probabilities(t: Tensor, wide: bool, p_shift: int) -> Tensor:
    """Integer probabilities [..., N] of scores [..., N] with 8 fraction bits.

    The chunks' running references only shift by whole powers of two, so the result is that of the last reference.
    """
    q = exp2_parts(t, torch.ceil(t.amax(-1, keepdim=True) * 2.0 ** -LOG2_FRAC))
    if wide:
        return torch.floor(q * 2.0 ** -p_shift)
    keys = q.shape[-1]
    padded = torch.nn.functional.pad(q, (0, -keys % SLICE)).unflatten(-1, (-1, SLICE))
    total = torch.floor((padded.cumsum(-2) + PROB_CARRY_START) / 256)
    return torch.diff(total, dim=-2, prepend=torch.zeros_like(total[..., :1, :])).flatten(-2)[..., :keys]


def attend(q: Tensor, k: Tensor, v: Tensor, score_scale: Tensor, wide_p: bool, p_shift: int) -> Tensor:
    """``u`` of one attention: q, k, v [B, H, N, d] values, ``score_scale`` [H] = mult / 2**shift -> [B, H, N, d],
    in steps of V / 256.
    """
    t = sat_score(round_half_up((q @ k.mT) * score_scale[:, None, None]))
    p = probabilities(t, wide_p, p_shift)
    return sat16(round_half_up(p @ v * (2.0 ** ATTENTION_FRAC / p.sum(-1, keepdim=True))))


def route(logits: Tensor, scale: float, top_k: int, renormalise: bool) -> tuple[Tensor, Tensor]:
    """Chosen experts [T, k] and their weights (16 fraction bits) of integer logits [T, E] (float64)."""
    chosen = logits.sort(dim=-1, descending=True, stable=True).indices[:, :top_k]
    t = sat_score(torch.floor(logits * scale + 0.5)).float()
    t = t.gather(1, chosen) if renormalise else t
    p = exp2_parts(t, torch.ceil(t.amax(-1, keepdim=True) * 2.0 ** -LOG2_FRAC))
    weight = round_half_up(p / p.sum(-1, keepdim=True) * 65536).clamp(max=65535)
    return chosen, weight if renormalise else weight.gather(1, chosen)
