# SPDX-License-Identifier: Apache-2.0
"""Instructions: decode inverts encode, reserved bits and unknown codes are refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.spec import isa
from golden.spec.isa import FORMATS, LIMITS, Opcode, assemble, decode, disassemble, encode
from golden.spec.model import ConfigError


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_decode_inverts_encode(data):
    opcode = data.draw(st.sampled_from(list(Opcode)))
    fields = {f.name: data.draw(st.integers(f.low, f.high)) for f in FORMATS[opcode].fields if f.name != "opcode"}
    word = encode(opcode, **fields)
    assert decode(word) == (opcode, fields)
    assert disassemble(assemble([word, word])) == [(opcode, fields)] * 2


@given(st.integers(0, (1 << 256) - 1))
@settings(max_examples=300, deadline=None)
def test_any_word_decodes_to_itself_or_is_refused(word):
    try:
        opcode, fields = decode(word)
    except ConfigError:
        return
    assert encode(opcode, **fields) == word


@pytest.mark.parametrize("opcode", list(Opcode))
def test_every_instruction_is_256_bits_with_opcode_and_wait_first(opcode):
    word = FORMATS[opcode]
    assert word.width == 256 and word.name == opcode.name
    assert [f.name for f in word.fields[:2]] == ["opcode", "wait"] and word.fields[0].width == 4
    assert decode(encode(opcode))[1] == {f.name: 0 for f in word.fields[1:]}
    for bit in (word.used, 255):
        with pytest.raises(ConfigError, match="reserved bits"):
            decode(encode(opcode) | 1 << bit)


@pytest.mark.parametrize("code", sorted(set(range(16)) - {int(o) for o in Opcode}))
def test_unknown_opcodes_are_refused(code):
    with pytest.raises(ConfigError, match=f"no opcode {code}"):
        decode(code)


def test_encode_refuses_unknown_and_unfitting_fields():
    with pytest.raises(ConfigError, match="NORM has no field \\['tiles'\\]"):
        encode(Opcode.NORM, tiles=1)
    with pytest.raises(ConfigError, match="LINEAR.tiles must lie in 0..255, not 256"):
        encode(Opcode.LINEAR, tiles=256)
    with pytest.raises(ConfigError, match="multiple of 32 bytes, not 33"):
        disassemble(bytes(33))


def test_limits_name_fields_and_fit_them():
    for opcode, limits in LIMITS.items():
        fields = {f.name: f for f in FORMATS[opcode].fields}
        for name, (low, high) in limits.items():
            assert fields[name].low <= low <= high <= fields[name].high, f"{opcode.name}.{name}"


def test_enumerations_fit_their_fields():
    def width(opcode, name):
        return next(f.width for f in FORMATS[opcode].fields if f.name == name)
    assert max(isa.Dest) < 1 << width(Opcode.LINEAR, "dst") and max(isa.Index) < 1 << width(Opcode.LINEAR, "dst_index")
    assert max(isa.Memory) < 1 << width(Opcode.LOAD, "memory") and max(isa.Region) < 1 << width(Opcode.LOAD, "region")
    assert sum(isa.Unit) < 1 << width(Opcode.END, "wait")
    assert isa.MAGIC.to_bytes(4, "little") == b"EMOE"
