# SPDX-License-Identifier: Apache-2.0
"""Cycles of an instruction in its unit, without waiting for others, from the geometry of the machine."""

from collections.abc import Callable
from math import ceil

from golden.spec.instructions.linear import MAX_BLOCK
from golden.spec.instructions.record import edge_bits
from golden.spec.isa import Dest, Opcode
from golden.spec.machine import BEAT_BYTES, LINE, SLICE, TN, MachineConfig
from golden.spec.tiling import SLICES_PER_ROW, WINDOW, tiles, upsampled
from host.ir.weight_ring import stored

PAIR = 4
"""Cycles of an UPSAMPLE between two pairs of source lines."""


def drain(machine: MachineConfig) -> int:
    """Cycles that the results of one tile take to leave the array and pass the epilogues: TN channels of the token
    lanes of a cluster."""
    return machine.cluster.tm * TN // machine.lanes


def group_rows(machine: MachineConfig, fields: dict) -> int:
    """Operand rows that are read for a full token group, once for all tiles of a block.

    With ``window`` each of the tm + 2 neighbours of a group is loaded once for a line and operand row.
    """
    if window := fields.get("window", 0):
        rows = (machine.tm + WINDOW - 1) * WINDOW * window
    else:
        rows = machine.tm * ceil(fields["slices"] / SLICES_PER_ROW)
    return rows * (2 if fields["src_wide"] else 1)


