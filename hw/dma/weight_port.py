# SPDX-License-Identifier: Apache-2.0
"""Weight port: ranges of stream beats in, this port's share of each out."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import MachineConfig
from hw.axi import ADDRESS_BITS, TRANSFER, axi_read
from hw.dma.read_engine import DEPTH, ReadEngine
from hw.dma.weight_lines import RANGE


class WeightPort(wiring.Component):
    """Weight port: reads bytes ``base + beat * B`` .. of its plane, B = ``share_bytes``, and gives B bytes for each
    stream beat. A beat of the port has P = ``port_bytes`` bytes.

    ::

        i -> [low half of the address] -> [high half] -> [read engine] -> [B / P beats to a share] -> o

    Timing: one beat of the port a cycle, so one stream beat in B / P cycles. LATENCY cycles from a transfer at ``i`` to
    ARVALID. A stalled ``o`` stops new bursts once the engine's data queue is full; RREADY stays high.
    Domain: ``base`` a multiple of P; what leaves the window is refused.
    Reference model: the planes of ``golden.spec.program.image``.

    Members: ``i`` In(stream of RANGE), ``base`` In, ``o`` Out(stream of a share); the others as at ReadEngine.
    """

    LATENCY = ReadEngine.LATENCY + 2

    i: stream.Interface
    o: stream.Interface
    base: Signal
    lo: Signal
    hi: Signal
    limit: Signal
    halt: Signal
    quiet: Signal
    expired: Signal
    fault: Signal
    fault_code: Signal
    fault_addr: Signal
    beat: Signal
    axi: wiring.PureInterface

    def __init__(self, cfg: MachineConfig, *, depth: int = DEPTH):
        self.cfg = cfg
        self.depth = depth
        self.beats = cfg.share_beats
        super().__init__({
            "i": In(stream.Signature(RANGE)), "o": Out(stream.Signature(8 * cfg.share_bytes)),
            "base": In(ADDRESS_BITS), "lo": In(ADDRESS_BITS), "hi": In(ADDRESS_BITS), "limit": In(32), "halt": In(1),
            "quiet": Out(1), "expired": Out(1),
            "fault": Out(1), "fault_code": Out(8), "fault_addr": Out(ADDRESS_BITS),
            "beat": Out(1), "axi": Out(axi_read(cfg.port_bytes)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = ReadEngine(
            depth=self.depth, beat_bytes=self.cfg.port_bytes, max_burst=self.cfg.max_burst)
        wiring.connect(m, wiring.flipped(self.axi), engine.axi)
        for name in ("lo", "hi", "limit", "halt"):
            m.d.comb += getattr(engine, name).eq(getattr(self, name))
        for name in ("quiet", "expired", "fault", "fault_code", "fault_addr", "beat"):
            m.d.comb += getattr(self, name).eq(getattr(engine, name))

        # Address: base + beat * B, half by half.
        half = ADDRESS_BITS // 2
        offset, carry = Signal(ADDRESS_BITS), Signal()
        transfer = Signal(TRANSFER, reset_less=True)
        m.d.comb += [
            offset.eq(self.i.payload.beat * self.cfg.share_bytes), engine.i.payload.eq(transfer),
        ]
        offset_high = Signal(half)
        with m.FSM():
            with m.State("ACCEPT"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    Cat(transfer.addr[:half], carry).eq(self.base[:half] + offset[:half]),
                    offset_high.eq(offset[half:]),
                    transfer.beats.eq(self.i.payload.beats * self.beats),
                ]
                with m.If(self.i.valid):
                    m.next = "HIGH"
            with m.State("HIGH"):
                m.d.sync += transfer.addr[half:].eq(self.base[half:] + offset_high + carry)
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += engine.i.valid.eq(1)
                with m.If(engine.i.ready):
                    m.next = "ACCEPT"

        # Beats of the port to shares, lowest bytes first.
        if self.beats == 1:
            wiring.connect(m, engine.o, wiring.flipped(self.o))
            return m
        count = Signal(range(self.beats))
        bits = 8 * self.cfg.port_bytes
        gathered = Signal(bits * self.beats, reset_less=True)
        room = Signal()
        m.d.comb += [room.eq(~self.o.valid | self.o.ready), engine.o.ready.eq(room), self.o.payload.eq(gathered)]
        with m.If(room):
            m.d.sync += self.o.valid.eq(0)
            with m.If(engine.o.valid):
                m.d.sync += [
                    gathered.eq(Cat(gathered[bits:], engine.o.payload)), count.eq(count + 1),
                    self.o.valid.eq(count == self.beats - 1),
                ]
        return m
