# SPDX-License-Identifier: Apache-2.0
"""Gate: two-column weights, ties, every top k, both kinds of softmax."""

import numpy as np
import pytest
import torch

from golden.ops.arith import DomainError
from golden.ops.gate import Gate, combine, gate_logits, route, split
from golden.spec.tables import EXP_TABLE


def scalar_route(logits: list[int], record: Gate) -> tuple[list[int], list[int]]:
    order = sorted(range(len(logits)), key=lambda e: (-logits[e], e))[:record.top_k]
    t = [max(-524288, min(524287,
                          (x * record.multiplier + (1 << record.shift1 >> 1)) >> record.shift1)) for x in logits]
    over = order if record.renormalise else range(len(logits))
    m = -(-max(t[e] for e in over) // 256)
    p = {e: EXP_TABLE[(256 * m - t[e]) % 256] >> ((256 * m - t[e]) // 256) if (256 * m - t[e]) // 256 < 16 else 0
         for e in over}
    total = sum(p.values())
    sh = total.bit_length() - 16
    r = ((1 << 31) - 1) // (total >> sh if sh >= 0 else total << -sh)
    return order, [min(65535, (p[e] * r + (1 << 14 + sh)) >> (15 + sh)) for e in order]


def logit_rows(experts: int):
    rng = np.random.default_rng(experts)
    yield from rng.normal(0, 3e6, (20, experts)).astype(np.int64)
    yield np.zeros(experts, np.int64)  # all tied
    yield rng.integers(-2, 3, experts)  # many ties
    yield np.arange(experts) * 100_000
    yield -np.arange(experts) * 100_000
    yield np.where(np.arange(experts) == experts - 1, 1 << 38, -(1 << 38))
    yield np.full(experts, -(1 << 38))
    yield (1 << 31) - np.arange(experts) * 1_000_000  # logits of 320,000 after scaling, still distinct
    yield np.arange(experts) * 1_000_000 - (1 << 31)
    yield (1 << 32) - np.arange(experts) * 30_000_000  # on both sides of the limit


@pytest.mark.parametrize(("experts", "top_k"), [(e, k) for e in (1, 2, 4, 16, 64) for k in range(1, min(8, e) + 1)])
@pytest.mark.parametrize("renormalise", [False, True])
def test_equals_the_scalar_rule_bit_for_bit(experts, top_k, renormalise):
    record = Gate(top_k=top_k, renormalise=renormalise, multiplier=40000, shift1=28)
    rows = np.stack(list(logit_rows(experts)))
    chosen, weights = route(rows, record)
    for row, c, w in zip(rows.tolist(), chosen.tolist(), weights.tolist(), strict=True):
        assert (c, w) == scalar_route(row, record)


def test_ties_go_to_the_lower_index():
    record = Gate(top_k=3, renormalise=False, multiplier=1, shift1=0)
    assert route([[5, 9, 9, 5, 9, 5]], record)[0].tolist() == [[1, 2, 4]]
    assert route([[7] * 6], record)[0].tolist() == [[0, 1, 2]]


def test_choice_sees_differences_that_the_scaled_logit_rounds_away():
    record = Gate(top_k=1, renormalise=False, multiplier=1, shift1=40)
    assert route([[1000, 1001, 1000]], record)[0].tolist() == [[1]]


def test_a_single_expert_has_the_largest_weight_there_is():
    for renormalise in (False, True):
        assert route([[12345]], Gate(top_k=1, renormalise=renormalise, multiplier=1, shift1=0))[1][0, 0] >= 65533


@pytest.mark.parametrize("renormalise", [False, True])
def test_weights_against_torch(renormalise):
    """Half a step of the scaled logit (0.14 %), a step of each of 16 exponentials, two floors of R, one rounding."""
    logits = np.random.default_rng(3).normal(0, 2e6, (200, 16)).astype(np.int64)
    chosen, weights = route(logits, Gate(top_k=4, renormalise=renormalise, multiplier=40000, shift1=28))
    t = torch.from_numpy(logits * 40000 / 2 ** 28 / 256 * np.log(2))
    index = torch.from_numpy(chosen)
    wanted = torch.softmax(t.gather(-1, index), -1) if renormalise else torch.softmax(t, -1).gather(-1, index)
    bound = wanted.numpy() * (0.0028 + 16 / 32728 + 2 ** -14) + 2 / 32728 + 1 / 65536
    assert (np.abs(weights / 65536 - wanted.numpy()) < bound).all()
    assert (weights.sum(-1, dtype=int) / 65536).max() < 1.001


def test_split_covers_every_weight():
    values = np.arange(-16319, 16320)
    high, low = split(values)
    assert (high * 128 + low == values).all()
    assert low.min() == -64 and low.max() == 63 and high.min() >= -127 and high.max() <= 127


def test_logits_equal_the_product_with_16_bit_weights():
    rng = np.random.default_rng(5)
    normalized = np.concatenate([rng.normal(0, 2048, (7, 192)), np.full((1, 192), -32768)]).astype(np.int16)
    weight = rng.integers(-16319, 16320, (64, 192)).astype(np.int16)
    bias = rng.integers(-1 << 34, 1 << 34, 64)
    wanted = normalized.astype(np.int64) @ weight.T.astype(np.int64) + bias
    assert (gate_logits(normalized, weight, bias) == wanted).all()
    assert combine([-3], [5]).tolist() == [-379]


def test_refusals():
    with pytest.raises(DomainError, match="gate weights"):
        gate_logits(np.zeros((1, 32), np.int16), np.full((1, 32), 16320, np.int16), np.zeros(1, np.int64))
    for experts, top_k in ((65, 1), (4, 5), (16, 9), (4, 0)):
        with pytest.raises(DomainError, match=f"not {top_k} of {experts}"):
            route(np.zeros((1, experts), np.int64), Gate(top_k=top_k, renormalise=False, multiplier=1, shift1=0))
