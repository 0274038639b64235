# SPDX-License-Identifier: Apache-2.0
"""Weight stream: from the prefetcher's chunks through all weight ports to stream beats at their destinations."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import MachineConfig
from hw.axi import ADDRESS_BITS, axi_read
from hw.dma.line_router import LineRouter
from hw.dma.range_builder import RangeBuilder
from hw.dma.weight_lines import CHUNK, ROUTE
from hw.dma.weight_port import WeightPort
from hw.interfaces import LINE_BITS
from hw.lib.queue import Queue

ROUTES = 64
"""Segments between request and arrival; a LINEAR with one slice has 7 lines a segment."""


class WeightStream(wiring.Component):
    """Weight stream: range builder, ports and line router wired together.

    ::

        i_chunk -> [queue] -> [range builder] -> [weight port] x P -> [line router] -> o_ring | o_param | ...
        i_route -> [queue] ----------------------------------------------^

    Timing: one stream beat of ``beat_lines`` lines in ``share_beats`` cycles.
    Reference model: none.

    Members: ``i_chunk``, ``i_route`` In(streams); ``base[ports]``, ``lo``, ``hi``, ``limit``, ``halt`` In; four
    Out(stream of a beat); for each port ``axi``, ``quiet``, ``expired``, ``fault``, ``fault_code``, ``fault_addr``,
    ``beat`` Out.
    """

    i_chunk: stream.Interface
    i_route: stream.Interface
    lo: Signal
    hi: Signal
    limit: Signal
    halt: Signal
    o_ring: stream.Interface
    o_param: stream.Interface
    o_norm: stream.Interface
    o_multipliers: stream.Interface

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        beat, ports = stream.Signature(cfg.beat_lines * LINE_BITS), cfg.ports
        super().__init__({
            "i_chunk": In(stream.Signature(CHUNK)), "i_route": In(stream.Signature(ROUTE)),
            "base": In(ADDRESS_BITS).array(ports), "lo": In(ADDRESS_BITS), "hi": In(ADDRESS_BITS),
            "limit": In(32), "halt": In(1),
            "o_ring": Out(beat), "o_param": Out(beat), "o_norm": Out(beat), "o_multipliers": Out(beat),
            "axi": Out(axi_read(cfg.port_bytes)).array(ports),
            **{name: Out(1).array(ports) for name in ("quiet", "expired", "fault", "beat")},
            "fault_code": Out(8).array(ports), "fault_addr": Out(ADDRESS_BITS).array(ports),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.builder = builder = RangeBuilder(self.cfg)
        m.submodules.routes = routes = Queue(ROUTE, ROUTES)
        m.submodules.router = router = LineRouter(self.cfg)
        # Registers on both sides of the border: the builder looks at a chunk before it takes it.
        m.submodules.chunks = chunks = Queue(CHUNK, 2)
        wiring.connect(m, wiring.flipped(self.i_chunk), chunks.i)
        wiring.connect(m, chunks.o, builder.i)
        wiring.connect(m, wiring.flipped(self.i_route), routes.i)
        wiring.connect(m, routes.o, router.i_route)
        for name in ("o_ring", "o_param", "o_norm", "o_multipliers"):
            wiring.connect(m, getattr(router, name), wiring.flipped(getattr(self, name)))
        for p in range(self.cfg.ports):
            m.submodules[f"port{p}"] = port = WeightPort(self.cfg)
            wiring.connect(m, builder.o[p], port.i)
            wiring.connect(m, port.o, router.i[p])
            wiring.connect(m, wiring.flipped(self.axi[p]), port.axi)
            m.d.comb += [port.base.eq(self.base[p]), port.lo.eq(self.lo), port.hi.eq(self.hi),
                         port.limit.eq(self.limit), port.halt.eq(self.halt)]
            m.d.comb += [getattr(self, name)[p].eq(getattr(port, name))
                         for name in ("quiet", "expired", "fault", "fault_code", "fault_addr", "beat")]
        m.d.comb += builder.starving.eq(Cat(self.quiet).all())
        return m
