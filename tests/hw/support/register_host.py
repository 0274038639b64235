# SPDX-License-Identifier: Apache-2.0
"""Host of the register file: accesses by name, and the pulses that they cause."""

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from golden.spec.regs import BY_NAME
from golden.spec.status import Status
from sim.streams import seeded


class Host:
    """Reads and writes registers by name through cocotbext-axi."""

    def __init__(self, dut, seed=0):
        self.dut, self.rng = dut, seeded(f"host{seed}")
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "axi_"), dut.clk, dut.rst)
        for interface in (self.master.write_if, self.master.read_if):
            interface.log.setLevel("WARNING")
        for name in ("busy", "done", "code", "err_index", "err_addr", "run_id", "event", "clear"):
            getattr(dut, name).value = 0
        dut.drained.value = 1
        self.starts = self.aborts = 0
        cocotb.start_soon(self._watch())

    async def _watch(self):
        while True:
            await RisingEdge(self.dut.clk)
            if not int(self.dut.rst.value):
                self.starts += int(self.dut.start.value)
                self.aborts += int(self.dut.abort.value)

    async def write(self, offset, data: bytes, expected=AxiResp.OKAY):
        assert (await self.master.write(offset, data)).resp is expected, hex(offset)

    async def read(self, offset, expected=AxiResp.OKAY) -> int:
        answer = await self.master.read(offset, 4)
        assert answer.resp is expected, hex(offset)
        return int.from_bytes(answer.data, "little")

    async def put(self, name, value, half=0):
        await self.write(BY_NAME[name].offset + 4 * half, value.to_bytes(4, "little"))

    async def get(self, name) -> int:
        register = BY_NAME[name]
        value = await self.read(register.offset)
        return value | await self.read(register.offset + 4) << 32 if register.wide else value

    async def finish(self, code=Status.OK, **results):
        """The supervisor's side: the job is over."""
        await FallingEdge(self.dut.clk)
        self.dut.busy.value, self.dut.done.value, self.dut.code.value = 0, 1, code
        for name, value in results.items():
            getattr(self.dut, name).value = value
        await FallingEdge(self.dut.clk)
        self.dut.done.value = 0
