# SPDX-License-Identifier: Apache-2.0
"""Random changes of programs: fields at other values, bits flipped, instructions dropped, doubled or exchanged."""

from hypothesis import strategies as st

from golden.spec import isa
from golden.spec.isa import FORMATS, Opcode
from golden.spec.model import ConfigError
from tests.fuzz.programs import with_waits


@st.composite
def mutations(draw, words: list[int]) -> list[int]:
    """``words`` with some fields at other values, bits flipped, instructions dropped, doubled or exchanged."""
    words = list(words)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(1, len(words) - 1))
        kind = draw(st.sampled_from(["field"] * 8 + ["bit", "drop", "double", "swap"]))
        if kind == "bit":
            words[at] ^= 1 << draw(st.integers(0, 255))
        elif kind == "drop" and len(words) > 4:
            del words[at]
        elif kind == "double":
            words.insert(at, words[at])
        elif kind == "swap":
            other = draw(st.integers(1, len(words) - 1))
            words[at], words[other] = words[other], words[at]
        elif words[at] & 15 in FORMATS:
            word = FORMATS[Opcode(words[at] & 15)]
            field = draw(st.sampled_from(word.fields[2:] or word.fields[:1]))
            value = draw(st.one_of(st.integers(0, min(field.high, 40)), st.integers(0, field.high),
                                   st.sampled_from([0, 1, field.high])))
            words[at] = words[at] & ~(field.high << word.offsets[field.name]) | value << word.offsets[field.name]
    begin = FORMATS[Opcode.BEGIN]
    words[0] = words[0] & ~(0xFFFF << begin.offsets["count"]) | len(words) << begin.offsets["count"]
    return _repaired(words)


def _repaired(words: list[int]) -> list[int]:
    """Waits added wherever the program can be decoded at all."""
    try:
        program = [isa.decode(word) for word in words]
        ends = next(i for i, (opcode, _) in enumerate(program) if opcode is Opcode.END) + 1
    except (ConfigError, StopIteration):
        return words
    try:
        fixed = with_waits([(opcode, dict(fields)) for opcode, fields in program[:ends]])
    except IndexError:  # a body that runs beyond the end: refused anyway
        return words
    return [isa.encode(opcode, **fields) for opcode, fields in fixed] + words[ends:]
