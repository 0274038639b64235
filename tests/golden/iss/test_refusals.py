# SPDX-License-Identifier: Apache-2.0
"""The simulator refuses what the machine refuses: by status and index, whatever the words are."""

from dataclasses import replace

import pytest

from golden.iss import IssFault, Machine, placed
from golden.model.random_int_model import random_int_model
from golden.spec import isa, machine, model
from golden.spec.isa import Opcode
from golden.spec.status import Status
from host.compiler.compile import compile_model
from host.driver.layout import prepare_input
from tests.golden.iss.test_iss import picture

NANO_WORDS = None


def job(change=None, **registers):
    """Run nano's program after ``change(words)``; the fault."""
    global NANO_WORDS
    if NANO_WORDS is None:
        network = random_int_model(model.NANO)
        image = compile_model(network, machine.NANO)
        NANO_WORDS = image, prepare_input(picture(model.NANO), image.input)
    image, pixels = NANO_WORDS
    dram, base, _ = placed(image, pixels, "task0")
    words = image.words("task0")
    if change:
        words = change(words) or words
        base["PROGRAM_ADDR"] = dram.put(isa.assemble(words))
        base["READ_HI"] = base["PROGRAM_ADDR"] + len(words) * isa.INSTRUCTION_BYTES
    unit = Machine(machine.NANO, dram)
    with pytest.raises(IssFault) as caught:
        unit.run(base | registers)
    return caught.value


def edited(position, **values):
    """A change of some fields of the instruction at ``position`` (an opcode: the first of that kind)."""
    def change(words):
        at = position
        if isinstance(position, Opcode):
            at = next(i for i, word in enumerate(words) if word & 15 == position)
        opcode, fields = isa.decode(words[at])
        words[at] = isa.encode(opcode, **(fields | values))
        edited.at = at
    return change


@pytest.mark.parametrize("change, status", [
    (edited(0, magic=1), Status.BAD_VERSION),
    (edited(0, abi=9), Status.BAD_VERSION),
    (edited(0, fingerprint=1), Status.BAD_CONFIG),
    (edited(0, count=1), Status.BAD_FIELD),
    (edited(0, count=129), Status.BAD_FIELD),
    (edited(Opcode.LOAD, rows=0), Status.BAD_FIELD),
    (edited(Opcode.NORM, tokens=0), Status.BAD_FIELD),
    (edited(Opcode.NORM, blocks=33), Status.BAD_FIELD),
    (edited(Opcode.LINEAR, tiles=0), Status.BAD_FIELD),
    (edited(Opcode.LINEAR, dst=7), Status.BAD_FIELD),
    (edited(Opcode.LINEAR, window=15), Status.BAD_FIELD),
    (edited(Opcode.LINEAR, width=1), Status.BAD_FIELD),
    (edited(Opcode.LOAD, region=3), Status.BAD_FIELD),
    (edited(Opcode.LINEAR, src_index=3), Status.BAD_FIELD),
    (edited(Opcode.LINEAR, shift1=48), Status.BAD_FIELD),
    (edited(Opcode.ATTENTION, heads=0), Status.BAD_FIELD),
    (edited(Opcode.ATTENTION, head_slices=1), Status.BAD_FIELD),
    (edited(Opcode.GATE, top_k=9), Status.BAD_FIELD),
    (edited(Opcode.EXPERTS, body=0), Status.BAD_FIELD),
    (edited(Opcode.LOAD, row=250), Status.RANGE_LOCAL),
    (edited(Opcode.NORM, dst_row=500), Status.RANGE_LOCAL),
    (edited(Opcode.NORM, src_row=250), Status.RANGE_LOCAL),
    (edited(Opcode.LINEAR, src_row=500), Status.RANGE_LOCAL),
    (edited(Opcode.LINEAR, dst_row=250), Status.RANGE_LOCAL),
    (edited(Opcode.ATTENTION, key_tile=12), Status.RANGE_LOCAL),
    (edited(Opcode.ATTENTION, value_tile=12), Status.RANGE_LOCAL),
    (edited(Opcode.ATTENTION, keys=65), Status.RANGE_LOCAL),
    (edited(Opcode.STORE, row=200), Status.RANGE_LOCAL),
    (edited(Opcode.LINEAR, stream=1 << 20), Status.RANGE_READ),
    (edited(Opcode.LOAD, offset=1 << 20), Status.RANGE_READ),
    (edited(Opcode.STORE, offset=1), Status.RANGE_WRITE),
    (edited(Opcode.STORE, offset=(1 << 32) - 1), Status.RANGE_WRITE),
], ids=lambda v: v.name if isinstance(v, Status) else "")
def test_bad_fields_are_refused_by_status_and_index(change, status):
    fault = job(change)
    assert (fault.status, fault.index) == (status, edited.at), fault
    assert status.name in str(fault) and len(str(fault)) > 30


def test_strange_words_are_refused():
    def put(position, word):
        def change(words):
            words[position] = word
        return change

    assert job(put(3, 0)).status is Status.BAD_OPCODE
    fault = job(put(3, max(Opcode) + 1))
    assert (fault.status, fault.index) == (Status.BAD_OPCODE, 3)
    assert job(put(3, isa.encode(Opcode.NORM, tokens=1, blocks=1) | 1 << 255)).status is Status.BAD_FIELD
    assert job(put(0, isa.encode(Opcode.END))).status is Status.BAD_OPCODE
    assert job(put(4, isa.encode(Opcode.BEGIN))).status is Status.BAD_OPCODE


def test_a_program_needs_an_end():
    def cut(words):
        words = words[:-1]
        words[0] = isa.encode(Opcode.BEGIN, **(isa.decode(words[0])[1] | {"count": len(words)}))
        return words

    assert job(cut).status is Status.NO_END


def test_a_body_may_not_hold_end_or_experts():
    def nested(words):
        at = next(i for i, word in enumerate(words) if word & 15 == Opcode.EXPERTS)
        words[at + 1] = words[at]

    assert job(nested).status is Status.BAD_OPCODE


def test_registers_are_checked():
    assert job(READ_LO=1, READ_HI=1).status is Status.RANGE_UNSET
    assert job(INPUT_ADDR=0x1000_0001).status is Status.MISALIGNED
    assert job(WEIGHT_ADDR0=0).status is Status.RANGE_READ
    assert job(OUTPUT_ADDR=0).status is Status.RANGE_WRITE
    fault = job(WRITE_LO=0, OUTPUT_ADDR=0)
    assert fault.status is Status.B_DECERR and "no memory" in str(fault)


def test_queues_that_overflow_are_refused():
    config = replace(model.NANO, image_height=64)  # 65 tokens x 2
    network = random_int_model(config)
    image = compile_model(network, machine.ZCU102, joint=False)
    dram, registers, _ = placed(image, prepare_input(picture(config), image.input), "task0")
    unit = Machine(machine.ZCU102, dram)
    unit.config = replace(machine.ZCU102, queue_depth=128)
    words = image.words("task0")
    fields = isa.decode(words[0])[1] | {"fingerprint": unit.config.fingerprint}
    dram.write(registers["PROGRAM_ADDR"], isa.assemble([isa.encode(Opcode.BEGIN, **fields)]))
    with pytest.raises(IssFault) as caught:
        unit.run(registers)
    assert caught.value.status is Status.RANGE_LOCAL and "queues" in str(caught.value)
