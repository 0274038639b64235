# SPDX-License-Identifier: Apache-2.0
"""Attention: against a scalar rule bit for bit, against torch with a stated bound, and at its saturations."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.ops.arith import DomainError, reciprocal
from golden.ops.attention import Attention, attention, mix, scores
from golden.ops.operand import Operand
from tests.golden.ops.test_softmax import scalar_row

HEADS, DIM, KEYS, QUERIES = 2, 32, 21, 5


def rsh(v: int, s: int) -> int:
    return (v + (1 << s >> 1)) >> s


def sat16(v: int) -> int:
    return max(-32768, min(32767, v))


def stimulus(seed: int, queries: int = QUERIES, keys: int = KEYS):
    rng = np.random.default_rng(seed)
    q = Operand(rng.integers(-128, 128, (queries, HEADS * DIM)).astype(np.int8),
                rng.integers(0, 4, (queries, HEADS * DIM // 32)).astype(np.uint8))
    k, v = (rng.integers(-127, 128, (keys, HEADS * DIM)).astype(np.int8) for _ in range(2))
    record = Attention(score_multiplier=np.array([900, 2500]), shift1=19, gain=rng.integers(-3000, 3000, HEADS * DIM),
                       offset=rng.integers(-1 << 20, 1 << 20, HEADS * DIM), shift2=17)
    return q, k, v, record


def scalar_attention(q, k, v, record):
    """``u`` before gain and offset, in Python integers."""
    q, k, v = q.values().tolist(), k.tolist(), v.tolist()
    out = [[0] * (HEADS * DIM) for _ in q]
    for h in range(HEADS):
        part = range(h * DIM, (h + 1) * DIM)
        for i, row in enumerate(q):
            t = [sat16(rsh(sum(row[c] * key[c] for c in part) * int(record.score_multiplier[h]),
                           record.shift1)) for key in k]
            p, _ = scalar_row(t, record.wide_p, record.p_shift)
            total = sum(p)
            sh = total.bit_length() - 16
            inverse = ((1 << 31) - 1) // (total >> sh if sh >= 0 else total << -sh)
            for c in part:
                out[i][c] = sat16(rsh(sum(x * value[c] for x, value in zip(p, v, strict=True)) * inverse, 23 + sh))
    return np.array(out)


@pytest.mark.parametrize("fields", [{}, {"wide_p": True}, {"wide_p": True, "p_shift": 2}])
def test_equals_the_scalar_rule_bit_for_bit(fields):
    q, k, v, record = stimulus(1)
    record = replace(record, **fields)
    u, seen = scalar_attention(q, k, v, record), {}
    wide = attention(q, k, v, replace(record, wide=True), seen.__setitem__)
    assert seen["mix"].tolist() == u.tolist()
    affine = (u * record.gain + record.offset + (1 << 16)) >> 17
    assert (wide.values() == affine.clip(-32768, 32767)).all()
    assert (attention(q, k, v, record).values() == Operand.in_blocks(affine).values()).all()
    assert seen["prob"].shape == (HEADS, QUERIES, KEYS) and (seen["prob"].sum(-1) == seen["sum"]).all()
    assert len(np.unique(seen["score"])) > 100 and 0.02 < (seen["prob"] > 0).mean() < 0.98  # the saturation


@pytest.mark.parametrize("wide_p", [False, True])
def test_against_torch(wide_p):
    """u / 256 against softmax attention on the same codes. With ``one``, ``all_`` as for the softmax, p.v / L is off by
    at most 2 * (one * keys + all_) * 127 / L; both floors of R by 2**-14 of it; the rounding by half a step of 2**-8.
    """
    q, k, v, record = stimulus(2, queries=9, keys=130)
    record, seen = replace(record, wide_p=wide_p, wide=True, score_multiplier=np.array([90, 250])), {}
    attention(q, k, v, record, seen.__setitem__)
    heads = [torch.from_numpy(x.astype(np.float64)).reshape(-1, HEADS, DIM).transpose(0, 1) for x in (q.values(), k, v)]
    t = heads[0] @ heads[1].mT * torch.tensor([90.0, 250.0])[:, None, None] / 2 ** 19
    exact = (torch.softmax(t.clamp(-32768, 32767) / 256 * np.log(2), -1) @ heads[2]).transpose(0, 1).reshape(9, -1)
    one, all_ = (1, 130) if wide_p else (1.004, 8 + 130 / 256)
    # Scores are rounded to 1 / 256 of a power of two: half of it moves a probability by 0.14 %, an average by twice.
    bound = 2 * 127 * (one * 130 + all_) / seen["sum"].min() + 127 * (2 ** -14 + 0.0028) + 0.5 / 256
    error = np.abs(seen["mix"] / 256 - exact.numpy())
    assert error.max() < bound
    assert np.sqrt((error ** 2).mean()) < (0.1 if wide_p else 0.5)


def test_equal_scores_average_the_values():
    v = np.arange(-100, 100, dtype=np.int8)[:, None]
    u = mix(np.full((1, 200), 200, np.uint16), np.array([40000]), v)
    assert abs(u[0, 0] / 256 + 0.5) <= 2 / 256


def test_one_key_returns_its_value():
    """The average of a single v is v, but for both floors of the reciprocal (2**-14 of 127 * 256: two steps)."""
    q, k, v, record = stimulus(3, keys=1)
    seen = {}
    attention(q, k, v, record, seen.__setitem__)
    assert np.abs(seen["mix"] - v.astype(int) * 256).max() <= 2


def test_scores_saturate_and_the_softmax_goes_on():
    q, k = np.full((2, 32), 1024), np.full((3, 32), 127)
    k[1:] *= -1
    assert scores(q, k, 65535, 10).tolist() == [[524287, -524288, -524288]] * 2


def test_contradictions_are_refused():
    q, k, v, record = stimulus(4)
    with pytest.raises(DomainError, match="same channels"):
        attention(q, k[:, :32], v, record)
    with pytest.raises(DomainError, match="8-bit q"):
        attention(Operand(q.bytes.astype(np.int16)), k, v, record)
    with pytest.raises(DomainError, match="k must lie in -127..127"):
        attention(q, np.full_like(k, -128), v, record)
    with pytest.raises(DomainError, match="into 3 heads"):
        attention(q, k, v, replace(record, score_multiplier=np.array([1, 1, 1])))


def test_accumulators_wrap():
    q = np.full((1, 512), 1 << 15)
    assert scores(q, np.full((1, 512), 128), 1, 12).tolist() == [[-1 << 19]]
    p, v = np.full((1, 600), 65280), np.full((600, 32), 127, np.int8)
    wrapped = (600 * 65280 * 127 + (1 << 31)) % (1 << 32) - (1 << 31)
    recip, shift = reciprocal(np.array([600 * 65280]))
    wanted = (wrapped * int(recip[0]) + (1 << 22 + int(shift[0]))) >> 23 + int(shift[0])
    assert mix(p, np.array([600 * 65280]), v).tolist() == [[max(-32768, min(32767, wanted))] * 32]
