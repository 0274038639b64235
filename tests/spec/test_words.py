# SPDX-License-Identifier: Apache-2.0
"""Packed words refuse what does not fit and give back what was packed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.spec.instructions.words import Field, Word
from golden.spec.model import ConfigError


def test_fields_lie_in_order_from_bit_0():
    word = Word("W", [Field("a", 3), Field("b", 5, signed=True), Field("c", 1)], total=16)
    assert word.offsets == {"a": 0, "b": 3, "c": 8} and (word.used, word.width) == (9, 16)
    assert word.pack(a=5, b=-1, c=1) == 5 | 31 << 3 | 1 << 8


@pytest.mark.parametrize(("values", "words"), [
    ({"a": 8, "b": 0}, "W.a must lie in 0..7, not 8"), ({"a": -1, "b": 0}, "W.a must lie in 0..7, not -1"),
    ({"a": 0, "b": 16}, "W.b must lie in -16..15, not 16"), ({"a": 0, "b": -17}, "not -17"),
    ({"a": 0}, "needs a value for 'b'"), ({"a": 0, "b": 0, "z": 1}, "no field \\['z'\\]")])
def test_pack_refuses(values, words):
    with pytest.raises(ConfigError, match=words):
        Word("W", [Field("a", 3), Field("b", 5, signed=True)]).pack(**values)


def test_unpack_refuses_reserved_bits_and_long_words():
    word = Word("W", [Field("a", 3)], total=8)
    for bad in (8, 128, 1 << 8, 1 << 40):
        with pytest.raises(ConfigError, match="reserved bits"):
            word.unpack(bad)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Field("two words", 3), "identifier"), (lambda: Field("a", 0), "at least one bit"),
    (lambda: Word("W", [Field("a", 1), Field("a", 2)]), "names a field twice"),
    (lambda: Word("W", [Field("a", 9)], total=8), "needs 9 bits; it has 8")])
def test_impossible_words_are_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_unpack_inverts_pack(data):
    shapes = data.draw(st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=8))
    word = Word("W", [Field(f"f{i}", width, signed=signed) for i, (width, signed) in enumerate(shapes)])
    values = {f.name: data.draw(st.integers(f.low, f.high)) for f in word.fields}
    assert word.unpack(word.pack(**values)) == values
