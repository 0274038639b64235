# SPDX-License-Identifier: Apache-2.0
"""Chosen experts of the tokens in flight, in order and as a set."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import MAX_EXPERTS, MAX_TOP_K
from hw.moe.gate_shapes import COUNT_BITS, SLOT_BITS, SLOTS, slot_of
from hw.moe.top_k import EXPERT_BITS


class Choices(wiring.Component):
    """Choices: stores the experts that TopK selects for each token. ::

        expert, valid, last -> [experts by slot and place], [sets by slot]

    Timing: LATENCY = 1 from ``valid`` to what is read after it, and from ``slot``, ``place`` to ``read``.
    Domain: up to MAX_TOP_K experts a token.
    Reference model: none, it changes nothing.
    Members: ``expert``, ``valid``, ``last`` In; ``selected`` Out, tokens chosen for; ``slot``, ``place`` In -> ``read``
    Out; ``set_slot`` In -> ``set`` Out, a bit an expert.
    """

    LATENCY = 1

    def __init__(self):
        super().__init__({
            "expert": In(EXPERT_BITS), "valid": In(1), "last": In(1), "selected": Out(COUNT_BITS),
            "slot": In(SLOT_BITS), "place": In(range(MAX_TOP_K)), "read": Out(EXPERT_BITS),
            "set_slot": In(SLOT_BITS), "set": Out(MAX_EXPERTS)})

    def elaborate(self, platform):
        m = Module()
        experts = m.submodules.experts = memory.Memory(shape=EXPERT_BITS, depth=SLOTS * MAX_TOP_K, init=[])
        sets = m.submodules.sets = memory.Memory(shape=MAX_EXPERTS, depth=SLOTS, init=[])
        place, chosen, with_this = Signal(range(MAX_TOP_K)), Signal(MAX_EXPERTS), Signal(MAX_EXPERTS)
        write, set_write, read, set_read = (experts.write_port(), sets.write_port(), experts.read_port(),
                                            sets.read_port())
        m.d.comb += [
            with_this.eq(chosen | (1 << self.expert)), write.addr.eq(Cat(place, slot_of(self.selected))),
            write.data.eq(self.expert), write.en.eq(self.valid), set_write.addr.eq(slot_of(self.selected)),
            set_write.data.eq(with_this), set_write.en.eq(self.valid & self.last),
            read.addr.eq(Cat(self.place, self.slot)), self.read.eq(read.data), set_read.addr.eq(self.set_slot),
            self.set.eq(set_read.data),
        ]
        with m.If(self.valid):
            m.d.sync += [place.eq(place + 1), chosen.eq(with_this)]
            with m.If(self.last):
                m.d.sync += [place.eq(0), chosen.eq(0), self.selected.eq(self.selected + 1)]
        return m
