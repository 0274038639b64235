# SPDX-License-Identifier: Apache-2.0
"""Gate accumulators from tile order to token order."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import LANES, MAX_EXPERTS, MachineConfig
from hw.core.layouts import GATE_BEAT, lane_bits

TILES = MAX_EXPERTS // LANES


def logit_beat(cfg: MachineConfig) -> data.StructLayout:
    """16 accumulators (with bias) of one lane's gate tile; ``end`` on the last beat of the instruction."""
    return data.StructLayout({
        "value": data.ArrayLayout(signed(32), LANES), "lane": unsigned(lane_bits(cfg)), "half": 1,
        "tile": unsigned((TILES - 1).bit_length()), "present": 1, "end": 1,
    })


class LogitOrder(wiring.Component):
    """The array finishes tile 0 of all lanes, then tile 1 of all lanes; the gate wants a token's tiles together. ::

        i -> [ memory: lane, tile, half ] -> o        fill a token group, then empty it

    A group is complete when the next one's first beat waits at ``i``, or with ``end``.
    Timing: LATENCY = 2 from the beat with ``end`` to ``o``; then a beat a cycle, and a cycle for each absent lane. II =
    1 while filling; a group occupies the memory for twice its beats.
    Domain: tiles below 4, a group's tiles ascending from 0, lanes and halves ascending in each.
    Twin: none, it changes nothing.

    Members: ``i`` In(stream logit_beat), ``o`` Out(stream GATE_BEAT), ``idle`` Out.
    """

    LATENCY = 2

    i: stream.Interface
    o: stream.Interface
    idle: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({"i": In(stream.Signature(logit_beat(cfg))), "o": Out(stream.Signature(GATE_BEAT)),
                          "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        tm, beat = self.cfg.tm, self.i.p
        store = m.submodules.store = memory.Memory(shape=32 * LANES, depth=2 * TILES * tm, init=[])
        write_port, read_port = store.write_port(), store.read_port()

        # Fill.
        emptying, filled = Signal(), Signal()
        present, top = Signal(tm), Signal(range(TILES))
        taken, begins = Signal(), Signal()
        m.d.comb += [
            begins.eq((beat.tile == 0) & (beat.lane == 0) & ~beat.half),
            self.i.ready.eq(~emptying & ~(begins & filled)), taken.eq(self.i.valid & self.i.ready),
            write_port.addr.eq(Cat(beat.half, beat.tile, beat.lane)), write_port.data.eq(beat.value.as_value()),
            write_port.en.eq(taken),
        ]
        with m.If(taken):
            m.d.sync += [filled.eq(1), top.eq(beat.tile), present.bit_select(beat.lane, 1).eq(beat.present)]
        with m.If((taken & beat.end) | (self.i.valid & begins & filled)):
            m.d.sync += emptying.eq(1)

        # Empty: the read register of the memory is the output.
        half, tile, lane = Signal(), Signal(range(TILES)), Signal(range(tm))
        here, advance, last_of_lane = Signal(), Signal(), Signal()
        m.d.comb += [
            here.eq(Array(present)[lane]), advance.eq(emptying & (~self.o.valid | self.o.ready)),
            last_of_lane.eq(half & (tile == top) | ~here),
            read_port.addr.eq(Cat(half, tile, lane)), read_port.en.eq(advance),
            self.o.p.value.as_value().eq(read_port.data),
            self.idle.eq(~(filled | self.o.valid)),
        ]
        with m.If(advance):
            m.d.sync += [self.o.valid.eq(here), self.o.p.low.eq(half), self.o.p.tile.eq(tile)]
            m.d.sync += [half.eq(~half & here), tile.eq(Mux(last_of_lane, 0, tile + half))]
            with m.If(last_of_lane):
                m.d.sync += lane.eq(lane + 1)
                with m.If(lane == tm - 1):
                    m.d.sync += [emptying.eq(0), filled.eq(0)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m
