# SPDX-License-Identifier: Apache-2.0
"""Work of one executed instruction: useful multiply-accumulates, steps of the array, bytes from and to DRAM."""

from math import ceil

from golden.iss.trace import Entry
from golden.spec.isa import Opcode, stream_lines
from golden.spec.machine import LINE, SLICE, TN, MachineConfig
from golden.spec.tiling import tiles
from host.performance.cycles import token_groups


def tokens(entry: Entry) -> int:
    """Tokens that a LINEAR takes: those of its queue, or of its field."""
    return entry.fields["tokens"] if entry.tokens is None else len(entry.tokens)


def macs(entry: Entry) -> int:
    """Useful multiply-accumulates; both passes of a wide operand count once."""
    f = entry.fields
    if entry.opcode is Opcode.LINEAR:
        return tokens(entry) * f["tiles"] * TN * f["slices"] * SLICE
    if entry.opcode is Opcode.ATTENTION:
        return 2 * f["heads"] * f["head_slices"] * SLICE * f["queries"] * f["keys"]
    return 0


def array_steps(entry: Entry, machine: MachineConfig) -> int:
    """Cycles in which the array makes a step for it, whether or not all of its lanes have a token: what the counter
    ARRAY_BUSY counts."""
    f = entry.fields
    if entry.opcode is Opcode.LINEAR:
        planes = 2 if f["src_wide"] else 1
        return token_groups(machine, f, tokens(entry)) * f["tiles"] * f["slices"] * machine.steps * planes
    if entry.opcode is Opcode.ATTENTION:
        scores = tiles(f["keys"]) * f["head_slices"] * machine.steps
        blocks = tiles(f["keys"]) if f["class_scores"] else ceil(f["head_slices"] / 2)
        mixed = blocks * ceil(f["keys"] / SLICE) * machine.steps * (2 if f["wide_p"] else 1)
        return f["heads"] * ceil(f["queries"] / machine.tm) * (scores + mixed)
    return 0


def weight_bytes(entry: Entry, machine: MachineConfig) -> int:
    """Bytes of weights and parameters that come through the weight ports."""
    return 0 if entry.opcode is Opcode.EXPERTS else LINE * stream_lines(entry.opcode, entry.fields, machine).lines


def loaded_bytes(entry: Entry) -> int:
    """Bytes that a LOAD reads through the main port."""
    return LINE * entry.fields["rows"] if entry.opcode is Opcode.LOAD else 0


def stored_bytes(entry: Entry) -> int:
    """Bytes that a STORE writes."""
    return LINE * entry.fields["rows"] if entry.opcode is Opcode.STORE else 0


def moved_bytes(entry: Entry, machine: MachineConfig) -> int:
    """All bytes that it moves from and to DRAM."""
    return weight_bytes(entry, machine) + loaded_bytes(entry) + stored_bytes(entry)
