# SPDX-License-Identifier: Apache-2.0
"""Rounding, saturation, blocks, reciprocals and roots against exact fractions and Python's big integers."""

import doctest
import importlib
import math
import pkgutil
from fractions import Fraction

import numpy as np
import pytest

import golden.ops
from golden.ops import arith
from golden.ops.arith import DomainError, bit_length, block_quantize, clip_weight, isqrt, reciprocal, rsh, rsqrt, sat


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(golden.ops.__path__)])
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(f"golden.ops.{name}")).failed == 0


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def corners(limit: int) -> list[int]:
    near = {s * ((1 << k) + d) for k in range(limit) for d in (-2, -1, 0, 1, 2) for s in (1, -1)}
    return sorted({0, *near})


def test_rsh_equals_exact_fractions_everywhere_that_matters():
    values = [v for v in corners(61)] + np.random.default_rng(1).integers(-1 << 61, 1 << 61, 200).tolist()
    for s in range(64):
        wanted = [half_up(Fraction(v, 1 << s)) for v in values]
        assert rsh(values, s).tolist() == wanted, f"shift {s}"


def test_rsh_rounds_every_tie_up():
    for s in range(1, 20):
        odd = np.arange(-99, 100, 2)
        assert rsh(odd << (s - 1), s).tolist() == ((odd + 1) >> 1).tolist()


def test_rsh_takes_a_shift_for_each_element():
    values, shifts = np.array([7, -7, 6, -6, 1 << 61, -5]), np.array([1, 1, 2, 2, 63, 0])
    assert rsh(values, shifts).tolist() == [rsh(int(v), int(s)).item() for v, s in zip(values, shifts, strict=True)]


@pytest.mark.parametrize("bad", [-1, 64, np.array([0, 64])])
def test_rsh_refuses_absurd_shifts(bad):
    with pytest.raises(DomainError, match="0..63"):
        rsh([1, 2], bad)


def test_no_float_enters():
    with pytest.raises(DomainError, match="must be integers, not float64"):
        rsh([1.0], 1)


def test_sat_clips_to_twos_complement():
    for bits in (8, 16):
        top = (1 << (bits - 1)) - 1
        assert sat([top, top + 1, -top - 1, -top - 2, 0], bits).tolist() == [top, top, -top - 1, -top - 1, 0]
    assert clip_weight([127, 128, -127, -128, 5]).tolist() == [127, 127, -127, -127, 5]


def scalar_block_quantize(block: list[int]) -> tuple[list[int], int]:
    for e in range(4):
        rounded = [half_up(Fraction(v, 1 << e)) for v in block]
        if all(-128 <= r <= 127 for r in rounded) or e == 3:
            return [max(-128, min(127, r)) for r in rounded], e


@pytest.mark.parametrize(("value", "byte", "exponent"), [
    (127, 127, 0), (128, 64, 1), (-128, -128, 0), (-129, -64, 1),
    (254, 127, 1), (255, 64, 2),  # 127.5 rounds to 128, too large
    (-256, -128, 1), (-257, -128, 1), (-258, -64, 2),  # -128.5 rounds up to -128, -129 does not fit
    (509, 127, 2), (510, 64, 3), (-514, -128, 2), (-515, -64, 3),
    (1019, 127, 3), (1020, 127, 3), (5000, 127, 3), (-1028, -128, 3), (-1029, -128, 3), (-99999, -128, 3),
])
def test_block_quantize_at_its_edges(value, byte, exponent):
    block = [0] * 31 + [value]
    found, e = block_quantize([block])
    assert (found[0, 31], e[0, 0]) == (byte, exponent)
    assert scalar_block_quantize(block) == (found[0].tolist(), exponent)


