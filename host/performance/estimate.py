# SPDX-License-Identifier: Apache-2.0
"""Cost of an instruction: cycles in its unit and bytes from or to DRAM, from the geometry of the machine."""

from dataclasses import dataclass
from math import ceil

from golden.spec.isa import Opcode
from golden.spec.machine import LINE, SLICE, TN, MachineConfig
from golden.spec.tiling import attention_lines, norm_lines, tiles
from host.ir.nodes import Node
from host.ir.weight_ring import stream_lines

MAIN_BYTES = 16
"""Bytes a cycle of the main port."""
PORT_BYTES = 16
"""Bytes a cycle of a weight port."""


@dataclass(frozen=True)
class Cost:
    """Cycles in the unit that executes, without waiting for others; bytes of weights, or of LOAD and STORE."""

    cycles: float
    bytes: float = 0


def linear_cycles(machine: MachineConfig, tokens: float, tile_count: int, slice_count: int, wide: bool) -> float:
    """Array cycles: each tile of each token group takes its steps, or as long as its results take to leave."""
    groups = ceil(tokens / machine.tm)
    steps = slice_count * machine.steps * (2 if wide else 1)
    return tile_count * groups * max(steps, machine.tm * TN // machine.lanes)


def attention_cycles(machine: MachineConfig, fields: dict) -> float:
    """Scores of every key tile, then P V of every output tile, for each head and query group."""
    groups, scores, mixed, beats = attention_group(machine, fields)
    return groups * max(scores + mixed, beats)


def attention_group(machine: MachineConfig, fields: dict) -> tuple[int, int, int, int]:
    """Query groups of all heads; array cycles for the scores and for P V of one; the softmax' cycles for its scores.

    A tile of scores leaves the array a lane a cycle, one of P V half a lane, or slower when the epilogue is serialized.
    """
    groups = fields["heads"] * ceil(fields["queries"] / machine.tm)
    scores = tiles(fields["keys"]) * max(fields["head_slices"] * machine.steps, machine.tm)
    chunks = ceil(fields["keys"] / SLICE)
    steps = chunks * machine.steps * (2 if fields["wide_p"] else 1)
    mixed = ceil(fields["head_slices"] / 2) * max(steps, machine.tm * TN // machine.lanes)
    return groups, scores, mixed, chunks * machine.tm * machine.serialization


def norm_planes(fields: dict) -> int:
    """Byte planes that a NORM writes."""
    return (2 if fields["wide"] else 1) + (2 if fields.get("normalized") else 0)


def norm_cycles(machine: MachineConfig, fields: dict, tokens: float) -> float:
    """Both passes of a NORM over ``tokens``: a pair of blocks takes as long as its channels, or its planes to leave; a
    serialized norm gathers a pair before it leaves."""
    serial, planes = machine.serialization, norm_planes(fields)
    pair = max(2, planes) if serial == 1 else 2 * serial + planes - 1
    return (tokens + 1) * ceil(fields["blocks"] * pair / 2)


def estimate(node: Node, machine: MachineConfig) -> Cost:
    """Cost of one node; a body's node is counted for all its passes, EXPERTS itself for nothing."""
    f = node.fields
    if node.opcode is Opcode.LINEAR:
        lines = stream_lines(f)
        cycles = linear_cycles(machine, node.tokens, f["tiles"], f["slices"], bool(f["src_wide"]))
        return Cost(node.passes * cycles, node.passes * lines * LINE)
    if node.opcode is Opcode.ATTENTION:
        return Cost(attention_cycles(machine, f), attention_lines(f["heads"], f["head_slices"]) * LINE)
    if node.opcode is Opcode.NORM:
        return Cost(norm_cycles(machine, f, node.tokens), norm_lines(f["blocks"]) * LINE)
    if node.opcode in (Opcode.LOAD, Opcode.STORE):
        return Cost(f["rows"] * LINE / MAIN_BYTES, f["rows"] * LINE)
    if node.opcode is Opcode.COPY:
        return Cost(f["rows"])
    if node.opcode is Opcode.GATE:
        return Cost(node.tokens * (f["top_k"] + 1))
    return Cost(0)
