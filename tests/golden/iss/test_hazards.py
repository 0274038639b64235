# SPDX-License-Identifier: Apache-2.0
"""Hazard checks: every wait that a compiled program has is missed when it is taken away, by its text and by its run."""

import pytest

from golden.device import GoldenDevice
from golden.iss.hazards import HazardRecorder, MissingWait
from golden.iss.machine import Machine
from golden.iss.run import placed
from golden.model.random_int_model import random_int_model
from golden.spec import isa, machine, model
from golden.spec.isa import Dest, Opcode, Unit
from golden.spec.legality import Resource
from golden.spec.program.hazards import hazards
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.driver.layout import prepare_input
from tests.host.support.compiled import picture


@pytest.fixture(scope="module", params=["fast", "accurate"])
def image(request):
    return compile_model(random_int_model(model.NANO, getattr(Plan, request.param)(2)), machine.NANO)


def run(image, words: list[int], hazards_: bool = True) -> None:
    dram, registers, _ = placed(image, prepare_input(picture(model.NANO), image.input), "task0")
    registers["PROGRAM_ADDR"] = dram.put(isa.assemble(words))
    registers["READ_HI"] = registers["PROGRAM_ADDR"] + len(words) * isa.INSTRUCTION_BYTES
    Machine(machine.NANO, dram, hazards=hazards_).run(registers)


def test_a_compiled_program_lacks_nothing(image):
    for task in image.programs:
        assert hazards([isa.decode(word) for word in image.words(task)]) == []
    run(image, image.words("task0"))


def test_every_wait_is_missed_when_it_is_gone(image):
    words, taken, seen = image.words("task0"), 0, 0
    for at, word in enumerate(words):
        opcode, fields = isa.decode(word)
        for unit in Unit:
            if not fields["wait"] & unit or opcode in (Opcode.EXPERTS, Opcode.END):  # these wait of themselves
                continue
            taken += 1
            without = list(words)
            without[at] = isa.encode(opcode, **fields | {"wait": fields["wait"] & ~unit})
            found = hazards([isa.decode(w) for w in without])
            assert found and found[0] == (at, unit), (at, unit)
            try:
                run(image, without)
            except MissingWait as error:
                seen += 1
                assert error.found[0].index == at and error.found[0].unit is unit
    assert taken >= 15 and seen == taken


def test_the_device_reports_missing_waits_unless_switched_off(image):
    words = image.words("task0")
    at = next(at for at, word in enumerate(words) if isa.decode(word)[1]["wait"] and word & 15 == Opcode.LINEAR)
    opcode, fields = isa.decode(words[at])
    words[at] = isa.encode(opcode, **fields | {"wait": 0})
    with pytest.raises(MissingWait, match=f"instruction {at} .* must wait for DMA: read-after-write of operand"):
        run(image, words)
    run(image, words, hazards_=False)
    assert GoldenDevice(machine.NANO, hazards=False)._machine.recorder is None


def linear(dst_row: int, src_row: int, dst: Dest = Dest.OPERAND8, **other) -> tuple[Opcode, dict]:
    fields = {field.name: 0 for field in isa.FORMATS[Opcode.LINEAR].fields[1:]}
    return Opcode.LINEAR, fields | {"tokens": 4, "tiles": 2, "slices": 4, "src_stride": 1, "dst_stride": 2, "dst": dst,
                                    "src_row": src_row, "dst_row": dst_row} | other


def gate(**other) -> tuple[Opcode, dict]:
    return Opcode.GATE, {field.name: 0 for field in isa.FORMATS[Opcode.GATE].fields[1:]} | {
        "tokens": 4, "experts": 2, "top_k": 1} | other


def move(opcode: Opcode, **other) -> tuple[Opcode, dict]:
    return opcode, {field.name: 0 for field in isa.FORMATS[opcode].fields[1:]} | {"rows": 4} | other


@pytest.mark.parametrize("program, wanted", [
    ([linear(0, 100), linear(20, 0)], [(1, Unit.ARRAY)]),  # reads what the array has not written yet
    ([linear(0, 100), linear(0, 100)], []),  # writes in order
    ([linear(20, 0), linear(0, 100)], []),  # reads before the next one writes
    ([linear(0, 100, Dest.RESIDUAL), linear(0, 100, Dest.RESIDUAL, accumulate=1)], []),  # reads where it writes
    ([move(Opcode.LOAD, row=0), linear(20, 0)], [(1, Unit.DMA)]),
    ([linear(20, 0), move(Opcode.LOAD, row=3)], [(1, Unit.ARRAY)]),  # overwrites what may still be read
    ([linear(20, 0), move(Opcode.LOAD, row=8)], []),
    ([move(Opcode.LOAD, memory=1), move(Opcode.STORE, memory=1)], [(1, Unit.DMA)]),
    ([move(Opcode.LOAD, memory=1), move(Opcode.COPY, dst_row=9, wait=1), move(Opcode.STORE, memory=1, row=9)],
     [(2, Unit.DMA)]),
    ([linear(0, 100, src_index=1, dst_index=2), gate()], [(1, Unit.ARRAY)]),  # empties queues that are still traversed
])
def test_the_rules(program, wanted):
    assert hazards(program) == wanted


def test_the_body_of_experts_is_followed_twice():
    fill = linear(0, 100, Dest.GATE, tiles=1)
    body = linear(40, 80, src_index=1, dst_index=2), linear(80, 40, src_index=2, dst_index=1)
    loop = Opcode.EXPERTS, {"wait": 8, "stream": 0, "experts": 2, "body": 2, "pitch": 10}
    assert hazards([gate(), fill, loop, *body]) == [(3, Unit.ARRAY), (4, Unit.ARRAY)]
    assert hazards([loop, *body]) == [], "without a GATE nothing runs"


def test_the_recorder_knows_blocks_apart():
    recorder = HazardRecorder(machine.NANO)
    recorder.start()
    recorder.begin(1, Opcode.NORM, -1, 0)
    recorder.use(Resource.OPERAND, [4], True)
    recorder.begin(2, Opcode.LINEAR, -1, 0)
    recorder.use(Resource.OPERAND, [5], False)
    recorder.finish()
    recorder.use(Resource.OPERAND, [4], False)
    with pytest.raises(MissingWait, match="instruction 2 .LINEAR, expert -1. must wait for NORM: read-after-write"):
        recorder.finish()
