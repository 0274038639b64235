# SPDX-License-Identifier: Apache-2.0
"""Weight check: locates a program's weights in the weight planes and finds forbidden bytes of -128.

Weights are int8 without -128: with it, four packed products would overflow into each other, and the machine would end
with OK and wrong numbers; the instruction-set simulator treats it as undefined. No byte of packed
weights is -128 either: another LINEAR may reuse it as it is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from golden.spec.isa import INSTRUCTION_BYTES, INSTRUCTIONS, STREAM_LINES, Opcode, decode, out_of_bounds
from golden.spec.machine import PARAM_LINES, MachineConfig
from golden.spec.model import ConfigError
from golden.spec.tiling import linear_tile_lines

FORBIDDEN = b"\x80"
"""-128."""


@dataclass(frozen=True)
class Weights:
    """Weights that a LINEAR takes from the stream for one ``expert`` (-1 outside EXPERTS): ``tiles`` output tiles of
    ``slices`` slices, each after its parameters, from line ``first`` on; ``packed``: of codes, two to a byte."""

    index: int
    expert: int
    first: int
    tiles: int
    slices: int
    packed: int = 0


@dataclass(frozen=True)
class Found:
    """A byte of -128 among ``weights``: ``byte`` of the plane of weight port ``port``."""

    weights: Weights
    port: int
    byte: int


def loaded(program: bytes) -> Iterator[Weights]:
    """All weights that a program can load; none where the machine refuses one of its instructions, since then nothing
    runs. LINEARs with ``reuse_weights`` are skipped: they use weights that others loaded."""
    part, left = {}, 0
    for index, (opcode, fields) in enumerate(_legal(program)):
        if opcode is Opcode.EXPERTS:
            part, left = fields, fields["body"]
            continue
        experts = range(part["experts"]) if left else (-1,)
        left = max(0, left - 1)
        if opcode is not Opcode.LINEAR or fields["reuse_weights"]:
            continue
        for expert in experts:
            base = part["stream"] + expert * part["pitch"] if expert >= 0 else 0
            yield Weights(index, expert, (base + fields["stream"]) % STREAM_LINES, fields["tiles"], fields["slices"],
                          fields["packed"])


def _legal(program: bytes) -> list[tuple[Opcode, dict]]:
    """Instructions up to END, or none when one of them would be refused for its opcode or its fields."""
    instructions, body = [], 0
    for at in range(0, len(program), INSTRUCTION_BYTES):
        try:
            opcode, fields = decode(int.from_bytes(program[at:at + INSTRUCTION_BYTES], "little"))
        except ConfigError:
            return []
        if out_of_bounds(opcode, fields) or body and not INSTRUCTIONS[opcode].in_body:
            return []
        instructions.append((opcode, fields))
        if opcode is Opcode.END:
            return instructions
        body = fields["body"] if opcode is Opcode.EXPERTS else max(0, body - 1)
    return []


def find_forbidden(parts: Iterable[Weights], planes: tuple[bytes, ...], machine: MachineConfig) -> Found | None:
    """The first -128 of ``parts`` inside the planes. Weights outside the planes are left to the bounds check."""
    share, seen = machine.line_bytes_per_port, set()
    for weights in parts:
        where = weights.first, weights.tiles, weights.slices, weights.packed
        if where in seen:  # the same weights for other tokens
            continue
        seen.add(where)
        pitch = linear_tile_lines(weights.slices, weights.packed) * share
        size = pitch - PARAM_LINES * share
        first = weights.first // machine.beat_lines * machine.share_bytes + PARAM_LINES * share
        for port, plane in enumerate(planes):
            for begin in range(first, min(first + weights.tiles * pitch, len(plane)), pitch):
                byte = plane.find(FORBIDDEN, begin, begin + size)
                if byte >= 0:
                    return Found(weights, port, byte)
    return None