def test_block_quantize_equals_the_scalar_rule_block_by_block():
    rng = np.random.default_rng(2)
    v = rng.integers(-100, 100, (200, 3, 32)) * rng.choice([1, 2, 5, 11, 60], (200, 3, 1))
    found, e = block_quantize(v.reshape(200, 96))
    for row in range(200):
        for block in range(3):
            wanted = scalar_block_quantize(v[row, block].tolist())
            assert (found[row, block * 32:block * 32 + 32].tolist(), e[row, block]) == wanted
    assert set(np.unique(e)) == {0, 1, 2, 3}


def test_block_quantize_refuses_ragged_blocks():
    with pytest.raises(DomainError, match="32 channels"):
        block_quantize(np.zeros((2, 40), np.int64))


def test_bit_length_equals_python():
    values = [v for v in corners(62) if 0 <= v < 1 << 62]
    assert bit_length(values).tolist() == [v.bit_length() for v in values]


def test_reciprocal_of_every_normalised_number():
    n = np.arange(1 << 15, 1 << 16)
    r, sh = reciprocal(n)
    assert not sh.any()
    assert r.tolist() == [((1 << 31) - 1) // x for x in range(1 << 15, 1 << 16)]
    assert r.min() == 32768 and r.max() == 65535 and (np.diff(r) <= 0).all()


def test_reciprocal_normalises_sums_of_every_length():
    totals = [v for v in corners(40) if v >= 1]
    for total, r, sh in zip(totals, *(x.tolist() for x in reciprocal(totals)), strict=True):
        assert sh == total.bit_length() - 16
        assert r == ((1 << 31) - 1) // (total >> sh if sh >= 0 else total << -sh)
        # The bound that users of R rely on: both floors cost less than 2**-15 each, in opposite directions.
        assert abs(Fraction(r * total, 1 << 31) / Fraction(2) ** sh - 1) < Fraction(1, 1 << 15)


@pytest.mark.parametrize("bad", [0, -5])
def test_reciprocal_refuses_an_empty_sum(bad):
    with pytest.raises(DomainError, match="sums to be inverted"):
        reciprocal([bad])


def test_isqrt_is_exact_at_both_ends_of_every_step():
    """isqrt is monotonic, so both ends of each root's interval prove all values between, here all of [2**32, 2**34)."""
    n = np.arange(1 << 16, 1 << 17)
    assert (isqrt(n * n) == n).all() and (isqrt(n * n + 2 * n) == n).all() and (isqrt(n * n - 1) == n - 1).all()
    small = np.arange(1 << 16)
    assert isqrt(small).tolist() == [math.isqrt(x) for x in range(1 << 16)]
    large = [v for v in corners(52) if 0 <= v < 1 << 52]
    assert isqrt(large).tolist() == [math.isqrt(v) for v in large]


def test_rsqrt_bounds_for_every_root():
    """r follows from the root alone and the exact value is monotonic in V', so each root's two ends bound the error:
    -1 - 2**-16 < r - 2**33 / sqrt(V') < 2."""
    n = np.arange(1 << 16, 1 << 17)
    for radicand in (n * n, n * n + 2 * n):
        r, j = rsqrt(radicand)
        assert not j.any() and (r == ((1 << 33) - 1) // n).all()
        error = r - 2.0 ** 33 / np.sqrt(radicand.astype(np.float64))
        assert error.min() > -1 - 2.0 ** -16 - 1e-9 and error.max() < 2


def test_rsqrt_normalises_by_powers_of_four():
    values = [v for v in corners(51) if v >= 1]
    r, j = rsqrt(values)
    assert set(range(-9, 17)) <= set(j.tolist())
    for v, found, power in zip(values, r.tolist(), j.tolist(), strict=True):
        scaled = v << 2 * power if power >= 0 else v >> -2 * power
        assert 1 << 32 <= scaled < 1 << 34
        assert found == ((1 << 33) - 1) // math.isqrt(scaled) and found < 1 << 17


def test_domains_are_checked():
    for function in (isqrt, rsqrt, bit_length):
        with pytest.raises(DomainError):
            function([-1])
    assert arith.ACC_LIMIT == 1 << 31
