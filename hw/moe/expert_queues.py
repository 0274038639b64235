# SPDX-License-Identifier: Apache-2.0
"""Expert queues: the token queues of all experts, as linked lists in one memory."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import MAX_EXPERTS, MachineConfig
from golden.spec.status import Status
from hw.array.token_iterator import TRAVERSAL
from hw.interfaces import QUEUE_ENTRY, TOKEN_BITS

EXPERT_BITS = (MAX_EXPERTS - 1).bit_length()
ARRIVALS_BITS = MAX_EXPERTS.bit_length()
ROUND_BITS = 12
"""Bits that distinguish all GATEs of the longest program."""
READERS = 2
APPEND = data.StructLayout({"expert": unsigned(EXPERT_BITS), "token": unsigned(TOKEN_BITS), "weight": unsigned(16)})


class ExpertQueues(wiring.Component):
    """Expert queues: ``cfg.queue_depth`` places shared by all experts, in order of arrival within each queue.

    ::

        i_append -> [expert] -> table: head, tail, count of each expert --\\
                                                  place (next free one) ---+-> entries: token, weight
                                                  its predecessor ---------+-> links: next place
        i_traverse   -> [expert] -> table -> [place] -> entries -> o_entry
                                            ^------ links
        first append of an expert -> order of arrival -> i_place -> o_arrival

    Timing: an append takes two cycles (II = 2) and is visible to traversals and counts after them; LATENCY = 4 from
    ``i_traverse`` to the first entry, then an entry every two cycles (TRAVERSAL_II). ``o_count`` follows
    ``i_count_expert`` by a cycle, ``o_arrival`` its ``i_place``.
    A traversal begins at the head, any number of times, when the traversal before it is over; an empty queue yields
    nothing.
    Domain: at most 2**12 - 1 entries for an expert. An append beyond ``queue_depth`` is dropped and ``fault`` pulses.
    Reference model: ``golden.ops.queues.fill``, ``golden.ops.queues.arrivals``.
    Members: ``clear`` In(1), empties all queues; ``i_append`` In(stream APPEND); ``i_traverse`` In(stream TRAVERSAL),
    ``o_entry`` Out(stream QUEUE_ENTRY); ``i_count_expert`` In, ``o_count`` Out; ``o_arrivals`` Out, how many queues are
    not empty; ``i_place`` In -> ``o_arrival`` Out, for each of READERS: the expert whose queue was the n-th to get an
    entry, n < ``o_arrivals``; ``o_round`` Out, how often ``clear`` was high; ``fault``, ``fault_code``.
    """

    LATENCY = 4
    II = 2
    TRAVERSAL_II = 2

    clear: Signal
    i_append: stream.Interface
    i_traverse: stream.Interface
    o_entry: stream.Interface
    i_count_expert: Signal
    o_count: Signal
    o_arrivals: Signal
    o_round: Signal
    fault: Signal
    fault_code: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "clear": In(1), "i_append": In(stream.Signature(APPEND)), "i_traverse": In(stream.Signature(TRAVERSAL)),
            "o_entry": Out(stream.Signature(QUEUE_ENTRY)), "i_count_expert": In(EXPERT_BITS),
            "o_count": Out(TOKEN_BITS), "o_arrivals": Out(ARRIVALS_BITS), "o_round": Out(ROUND_BITS),
            "i_place": In(EXPERT_BITS).array(READERS), "o_arrival": Out(EXPERT_BITS).array(READERS),
            "fault": Out(1), "fault_code": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        depth = self.cfg.queue_depth
        place_bits = (depth - 1).bit_length()
        row = data.StructLayout({"head": place_bits, "tail": place_bits, "count": TOKEN_BITS})
        table = m.submodules.table = memory.Memory(shape=row, depth=MAX_EXPERTS, init=[])
        entries = m.submodules.entries = memory.Memory(shape=TOKEN_BITS + 16, depth=depth, init=[])
        links = m.submodules.links = memory.Memory(shape=place_bits, depth=depth, init=[])
        order = m.submodules.order = memory.Memory(shape=EXPERT_BITS, depth=MAX_EXPERTS, init=[])
        nonempty = Signal(MAX_EXPERTS)
        m.d.comb += self.fault_code.eq(Status.RANGE_LOCAL)

        # Append, cycle 1: read the expert's row. Cycle 2: take the next place, link it, write the row.
        table_write, entry_write, link_write = table.write_port(), entries.write_port(), links.write_port()
        old_port, free = table.read_port(), Signal(place_bits + 1)
        old = old_port.data
        s1_valid, s1, take, s1_fresh, full = Signal(), Signal(APPEND, reset_less=True), Signal(), Signal(), Signal()
        m.d.comb += [self.i_append.ready.eq(~s1_valid), old_port.addr.eq(self.i_append.payload.expert)]
        m.d.sync += [s1_valid.eq(self.i_append.valid & ~s1_valid), s1.eq(self.i_append.payload),
                     s1_fresh.eq(~nonempty.bit_select(self.i_append.payload.expert, 1)),
                     self.fault.eq(s1_valid & full)]
        m.d.comb += [
            full.eq(free[-1]), take.eq(s1_valid & ~full),
            entry_write.addr.eq(free), entry_write.data.eq(Cat(s1.token, s1.weight)), entry_write.en.eq(take),
            link_write.addr.eq(old.tail), link_write.data.eq(free), link_write.en.eq(take & ~s1_fresh),
            table_write.addr.eq(s1.expert), table_write.en.eq(take), table_write.data.tail.eq(free),
            table_write.data.head.eq(Mux(s1_fresh, free, old.head)),
            table_write.data.count.eq(Mux(s1_fresh, 0, old.count) + 1),
        ]
        with m.If(take):
            m.d.sync += [free.eq(free + 1), nonempty.bit_select(s1.expert, 1).eq(1),
                         self.o_arrivals.eq(self.o_arrivals + s1_fresh)]
        with m.If(self.clear):
            # Rows stay as they are: they count only where `nonempty` is set.
            m.d.sync += [free.eq(0), nonempty.eq(0), self.o_arrivals.eq(0), self.o_round.eq(self.o_round + 1)]

        # Order of arrival.
        order_write = order.write_port()
        m.d.comb += [order_write.addr.eq(self.o_arrivals), order_write.data.eq(s1.expert),
                     order_write.en.eq(take & s1_fresh)]
        for n in range(READERS):
            order_port = order.read_port()
            m.d.comb += [order_port.addr.eq(self.i_place[n]), self.o_arrival[n].eq(order_port.data)]

        # Counts.
        count_port, s1_some = table.read_port(), Signal()
        m.d.sync += s1_some.eq(nonempty.bit_select(self.i_count_expert, 1))
        m.d.comb += [count_port.addr.eq(self.i_count_expert), self.o_count.eq(Mux(s1_some, count_port.data.count, 0))]

        # Traversal.
        head_port, entry_port, link_port = table.read_port(), entries.read_port(), links.read_port()
        some, place, left, last = Signal(), Signal(place_bits), Signal(TOKEN_BITS), Signal()
        m.d.comb += [head_port.addr.eq(self.i_traverse.payload.expert), entry_port.addr.eq(place),
                     link_port.addr.eq(place),
                     last.eq(left == 1)]
        shown = self.o_entry.payload
        entry = Cat(shown.token, shown.weight, shown.last)
        with m.If(self.o_entry.ready):
            m.d.sync += self.o_entry.valid.eq(0)
        with m.FSM():
            with m.State("WAIT"):
                m.d.comb += self.i_traverse.ready.eq(1)
                m.d.sync += some.eq(nonempty.bit_select(self.i_traverse.payload.expert, 1))
                with m.If(self.i_traverse.valid):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.sync += [place.eq(head_port.data.head), left.eq(head_port.data.count)]
                m.next = "WAIT"
                with m.If(some):
                    m.next = "READ"
            with m.State("READ"):
                m.next = "SHOW"
            with m.State("SHOW"):
                with m.If(~self.o_entry.valid | self.o_entry.ready):
                    m.d.sync += [entry.eq(Cat(entry_port.data, last)), self.o_entry.valid.eq(1),
                                 place.eq(link_port.data), left.eq(left - 1)]
                    m.next = "READ"
                    with m.If(last):
                        m.next = "WAIT"
        return m
