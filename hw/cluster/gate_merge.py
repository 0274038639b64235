# SPDX-License-Identifier: Apache-2.0
"""Gate merge: the gate's accumulators of all clusters, token after token."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import MachineConfig
from hw.interfaces import GATE_BEAT
from hw.lib.queue import Queue

TILES_AHEAD = 8
"""Tiles for the gate whose beats have not all come."""
BEATS = 2
"""Of a token in a tile: high and low parts."""


class GateMerge(wiring.Component):
    """Gate merge: of each tile the beats of cluster 0, then those of cluster 1, and so on. ::

        i_tile -> [ queue of which lanes are present ] -> [ cluster | beat ]
        i[0..] -----------------------------------------> (that cluster's) -> o

    Timing: LATENCY = 0 from ``i`` to ``o``, whose valid depends on registers and on that of ``i``; II = 1 beat, and a
    cycle for each cluster without a token.
    Domain: present lanes precede absent ones; a tile arrives before its beats.
    Reference model: none, it changes nothing.

    Members: ``i_tile`` In(stream of a bit a lane): a tile for the gate is on its way; ``i`` In(stream GATE_BEAT) of
    each cluster; ``o`` Out(stream GATE_BEAT).
    """

    LATENCY = 0
    II = 1

    i_tile: stream.Interface
    i: list[stream.Interface]
    o: stream.Interface

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({"i_tile": In(stream.Signature(cfg.tm)),
                          "i": In(stream.Signature(GATE_BEAT)).array(cfg.clusters),
                          "o": Out(stream.Signature(GATE_BEAT))})

    def elaborate(self, platform):
        m = Module()
        count, lanes = self.cfg.clusters, self.cfg.cluster.tm
        tiles = m.submodules.tiles = Queue(self.cfg.tm, TILES_AHEAD)
        wiring.connect(m, wiring.flipped(self.i_tile), tiles.i)
        cluster, beat = Signal(range(count)), Signal(range(lanes * BEATS))
        present, passes, some, ends = Signal(lanes), Signal(), Signal(), Signal()
        last = Array(present[:n + 1] == present for n in range(lanes))[beat[1:]]  # no lane after this one
        m.d.comb += [
            present.eq(tiles.o.p.word_select(cluster, lanes)), some.eq(tiles.o.valid & present[0]),
            self.o.valid.eq(some & Array(beats.valid for beats in self.i)[cluster]),
            self.o.p.as_value().eq(Array(beats.p.as_value() for beats in self.i)[cluster]),
            passes.eq(self.o.valid & self.o.ready),
            ends.eq(tiles.o.valid & Mux(some, passes & beat[0] & last, 1)),
            tiles.o.ready.eq(ends & (cluster == count - 1)),
        ]
        for n, beats in enumerate(self.i):
            m.d.comb += beats.ready.eq(some & (cluster == n) & self.o.ready)
        with m.If(passes):
            m.d.sync += beat.eq(beat + 1)
        with m.If(ends):
            m.d.sync += [beat.eq(0), cluster.eq(cluster + 1)]
        return m
