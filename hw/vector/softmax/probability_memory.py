# SPDX-License-Identifier: Apache-2.0
"""The probabilities of the softmax's jobs, written by parts of a lane, read by chunks of all lanes."""

from itertools import product

from amaranth.hdl import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import SLICE, MachineConfig
from hw.arith.exp2 import EXPONENTIAL_BITS
from hw.interfaces import SOFTMAX_SLOTS, lane_bits
from hw.vector.softmax.jobs import CHUNK_BITS, chunk_address


def probability_part(cfg: MachineConfig) -> data.StructLayout:
    """A part's probabilities and their place; those of 8 bits (not ``wide``) are the values' low bytes."""
    return data.StructLayout({
        "slot": range(SOFTMAX_SLOTS), "lane": lane_bits(cfg), "chunk": CHUNK_BITS, "part": range(cfg.serialization),
        "wide": 1, "p": data.ArrayLayout(unsigned(EXPONENTIAL_BITS), cfg.lanes)})


class ProbabilityMemory(wiring.Component):
    """A lane's 16 bytes of a chunk in each of two planes: 8-bit probabilities or high bytes, and low bytes. ::

        write -> [plane 0, plane 1 of each lane] -> [read, 2] -> [lanes of the job only] -> p_data

    Timing: LATENCY = 2 = READ_LATENCY from ``p_en`` to ``p_data``; a part is written in its cycle.
    Domain: chunks of ``cfg.max_keys`` keys.
    Reference model: none, it changes nothing.
    Members: ``write``, ``write_en`` In; ``lanes`` In, of each slot's job: others read as 0; ``p_slot, p_chunk, p_plane,
    p_en`` In -> ``p_data`` Out(tm x 16 bytes).
    """

    LATENCY = 2
    II = 1

    write: data.View
    write_en: Signal
    p_slot: Signal
    p_chunk: Signal
    p_plane: Signal
    p_en: Signal
    p_data: data.View

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "write": In(probability_part(cfg)), "write_en": In(1), "lanes": In(4).array(SOFTMAX_SLOTS),
            "p_slot": In(range(SOFTMAX_SLOTS)), "p_chunk": In(CHUNK_BITS), "p_plane": In(1), "p_en": In(1),
            "p_data": Out(data.ArrayLayout(data.ArrayLayout(unsigned(8), SLICE), cfg.tm))})

    def elaborate(self, platform):
        m = Module()
        cfg, serial, beat = self.cfg, self.cfg.serialization, self.write
        store = m.submodules.p = memory.Memory(
            shape=data.ArrayLayout(unsigned(8 * cfg.lanes), 2 * cfg.tm * serial), init=[],
            depth=SOFTMAX_SLOTS * cfg.max_keys // SLICE)
        write, read = store.write_port(granularity=1), store.read_port()
        high = Cat(Mux(beat.wide, value[8:], value[:8]) for value in beat.p)
        low = Cat(value[:8] for value in beat.p)
        m.d.comb += [write.addr.eq(Cat(chunk_address(cfg, beat.chunk), beat.slot)),
                     read.addr.eq(Cat(chunk_address(cfg, self.p_chunk), self.p_slot)), read.en.eq(self.p_en)]
        for lane, part in product(range(cfg.tm), range(serial)):
            hit = self.write_en & (beat.lane == lane) & (beat.part == part)
            plane0, plane1 = self._places(lane, part)
            m.d.comb += [write.data[plane0].eq(high), write.data[plane1].eq(low),
                         write.en[plane0].eq(hit), write.en[plane1].eq(hit & beat.wide)]
        read_slot, read_plane = Signal.like(self.p_slot), Signal()
        m.d.sync += [read_slot.eq(self.p_slot), read_plane.eq(self.p_plane)]
        for lane in range(cfg.tm):
            plane0, plane1 = (Cat(read.data[places[plane]] for places in
                                  (self._places(lane, part) for part in range(serial))) for plane in range(2))
            m.d.sync += self.p_data[lane].eq(
                Mux(lane < Array(self.lanes)[read_slot], Mux(read_plane, plane1, plane0), 0))
        return m

    def _places(self, lane: int, part: int) -> tuple[int, int]:
        """Of a part in the memory's row, in each plane."""
        serial = self.cfg.serialization
        return 2 * lane * serial + part, (2 * lane + 1) * serial + part
