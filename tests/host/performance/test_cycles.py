# SPDX-License-Identifier: Apache-2.0
"""Cycles of instructions and programs: a LINEAR takes the longest of steps, results and rows."""

from dataclasses import replace

import pytest

from golden.iss.execute import SEMANTICS
from golden.spec import isa, model
from golden.spec.instructions import INSTRUCTIONS
from golden.spec.isa import Dest, Opcode, encode
from golden.spec.machine import NANO, U280, ZCU102
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.compiler.skeleton import empty
from host.ir.nodes import Node
from host.performance.cycles import (
    CYCLES,
    array_cycles,
    drain,
    group_rows,
    groups_ahead,
    linear_cycles,
    linear_pass,
)
from host.performance.estimate import estimate
from host.performance.latencies import latencies
from host.performance.timeline import Timeline, predict


def linear(**fields: int) -> dict[str, int]:
    return {"tokens": 16, "tiles": 6, "slices": 12, "src_wide": 0, "dst": Dest.RESIDUAL} | fields


def test_every_instruction_of_a_unit_has_cycles_and_semantics():
    assert set(CYCLES) == {opcode for opcode, record in INSTRUCTIONS.items() if record.unit}
    assert set(SEMANTICS) == set(CYCLES) | {Opcode.BEGIN}


@pytest.mark.parametrize("machine, fields, cycles", [
    (NANO, linear(), 48),  # steps: 12 slices of 4
    (NANO, linear(src_wide=1), 96),
    (ZCU102, linear(slices=4), 8),  # results: 4 lanes of 32 channels, 16 a cycle
    (ZCU102, linear(slices=13), 16),  # rows: 4 tokens of 4
    (U280, linear(slices=48), 192),  # rows: 16 tokens of 12
    (U280, linear(slices=48, src_wide=1), 384),
    (U280, linear(slices=48, dst=Dest.GATE, tiles=4), 48),  # rows are loaded once for all tiles
    (U280, linear(slices=48, block=3, tiles=8), 48),  # and for those of a block
    (replace(U280, name="serialized", serialization=8), linear(block=5), 64),  # results: 4 lanes of 32, 2 a cycle
], ids=lambda value: getattr(value, "name", ""))
def test_a_tile_takes_as_long_as_its_slowest_part(machine, fields, cycles):
    assert linear_pass(machine, fields) == fields["tiles"] * cycles
    assert linear_cycles(machine, fields, machine.tm + 1) == 2 * fields["tiles"] * cycles
    assert linear_cycles(machine, fields, 0) == fields["tiles"] * cycles, "without tokens it still passes once"


@pytest.mark.parametrize("machine", [NANO, ZCU102, U280], ids=lambda machine: machine.name)
def test_estimate_and_timeline_agree_about_a_linear(machine):
    """The timeline adds waiting for the first weights and latencies to what the estimate says; where loading sets the
    pace, operands come while the weights do, and the first ones before the array starts."""
    fields = linear(tokens=800, src_stride=3, dst_stride=6)
    spans = Timeline(machine).run([encode(Opcode.LINEAR, **fields)])
    cost, lat = estimate(Node(Opcode.LINEAR, "linear", fields, tokens=fields["tokens"]), machine), latencies(machine)
    taken = spans[0].end - spans[0].start - lat.array - drain(machine) - lat.epilogue
    if group_rows(machine, fields) > array_cycles(machine, fields, 1):
        assert taken == pytest.approx(cost.cycles - machine.tm)
    else:
        assert taken == pytest.approx(cost.cycles + spans[0].waited) and spans[0].waited > 0
    assert cost.bytes == 64 * 6 * (6 + 12 * 8)


def test_balanced_queues_of_a_layer_in_several_rounds_of_tokens():
    image = compile_model(empty(model.NANO, Plan.fast(2)), NANO)
    program = isa.disassemble(image.program("task0+task1"))
    assert sum(opcode is Opcode.EXPERTS for opcode, _ in program) > 1
    spans = predict(image, "task0+task1")
    assert spans[-1].end > max(span.end for span in predict(image, "task0"))


def pair_of_linears(machine, **second):
    """Cycles of the second of two LINEARs on the same tokens."""
    first = linear(tokens=800, src_stride=3, dst_stride=6, tiles=5, block=4)
    spans = Timeline(machine).run([encode(Opcode.LINEAR, **first), encode(Opcode.LINEAR, **first | second)])
    return spans[1].end - spans[0].end


def test_operands_are_loaded_ahead_of_the_array_across_instructions():
    """On u280 a group of 16 tokens has 48 rows, five tiles take 60 cycles and one tile 12. So the loader is eight
    groups ahead when the second LINEAR begins, and these take 12 cycles each instead of 48."""
    groups = 800 // U280.tm
    assert groups_ahead(U280, linear()) == 8 and groups_ahead(U280, linear(slices=400)) == 1
    alone = groups * 48
    assert pair_of_linears(U280, tiles=1, block=0) == pytest.approx(alone - 8 * 60, abs=20)
    assert pair_of_linears(U280, tiles=5, block=4) == groups * 60


def test_a_norm_waits_less_where_a_memory_has_banks():
    """A NORM of tokens that the first LINEAR wrote, while the second adds to others, and the same NORM alone."""
    words = [encode(Opcode.LINEAR, **linear(tokens=64, src_stride=3, dst_stride=6, accumulate=1)),
             encode(Opcode.NORM, tokens=400, blocks=6, src_stride=6, dst_stride=3),
             encode(Opcode.LINEAR, **linear(tokens=2000, src_stride=3, dst_stride=6, accumulate=1, block=5))]
    longer = []
    for machine in (replace(ZCU102, name="one", tm=8), replace(ZCU102, name="two", tm=8, clusters=2)):
        one, other = (Timeline(machine).run(words[:count])[1] for count in (2, 3))
        longer.append((other.end - other.start) / (one.end - one.start))
    assert 1 < longer[1] < longer[0]
