# SPDX-License-Identifier: Apache-2.0
"""What the benches of the operand and the residual memory share: clients, the reference, priorities, refusals."""

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from golden.spec.status import Status
from hw.core.layouts import READ_LATENCY
from sim.payload import pack, unpack
from sim.streams import seeded


class Clients:
    """Random requests of every client for ``count`` cycles; every answer is compared with a model of the memory.

    ``row_shape`` None: a row is its data bits.
    """

    def __init__(self, dut, unit, write_shape, row_shape, *, rows: list[int], rate: float = 0.5):
        self.dut, self.unit, self.write_shape, self.row_shape = dut, unit, write_shape, row_shape
        self.rows, self.rate, self.rng = rows, rate, seeded(f"clients{rate}")
        self.readers = self._ports("i_read")
        self.writers = self._ports("i_write")
        self.model = {}  # (row, half) -> (data, exponent)
        self.served = {"read": [0] * len(self.readers), "write": [0] * len(self.writers)}
        self.faults = self.compared = self.collisions = 0

    def _ports(self, name: str) -> list:
        count = 0
        while hasattr(self.dut, f"{name}__{count}__valid"):
            count += 1
        return [f"{name}__{n}" for n in range(count)]

    def _drive(self, port: str, payload: int) -> None:
        getattr(self.dut, f"{port}__valid").value = int(self.rng.random() < self.rate)
        getattr(self.dut, f"{port}__payload").value = payload

    def _granted(self, ports: list[str]) -> int | None:
        """The one client served in this cycle, after checking that it is the first that asked."""
        asked = [n for n, port in enumerate(ports) if int(getattr(self.dut, f"{port}__valid").value)]
        granted = [n for n in asked if int(getattr(self.dut, f"{ports[n]}__ready").value)]
        assert granted == asked[:1], f"{ports[0][:-3]}: clients {asked} asked, {granted} were served"
        return granted[0] if granted else None

    def _word(self, bits: int) -> list:
        return self._halves(unpack(self.row_shape, bits) if self.row_shape else {"data": bits})

    @staticmethod
    def _halves(word: dict) -> list:
        word = {"exp": [0, 0]} | word
        return [(word["data"] >> 256 * half & (1 << 256) - 1, word["exp"][half]) for half in range(2)]

    async def run(self, count: int) -> None:
        dut, pending, answers, fault_at = self.dut, [], [], set()
        for cycle in range(count):
            for port in self.readers:
                self._drive(port, self.rng.choice(self.rows))
            for port in self.writers:
                fields = {"row": self.rng.choice(self.rows), "mask": self.rng.randrange(4),
                          "data": self.rng.getrandbits(512)}
                if self.row_shape:
                    fields["exp"] = [self.rng.randrange(4), self.rng.randrange(4)]
                self._drive(port, pack(self.write_shape, fields))
            await RisingEdge(dut.clk)
            for reader, due in [(n, word) for at, n, word in answers if at == cycle]:
                got = self._word(int(getattr(dut, f"o_row__{reader}").value))
                for half, expected in enumerate(due):
                    if expected is not None:
                        where = f"cycle {cycle}, reader {reader}, half {half}"
                        assert got[half] == expected, f"{where}: got {got[half]}, expected {expected}"
                        self.compared += 1
            assert int(dut.fault.value) == (cycle - 1 in fault_at), f"cycle {cycle}: fault {dut.fault.value}"
            if int(dut.fault.value):
                self.faults += 1
                assert int(dut.fault_code.value) == Status.RANGE_LOCAL
            # Writes of WRITE_LATENCY or more cycles ago are seen by reads of this cycle.
            for entry in [entry for entry in pending if entry[0] <= cycle - self.unit.WRITE_LATENCY]:
                pending.remove(entry)
                self.model |= entry[1]
            reader, writer = self._granted(self.readers), self._granted(self.writers)
            if reader is not None:
                row = int(getattr(dut, f"{self.readers[reader]}__payload").value)
                self.served["read"][reader] += 1
                if row >= self.unit.rows:
                    fault_at.add(cycle)
                else:
                    unknown = [half for at, halves in pending if at == cycle - self.unit.WRITE_LATENCY + 1
                               for _, half in halves if (row, half) in halves]
                    self.collisions += len(unknown)
                    word = [None if half in unknown else self.model.get((row, half)) for half in range(2)]
                    answers.append((cycle + READ_LATENCY, reader, word))
            if writer is not None:
                value = unpack(self.write_shape, int(getattr(dut, f"{self.writers[writer]}__payload").value))
                self.served["write"][writer] += 1
                if value["row"] >= self.unit.rows:
                    fault_at.add(cycle)
                else:
                    halves = self._halves(value)
                    pending.append((cycle, {(value["row"], half): halves[half]
                                            for half in range(2) if value["mask"] >> half & 1}))
            await FallingEdge(dut.clk)
        for port in (*self.readers, *self.writers):
            getattr(dut, f"{port}__valid").value = 0
        await FallingEdge(dut.clk)


async def random_clients(dut, unit, write_shape, row_shape) -> None:
    """Few rows, so that reads meet fresh writes; then also rows beyond the end, whose low bits are those of the few."""
    few = [*range(6), *range(unit.rows - 6, unit.rows)]
    for rows, rate, count in ((few, 0.5, 1200), (few, 1.0, 200), (few + [unit.rows + row for row in few], 0.4, 600)):
        clients = Clients(dut, unit, write_shape, row_shape, rows=rows, rate=rate)
        await clients.run(count)
        cocotb.log.info("served %s, compared %d halves, %d faults", clients.served, clients.compared, clients.faults)
        assert clients.compared > 50 and clients.collisions > 5
        assert (clients.faults > 20) == (rows != few)
        if rate < 1:
            assert all(all(counts) for counts in clients.served.values()), f"a client never came: {clients.served}"
        else:  # one row a cycle, and all of it to client 0
            assert clients.served["read"][0] == clients.served["write"][0] == count
