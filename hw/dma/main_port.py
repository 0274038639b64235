# SPDX-License-Identifier: Apache-2.0
"""Main port: one read engine, shared by front end and load/store unit, and one write engine."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import MAX_BURST
from hw.axi import ADDRESS_BITS, BEAT_BITS, TRANSFER, AxiWrite, axi_read
from hw.dma.read_engine import ReadEngine
from hw.dma.write_engine import WriteEngine


class MainPort(wiring.Component):
    """Main port: connects the read engine to the front end while ``fetching``, to the load/store unit otherwise.

    Timing: as the engines; sharing adds no cycle. The two readers never overlap: nothing is issued before the program
    is loaded.
    Reference model: the DRAM of the simulated board.

    Members: ``fetching`` In; ``i_fetch``, ``i_load`` In(stream of TRANSFER), ``o_fetch``, ``o_load`` Out(stream of a
    beat); ``i_store`` In(stream of TRANSFER), ``i_data`` In(stream of a beat), ``stored`` Out, all stores are
    acknowledged; ``read_lo`` .. ``write_hi`` In; ``read``, ``write`` Out(AXI); the engines' state as ``read_...`` and
    ``write_...``; ``limit``, ``halt`` In.
    """

    STATE = {"quiet": Out(1), "expired": Out(1), "fault": Out(1), "fault_code": Out(8), "fault_addr": Out(ADDRESS_BITS),
             "beat": Out(1)}

    fetching: Signal
    i_fetch: stream.Interface
    i_load: stream.Interface
    o_fetch: stream.Interface
    o_load: stream.Interface
    i_store: stream.Interface
    i_data: stream.Interface
    stored: Signal
    limit: Signal
    halt: Signal
    read: wiring.PureInterface
    write: wiring.PureInterface

    def __init__(self, *, max_burst: int = MAX_BURST):
        self.max_burst = max_burst
        transfer, beat = stream.Signature(TRANSFER), stream.Signature(BEAT_BITS)
        super().__init__({
            "fetching": In(1), "i_fetch": In(transfer), "i_load": In(transfer),
            "o_fetch": Out(beat), "o_load": Out(beat),
            "i_store": In(transfer), "i_data": In(beat), "stored": Out(1),
            **{name: In(ADDRESS_BITS) for name in ("read_lo", "read_hi", "write_lo", "write_hi")},
            "limit": In(32), "halt": In(1), "read": Out(axi_read()), "write": Out(AxiWrite),
            **{f"{side}_{name}": member for side in ("read", "write") for name, member in self.STATE.items()},
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = ReadEngine(max_burst=self.max_burst)
        m.submodules.writer = writer = WriteEngine(max_burst=self.max_burst)
        for side, engine in (("read", reader), ("write", writer)):
            wiring.connect(m, wiring.flipped(getattr(self, side)), engine.axi)
            m.d.comb += [
                engine.lo.eq(getattr(self, f"{side}_lo")), engine.hi.eq(getattr(self, f"{side}_hi")),
                engine.limit.eq(self.limit), engine.halt.eq(self.halt),
            ]
            m.d.comb += [getattr(self, f"{side}_{name}").eq(getattr(engine, name)) for name in self.STATE]

        wiring.connect(m, wiring.flipped(self.i_store), writer.i)
        wiring.connect(m, wiring.flipped(self.i_data), writer.i_data)
        load, fetch = ~self.fetching, self.fetching
        m.d.comb += [
            self.stored.eq(writer.idle),
            reader.i.payload.eq(Mux(fetch, self.i_fetch.payload, self.i_load.payload)),
            reader.i.valid.eq(Mux(fetch, self.i_fetch.valid, self.i_load.valid)),
            self.i_fetch.ready.eq(reader.i.ready & fetch), self.i_load.ready.eq(reader.i.ready & load),
            self.o_fetch.payload.eq(reader.o.payload), self.o_load.payload.eq(reader.o.payload),
            self.o_fetch.valid.eq(reader.o.valid & fetch), self.o_load.valid.eq(reader.o.valid & load),
            reader.o.ready.eq(Mux(fetch, self.o_fetch.ready, self.o_load.ready)),
        ]
        return m
