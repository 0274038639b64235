# SPDX-License-Identifier: Apache-2.0
"""Crossbar: streams of several clients to several targets, each payload to the target that it names."""

from collections.abc import Callable

from amaranth.hdl import Array, Cat, Module, Mux, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class Crossbar(wiring.Component):
    """Crossbar of ``clients`` streams to ``targets``; among clients that want the same target the first is served.

    ::

        i[0..] -> target_of(payload) -> priority of each target -> o[0..]

    Timing: combinational, for streams whose payloads are registers and targets that register them. A client waits
    only for earlier ones that want the same target; its ready depends on their valid and payload.
    Domain: ``target_of`` gives a number below ``targets``, a power of two.
    Reference model: none, it changes nothing.

    Members: ``i[clients]`` In(stream of ``shape``), ``o[targets]`` Out(stream of ``shape``).
    """

    LATENCY = 0
    II = 1

    i: list[stream.Interface]
    o: list[stream.Interface]

    def __init__(self, shape, clients: int, targets: int, target_of: Callable[..., Value]):
        self.target_of = target_of
        super().__init__({"i": In(stream.Signature(shape)).array(clients),
                          "o": Out(stream.Signature(shape)).array(targets)})

    def elaborate(self, platform):
        m = Module()
        if len(self.o) == 1 == len(self.i):
            wiring.connect(m, wiring.flipped(self.i[0]), wiring.flipped(self.o[0]))
            return m
        wants = [self.target_of(client.p) for client in self.i]
        free = []  # of each client, for each target: whether no earlier client wants it, and it is ready
        for number, target in enumerate(self.o):
            asks = [client.valid & (want == number) for client, want in zip(self.i, wants, strict=True)]
            chosen = Value.cast(self.i[-1].p)
            for client, asked in reversed(list(zip(self.i[:-1], asks[:-1], strict=True))):
                chosen = Mux(asked, client.p, chosen)
            m.d.comb += [target.valid.eq(Cat(asks).any()), Value.cast(target.p).eq(chosen)]
            free.append([target.ready & ~Cat(asks[:n]).any() if n else target.ready for n in range(len(asks))])
        for n, (client, want) in enumerate(zip(self.i, wants, strict=True)):
            m.d.comb += client.ready.eq(Array(of_target[n] for of_target in free)[want])
        return m
