# SPDX-License-Identifier: Apache-2.0
"""Segments and lines of the weight stream that a program asks for, in order."""

from golden.spec import tiling
from golden.spec.isa import STREAM_LINES, Opcode, decode
from golden.spec.machine import NORM_PARAM_LINES, PARAM_LINES, SLICE, SLICE_LINES, TN
from hw.dma.weight_lines import Destination


def segments(opcode, f):
    """(destination, lines) of one instruction, from the stream order in golden.spec.tiling."""
    if opcode is Opcode.LINEAR:
        found = [(Destination.PARAM, PARAM_LINES), (Destination.RING, f["slices"] * SLICE_LINES)] * f["tiles"]
        assert sum(lines for _, lines in found) == tiling.linear_lines(f["tiles"], f["slices"])
    elif opcode is Opcode.NORM:
        found = [(Destination.NORM, NORM_PARAM_LINES * f["blocks"])]
    elif opcode is Opcode.ATTENTION:
        rest = f["heads"] * f["head_slices"] * SLICE // TN * PARAM_LINES
        found = [(Destination.MULTIPLIERS, 1), (Destination.PARAM, rest)]
        assert sum(lines for _, lines in found) == tiling.attention_lines(f["heads"], f["head_slices"])
    else:
        found = []
    return found


def expected(words, orders):
    """Segments (destination, lines, first line) and every line number, in order."""
    found, lines, position, orders = [], [], 1, list(orders)

    def consume(word, base):
        opcode, fields = decode(word)
        line = base + fields.get("stream", 0)
        for target, count in segments(opcode, fields):
            if not (fields.get("reuse_weights") and target is Destination.RING):  # these are in the ring
                found.append((target, count, line))
                lines.extend((line + n) % STREAM_LINES for n in range(count))
            line += count

    while True:
        opcode, fields = decode(words[position])
        if opcode is Opcode.END:
            return found, lines
        if opcode is Opcode.EXPERTS:
            for e in (e for e in orders.pop(0) if e < fields["experts"]):
                for step in range(fields["body"]):
                    consume(words[position + 1 + step], fields["stream"] + e * fields["pitch"])
            position += fields["body"]
        else:
            consume(words[position], 0)
        position += 1
