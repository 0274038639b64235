# SPDX-License-Identifier: Apache-2.0
"""Row memory: 64-byte rows, written by halves, shared by fixed-priority clients."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.spec.status import Status
from hw.interfaces import READ_LATENCY, ROW_BITS

BLOCK_ROWS = 32
"""Rows that open together: every memory has a multiple of them."""


class RowMemory(wiring.Component):
    """Row memory: ``rows`` rows of two halves, initially zero; one client reads and one client writes in a cycle,
    client 0 first.

    ::

        i_read[0..]  -> priority -> [ address ] [ array ] [ output register, 0 if not open ] -> o_row (one word for all)
        i_write[0..] -> open? -> priority -> [ register ] -> [ array ]
        [ sweep: row after row, zeros ] ----^ last

    A sweep writes zeros to all rows after a reset, one in each cycle in which no client writes. A block of BLOCK_ROWS
    rows is open when the sweep has passed it: a write waits for that, a read does not, since it gives zeros for a row
    that cannot have been written.
    Timing: LATENCY = READ_LATENCY cycles from a transfer at ``i_read[n]`` to the row at ``o_row[n]``, which stays for
    that one cycle. A read sees every write transferred WRITE_LATENCY or more cycles before it; of a half written one
    cycle less before it, the result is undefined. II = 1 on each side; a client waits only for clients before it. The
    ready of a client depends on the valid of the clients before it. While the sweep lasts, at least ``rows`` cycles, a
    write takes two cycles (its block is looked up in the first), and more where its block is not yet open.
    Domain: rows below ``rows``. Beyond, a write is dropped, a read returns zeros, and ``fault`` pulses. A write that
    waits is stable.
    Reference model: a numpy array.

    Members: ``i_read[readers]`` In(stream of row), ``o_row[readers]`` Out, ``i_write[writers]`` In(stream of
    ``write_shape``, whose first fields are ``row`` and ``mask``, one bit a half), ``fault``, ``fault_code``.
    """

    LATENCY = READ_LATENCY
    WRITE_LATENCY = 2
    II = 1

    i_read: list[stream.Interface]
    i_write: list[stream.Interface]
    o_row: list
    fault: Signal
    fault_code: Signal

    def __init__(self, *, rows: int, row_shape, write_shape, readers: int, writers: int):
        self.rows = rows
        super().__init__({
            "i_read": In(stream.Signature(ROW_BITS)).array(readers),
            "o_row": Out(row_shape).array(readers),
            "i_write": In(stream.Signature(write_shape)).array(writers),
            "fault": Out(1), "fault_code": Out(8, init=Status.RANGE_LOCAL),
        })

    def halves(self, word) -> list[list]:
        """The signals of half 0 and of half 1 of a row or of a write, in the same order; for reading and assigning."""
        raise NotImplementedError

    def elaborate(self, platform):
        m = Module()
        # Arbitration: the first client that requests.
        at, swept, is_open = Signal(range(self.rows + 1)), Signal(), Signal(len(self.i_write))
        read_valid, read_row = self._choose(m, self.i_read, lambda n, client: client.payload)
        write_valid, write = self._choose(m, self.i_write, lambda n, client: Cat(client.payload, is_open[n]))
        word, written = self.i_write[0].payload.shape()(write[:-1]), Signal()
        m.d.comb += written.eq(write_valid & write[-1])
        for n, client in enumerate(self.i_read):
            m.d.comb += client.ready.eq(self._first(self.i_read, n))
        for n, client in enumerate(self.i_write):
            m.d.comb += client.ready.eq(self._first(self.i_write, n) & is_open[n])

        # Sweep. A block is open two cycles after its last row was cleared, when a read finds the zeros.
        block_log2 = exact_log2(BLOCK_ROWS)
        opened, s1_closed = Signal(range(self.rows // BLOCK_ROWS + 1)), Signal()
        m.d.sync += [opened.eq(at[block_log2:]), s1_closed.eq(read_row[block_log2:] >= opened)]
        with m.If(~(written | swept)):
            m.d.sync += [at.eq(at + 1), swept.eq(at == self.rows - 1)]
        for n, client in enumerate(self.i_write):
            waits = client.valid & ~client.ready & (client.payload.row[block_log2:] < opened)
            m.d.sync += is_open[n].eq(swept | waits)

        s1_row, s1_mask = Signal(ROW_BITS), Signal(2)
        write_out, read_out = Signal(), Signal()
        m.d.comb += [write_out.eq(word.row >= self.rows), read_out.eq(read_row >= self.rows)]
        m.d.sync += [
            s1_row.eq(Mux(written, word.row, at)),
            s1_mask.eq(Mux(written, Mux(write_out, 0, word.mask), (~swept).replicate(2))),
            self.fault.eq(written & write_out | read_valid & read_out),
        ]
        m.d.comb += self.fault_code.eq(Status.RANGE_LOCAL)

        answers = [self.halves(port) for port in self.o_row]
        for half, parts in enumerate(self.halves(word)):
            bits = Cat(*parts)
            store = m.submodules[f"half{half}"] = memory.Memory(shape=len(bits), depth=self.rows, init=[])
            write_port, read_port = store.write_port(), store.read_port()
            s1_data, s2_word = Signal(len(bits), reset_less=True), Signal(len(bits), reset_less=True)
            m.d.sync += [s1_data.eq(Mux(written, bits, 0)), s2_word.eq(Mux(s1_closed, 0, read_port.data))]
            m.d.comb += [
                write_port.addr.eq(s1_row), write_port.data.eq(s1_data), write_port.en.eq(s1_mask[half]),
                read_port.addr.eq(read_row), read_port.en.eq(read_valid),
            ]
            for answer in answers:
                m.d.comb += Cat(*answer[half]).eq(s2_word)
        return m

    @staticmethod
    def _choose(m, clients, bits):
        """Whether a client is valid, and the ``bits(number, client)`` of the first that is."""
        last = len(clients) - 1
        valid, chosen = clients[last].valid, bits(last, clients[last])
        for n, client in reversed(list(enumerate(clients[:last]))):
            chosen = Mux(client.valid, bits(n, client), chosen)
            valid = client.valid | valid
        return valid, chosen

    @staticmethod
    def _first(clients, n):
        return ~Cat(before.valid for before in clients[:n]).any()
