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
from host.performance.cycles import CYCLES, drain, linear_cycles, linear_pass
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
    """The timeline adds waiting for the first weights and latencies to what the estimate says."""
    fields = linear(src_stride=3, dst_stride=6)
    spans = Timeline(machine).run([encode(Opcode.LINEAR, **fields)])
    cost, lat = estimate(Node(Opcode.LINEAR, "linear", fields, tokens=fields["tokens"]), machine), latencies(machine)
    rest = spans[0].end - spans[0].start - spans[0].waited
    assert rest == pytest.approx(cost.cycles + lat.array + drain(machine) + lat.epilogue)
    assert cost.bytes == 64 * 6 * (6 + 12 * 8)


def test_balanced_queues_of_a_layer_in_several_rounds_of_tokens():
    image = compile_model(empty(model.NANO, Plan.fast(2)), NANO)
    program = isa.disassemble(image.program("task0+task1"))
    assert sum(opcode is Opcode.EXPERTS for opcode, _ in program) > 1
    spans = predict(image, "task0+task1")
    assert spans[-1].end > max(span.end for span in predict(image, "task0"))
