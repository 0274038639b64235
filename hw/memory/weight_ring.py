# SPDX-License-Identifier: Apache-2.0
"""Weight ring: circular buffer of weights that have been fetched and are not yet released."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import LINE, MachineConfig
from hw.interfaces import LINE_BITS, READ_LATENCY
from hw.lib.ram import ram_style


class WeightRing(wiring.Component):
    """Weight ring: gathers stream beats of 64-byte lines into step rows of TN * tk bytes; keeps them in order until
    they are released.

    ::

        i -> [ beat ] -> [ row_lines arrays of ring_rows lines ] -> [ output register ] -> ring_data
                           ^ write head                ^ tail + ring_row, ring_en

    Row n of the stream holds lines n * row_lines .., the first one lowest.
    Timing: LATENCY = READ_LATENCY from ``ring_en`` to ``ring_data``, which is stable until the next read's data. II = 1
    beat, 1 row. ``ring_level`` counts a row WRITE_LATENCY cycles after the transfer of its last beat. A release is
    seen by ``ring_row`` and ``ring_level`` of the next cycle. ``i.ready`` falls while all rows are full.
    Domain: ``ring_row`` below ``ring_level``; ``ring_release`` up to ``ring_level``.
    Reference model: none, it changes nothing.

    Members: ``i`` In(stream of a beat); ``ring_level`` Out, rows that can be read; ``ring_row`` In, offset from the
    oldest row, ``ring_en`` In, ``ring_data`` Out; ``ring_release`` In, rows to free, ``ring_release_en`` In.
    """

    LATENCY = READ_LATENCY
    WRITE_LATENCY = 2
    II = 1

    i: stream.Interface
    ring_level: Signal
    ring_row: Signal
    ring_en: Signal
    ring_data: Signal
    ring_release: Signal
    ring_release_en: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        self.row_lines = cfg.row_bytes // LINE
        self.row_beats = self.row_lines // cfg.beat_lines
        self.bits = cfg.beat_lines * LINE_BITS
        super().__init__({
            "i": In(stream.Signature(self.bits)), "ring_level": Out(range(cfg.ring_rows + 1)),
            "ring_row": In(range(cfg.ring_rows)), "ring_en": In(1), "ring_data": Out(8 * cfg.row_bytes),
            "ring_release": In(range(cfg.ring_rows + 1)), "ring_release_en": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        rows = self.cfg.ring_rows

        # Write: `part` is the beat within its row; a row's place is taken when its last beat is accepted.
        part, head, tail = Signal(range(max(2, self.row_beats))), Signal(range(rows)), Signal(range(rows))
        taken = Signal(range(rows + 1))
        push, row_push, released = Signal(), Signal(), Signal(range(rows + 1))
        s1_select, s1_head = Signal(self.row_beats), Signal(range(rows))
        s1_beat, s1_full = Signal(self.bits, reset_less=True), Signal()
        m.d.comb += [
            self.i.ready.eq(taken != rows), push.eq(self.i.valid & self.i.ready),
            row_push.eq(push & (part == self.row_beats - 1)),
        ]
        with m.If(self.ring_release_en):
            m.d.comb += released.eq(self.ring_release)
        with m.If(push):
            m.d.sync += part.eq((part + 1) % self.row_beats if self.row_beats > 1 else 0)
        m.d.sync += [
            s1_select.eq(push << part), s1_head.eq(head), s1_beat.eq(self.i.payload), s1_full.eq(row_push),
            head.eq(self._place(head, row_push)), tail.eq(self._place(tail, released)),
            taken.eq(taken + row_push - released),
            self.ring_level.eq(self.ring_level + s1_full - released),
        ]

        # Read: address, array, output register.
        s1_en = Signal()
        address = Signal(range(rows))
        m.d.comb += address.eq(self._place(tail, self.ring_row))
        m.d.sync += s1_en.eq(self.ring_en)
        words, beat_lines = [], self.cfg.beat_lines
        for n in range(self.row_lines):
            store = m.submodules[f"line{n}"] = memory.Memory(
                shape=LINE_BITS, depth=rows, init=[], attrs=ram_style(self.cfg.uram))
            write_port, read_port = store.write_port(), store.read_port()
            m.d.comb += [
                write_port.addr.eq(s1_head), write_port.data.eq(s1_beat.word_select(n % beat_lines, LINE_BITS)),
                write_port.en.eq(s1_select[n // beat_lines]),
                read_port.addr.eq(address), read_port.en.eq(self.ring_en),
            ]
            words.append(read_port.data)
        s2_row = Signal(8 * self.cfg.row_bytes, reset_less=True)
        m.d.comb += self.ring_data.eq(s2_row)
        with m.If(s1_en):
            m.d.sync += s2_row.eq(Cat(words))
        return m

    def _place(self, place, rows):
        """The place ``rows`` further round the ring."""
        size = self.cfg.ring_rows
        further = place + rows
        if size & (size - 1) == 0:
            return further  # the carry falls off
        around = further - size
        return Mux(around < 0, further, around)
