# SPDX-License-Identifier: Apache-2.0
"""Cost of an instruction: cycles in its unit and bytes from or to DRAM, from the geometry of the machine."""

from dataclasses import dataclass
from math import ceil

from golden.spec.isa import Opcode
from golden.spec.machine import LINE, SLICE, TN, MachineConfig
from golden.spec.tiling import SLICES_PER_ROW, WINDOW, attention_lines, norm_lines, tiles, upsampled
from host.ir.nodes import Node
from host.ir.weight_ring import stream_lines

MAIN_BYTES = 16
"""Bytes a cycle of the main port."""
PORT_BYTES = 16
"""Bytes a cycle of a weight port."""
PAIR = 4
"""Cycles of an UPSAMPLE between two pairs of source lines."""


@dataclass(frozen=True)
class Cost:
    """Cycles in the unit that executes, without waiting for others; bytes of weights, or of LOAD and STORE."""

    cycles: float
    bytes: float = 0


def pass_cycles(machine: MachineConfig, fields: dict) -> int:
    """Cycles of one tile of one token group: its steps, the loading of its rows, or the leaving of its results.

    With ``window`` each of the tm + 2 neighbours of a group is loaded once for a line and operand row.
    """
    passes = 2 if fields["src_wide"] else 1
    return max(fields["slices"] * machine.steps * passes, machine.tm * TN // machine.lanes,
               group_rows(machine, fields))


def group_rows(machine: MachineConfig, fields: dict) -> int:
    """Operand rows that are read for one tile of a full token group."""
    if window := fields.get("window", 0):
        rows = (machine.tm + WINDOW - 1) * WINDOW * window
    else:
        rows = machine.tm * ceil(fields["slices"] / SLICES_PER_ROW)
    return rows * (2 if fields["src_wide"] else 1)


def groups(machine: MachineConfig, fields: dict, tokens: float) -> int:
    """Token groups of a LINEAR; with ``window`` a group ends with its line."""
    if fields.get("window"):
        return fields["lines"] * ceil(fields["width"] / machine.tm)
    return ceil(tokens / machine.tm)


def linear_cycles(machine: MachineConfig, fields: dict, tokens: float) -> float:
    """Array cycles: each tile of each token group takes its steps, or as long as its results take to leave."""
    return fields["tiles"] * groups(machine, fields, tokens) * pass_cycles(machine, fields)


def upsample_cycles(fields: dict) -> int:
    """Cycles of an UPSAMPLE: a result row a cycle, and a few for each pair of source lines and operand row."""
    top, bottom, left, right = (fields["edges"] >> side & 1 for side in range(4))
    lines, width = upsampled(fields["lines"], top + bottom), upsampled(fields["width"], left + right)
    return fields["rows"] * (lines * width + PAIR * (fields["lines"] - 1 + top + bottom))


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
        return Cost(node.passes * linear_cycles(machine, f, node.tokens), node.passes * lines * LINE)
    if node.opcode is Opcode.ATTENTION:
        return Cost(attention_cycles(machine, f), attention_lines(f["heads"], f["head_slices"]) * LINE)
    if node.opcode is Opcode.NORM:
        return Cost(norm_cycles(machine, f, node.tokens), norm_lines(f["blocks"]) * LINE)
    if node.opcode in (Opcode.LOAD, Opcode.STORE):
        return Cost(f["rows"] * LINE / MAIN_BYTES, f["rows"] * LINE)
    if node.opcode is Opcode.COPY:
        return Cost(f["rows"])
    if node.opcode is Opcode.UPSAMPLE:
        return Cost(upsample_cycles(f))
    if node.opcode is Opcode.GATE:
        return Cost(node.tokens * (f["top_k"] + 1))
    return Cost(0)
