# SPDX-License-Identifier: Apache-2.0
"""Exact products: equal to int64 arithmetic on random and on the most extreme operands, whatever routine BLAS uses."""

import numpy as np
import pytest

from golden.ops.arith import DomainError
from golden.ops.matmul import exact_matmul, matmul, packed, unpacked
from golden.ops.operand import Operand
from golden.spec.tables import WEIGHT_LEVELS


def reference(x, w):
    return np.einsum("...nk,...ok->...no", x.astype(np.int64), w.astype(np.int64))


@pytest.mark.parametrize(("low", "high", "inputs"), [
    (-4, 5, 64), (-1024, 1025, 16), (-1024, 1025, 768), (-32768, 32768, 16), (-32768, 32768, 512), (0, 65281, 259)])
def test_equals_int64_on_random_values(low, high, inputs):
    rng = np.random.default_rng(inputs)
    x, w = rng.integers(low, high, (9, inputs)), rng.integers(-127, 128, (33, inputs)).astype(np.int8)
    assert (exact_matmul(x, w) == reference(x, w)).all()


@pytest.mark.parametrize("value", [1023, 1024, 1025, 16384, 32767, -32768])
@pytest.mark.parametrize("inputs", [16, 127, 128, 129, 130, 512, 1033])
def test_equals_int64_around_the_limits_of_float32(value, inputs):
    """All products of one sign, odd in the last place: the first sum that float32 cannot hold would show."""
    x = np.full((3, inputs), value)
    x[1, 0] += 1
    x[2, ::2] *= -1
    w = np.full((2, inputs), 127, np.int8)
    w[1, -1] = 126
    assert (exact_matmul(x, w) == reference(x, w)).all()


def test_float32_alone_would_not_do():
    """The test above can fail: float32 loses a bit on one of its inputs."""
    x, w = np.full((1, 1033), 32767), np.full((1, 1033), 127, np.int8)
    assert (x.astype(np.float32) @ w.T.astype(np.float32)).astype(np.int64) != reference(x, w)


def test_batches_and_empty_matrices():
    rng = np.random.default_rng(3)
    x, w = rng.integers(-9, 9, (4, 5, 16)), rng.integers(-9, 9, (4, 7, 16))
    assert (exact_matmul(x, w) == reference(x, w)).all()
    assert exact_matmul(np.zeros((0, 16), np.int8), np.zeros((7, 16), np.int8)).shape == (0, 7)


def test_refuses_floats_and_unequal_inputs():
    with pytest.raises(DomainError, match="same inputs"):
        exact_matmul(np.zeros((2, 16), np.int8), np.zeros((2, 32), np.int8))
    with pytest.raises(DomainError, match="integer matrices"):
        exact_matmul(np.zeros((2, 16)), np.zeros((2, 16), np.int8))
    with pytest.raises(DomainError, match="53 bits"):
        exact_matmul(np.full((1, 4), 1 << 40), np.full((1, 4), 1 << 20))


def test_blocks_multiply_their_exponent_in():
    rng = np.random.default_rng(4)
    operand = Operand(rng.integers(-128, 128, (5, 96)).astype(np.int8), rng.integers(0, 4, (5, 3)).astype(np.uint8))
    w = rng.integers(-127, 128, (32, 96)).astype(np.int8)
    by_block = sum(reference(operand.bytes[:, s], w[:, s]) << operand.exp[:, b, None].astype(np.int64)
                   for b, s in enumerate(slice(32 * b, 32 * b + 32) for b in range(3)))
    assert (matmul(operand, w) == by_block).all()


def test_wide_operands_equal_their_two_passes():
    rng = np.random.default_rng(5)
    operand = Operand(np.concatenate([rng.integers(-32768, 32768, (4, 64)), np.full((1, 64), -32768),
                                      np.full((1, 64), 32767)]).astype(np.int16))
    w = rng.integers(-127, 128, (32, 64)).astype(np.int8)
    high, low = operand.planes()
    assert high.dtype == np.int8 and low.dtype == np.uint8
    assert (matmul(operand, w) == (reference(high, w) << 8) + reference(low, w)).all()


def test_pixels_are_unsigned_and_need_no_whole_block():
    codes = np.full((2, 48), 255, np.uint8)
    operand = Operand.pixels(codes)
    assert operand.exp.shape == (2, 2) and (operand.values() == 255).all()
    assert (matmul(operand, np.ones((1, 48), np.int8)) == 255 * 48).all()


def test_an_accumulator_beyond_int32_wraps():
    full = Operand(np.full((1, 512), -32768, np.int16))
    assert matmul(full, np.full((1, 512), 127, np.int8)) == -32768 * 127 * 512
    assert matmul(Operand(np.full((1, 528), -32768, np.int16)), np.full((1, 528), 127, np.int8)) == (
        (1 << 32) - 32768 * 127 * 528)


def test_operands_refuse_wrong_types():
    with pytest.raises(DomainError, match="wide operand must be int16"):
        Operand(np.zeros((2, 32), np.int8))
    with pytest.raises(DomainError, match="exponents of shape"):
        Operand(np.zeros((2, 64), np.int8), np.zeros((2, 1), np.uint8))
    with pytest.raises(DomainError, match="two byte planes"):
        Operand.pixels(np.zeros((1, 32), np.uint8)).planes()


def test_take_gathers_rows_with_their_exponents():
    operand = Operand(np.arange(96, dtype=np.int8).reshape(3, 32), np.array([[0], [1], [2]], np.uint8))
    assert (operand.take([2, 0, 2]).values() == operand.values()[[2, 0, 2]]).all()
    assert operand.take([]).shape == (0, 32)


def e2m1(code: int) -> float:
    """The OCP microscaling format's value of a 4-bit code: sign, exponent of bias 1, mantissa."""
    exponent, mantissa = code >> 1 & 3, code & 1
    return (-1) ** (code >> 3) * (2.0 ** (exponent - 1) * (1 + mantissa / 2) if exponent else mantissa / 2)


def test_codes_of_packed_weights_are_halves_in_e2m1():
    codes = np.arange(16, dtype=np.uint8).reshape(1, -1)
    assert unpacked(codes | codes << 4).view(np.int8).tolist() == [[2 * e2m1(code) for code in range(16)]] * 2


def test_packed_rows_alternate():
    """Every pair of weights: the first row in the low halves, the second in the high ones; zero is code 0."""
    low, high = (n.reshape(1, -1) for n in np.meshgrid(np.array(WEIGHT_LEVELS), np.array(WEIGHT_LEVELS)))
    rows = np.concatenate([low, high, high, low]).astype(np.int8).view(np.uint8)
    found = packed(rows)
    assert found.shape == (2, 256) and (unpacked(found) == rows).all()
    assert (found & 15 != 8).all() and (found >> 4 != 8).all() and (found[0] % 16 == found[1] // 16).all()


@pytest.mark.parametrize("weight", [5, -7, 127, -128])
def test_weights_without_a_code_are_refused(weight):
    with pytest.raises(DomainError, match=f"one of .-12, .*, 12., not {weight}"):
        packed(np.array([[1, 2], [3, weight]], np.int8).view(np.uint8))
