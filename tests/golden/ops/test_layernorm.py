# SPDX-License-Identifier: Apache-2.0
"""Layer norm: against a scalar rule bit for bit and against torch with a stated bound."""

import math

import numpy as np
import pytest
import torch

from golden.ops.arith import DomainError, block_quantize
from golden.ops.layernorm import Norm, eps_code, layernorm, normalise


def scalar_normalized(x: list[int], eps: int, normalized_shift: int = 0) -> list[int]:
    dim, s1, s2 = len(x), sum(x), sum(v * v for v in x)
    variance = max(dim * s2 - s1 * s1 + eps, 1)
    j = 0
    while (variance << 2 * j if j >= 0 else variance >> -2 * j) < 1 << 32:
        j += 1
    while (variance << 2 * j if j >= 0 else variance >> -2 * j) >= 1 << 34:
        j -= 1
    r = ((1 << 33) - 1) // math.isqrt(variance << 2 * j if j >= 0 else variance >> -2 * j)
    shift = 22 - j + normalized_shift
    return [max(-32768, min(32767, ((dim * v - s1) * r + (1 << shift >> 1)) >> shift)) for v in x]


def rows(dim: int):
    rng = np.random.default_rng(dim)
    yield from (rng.normal(rng.normal(0, 50), s, dim) for s in (0.4, 1, 3, 30, 500, 4000, 12000))
    yield np.zeros(dim)
    yield np.full(dim, -32768)
    yield np.where(np.arange(dim) % 2, 32767, -32768)
    yield np.where(np.arange(dim) == 3, 1, 0)
    yield np.where(np.arange(dim) == 5, -32768, 7)  # one outlier: normalized, about -sqrt(dim), saturated from 256 on


@pytest.mark.parametrize("dim", [32, 64, 192, 384, 1024])
@pytest.mark.parametrize("eps", [0, 1, (1 << 40) - 1])
def test_equals_the_scalar_rule_bit_for_bit(dim, eps):
    x = np.stack(list(rows(dim))).clip(-32768, 32767).astype(np.int16)
    for normalized_shift in range(4):
        wanted = [scalar_normalized(row, eps, normalized_shift) for row in x.tolist()]
        assert normalise(x, eps, normalized_shift).tolist() == wanted


@pytest.mark.parametrize("dim", [64, 192, 384])
def test_against_torch(dim):
    """r is within 2 / 2**16 of the exact root; the product is rounded once: |error| <= |normalized| / 2**14 + half a
    step, which normalized_shift makes larger."""
    x = np.stack(list(rows(dim))[3:7]).clip(-32768, 32767).astype(np.int16)
    wanted = torch.nn.functional.layer_norm(torch.from_numpy(x / 512.0), (dim,), eps=1e-6).numpy()
    for normalized_shift in range(4):
        step = 2.0 ** normalized_shift / 2048
        found = normalise(x, eps_code(1e-6, dim), normalized_shift) * step
        assert (np.abs(found - wanted) <= np.abs(wanted) * 2 ** -14 + 0.5 * step).all()


def test_normalized_shift_makes_room_for_outliers():
    """One channel of 1024 far from the others is sqrt(1023) deviations away: 32, twice the range without a shift."""
    x = np.full((1, 1024), 7, np.int16)
    x[0, 5] = -32768
    assert normalise(x, 0).min() == -32768
    for normalized_shift in (1, 2, 3):
        found = normalise(x, 0, normalized_shift)[0, 5] * 2.0 ** normalized_shift / 2048
        assert abs(found + np.sqrt(1023)) < np.sqrt(1023) / 2 ** 14 + 2.0 ** normalized_shift / 4096


def test_eps_matters_for_flat_rows():
    x = np.tile(np.array([1, -1], np.int16), 32)[None]
    wanted = torch.nn.functional.layer_norm(torch.from_numpy(x / 512.0), (64,), eps=1e-6).numpy()
    assert np.abs(normalise(x, eps_code(1e-6, 64)) / 2048 - wanted).max() < 1e-3
    assert np.abs(normalise(x, 0) / 2048 - wanted).max() > 0.05


def test_a_constant_row_gives_zeros():
    assert not normalise(np.full((1, 64), 32767, np.int16), 0).any()


@pytest.mark.parametrize("wide", [False, True])
def test_gain_and_offset_and_block_quantization(wide):
    rng = np.random.default_rng(4)
    x = rng.normal(0, 900, (6, 64)).astype(np.int16)
    gain, offset = rng.integers(-2000, 2000, 64), rng.integers(-1 << 19, 1 << 19, 64)
    shift = 9 if wide else 16
    operand, normalized = layernorm(x, Norm(gain=gain, offset=offset, shift=shift, eps=5, wide=wide))
    v = (normalise(x, 5) * gain.astype(np.int64) + offset + (1 << shift >> 1)) >> shift
    assert (normalized == normalise(x, 5)).all() and operand.wide == wide
    if wide:
        assert (operand.values() == v.clip(-32768, 32767)).all()
    else:
        byte, exponent = block_quantize(v)
        assert (operand.bytes == byte).all() and (operand.exp == exponent).all()


def test_the_domain_is_checked():
    with pytest.raises(DomainError, match="1..1024 channels"):
        normalise(np.zeros((1, 1056), np.int16), 0)
    with pytest.raises(DomainError, match="eps must lie"):
        normalise(np.zeros((1, 32), np.int16), 1 << 40)
