# SPDX-License-Identifier: Apache-2.0
"""Line router: assembles stream beats from the ports' shares and sends each to the prefetcher's destination."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.spec.machine import MachineConfig
from hw.dma.weight_lines import ROUTE, Destination
from hw.interfaces import LINE_BITS
from hw.lib.queue import Queue


class LineRouter(wiring.Component):
    """Line router: joins the shares of all ports to stream beats; the next ``lines`` lines of a route go to its
    destination, ``beat_lines`` of them a beat.

    ::

        i[0..P-1] --all valid--> [queue: beat, destination] -> o_ring | o_param | o_norm | o_multipliers
        i_route -> [destination, beats left] --^

    Timing: LATENCY cycles from the last share to the destination; II = 1, also across routes. A stalled
    destination stops all later beats; it never stalls for long, since the prefetcher requests only what fits.
    Domain: routes of at least one beat, whole beats.
    Reference model: none.

    Members: ``i[ports]`` In(stream of a share), ``i_route`` In(stream of ROUTE), four Out(stream of a beat).
    """

    LATENCY = 1
    II = 1

    i: list[stream.Interface]
    i_route: stream.Interface
    o_ring: stream.Interface
    o_param: stream.Interface
    o_norm: stream.Interface
    o_multipliers: stream.Interface

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        self.bits = cfg.beat_lines * LINE_BITS
        beat = stream.Signature(self.bits)
        super().__init__({
            "i": In(stream.Signature(self.bits // cfg.ports)).array(cfg.ports), "i_route": In(stream.Signature(ROUTE)),
            "o_ring": Out(beat), "o_param": Out(beat), "o_norm": Out(beat), "o_multipliers": Out(beat),
        })

    def elaborate(self, platform):
        m = Module()
        outputs = {Destination.RING: self.o_ring, Destination.PARAM: self.o_param,
                   Destination.NORM: self.o_norm, Destination.MULTIPLIERS: self.o_multipliers}

        # The current route; the next one is loaded with the last line of this one.
        destination, left = Signal(Destination), Signal(ROUTE["lines"].width)
        active, last, take = Signal(), Signal(), Signal()
        beats = self.i_route.payload.lines >> exact_log2(self.cfg.beat_lines)
        m.d.comb += self.i_route.ready.eq(~active | take & last)
        with m.If(self.i_route.ready):
            m.d.sync += [
                destination.eq(self.i_route.payload.destination), left.eq(beats), last.eq(beats == 1),
                active.eq(self.i_route.valid),
            ]
        with m.Elif(take):
            m.d.sync += [left.eq(left - 1), last.eq(left == 2)]

        # Whole beats, with a bit for each destination; the queue keeps a destination's stall away from the ports.
        m.submodules.beats = queue = Queue(data.StructLayout({"beat": self.bits, "goes": len(outputs)}), 2)
        goes = queue.o.payload.goes
        m.d.comb += [
            take.eq(Cat(port.valid for port in self.i).all() & active & queue.i.ready), queue.i.valid.eq(take),
            queue.i.payload.beat.eq(Cat(port.payload for port in self.i)),
            queue.i.payload.goes.eq(1 << destination.as_value()),
            queue.o.ready.eq(~Cat(goes[d.value] & ~out.ready for d, out in outputs.items()).any()),
        ]
        m.d.comb += [port.ready.eq(take) for port in self.i]
        for d, out in outputs.items():
            m.d.comb += [out.valid.eq(queue.o.valid & goes[d.value]), out.payload.eq(queue.o.payload.beat)]
        return m
