# SPDX-License-Identifier: Apache-2.0
"""Residual update of the epilogue: read, add, write back."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.machine import LANES
from hw.interfaces import LINE_BITS, READ_LATENCY, RESIDUAL_WRITE, ROW_BITS
from hw.lib.pipeline import Pipeline
from hw.lib.queue import Queue
from hw.vector.requantize import V_BITS

UPDATE = data.StructLayout({
    "row": ROW_BITS, "half": 1, "accumulate": 1, "value": data.ArrayLayout(signed(V_BITS), LANES),
})
HALF_BITS = LINE_BITS // 2


class ResidualUpdate(wiring.Component):
    """Residual update ``x = sat16((x if accumulate else 0) + v)`` for half a residual row a beat
    (golden/README.md, Linear). ::

        i -> [h0: row free?] -> [h1: o_read] -> [s1] -> [s2: + i_row] -> [s3] -> queue -> o_write
                   ^------------- rows in flight: DEPTH places -----------------------------'

    A beat waits in h0 while an earlier one of the same half row is on its way to the memory, so every read sees every
    earlier write, whatever the order of tiles.
    Timing: LATENCY cycles from ``i`` to ``o_write`` when nothing stalls; II = 1 (half rows in flight all different).
    Domain: 17-bit values. The memory shows a write to reads transferred 2 cycles later (RowMemory.WRITE_LATENCY).
    Reference model: ``golden.ops.epilogue.to_residual``.

    Members: ``i`` In(stream UPDATE), ``o_read`` Out(stream of row), ``i_row`` In, READ_LATENCY after the transfer,
    ``o_write`` Out(stream RESIDUAL_WRITE), ``idle`` Out: empty and every write transferred.
    """

    DEPTH = 8
    LATENCY = 2 + READ_LATENCY + 1 + 2
    II = 1

    i: stream.Interface
    o_read: stream.Interface
    i_row: Signal
    o_write: stream.Interface
    idle: Signal

    def __init__(self):
        super().__init__({
            "i": In(stream.Signature(UPDATE)), "o_read": Out(stream.Signature(ROW_BITS)), "i_row": In(LINE_BITS),
            "o_write": Out(stream.Signature(RESIDUAL_WRITE)), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        # Half rows between h1 and the memory, in order.
        place = data.StructLayout({"valid": 1, "key": ROW_BITS + 1})
        flying = [Signal(place, name=f"flying{n}") for n in range(self.DEPTH)]
        newest, oldest = Signal(range(self.DEPTH)), Signal(range(self.DEPTH))
        landed = Signal()
        m.d.comb += landed.eq(self.o_write.valid & self.o_write.ready)

        # Two places in h0, so that the wait does not propagate through `i.ready`.
        waiting = m.submodules.h0 = Queue(UPDATE, 2)
        connect(m, flipped(self.i), waiting.i)
        h0, h0_full, h0_go = waiting.o.p, waiting.o.valid, waiting.o.ready
        h1, h1_full, h1_read, h1_go = Signal(UPDATE), Signal(), Signal(), Signal()
        key = Cat(h0.half, h0.row)
        hazard = Cat(entry.valid & (entry.key == key) for entry in flying).any()
        m.d.comb += [
            h1_go.eq(h1_full & (~h1_read | self.o_read.ready)),
            h0_go.eq(h0_full & (~h1_full | h1_go) & ~hazard & ~Array(entry.valid for entry in flying)[newest]),
            self.o_read.valid.eq(h1_read), self.o_read.p.eq(h1.row),
        ]
        with m.If(~h1_full | h1_go):
            m.d.sync += [h1.eq(h0), h1_full.eq(h0_go), h1_read.eq(h0_go & h0.accumulate)]
        for n, entry in enumerate(flying):
            with m.If(h0_go & (newest == n)):
                m.d.sync += [entry.valid.eq(1), entry.key.eq(key)]
            with m.Elif(landed & (oldest == n)):
                m.d.sync += entry.valid.eq(0)
        m.d.sync += [newest.eq(newest + h0_go), oldest.eq(oldest + landed)]

        # In parallel with the memory's read.
        pipe = Pipeline(m, "s", {"read": READ_LATENCY}, flags={"valid": h1_go, "update": h1})
        tag, valid = pipe.at("read").update, pipe.at("read").valid

        # Stage 3: add, saturate. The queue cannot overflow: it has a place for each beat in flight.
        updated = data.StructLayout({"row": ROW_BITS, "half": 1, "data": HALF_BITS})
        queue = m.submodules.queue = Queue(updated, self.DEPTH)
        s3, s3_valid = Signal(updated, reset_less=True), Signal()
        old = Mux(tag.half, self.i_row[HALF_BITS:], self.i_row[:HALF_BITS])
        results = []
        for n in range(LANES):
            x = Mux(tag.accumulate, old[16 * n:16 * n + 16], 0).as_signed()
            total = Signal(signed(V_BITS + 1), name=f"total_{n}")
            m.d.comb += total.eq(tag.value[n] + x)
            limit = Cat((~total[-1]).replicate(15), total[-1])
            results.append(Mux((total[15:] == 0) | total[15:].all(), total[:16], limit))
        m.d.sync += [
            s3.row.eq(tag.row), s3.half.eq(tag.half), s3.data.eq(Cat(results)), s3_valid.eq(valid),
        ]
        write = self.o_write
        m.d.comb += [
            queue.i.valid.eq(s3_valid), queue.i.p.eq(s3), write.valid.eq(queue.o.valid), queue.o.ready.eq(write.ready),
            write.p.row.eq(queue.o.p.row), write.p.mask.eq(Cat(~queue.o.p.half, queue.o.p.half)),
            write.p.data.eq(queue.o.p.data.replicate(2)),
        ]
        m.d.comb += self.idle.eq(~(h0_full | Cat(entry.valid for entry in flying).any()))
        return m
