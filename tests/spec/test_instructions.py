# SPDX-License-Identifier: Apache-2.0
"""Instruction records: complete, consistent with their words, with the right stream lines and address ranges."""

import enum
import random

import pytest

from golden.spec.instructions import INSTRUCTIONS
from golden.spec.instructions.codes import MEMORIES
from golden.spec.instructions.record import ProgramState
from golden.spec.isa import Dest, Destination, Index, Opcode, Unit, bounds, out_of_bounds, stream_lines
from golden.spec.legality import SLOTS, Resource
from golden.spec.machine import NANO, NORM_PARAM_BYTES, NORM_PARAM_LINES, PARAM_BYTES, PARAM_LINES
from golden.spec.tables import ACC_LIMIT, EXP_ONE, WEIGHT_MAX, least_p_shift, probabilities_fit
from golden.spec.tiling import attention_lines, linear_lines, norm_lines

RECORDS = pytest.mark.parametrize("record", INSTRUCTIONS.values(), ids=lambda record: record.opcode.name)


def zeros(opcode: Opcode, **fields: int) -> dict[str, int]:
    return {field.name: 0 for field in INSTRUCTIONS[opcode].word.fields[1:]} | fields


def legal(opcode: Opcode, rng: random.Random) -> dict[str, int]:
    return zeros(opcode) | {field.name: rng.randint(*bounds(opcode, field.name))
                            for field in INSTRUCTIONS[opcode].fields}


def test_every_opcode_has_its_record():
    assert list(INSTRUCTIONS) == list(Opcode)
    assert all(record.opcode is opcode for opcode, record in INSTRUCTIONS.items())


@RECORDS
def test_instruction_and_fields_have_a_meaning(record):
    assert record.about.endswith(".") and all(field.about for field in record.fields)


@RECORDS
def test_limits_and_codes_belong_to_fields(record):
    fields = {field.name: field for field in record.fields}
    for name, (low, high) in record.limits.items():
        assert fields[name].low <= low <= high <= fields[name].high
    for field in record.fields:
        if field.codes:
            low, high = bounds(record.opcode, field.name)
            flags = issubclass(field.codes, enum.Flag)
            assert sum(field.codes) == high if flags else sorted(field.codes) == list(range(low, high + 1)), field.name


@RECORDS
def test_the_first_field_out_of_bounds_is_named(record):
    fields = legal(record.opcode, random.Random(1))
    assert out_of_bounds(record.opcode, fields) is None
    for name, (_, high) in record.limits.items():
        assert out_of_bounds(record.opcode, fields | {name: high + 1}).startswith(f"{name} is {high + 1}, not ")


@RECORDS
def test_ranges_of_one_slot_exclude_each_other(record):
    rng = random.Random(2)
    for _ in range(300):
        f, state = legal(record.opcode, rng), ProgramState(named=9, slots=9, entries=9, held=2, body=rng.random() < 0.5)
        slots = [used.slot for used in record.ranges(f | record.derived(f), state) if used.when]
        assert len(set(slots)) == len(slots) and all(slot < SLOTS for slot in slots)


def test_units_are_those_of_the_machine():
    assert {record.unit for record in INSTRUCTIONS.values() if record.unit} == set(Unit)
    without = {opcode for opcode, record in INSTRUCTIONS.items() if not record.unit}
    assert without == {Opcode.BEGIN, Opcode.EXPERTS, Opcode.END}
    assert INSTRUCTIONS[Opcode.END].waits == sum(Unit) and INSTRUCTIONS[Opcode.EXPERTS].waits == Unit.GATE


