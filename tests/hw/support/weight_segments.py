# SPDX-License-Identifier: Apache-2.0
"""Segments and lines of the weight stream that a program asks for, in order."""

from golden.spec.isa import STREAM_LINES, Opcode, decode, stream_lines
from hw.dma.weight_lines import Destination


def segments(opcode, f, machine):
    """(destination, lines, skipped) of one instruction, from its record."""
    used = stream_lines(opcode, f, machine)
    return [(Destination(int(part.destination)), part.lines, part.skipped) for part in used.segments] * used.times


def expected(words, orders, machine):
    """Segments (destination, lines, first line) and every line number, in order."""
    found, lines, position, orders = [], [], 1, list(orders)

    def consume(word, base):
        opcode, fields = decode(word)
        line = base + fields.get("stream", 0)
        for target, count, skipped in segments(opcode, fields, machine):
            if not skipped:
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
