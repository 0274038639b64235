# SPDX-License-Identifier: Apache-2.0
"""Units around the supervisor: engines that owe answers after a halt, and a log of what it does."""

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from sim.streams import cycles, seeded, until

ENGINES, LOCALS = 3, 4
BASES = ("program_addr", "table_addr", "input_addr", "output_addr", "weight_addr0")
WINDOWS = ("read", "write", "weight")


class Testbench:
    """The units around it: engines that owe answers for ``owed`` cycles after the halt of a job, or, in ``doubt``, for
    that long after any; and a log of what the supervisor does."""

    def __init__(self, dut):
        self.dut, self.rng = dut, seeded("tb")
        for name in (*BASES, "start", "abort", "finished", "expired", "program_fault", "program_code", "program_index"):
            getattr(dut, name).value = 0
        for window in WINDOWS:
            getattr(dut, f"{window}_lo").value, getattr(dut, f"{window}_hi").value = 0x8_0000_0000, 0x9_0000_0000
        dut.job_limit.value, dut.at.value = 1 << 20, 11
        for n in range(ENGINES):
            getattr(dut, f"bus_fault__{n}").value = 0
        for n in range(LOCALS):
            getattr(dut, f"local_fault__{n}").value = 0
        self.owed, self.done, self.begun, self.reset_cycles, self.results = 0, 0, 0, 0, None
        self.asked = self.doubt = False
        dut.quiet.value = (1 << ENGINES) - 1
        self.task = cocotb.start_soon(self._run())

    async def _run(self):
        dut, halted = self.dut, 0
        while True:
            await RisingEdge(dut.clk)
            self.begun += int(dut.begin.value)
            self.reset_cycles += int(dut.reset.value)
            halted = halted + 1 if int(dut.halt.value) else 0
            self.asked |= bool(int(dut.begin.value))
            if int(dut.reset.value) and self.begun:
                assert halted, "The units are reset while a job runs."
            if int(dut.done.value):
                self.done += 1
                self.results = [int(getattr(dut, name).value) for name in ("code", "drained", "err_index", "err_addr")]
            await FallingEdge(dut.clk)
            if halted > self.owed:
                self.asked = self.doubt = False
            dut.quiet.value = 0b101 if self.doubt or self.asked and (halted or self.owed) else (1 << ENGINES) - 1

    async def pulse(self, **pins):
        await FallingEdge(self.dut.clk)
        for name, value in pins.items():
            getattr(self.dut, name).value = value
        await FallingEdge(self.dut.clk)
        for name in pins:
            getattr(self.dut, name).value = 0

    async def begin(self):
        """Start a job and wait until the front end may begin."""
        self.done, self.begun, self.results, self.reset_cycles = 0, 0, None, 0
        await self.pulse(start=1)
        assert int(self.dut.busy.value)
        await until(self.dut, lambda: self.begun or self.done, 50, "begin or done")

    async def ended(self, limit=1000):
        """(code, drained, index, address) of the one outcome."""
        await until(self.dut, lambda: self.done, limit, "done")
        await cycles(self.dut, 20)
        assert self.done == 1 and not int(self.dut.busy.value)
        return tuple(self.results)