@pytest.mark.parametrize("opcode, fields, segments, lines, pitch", [
    (Opcode.LINEAR, {"tiles": 3, "slices": 12}, [(Destination.PARAM, 6), (Destination.RING, 96)] * 3,
     linear_lines(3, 12), 102),
    (Opcode.LINEAR, {"tiles": 3, "slices": 12, "reuse_weights": 1}, [(Destination.PARAM, 6)] * 3, 18, 102),
    (Opcode.LINEAR, {"tiles": 3, "slices": 12, "packed": 1}, [(Destination.PARAM, 6), (Destination.RING, 48)] * 3,
     linear_lines(3, 12, 1), 54),
    (Opcode.LINEAR, {"tiles": 3, "slices": 12, "packed": 1, "reuse_weights": 1}, [(Destination.PARAM, 6)] * 3, 18, 54),
    (Opcode.NORM, {"blocks": 6}, [(Destination.NORM, 18)], norm_lines(6, NANO), 18),
    (Opcode.ATTENTION, {"heads": 3, "head_slices": 4}, [(Destination.MULTIPLIERS, 1), (Destination.PARAM, 36)],
     attention_lines(3, 4, NANO), 37),
    (Opcode.LOAD, {"rows": 9}, [], 0, 0), (Opcode.EXPERTS, {"pitch": 9}, [], 0, 0),
], ids=lambda value: value.name if isinstance(value, Opcode) else "")
def test_stream_lines(opcode, fields, segments, lines, pitch):
    used = stream_lines(opcode, fields, NANO)
    read = [(part.destination, part.lines) for part in used.segments if not part.skipped] * used.times
    assert (read, used.lines, used.pitch) == (segments, lines, pitch)


def test_parameters_fill_whole_lines():
    assert (PARAM_BYTES, PARAM_LINES, NORM_PARAM_BYTES, NORM_PARAM_LINES) == (12, 6, 6, 3)


def uses(opcode: Opcode, write: bool, state: ProgramState, **fields: int) -> set[tuple[Resource, int, int]]:
    record, f = INSTRUCTIONS[opcode], zeros(opcode, **fields)
    return {(use.resource, use.first, use.end) for use in (record.writes if write else record.reads)(f, state)}


def test_reads_and_writes():
    state = ProgramState(named=5, slots=3, entries=6, body=True)
    linear = {"tokens": 4, "tiles": 3, "slices": 9, "src_row": 100, "src_stride": 3, "dst_row": 10, "dst_stride": 3}
    assert uses(Opcode.LINEAR, False, state, **linear) == {(Resource.OPERAND, 100, 112)}
    assert uses(Opcode.LINEAR, True, state, **linear) == {(Resource.RESIDUAL, 10, 22)}
    adding = linear | {"accumulate": 1, "src_index": Index.QUEUE_SLOT, "dst_index": Index.QUEUE_TOKEN}
    assert uses(Opcode.LINEAR, False, state, **adding) == {
        (Resource.OPERAND, 100, 109), (Resource.RESIDUAL, 10, 25), (Resource.QUEUES, 0, 1)}
    late = INSTRUCTIONS[Opcode.LINEAR].reads(zeros(Opcode.LINEAR, **adding), state)
    assert [use.resource for use in late if use.late] == [Resource.RESIDUAL]
    keys = linear | {"dst": Dest.KEY, "tokens": 40, "dst_stride": 6}
    assert uses(Opcode.LINEAR, True, state, **keys) == {(Resource.KEY, 10, 22)}
    assert uses(Opcode.GATE, True, state, tokens=4, top_k=2) == {(Resource.QUEUES, 0, 1)}
    assert uses(Opcode.EXPERTS, False, state, body=2) == {(Resource.QUEUES, 0, 1)}
    assert uses(Opcode.COPY, False, state, rows=4, dst_row=8) == {(Resource.RESIDUAL, 0, 4)}
    attention = {"heads": 2, "head_slices": 2, "queries": 3, "keys": 33, "q_stride": 1, "key_pitch": 4, "dst_row": 9,
                 "dst_stride": 2, "dst_plane": 1, "wide": 1}
    assert uses(Opcode.ATTENTION, False, state, **attention) == {
        (Resource.OPERAND, 0, 3), (Resource.KEY, 0, 8), (Resource.VALUE, 0, 6)}
    assert uses(Opcode.ATTENTION, True, state, **attention) == {(Resource.OPERAND, 9, 15)}


def test_uses_name_memories_and_queues_only():
    rng = random.Random(3)
    for opcode, record in INSTRUCTIONS.items():
        for _ in range(50):
            found = record.uses(legal(opcode, rng), ProgramState())
            assert all(use.resource in (*MEMORIES, Resource.QUEUES) for use in found)


@pytest.mark.parametrize("tokens", [1, 258, 259, 260, 519, 2048])
def test_the_least_p_shift_fits_and_no_smaller_one(tokens):
    shift = least_p_shift(tokens, True)
    assert tokens * (EXP_ONE >> shift) * WEIGHT_MAX < ACC_LIMIT and probabilities_fit(tokens, True, shift)
    assert shift == 0 or not probabilities_fit(tokens, True, shift - 1)
    assert least_p_shift(tokens, False) == 0
