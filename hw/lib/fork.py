# SPDX-License-Identifier: Apache-2.0
"""Fork: one stream to several, each of which gets every payload."""

from amaranth.hdl import Cat, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.lib.queue import Queue

AHEAD = 2
"""Payloads by which the others may be ahead of a branch."""


class Fork(wiring.Component):
    """Fork of a stream of ``shape`` into ``branches``; the others may be AHEAD payloads ahead of a branch.

    ::

        i -> (all have room) -> [ queue ] x branches -> o[0..]

    Timing: LATENCY = 1; II = 1. ``i.ready`` and ``o.valid`` depend on registers only.
    Domain: any payload. With one branch it is a wire.
    Reference model: none, it changes nothing.

    Members: ``i`` In(stream of ``shape``), ``o[branches]`` Out(stream of ``shape``).
    """

    II = 1

    i: stream.Interface
    o: list[stream.Interface]

    def __init__(self, shape, branches: int):
        self.shape, self.LATENCY = shape, int(branches > 1)
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)).array(branches)})

    def elaborate(self, platform):
        m = Module()
        if len(self.o) == 1:
            connect(m, flipped(self.i), flipped(self.o[0]))
            return m
        queues = [Queue(self.shape, AHEAD) for _ in self.o]
        m.d.comb += self.i.ready.eq(Cat(queue.i.ready for queue in queues).all())
        for n, (queue, branch) in enumerate(zip(queues, self.o, strict=True)):
            m.submodules[f"branch{n}"] = queue
            m.d.comb += [queue.i.valid.eq(self.i.valid & self.i.ready), queue.i.p.eq(self.i.p)]
            connect(m, queue.o, flipped(branch))
        return m
