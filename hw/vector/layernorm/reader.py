# SPDX-License-Identifier: Apache-2.0
"""Rows of a NORM from the residual memory: asked for while there is room, kept in parts for the second pass."""

from typing import NamedTuple

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import Opcode
from golden.spec.machine import MachineConfig
from hw.interfaces import LINE_BITS, READ_LATENCY, ROW_BITS
from hw.lib.pipeline import Pipeline, delay
from hw.shapes import INSTRUCTION
from hw.vector.layernorm.shapes import MAX_BLOCKS, RING_ROWS, TOKENS, split


class Asked(NamedTuple):
    """A row was asked for: ``now``; it is its token's ``last``."""

    now: Signal
    last: Signal


class NormReader(wiring.Component):
    """Token after token, row after row, each row in ``cfg.serialization`` parts. ::

        o_read, i_row -> [row] -> part -> [ring of RING_ROWS rows] -> ring_part

    Timing: a part a cycle; LATENCY = READ_LATENCY + 1 and a register where there are parts, from the transfer at
    ``o_read`` to ``valid``. ``ring_part`` a cycle after ``ring_read``.
    Domain: at most TOKENS tokens and RING_ROWS rows lie between the parts given on and those freed.
    Reference model: none, it changes nothing.
    Members: ``begun`` In, a cycle after the begin of ``norm``; ``o_read`` Out(stream of row) with the answer ``i_row``
    READ_LATENCY after the transfer; ``block_freed``, ``token_freed`` In; ``part``, ``valid``, ``ends`` Out, of a
    token's last row the last part; ``ring_read`` In, the next part is read, -> ``ring_part`` Out.
    """

    II = 1

    begun: Signal
    norm: data.View
    o_read: stream.Interface
    i_row: Signal
    block_freed: Signal
    token_freed: Signal
    part: Signal
    valid: Signal
    ends: Signal
    ring_read: Signal
    ring_part: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        self.LATENCY = READ_LATENCY + 1 + split(cfg)
        part_bits = LINE_BITS // cfg.serialization
        super().__init__({
            "begun": In(1), "norm": In(INSTRUCTION[Opcode.NORM]), "o_read": Out(stream.Signature(ROW_BITS)),
            "i_row": In(LINE_BITS), "block_freed": In(1), "token_freed": In(1), "part": Out(part_bits), "valid": Out(1),
            "ends": Out(1), "ring_read": In(1), "ring_part": Out(part_bits)})

    def elaborate(self, platform):
        m = Module()
        part, valid, ends = self._parts(m, self._ask(m))
        m.d.comb += [self.part.eq(part), self.valid.eq(valid), self.ends.eq(ends)]

        serial = self.cfg.serialization
        ring = m.submodules.ring = memory.Memory(shape=LINE_BITS // serial, depth=RING_ROWS * serial, init=[])
        write, read = ring.write_port(), ring.read_port()
        place, next_read = Signal.like(write.addr, name="place"), Signal.like(read.addr, name="next_read")
        m.d.sync += [place.eq(place + valid), next_read.eq(next_read + self.ring_read)]
        m.d.comb += [write.addr.eq(place), write.data.eq(part), write.en.eq(valid), read.addr.eq(next_read),
                     self.ring_part.eq(read.data)]
        return m

    def _ask(self, m) -> Asked:
        """Asks for rows while there is a place for them, at least `serialization` cycles apart."""
        serial, norm = self.cfg.serialization, self.norm
        base, block, left = Signal(ROW_BITS), Signal(range(MAX_BLOCKS)), Signal(12)
        rows_free = Signal(range(RING_ROWS + 1), init=RING_ROWS)
        tokens_free = Signal(range(TOKENS + 1), init=TOKENS)
        more, ask, ends, opens = Signal(), Signal(), Signal(), Signal()
        asked, asked_ends = Signal(), Signal()
        pause, rest = Signal(range(serial)), Signal(range(serial))
        m.d.sync += rest.eq(pause)
        m.d.comb += [asked.eq(self.o_read.valid & self.o_read.ready),
                     pause.eq(Mux(asked, serial - 1, Mux(rest == 0, 0, rest - 1))),
                     more.eq((left != 0) & (rows_free != 0) & ((block != 0) | (tokens_free != 0)) & (pause == 0)),
                     ask.eq(more & (~self.o_read.valid | self.o_read.ready)),
                     ends.eq(block + 1 == norm.blocks), opens.eq(ask & (block == 0))]
        m.d.sync += [rows_free.eq(rows_free + self.block_freed - ask),
                     tokens_free.eq(tokens_free + self.token_freed - opens)]
        with m.If(~self.o_read.valid | self.o_read.ready):
            m.d.sync += [self.o_read.valid.eq(more), self.o_read.payload.eq(base + block), asked_ends.eq(ends)]
        with m.If(ask):
            m.d.sync += block.eq(block + 1)
            with m.If(ends):
                m.d.sync += [block.eq(0), base.eq(base + norm.src_stride), left.eq(left - 1)]
        with m.If(self.begun):
            m.d.sync += [base.eq(norm.src_row), left.eq(norm.tokens)]
        return Asked(now=asked, last=asked_ends)

    def _parts(self, m, asked: Asked) -> tuple:
        """A row stays for its parts: (part, valid, the last of its token)."""
        serial, registers = self.cfg.serialization, split(self.cfg)
        pipe = Pipeline(m, "read", {"answer": READ_LATENCY}, flags={"valid": asked.now}, tag={"last": asked.last})
        answer = pipe.at("answer")
        row, row_valid, row_last = Signal(LINE_BITS, reset_less=True), Signal(), Signal(reset_less=True)
        number, done = Signal(range(serial), init=serial - 1), Signal()
        m.d.comb += done.eq(number == serial - 1)
        m.d.sync += number.eq(number + (answer.valid | ~done))
        with m.If(done):
            m.d.sync += [row.eq(self.i_row), row_valid.eq(answer.valid), row_last.eq(answer.last)]
        return (delay(m, row.word_select(number, LINE_BITS // serial), registers, "part"),
                delay(m, row_valid, registers, "part_valid", reset_less=False),
                delay(m, row_last & done, registers, "part_last"))
