# SPDX-License-Identifier: Apache-2.0
"""Memory of 64-byte rows, written by halves, shared by fixed-priority clients."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.status import Status
from hw.core.layouts import READ_LATENCY, ROW_BITS


class RowMemory(wiring.Component):
    """Keeps ``rows`` rows of two halves; one client reads and one client writes in a cycle, client 0 first.

    ::

        i_read[0..]  -> priority -> [ address ] [ array ] [ output register ] -> o_row (the same word for all)
        i_write[0..] -> priority -> [ register ] -> [ array ]

    Timing: LATENCY = READ_LATENCY cycles from a transfer at ``i_read[n]`` to the row at ``o_row[n]``, which stays for
    that one cycle. A read sees every write transferred WRITE_LATENCY or more cycles before it; of a half written one
    cycle less before it, it gives anything. II = 1 on each side; a client waits only for clients before it. The ready
    of a client depends on the valid of the clients before it.
    Domain: rows below ``rows``. Beyond, a write is dropped, a read returns some row, and ``fault`` pulses.
    Twin: a numpy array.

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
        # Arbitration: the first client that asks.
        read_valid, read_row = self._choose(m, self.i_read, lambda payload: payload)
        write_valid, write = self._choose(m, self.i_write, lambda payload: payload.as_value())
        word = self.i_write[0].payload.shape()(write)

        s1_row, s1_mask = Signal(ROW_BITS), Signal(2)
        write_out, read_out = Signal(), Signal()
        m.d.comb += [write_out.eq(word.row >= self.rows), read_out.eq(read_row >= self.rows)]
        m.d.sync += [
            s1_row.eq(word.row), s1_mask.eq(Mux(write_valid & ~write_out, word.mask, 0)),
            self.fault.eq(write_valid & write_out | read_valid & read_out),
        ]
        m.d.comb += self.fault_code.eq(Status.RANGE_LOCAL)

        answers = [self.halves(port) for port in self.o_row]
        for half, parts in enumerate(self.halves(word)):
            bits = Cat(*parts)
            store = m.submodules[f"half{half}"] = memory.Memory(shape=len(bits), depth=self.rows, init=[])
            write_port, read_port = store.write_port(), store.read_port()
            s1_data, s2_word = Signal(len(bits), reset_less=True), Signal(len(bits), reset_less=True)
            m.d.sync += [s1_data.eq(bits), s2_word.eq(read_port.data)]
            m.d.comb += [
                write_port.addr.eq(s1_row), write_port.data.eq(s1_data), write_port.en.eq(s1_mask[half]),
                read_port.addr.eq(read_row), read_port.en.eq(read_valid),
            ]
            for answer in answers:
                m.d.comb += Cat(*answer[half]).eq(s2_word)
        return m

    @staticmethod
    def _choose(m, clients, bits):
        """Grant the first valid client; whether there is one, and its payload."""
        valid, payload = clients[-1].valid, bits(clients[-1].payload)
        for client in reversed(clients[:-1]):
            payload = Mux(client.valid, bits(client.payload), payload)
            valid = client.valid | valid
        m.d.comb += [client.ready.eq(~Cat(before.valid for before in clients[:n]).any())
                     for n, client in enumerate(clients)]
        return valid, payload
