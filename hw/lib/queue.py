# SPDX-License-Identifier: Apache-2.0
"""FIFO queue with typed streams at both ends."""

from amaranth.hdl import Module, Mux, Shape, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out


class Queue(wiring.Component):
    """FIFO of up to ``depth`` payloads of ``shape``.

    ::

        i -> [ two registers (depth 2) | memory -> read register ] -> o

    Timing: LATENCY cycles from a transfer at ``i`` into an empty queue to ``o.valid``: 1 for depths 1 and 2, 2 for
    deeper ones. II = 1 (depth 1: 2). A stalled ``o`` keeps its payload. ``ready`` and ``valid`` of the two sides
    depend on registers only.
    Domain: any payload; a depth of at least 1.
    Reference model: none, it changes nothing.

    Members: ``i`` In(stream), ``o`` Out(stream), ``level`` Out, payloads held (registered).
    """

    i: stream.Interface
    o: stream.Interface
    level: Signal

    def __init__(self, shape, depth: int):
        if not isinstance(depth, int) or depth < 1:
            raise ValueError(f"A queue holds at least one payload, not {depth!r}; give a depth of 1 or more.")
        self.shape = shape
        self.depth = depth
        self.LATENCY = 1 if depth <= 2 else 2
        self.II = 2 if depth == 1 else 1
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)),
                          "level": Out(range(depth + 1))})

    def elaborate(self, platform):
        m = Module()
        push, pop = Signal(), Signal()
        m.d.comb += [push.eq(self.i.valid & self.i.ready), pop.eq(self.o.valid & self.o.ready)]
        m.d.sync += self.level.eq(self.level + push - pop)

        width = Shape.cast(self.shape).width
        # Plain bits inside: a queue of structures needs no structure.
        i_bits, o_bits = Signal(width), Signal(width)
        m.d.comb += [i_bits.eq(Value.cast(self.i.payload)), Value.cast(self.o.payload).eq(o_bits)]

        if self.depth == 2:
            # Head and skid buffer; `ready` is "the skid buffer is free", a register.
            head, skid = Signal(width, reset_less=True), Signal(width, reset_less=True)
            head_full, skid_full = Signal(), Signal()
            m.d.comb += [self.i.ready.eq(~skid_full), self.o.valid.eq(head_full), o_bits.eq(head)]
            with m.If(pop | ~head_full):
                m.d.sync += [head.eq(Mux(skid_full, skid, i_bits)), head_full.eq(skid_full | push), skid_full.eq(0)]
            with m.Elif(push):
                m.d.sync += [skid.eq(i_bits), skid_full.eq(1)]
        else:
            fifo = m.submodules.fifo = SyncFIFOBuffered(width=width, depth=self.depth)
            m.d.comb += [
                self.i.ready.eq(fifo.w_rdy), fifo.w_en.eq(self.i.valid), fifo.w_data.eq(i_bits),
                self.o.valid.eq(fifo.r_rdy), fifo.r_en.eq(self.o.ready), o_bits.eq(fifo.r_data),
            ]
        return m
