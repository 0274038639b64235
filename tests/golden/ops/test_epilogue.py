# SPDX-License-Identifier: Apache-2.0
"""Epilogue against exact fractions, at ties and at every saturation."""

import math
from fractions import Fraction

import numpy as np
import pytest

from golden.ops.activation import activate
from golden.ops.arith import DomainError
from golden.ops.epilogue import Epilogue, affine, epilogue, requantize, to_key_value, to_residual, weighted
from golden.ops.saturation import SaturationCounters
from golden.spec.activations import BY_CODE


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def clip16(v: int) -> int:
    return max(-32768, min(32767, v))


LIMIT = (1 << 31) - 1


def test_requantize_equals_exact_fractions():
    rng = np.random.default_rng(1)
    for shift in (0, 1, 7, 15, 16, 31, 40, 47):
        for multiplier in (0, 1, 2, 3, 32767, 32768, 65535):
            # Drawn from the output side: accumulators that land in and a little beyond the 16-bit range.
            span = min(LIMIT, int(1.2 * 32768 * 2 ** shift / max(multiplier, 1)) + 2)
            acc = np.concatenate([rng.integers(-span, span + 1, 50), [LIMIT, -LIMIT, 0, 1, -1]])
            wanted = [clip16(half_up(Fraction(int(a) * multiplier, 1 << shift))) for a in acc]
            assert requantize(acc, 0, multiplier, shift).tolist() == wanted


def test_requantize_rounds_ties_up():
    assert requantize([1, 3, -1, -3], 0, 2, 2).tolist() == [1, 2, 0, -1]


def test_requantize_adds_the_bias_first():
    assert requantize([[10, 10]], [-10, LIMIT - 10], [65535, 1], 16).tolist() == [[0, 32767]]


def test_a_sum_beyond_int32_wraps():
    assert requantize([LIMIT], 1, 1, 16).tolist() == [-32768]
    with pytest.raises(DomainError, match="multiplier"):
        requantize([1], 0, 65536, 1)


def test_affine_equals_exact_fractions():
    rng = np.random.default_rng(2)
    g = np.concatenate([rng.integers(-1 << 20, 1 << 20, 40), [32767 << 5, -2785, 0]])
    for shift2 in (0, 1, 13, 21, 40):
        for gain in (-32768, -3, 0, 1, 32767):
            for offset in (-(1 << 31), -1, 0, (1 << 31) - 1):
                wanted = [half_up(Fraction(int(x) * gain + offset, 1 << shift2)) for x in g]
                assert affine(g, gain, offset, shift2).tolist() == wanted


def test_weighted_equals_exact_fractions():
    u, weight = np.array([[1, -1, 32767, -32768]] * 4), np.array([0, 1, 32768, 65535])
    for shift2 in (0, 1, 16, 20):
        wanted = [[half_up(Fraction(int(x) * int(w), 1 << shift2)) for x in row]
                  for row, w in zip(u, weight, strict=True)]
        assert weighted(u, weight, shift2).tolist() == wanted


def record(**fields):
    return Epilogue(bias=np.array([5, -5]), multiplier=np.array([300, 40000]), shift1=9, **fields)


def test_stages_come_in_order():
    acc = np.array([[1000, -20], [-3000, 7]])
    u = requantize(acc, [5, -5], [300, 40000], 9)
    assert (epilogue(acc, record()) == u).all()
    more = {"gain": np.array([-7, 9]), "offset": np.array([100, -100]), "shift2": 3, "affine": True}
    for code in range(len(BY_CODE)):
        g = activate(u, code, 1)
        assert (epilogue(acc, record(activation=code, act_shift=1)) == g).all()
        assert (epilogue(acc, record(activation=code, act_shift=1, **more)) == affine(
            g, more["gain"], more["offset"], 3)).all()
    assert (epilogue(acc, record(gate_weight=True, shift2=16), np.array([65535, 1])) == weighted(u, [65535, 1],
                                                                                                 16)).all()


def test_contradictory_flags_are_refused():
    with pytest.raises(DomainError, match="not by both"):
        record(affine=True, gate_weight=True, gain=np.ones(2), offset=np.ones(2))
    with pytest.raises(DomainError, match="without an activation"):
        record(activation=2, gate_weight=True)
    with pytest.raises(DomainError, match="needs gain and offset"):
        record(affine=True)
    with pytest.raises(DomainError, match="exactly where"):
        epilogue([[0, 0]], record(gate_weight=True))
    with pytest.raises(DomainError, match="exactly where"):
        epilogue([[0, 0]], record(), np.array([1]))


def test_destinations_clip():
    x = np.array([32760, -32760, 0], np.int16)
    assert to_residual([10, -10, 10], x).tolist() == [32767, -32768, 10]
    assert to_residual([40000, -40000, 3]).tolist() == [32767, -32768, 3]
    assert to_key_value([127, 128, -127, -128]).tolist() == [127, 127, -127, -127]


def test_saturation_counters_count_what_was_clipped():
    saturation = SaturationCounters()
    with saturation.at("here"):
        to_residual([40000, 0, -40000])
        to_key_value([128])
    to_residual([40000])  # outside: not counted
    assert saturation.table() == [("here", "residual", 2, 3), ("here", "key", 1, 1)] and saturation.clipped == 3
