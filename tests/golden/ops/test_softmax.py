# SPDX-License-Identifier: Apache-2.0
"""Single-pass softmax: bit for bit against a scalar rule, and against the exact function with stated bounds."""

import numpy as np
import pytest
import torch

from golden.ops.arith import DomainError
from golden.ops.softmax import exp2_below, softmax
from golden.spec.tables import EXP_ONE, EXP_TABLE


def scalar_row(t: list[int], wide_p: bool, p_shift: int = 0) -> tuple[list[int], list[int]]:
    """One row in Python integers, key after key as they stream past; also the reference after each chunk."""
    m, kept, references = -2048, [], []
    for c in range(0, len(t), 16):
        chunk = t[c:c + 16]
        m = max(m, -(-max(chunk) // 256))
        references.append(m)
        for k, score in enumerate(chunk):
            f = 256 * m - score
            kept.append((k, m, EXP_TABLE[f % 256] >> (f // 256) if f // 256 < 16 else 0))
    carry, p = [128] * 16, []
    for k, reference, value in kept:
        q = value >> (m - reference) if m - reference < 16 else 0
        if wide_p:
            p.append(q >> p_shift)
        else:
            s = q + carry[k]
            p.append(s >> 8)
            carry[k] = s & 255
    return p, references


def rows():
    rng = np.random.default_rng(7)
    yield "one key", np.array([-32768])
    yield "one key, top", np.array([32767])
    yield "equal scores", np.full(50, -300)
    yield "rising: the reference moves each chunk", np.arange(200) * 40 - 3000
    yield "rising by more than 16 powers a chunk", np.arange(64) * 500 - 16000
    yield "falling", -np.arange(200) * 40
    yield "one far above", np.where(np.arange(77) == 70, 32767, -32768)
    yield "just at whole powers", np.array([0, 256, 255, 257, -256, -1] * 11)
    for keys in (2, 15, 16, 17, 31, 129, 197, 1201):
        yield f"{keys} random keys", rng.normal(0, 700, keys).clip(-32768, 32767).astype(int)
    yield "16 bits", rng.integers(-32768, 32768, 333)
    yield "whole range", rng.integers(-524288, 524288, 333)
    yield "lowest", np.full(40, -524288)
    yield "highest", np.full(40, 524287)
    yield "far from 0, close to each other", 400_000 + rng.integers(-3000, 3000, 100)
    yield "as far below", -400_000 + rng.integers(-3000, 3000, 100)
    yield "rising from end to end", np.arange(128) * 8192 - 524288


@pytest.mark.parametrize(("name", "t"), rows())
@pytest.mark.parametrize(("wide_p", "p_shift"), [(False, 0), (True, 0), (True, 3)])
def test_equals_the_scalar_rule_bit_for_bit(name, t, wide_p, p_shift):
    p, references = scalar_row(t.tolist(), wide_p, p_shift)
    found = softmax(t, wide_p=wide_p, p_shift=p_shift, references=True)
    assert found.p.tolist() == p
    assert found.reference.tolist() == references
    assert found.total == sum(p) and found.total >= (1 if p_shift else 127)
    assert found.p.max() <= (EXP_ONE >> p_shift if wide_p else 255)


def test_rows_are_independent():
    t = np.random.default_rng(8).integers(-3000, 3000, (2, 5, 40))
    whole = softmax(t, wide_p=False)
    for i in range(2):
        for j in range(5):
            assert whole.p[i, j].tolist() == scalar_row(t[i, j].tolist(), False)[0]
    assert (whole.total == whole.p.sum(-1)).all()


def test_scores_far_from_0_stay_distinct():
    """Probabilities depend on differences only, as long as these are whole in steps and nothing saturates."""
    t = np.random.default_rng(9).integers(-2000, 2000, 50)
    near = softmax(t, wide_p=True).p
    for far in (-2040, -300, 129, 2040):
        assert (softmax(t + 256 * far, wide_p=True).p == near).all()


def test_every_code_of_the_exponential_is_within_one_step():
    """A table entry is rounded (half a step), then a floor on the way right: -1 < error <= 0.5, every distance."""
    f = np.arange((1 << 20) + 1)  # from the highest reference to the lowest score
    error = exp2_below(f) - EXP_ONE * 2.0 ** (-f / 256)
    assert error.min() > -1 and error.max() <= 0.5
    assert (np.diff(exp2_below(f)) <= 0).all()


def against_the_rows_own_reference(t, found):
    """65280 * 2**(t / 256 - m_last): what the hardware's 16-bit q stands for."""
    return EXP_ONE * 2.0 ** (t / 256 - found.reference[-1])


@pytest.mark.parametrize(("name", "t"), rows())
def test_q_is_within_one_step_of_exact_relative_to_the_reference(name, t):
    """Two floors in a row are one: rescaling loses nothing more than the exponential did."""
    found = softmax(t, wide_p=True, references=True)
    error = found.p - against_the_rows_own_reference(t, found)
    assert error.min() > -1 and error.max() <= 0.5


@pytest.mark.parametrize(("name", "t"), rows())
def test_p_is_within_one_step_and_the_carry_keeps_lane_sums(name, t):
    """s = q + carry with carry in 0..255: p differs from q / 256 by less than 1, a lane's sum by at most a half."""
    narrow, wide = softmax(t, wide_p=False, references=True), softmax(t, wide_p=True)
    assert np.abs(narrow.p - wide.p / 256).max() < 1
    exact = against_the_rows_own_reference(t, narrow) / 256
    assert np.abs(narrow.p - exact).max() < 1 + 1 / 256
    for lane in range(min(16, len(t))):
        assert abs(narrow.p[lane::16].sum(dtype=int) - wide.p[lane::16].sum(dtype=int) / 256) <= 0.5


@pytest.mark.parametrize("wide_p", [False, True])
@pytest.mark.parametrize("keys", [1, 16, 129, 1201])
def test_against_torch(wide_p, keys):
    """p / L against softmax(t ln 2 / 256). One p is off by less than ``one``; their sum by less than ``all_``: 16 lanes
    of half a step and the q's steps at 8 bit, a step a key at 16 bit. So |error| < (one + P * all_) / L."""
    t = np.random.default_rng(keys).normal(0, 500, (20, keys)).astype(int)
    wanted = torch.softmax(torch.from_numpy(t / 256 * np.log(2)), -1).numpy()
    found = softmax(t, wide_p=wide_p)
    one, all_ = (1, keys) if wide_p else (1 + 1 / 256, 8 + keys / 256)
    total = found.total[:, None]
    assert (np.abs(found.p / total - wanted) < (one + wanted * all_) / total).all()


def test_the_domain_is_checked():
    with pytest.raises(DomainError, match="at least one key"):
        softmax(np.zeros((3, 0), int), wide_p=False)
    with pytest.raises(DomainError, match="scores must lie"):
        softmax([1 << 19], wide_p=False)
    with pytest.raises(DomainError, match="p_shift"):
        softmax([0], wide_p=True, p_shift=15)
    with pytest.raises(DomainError, match="p_shift"):
        softmax([0], wide_p=False, p_shift=1)
