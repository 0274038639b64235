# SPDX-License-Identifier: Apache-2.0
"""Blocks of output tiles: where the array would wait for operands, and only there; never more than fits."""

from dataclasses import replace

import pytest

from golden.spec.instructions.linear import MAX_BLOCK
from golden.spec.isa import Dest, Opcode
from golden.spec.machine import NANO, U280, ZCU102
from golden.spec.model import DEIT_TINY
from golden.spec.quantized import Plan
from host.compiler.compile import encode, plan_program
from host.compiler.passes import PASSES, software_pipelining
from host.compiler.passes.tile_blocks import tile_blocks
from host.compiler.skeleton import empty
from host.compiler.weight_stream import Stream
from host.ir.nodes import Node
from host.performance.cycles import best_block, block_cycles, blocks, group_rows, linear_cycles, linear_pass
from host.performance.timeline import Timeline

LARGE = replace(ZCU102, name="large", tm=8, clusters=2)


def linear(**fields) -> dict:
    return {"tiles": 6, "slices": 12, "src_wide": 0, "dst": int(Dest.RESIDUAL)} | fields


@pytest.mark.parametrize("machine, fields, block", [
    (ZCU102, linear(), 1), (NANO, linear(), 1),  # 4 lanes x 3 rows in 12 cycles
    (LARGE, linear(), 2),  # 24 rows: two tiles of 12 cycles
    (U280, linear(), 6),  # 48 rows: 4 tiles would do, but 6 are no multiple of 4
    (U280, linear(tiles=24), 4), (U280, linear(tiles=7), 7), (U280, linear(tiles=9), 5), (U280, linear(tiles=1), 1),
    (U280, linear(tiles=24, slices=48), 4), (U280, linear(tiles=24, slices=48, src_wide=1), 4),
    (U280, linear(tiles=24, slices=400), 1),  # 100 rows: more than half of the lane buffers
    (U280, linear(dst=int(Dest.GATE), tiles=2), 1),
    (replace(U280, ring_lines=1024), linear(tiles=24, slices=48), 1),  # half the ring holds a tile and a third
])
def test_blocks_are_as_large_as_they_need_to_be(machine, fields, block):
    assert best_block(machine, fields) == block - 1 < MAX_BLOCK


@pytest.mark.parametrize("machine", [ZCU102, replace(U280, name="half", tm=8, clusters=2), U280],
                         ids=lambda machine: machine.name)
def test_software_pipelining_does_not_cut_blocks_that_share_operands(machine):
    """A LINEAR that is cut into fewer tiles at a time loads its operands more often; hiding a norm must be worth it."""
    model, cycles = empty(DEIT_TINY, Plan.fast(DEIT_TINY.depth)), []
    for passes in (PASSES, tuple(one for one in PASSES if one is not software_pipelining)):
        stream = Stream()
        nodes = plan_program(model, machine, stream, DEIT_TINY.tasks, passes)
        cycles.append(Timeline(machine).run(encode(nodes, machine, stream))[-1].end)
    assert cycles[0] < cycles[1]


def test_cycles_of_blocks():
    fields = linear(tiles=7, block=2)
    assert blocks(fields) == [3, 3, 1] and blocks(fields, 2) == [2] and blocks(linear()) == [1] * 6
    assert blocks(linear(dst=int(Dest.GATE), tiles=4, block=0)) == [4]
    assert group_rows(LARGE, fields) == 24
    assert [block_cycles(LARGE, fields, count) for count in (1, 2, 3)] == [24, 24, 36]
    assert linear_pass(LARGE, fields) == 36 + 36 + 24
    assert linear_cycles(LARGE, fields | {"tokens": 9}, 9) == 2 * 96


def test_the_pass_sets_what_is_best_in_bodies_too():
    node = Node(Opcode.LINEAR, "fc1", linear(tiles=24))
    body = Node(Opcode.EXPERTS, "experts", {"experts": 4}, body=(node, Node(Opcode.COPY, "copy")))
    others = [Node(Opcode.NORM, "norm"), node, body]
    done = tile_blocks(others, U280)
    assert done[0] is others[0] and done[1].fields["block"] == 3 and done[2].body[0].fields["block"] == 3
    assert "block" not in tile_blocks([node], ZCU102)[0].fields and "block" not in node.fields