def blocks(fields: dict, count: int | None = None) -> list[int]:
    """Tiles of each block of a LINEAR's output tiles, or of the first ``count`` of them."""
    count = fields["tiles"] if count is None else count
    size = count if fields["dst"] == Dest.GATE else min(count, fields.get("block", 0) + 1)
    return [size] * (count // size) + ([count % size] if count % size else [])


def array_cycles(machine: MachineConfig, fields: dict, count: int, share: float = 1.0) -> int:
    """Cycles of one token group in a block of ``count`` tiles whose operand rows are there: their steps, or the leaving
    of their results. ``share``: part of the multipliers that make the steps."""
    steps = ceil(fields["slices"] * machine.steps * (2 if fields["src_wide"] else 1) / share)
    return count * max(steps, drain(machine))


def block_cycles(machine: MachineConfig, fields: dict, count: int) -> int:
    """Cycles of one token group in a block of ``count`` tiles: those of the array, or of the loading of the group's
    operand rows, a row a cycle."""
    return max(array_cycles(machine, fields, count), group_rows(machine, fields))


GROUPS_AHEAD = 8
"""Token groups whose operand rows may be loaded ahead of the array."""


def groups_ahead(machine: MachineConfig, fields: dict) -> int:
    """Token groups of a LINEAR that the lane buffers hold ahead of the array."""
    rows = ceil(fields["slices"] / SLICES_PER_ROW) * (2 if fields["src_wide"] else 1)
    return min(GROUPS_AHEAD, 2 * machine.lane_rows // rows)


def linear_pass(machine: MachineConfig, fields: dict, count: int | None = None) -> int:
    """Cycles of one token group of a LINEAR over all its tiles, or over ``count`` of them."""
    return sum(block_cycles(machine, fields, size) for size in blocks(fields, count))


def best_block(machine: MachineConfig, fields: dict) -> int:
    """The field ``block`` of a LINEAR with these: fewest cycles, then the smallest block. A block's weights fit the
    part of the ring that is not retained, and a group's operand rows half of the lane buffers."""
    if fields["dst"] == Dest.GATE or group_rows(machine.cluster, fields) > machine.cluster.tm * machine.lane_rows:
        return 0
    most = min(fields["tiles"], MAX_BLOCK, max(1, machine.ring_slices // 2 // stored(fields)))
    return min(range(most), key=lambda block: (linear_pass(machine, fields | {"block": block}), block))


def token_groups(machine: MachineConfig, fields: dict, tokens: float) -> int:
    """Token groups of a LINEAR, which with ``window`` end with their line; without tokens it still makes its passes
    over one."""
    if fields.get("window"):
        return fields["lines"] * ceil(fields["width"] / machine.tm)
    return max(1, ceil(tokens / machine.tm))


def linear_cycles(machine: MachineConfig, fields: dict, tokens: float) -> float:
    """Array cycles of a LINEAR over ``tokens``."""
    return token_groups(machine, fields, tokens) * linear_pass(machine, fields)


def attention_group(machine: MachineConfig, fields: dict, share: float = 1.0) -> tuple[int, int, int, int]:
    """Query groups of all heads; array cycles for the scores and for P V of one; the softmax' cycles for its scores.

    A tile of scores leaves the array a lane a cycle, one of P V half a lane, or slower when the epilogue is serialized.
    With ``class_scores`` the tiles are those of the keys. ``share`` as in :func:`array_cycles`.
    """
    groups = fields["heads"] * ceil(fields["queries"] / machine.tm)
    scores = tiles(fields["keys"]) * max(ceil(fields["head_slices"] * machine.steps / share), machine.cluster.tm)
    chunks = ceil(fields["keys"] / SLICE)
    steps = ceil(chunks * machine.steps * (2 if fields["wide_p"] else 1) / share)
    blocks_out = tiles(fields["keys"]) if fields.get("class_scores") else ceil(fields["head_slices"] / 2)
    mixed = blocks_out * max(steps, drain(machine))
    return groups, scores, mixed, chunks * machine.cluster.tm * machine.serialization


def last_scores(machine: MachineConfig, fields: dict) -> int:
    """Cycles from the first to the last scores of a group's last key tile: a beat for each lane and half with a key."""
    halves = 1 + (fields["keys"] - 1) % TN // SLICE
    return machine.serialization * (machine.cluster.tm * halves - 1)


def attention_cycles(machine: MachineConfig, fields: dict, tokens: float) -> float:
    """Scores of every key tile, then P V of every output tile, for each head and query group."""
    groups, scores, mixed, beats = attention_group(machine, fields)
    return groups * max(scores + mixed, beats)


def norm_planes(fields: dict) -> int:
    """Byte planes that a NORM writes."""
    return (2 if fields["wide"] else 1) + (2 if fields.get("normalized") else 0)


def norm_cycles(machine: MachineConfig, fields: dict, tokens: float) -> float:
    """Both passes of a NORM over ``tokens``, of which each cluster has its part: a pair of blocks takes as long as its
    channels, or its planes to leave; a serialized norm gathers a pair before it leaves."""
    serial, planes = machine.serialization, norm_planes(fields)
    pair = max(2, planes) if serial == 1 else 2 * serial + planes - 1
    return (ceil(tokens / machine.clusters) + 1) * ceil(fields["blocks"] * pair / 2)


def upsample_cycles(machine: MachineConfig, fields: dict, tokens: float = 0) -> int:
    """Cycles of an UPSAMPLE: a result row a cycle, and a few for each pair of source lines and operand row."""
    top, bottom, left, right = edge_bits(fields)
    lines, width = upsampled(fields["lines"], top + bottom), upsampled(fields["width"], left + right)
    return fields["rows"] * (lines * width + PAIR * (fields["lines"] - 1 + top + bottom))


KEEP_PASS, KEEP_DECIDE, KEEP_FETCH, KEEP_SCORES, KEEP_NUMBERS = 5, 2, 2, 8, 6
"""Cycles of a KEEP: of a pass over the scores besides them, of a token, of four of them unless rows move meanwhile, of
a row of scores, of a row of numbers."""


def keep_cycles(machine: MachineConfig, fields: dict, tokens: float = 0) -> int:
    """Cycles of a KEEP: scores come in, a pass over them for each of 16 bits, then token after token, those that are
    kept with their rows."""
    count, keep, fours = fields["tokens"], fields["keep"], ceil(fields["tokens"] / 4)
    search = tiles(count) * KEEP_SCORES + 16 * (fours + KEEP_PASS)
    moves = keep * fields["blocks"] + tiles(keep) * KEEP_NUMBERS + -keep % TN
    return search + KEEP_DECIDE * count + KEEP_FETCH * fours * (count - keep) // count + moves


def _transfer(machine: MachineConfig, fields: dict, tokens: float) -> float:
    return fields["rows"] * LINE / BEAT_BYTES


CYCLES: dict[Opcode, Callable[[MachineConfig, dict, float], float]] = {
    Opcode.LOAD: _transfer, Opcode.STORE: _transfer, Opcode.COPY: lambda machine, fields, tokens: fields["rows"],
    Opcode.NORM: norm_cycles, Opcode.LINEAR: linear_cycles, Opcode.ATTENTION: attention_cycles,
    Opcode.GATE: lambda machine, fields, tokens: tokens * (fields["top_k"] + 1),
    Opcode.UPSAMPLE: upsample_cycles, Opcode.KEEP: keep_cycles}
"""Cycles of an instruction with these fields over ``tokens``, in its unit."""
