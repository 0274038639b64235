# SPDX-License-Identifier: Apache-2.0
"""Row memory: 64-byte rows, written by halves, in banks that fixed-priority clients share."""

from typing import NamedTuple

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.spec.machine import BANK_ROWS
from golden.spec.status import Status
from golden.spec.tiling import bank_of_row
from hw.interfaces import READ_LATENCY, ROW_BITS
from hw.lib.ram import ram_style

BLOCK_ROWS = BANK_ROWS
"""Rows that open together."""


class Bank(NamedTuple):
    """What a bank tells: ``reads``, ``writes``: whether it takes each client's request, if that is for this bank;
    ``halves``: the bits that were read of each half, a cycle after the request; ``fault``: a row beyond the memory."""

    reads: list
    writes: list
    halves: list
    fault: object


class RowMemory(wiring.Component):
    """Row memory: ``rows`` rows of two halves, initially zero, in ``banks``; in a cycle one client reads and one client
    writes in each bank, client 0 first.

    ::

        i_read[0..]  -> bank -> priority -> [ address ] [ array ] [ output register, 0 if not open ] -> o_row[0..]
        i_write[0..] -> bank -> open? -> priority -> [ register ] -> [ array ]
        [ sweep: row after row, zeros ] -------------------^ last

    Rows are spread over the banks by :func:`golden.spec.tiling.bank_of_row`.
    A sweep writes zeros to all rows after a reset, one a bank in each cycle in which no client writes there. A block of
    BLOCK_ROWS rows of a bank is open when the sweep has passed it: a write waits for that, a read does not, since it
    gives zeros for a row that cannot have been written.
    Timing: LATENCY = READ_LATENCY cycles from a transfer at ``i_read[n]`` to the row at ``o_row[n]``, which stays for
    that one cycle. A read sees every write transferred WRITE_LATENCY or more cycles before it; of a half written one
    cycle less before it, the result is undefined. II = 1 on each side; a client waits only for clients before it that
    want the same bank. The ready of a client depends on the valid, and where there are banks on the row, of the clients
    before it. While the sweep lasts, at least ``rows / banks`` cycles, a write takes two cycles (its block is looked up
    in the first), and more where its block is not yet open.
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

    def __init__(self, *, rows: int, row_shape, write_shape, readers: int, writers: int, banks: int = 1,
                 uram: bool = False):
        self.rows, self.banks, self.depth, self.attrs = rows, banks, rows // banks, ram_style(uram)
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
        banks = [self._bank(m, number) for number in range(self.banks)]
        m.d.comb += self.fault_code.eq(Status.RANGE_LOCAL)
        m.d.sync += self.fault.eq(Cat(bank.fault for bank in banks).any())
        for n, client in enumerate(self.i_read):
            m.d.comb += client.ready.eq(self._of_bank(client.payload, [bank.reads[n] for bank in banks]))
        for n, client in enumerate(self.i_write):
            m.d.comb += client.ready.eq(self._of_bank(client.payload.row, [bank.writes[n] for bank in banks]))
        self._answer(m, banks)
        return m

    def _answer(self, m, banks: list[Bank]) -> None:
        """Output registers: one for all clients, or where there are banks one for each."""
        shared = [Signal(len(half), name=f"s2_half{n}", reset_less=True) for n, half in enumerate(banks[0].halves)]
        if self.banks == 1:
            m.d.sync += [word.eq(half) for word, half in zip(shared, banks[0].halves, strict=True)]
        for n, (client, port) in enumerate(zip(self.i_read, self.o_row, strict=True)):
            words = shared
            if self.banks > 1:
                s1_bank = Signal(range(self.banks), name=f"s1_bank{n}", reset_less=True)
                words = [Signal(len(half), name=f"s2_row{n}_half{h}", reset_less=True)
                         for h, half in enumerate(banks[0].halves)]
                m.d.sync += s1_bank.eq(bank_of_row(client.payload, self.banks))
                m.d.sync += [word.eq(Array(bank.halves[h] for bank in banks)[s1_bank]) for h, word in enumerate(words)]
            for answer, word in zip(self.halves(port), words, strict=True):
                m.d.comb += Cat(*answer).eq(word)

    def _bank(self, m, number: int) -> Bank:
        """Arbitration, sweep and array of one bank. The first client that requests is served."""
        place = exact_log2(self.banks)
        name = f"bank{number}_" if self.banks > 1 else ""
        at, swept = Signal(range(self.depth + 1), name=f"{name}at"), Signal(name=f"{name}swept")
        is_open = Signal(len(self.i_write), name=f"{name}is_open")
        readers = [client.valid & self._wants(client.payload, number) for client in self.i_read]
        writers = [client.valid & self._wants(client.payload.row, number) for client in self.i_write]
        read_valid, read_row = self._choose(readers, [client.payload for client in self.i_read])
        write_valid, write = self._choose(
            writers, [Cat(client.payload, is_open[n]) for n, client in enumerate(self.i_write)])
        word, written = self.i_write[0].payload.shape()(write[:-1]), Signal(name=f"{name}written")
        m.d.comb += written.eq(write_valid & write[-1])
        takes = [self._first(writers, n) & is_open[n] for n in range(len(writers))]

        # Sweep. A block is open two cycles after its last row was cleared, when a read finds the zeros.
        block_log2 = exact_log2(BLOCK_ROWS)
        opened = Signal(range(self.depth // BLOCK_ROWS + 1), name=f"{name}opened")
        s1_closed = Signal(name=f"{name}s1_closed")
        m.d.sync += [opened.eq(at[block_log2:]), s1_closed.eq(read_row[place + block_log2:] >= opened)]
        with m.If(~(written | swept)):
            m.d.sync += [at.eq(at + 1), swept.eq(at == self.depth - 1)]
        for n, (client, asks) in enumerate(zip(self.i_write, writers, strict=True)):
            waits = asks & ~takes[n] & (client.payload.row[place + block_log2:] < opened)
            m.d.sync += is_open[n].eq(swept | waits)

        s1_row, s1_mask = Signal(ROW_BITS, name=f"{name}s1_row"), Signal(2, name=f"{name}s1_mask")
        write_out, read_out = word.row >= self.rows, read_row >= self.rows
        m.d.sync += [
            s1_row.eq(Mux(written, word.row[place:], at)),
            s1_mask.eq(Mux(written, Mux(write_out, 0, word.mask), (~swept).replicate(2))),
        ]
        halves = []
        for half, parts in enumerate(self.halves(word)):
            bits = Cat(*parts)
            store = m.submodules[f"{name}half{half}"] = memory.Memory(shape=len(bits), depth=self.depth, init=[],
                                                                            attrs=self.attrs)
            write_port, read_port = store.write_port(), store.read_port()
            s1_data = Signal(len(bits), name=f"{name}s1_data{half}", reset_less=True)
            m.d.sync += s1_data.eq(Mux(written, bits, 0))
            m.d.comb += [
                write_port.addr.eq(s1_row), write_port.data.eq(s1_data), write_port.en.eq(s1_mask[half]),
                read_port.addr.eq(read_row[place:]), read_port.en.eq(read_valid),
            ]
            halves.append(Mux(s1_closed, 0, read_port.data))
        return Bank([self._first(readers, n) for n in range(len(readers))], takes, halves,
                    written & write_out | read_valid & read_out)

    def _wants(self, row, number: int):
        return 1 if self.banks == 1 else bank_of_row(row, self.banks) == number

    def _of_bank(self, row, of_each: list):
        """The one of the bank that holds ``row``."""
        return of_each[0] if self.banks == 1 else Array(of_each)[bank_of_row(row, self.banks)]

    @staticmethod
    def _choose(asks, bits):
        """Whether a client asks, and the ``bits`` of the first that does."""
        valid, chosen = asks[-1], bits[-1]
        for request, mine in reversed(list(zip(asks[:-1], bits[:-1], strict=True))):
            chosen = Mux(request, mine, chosen)
            valid = request | valid
        return valid, chosen

    @staticmethod
    def _first(asks, n):
        return ~Cat(asks[:n]).any() if n else Cat(1)
