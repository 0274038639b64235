# SPDX-License-Identifier: Apache-2.0
"""Expert lines: which expert's turn it is for the weight prefetcher, and where its part of the weight stream begins."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data

from golden.spec.isa import STREAM_BITS
from hw.moe.expert_queues import ARRIVALS_BITS, EXPERT_BITS, ROUND_BITS


class ExpertLines:
    """Expert lines of the module ``m``: ``stream + expert * pitch`` by shifts and additions, for the expert at each
    ``place`` of the order of arrival.

    The experts that the gate named belong to the current EXPERTS once the gate has begun as many rounds as precede it
    in the program. ``named``: the expert of ``place`` is known; ``over``: no more come; both refer to the place of the
    previous cycle. A method is what happens in the cycle in which the conditions around the call hold.
    """

    def __init__(self, m: Module):
        self.m = m
        self.place, self.line = Signal(ARRIVALS_BITS, name="place"), Signal(STREAM_BITS, name="expert_line")
        self.named, self.over = Signal(name="named"), Signal(name="over")
        self._rounds, self._limit = Signal(ROUND_BITS, name="rounds"), Signal(ARRIVALS_BITS, name="limit")
        self._start, self._pitch = Signal(STREAM_BITS, name="experts_line"), Signal(STREAM_BITS, name="pitch")
        self._multiple, self._factor = Signal(STREAM_BITS, name="multiple"), Signal(EXPERT_BITS, name="factor")

    def watch(self, rounds: Signal, arrivals: Signal, total) -> None:
        """Compare, in every cycle, with the ``rounds`` and ``arrivals`` of the gate and with the stream ``total``."""
        self.m.d.sync += [
            self.named.eq((rounds == self._rounds) & (self.place < arrivals) | total.valid),
            self.over.eq(total.valid & (self.place == total.payload)),
        ]

    def restart(self) -> None:
        """No GATE was read yet."""
        self.m.d.sync += self._rounds.eq(0)

    def gate(self, word: data.View) -> None:
        """A GATE was read; without ``append`` it begins a round."""
        self.m.d.sync += self._rounds.eq(self._rounds + ~word.append)

    def begin(self, word: data.View) -> None:
        """An EXPERTS was read."""
        self.m.d.sync += [self._start.eq(word.stream), self._pitch.eq(word.pitch), self._limit.eq(word.experts),
                          self.place.eq(0)]

    def advance(self) -> None:
        """To the next place."""
        self.m.d.sync += self.place.eq(self.place + 1)

    def load(self, expert: Signal):
        """Begin with the line of ``expert``; returns whether it is none of this EXPERTS."""
        self.m.d.sync += [self._multiple.eq(self._pitch), self.line.eq(self._start), self._factor.eq(expert)]
        return expert >= self._limit

    def multiply(self):
        """A step of the product; returns whether it was complete before."""
        m = self.m
        m.d.sync += [self._multiple.eq(self._multiple << 1), self._factor.eq(self._factor >> 1)]
        with m.If(self._factor[0]):
            m.d.sync += self.line.eq(self.line + self._multiple)
        return self._factor == 0
