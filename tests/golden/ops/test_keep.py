# SPDX-License-Identifier: Apache-2.0
"""Token pruning: class attention against the scalar rule and float softmax, the choice against a sort; refusals."""

from dataclasses import replace

import numpy as np
import pytest

from golden.ops.arith import DomainError
from golden.ops.keep import CLASS_PARAMETERS, class_attention, kept
from golden.ops.operand import Operand
from tests.golden.ops.test_attention import DIM, HEADS, rsh, sat16, scalar_attention, stimulus

SUM = 127 * 256
"""What all of a head's attention becomes."""


def case(seed, keys, **fields):
    q, k, _, record = stimulus(seed, 1, keys)
    return q, k, replace(record, **(dict(CLASS_PARAMETERS) | {"wide_p": True} | fields))


@pytest.mark.parametrize("keys, fields", [
    (1, {}), (32, {}), (45, {}), (45, {"wide_p": False}), (45, {"p_shift": 3}),
    (45, {"gain": np.arange(-16, 16) * 900, "offset": np.arange(32) * 5000 - 80_000, "shift2": 3})])
def test_equals_attention_with_a_unit_matrix_added_over_the_heads(keys, fields):
    """A key at a time: that key's V is 127 in the first channel of each head, all others are 0."""
    q, k, record = case(keys, keys, **fields)
    wanted = np.zeros(-(-keys // 32) * 32, int)
    for key in range(len(wanted)):
        v = np.zeros((keys, HEADS * DIM), int)
        if key < keys:
            v[key, ::DIM] = 127
        u = scalar_attention(q, k, v, record)[0]
        for head in range(HEADS):
            gain, offset = (int(record.__dict__[name][key % 32]) for name in ("gain", "offset"))
            wanted[key] = sat16(wanted[key] + rsh(int(u[head * DIM]) * gain + offset, record.shift2))
    assert class_attention(q, k, record).tolist() == wanted.tolist()


def test_is_the_mean_over_the_heads_of_float_softmax():
    q, k, record = case(3, 61, score_multiplier=np.array([9, 25]))
    t = [q.values()[:, h * DIM:(h + 1) * DIM] @ k[:, h * DIM:(h + 1) * DIM].T.astype(int)
         * int(record.score_multiplier[h]) / 2 ** (record.shift1 + 8) for h in range(HEADS)]
    p = sum(2.0 ** (row - row.max()) / (2.0 ** (row - row.max())).sum() for row in t)[0]
    assert p.max() < 1  # else it saturates
    found = class_attention(q, k, record)
    np.testing.assert_allclose(found[:61] / SUM, p, atol=0.004 * p.max())
    assert not found[61:].any() and abs(found.sum() / SUM - HEADS) < 0.01


def test_fewer_tokens_than_heads_can_saturate():
    q, k, record = case(5, 40, score_multiplier=np.array([65535, 65535]), shift1=8)
    assert (class_attention(q, k, record) == 32767).sum() < HEADS


@pytest.mark.parametrize("seed", range(20))
def test_keeps_the_largest_and_of_equal_ones_the_first(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    score = rng.integers(-3, 4, n) * rng.choice([1, 9000])
    keep = int(rng.integers(1, n + 1))
    first = int(rng.integers(0, min(keep, 5) + 1))
    order = sorted(range(first, n), key=lambda i: (-score[i], i))[:keep - first]
    assert kept(score, first, keep).tolist() == sorted([*range(first), *order])


def test_refuses_what_it_cannot_do():
    q, k, record = case(1, 9)
    with pytest.raises(DomainError, match="one 8-bit query"):
        class_attention(Operand(np.repeat(q.bytes, 2, 0), np.repeat(q.exp, 2, 0)), k, record)
    with pytest.raises(DomainError, match="one 8-bit query"):
        class_attention(q, k[:, :32], record)
    for first, keep in ((0, 10), (3, 2)):
        with pytest.raises(DomainError, match="cannot be kept"):
            kept(np.zeros(9, int), first, keep)
    with pytest.raises(DomainError, match="scores"):
        kept([40_000], 0, 1)
