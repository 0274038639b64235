# SPDX-License-Identifier: Apache-2.0
"""Memory of rows for a bench: answers a stream of rows from a dictionary."""

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from hw.interfaces import LINE_BITS
from sim.streams import seeded


class RowAnswers:
    """Answers the stream ``request`` at ``answer`` from ``rows``, ``latency`` cycles after each transfer; noise in
    between. ``asked`` lists what was read."""

    def __init__(self, dut, request: str, answer: str, stall, latency: int):
        self.dut, self.stall, self.rng, self.rows, self.asked = dut, stall, seeded(request), {}, []
        self.valid, self.ready, self.row = (getattr(dut, f"{request}__{part}") for part in ("valid", "ready",
                                                                                            "payload"))
        self.answer, self.latency = getattr(dut, answer), latency
        self.task = cocotb.start_soon(self._run())

    async def _run(self):
        pipe = [None] * (self.latency - 1)
        while True:
            self.ready.value = ready = int(not self.stall(self.rng))
            await RisingEdge(self.dut.clk)
            asked = None
            if int(self.valid.value) and ready and not int(self.dut.rst.value):
                asked = int(self.row.value)
                self.asked.append(asked)
            await FallingEdge(self.dut.clk)
            pipe.append(asked)
            now = pipe.pop(0)
            self.answer.value = self.rng.getrandbits(LINE_BITS) if now is None else self.rows[now]
