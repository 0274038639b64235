# SPDX-License-Identifier: Apache-2.0
"""Selection threshold: keeps the scores, finds the k-th largest of them bit by bit, gives them out again."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import MachineConfig
from hw.interfaces import READ_LATENCY
from hw.lib.pipeline import delay

KEY_BITS = 16
"""A key is a score with its sign bit inverted, so that keys compare as unsigned numbers."""
KEYS = 4
"""Keys of a word of the memory, which are compared in one cycle."""
COUNT_BITS = 12


class Threshold(wiring.Component):
    """Threshold search: the largest number that at least ``keep`` keys reach, one pass over all keys a bit. ::

        write -> [memory: 4 keys a word] -> [read, 2] -> keys -> [>= found | bit] -> [+] -> count >= keep ?
                        ^ addr, or the pass's own                      ^--- found <------------'

    The last number that fewer than ``keep`` keys reach is the threshold plus 1, so its count is how many keys lie
    above; of the keys equal to the threshold ``ties`` more are wanted.
    Timing: ``done`` rises KEY_BITS * (words + PASS) + 2 cycles after ``start``, words being ``last`` + 1. While
    ``done``, ``keys`` belong to the ``addr`` of READ_LATENCY cycles before.
    Domain: 1 <= keep <= keys. Those that fill up the last word are 0, below every number that is tried.
    Reference model: ``golden.ops.keep.kept``.
    Members: ``write_addr``, ``write_keys``, ``write_en`` In; ``start`` In, a pulse; ``last`` In, the last word, and
    ``keep`` In, both steady from ``start`` on; ``addr`` In, ``keys`` Out; ``done`` Out, ``threshold``, ``ties`` Out.
    """

    PASS = 5
    """Cycles of a pass besides its words."""

    write_addr: Signal
    write_keys: data.View
    write_en: Signal
    start: Signal
    last: Signal
    keep: Signal
    addr: Signal
    keys: data.View
    done: Signal
    threshold: Signal
    ties: Signal

    def __init__(self, cfg: MachineConfig):
        self.words = cfg.max_keys // KEYS
        addr, keys = range(self.words), data.ArrayLayout(unsigned(KEY_BITS), KEYS)
        super().__init__({
            "write_addr": In(addr), "write_keys": In(keys), "write_en": In(1), "start": In(1), "last": In(addr),
            "keep": In(COUNT_BITS), "addr": In(addr), "keys": Out(keys), "done": Out(1), "threshold": Out(KEY_BITS),
            "ties": Out(COUNT_BITS)})

    def elaborate(self, platform):
        m = Module()
        store = m.submodules.store = memory.Memory(shape=unsigned(KEY_BITS * KEYS), depth=self.words, init=[])
        write, read = store.write_port(), store.read_port()
        scanning, scan = Signal(), Signal(range(self.words))
        m.d.comb += [write.addr.eq(self.write_addr), write.data.eq(self.write_keys), write.en.eq(self.write_en),
                     read.addr.eq(Mux(self.done, self.addr, scan))]
        m.d.sync += self.keys.as_value().eq(read.data)

        bit, tried, above = Signal(KEY_BITS), Signal(KEY_BITS), Signal(COUNT_BITS)
        reach, count = Signal(KEYS), Signal(COUNT_BITS)
        m.d.comb += tried.eq(self.threshold | bit)
        m.d.sync += reach.eq(Cat(key >= tried for key in self.keys))
        counted = delay(m, scanning, READ_LATENCY + 1, "counted", reset_less=False)
        with m.If(counted):
            m.d.sync += count.eq(count + (reach[0] + reach[1]) + (reach[2] + reach[3]))

        enough, settle = Signal(), Signal(range(self.PASS - 1))
        m.d.sync += enough.eq(count >= self.keep)
        with m.FSM():
            with m.State("REST"):
                with m.If(self.start):
                    m.d.sync += [self.done.eq(0), self.threshold.eq(0), above.eq(0), bit.eq(1 << KEY_BITS - 1)]
                    m.next = "PASS"
            with m.State("PASS"):
                m.d.comb += scanning.eq(1)
                m.d.sync += scan.eq(scan + 1)
                with m.If(scan == self.last):
                    m.d.sync += [scan.eq(0), settle.eq(self.PASS - 2)]
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += settle.eq(settle - 1)
                with m.If(settle == 0):
                    m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.sync += [count.eq(0), bit.eq(bit >> 1)]
                with m.If(enough):
                    m.d.sync += self.threshold.eq(tried)
                with m.Else():
                    m.d.sync += above.eq(count)
                m.next = "PASS"
                with m.If(bit[0]):
                    m.next = "FINISH"
            with m.State("FINISH"):
                m.d.sync += [self.ties.eq(self.keep - above), self.done.eq(1)]
                m.next = "REST"
        return m
