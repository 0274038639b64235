# SPDX-License-Identifier: Apache-2.0
"""What the benches of the operand and the residual memory share: clients, the reference, priorities, refusals, zeros at
first."""

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from golden.spec.status import Status
from golden.spec.tiling import bank_of_row
from hw.interfaces import READ_LATENCY
from hw.memory.row_memory import BLOCK_ROWS
from sim.payload import pack, unpack
from sim.streams import cycles, reset, seeded, until


class Clients:
    """Random requests of every client for ``count`` cycles; every answer is compared with a model of the memory.

    ``row_shape`` None: a row is its data bits. ``sweeping``: right after a reset, when writes may have to wait; then
    a request stays as it is until it is served.
    """

    def __init__(self, dut, unit, write_shape, row_shape, *, rows: list[int], rate: float = 0.5, model=None,
                 sweeping: bool = False):
        self.dut, self.unit, self.write_shape, self.row_shape = dut, unit, write_shape, row_shape
        self.rows, self.rate, self.rng = rows, rate, seeded(f"clients{rate}")
        self.readers = self._ports("i_read")
        self.writers = self._ports("i_write")
        self.sweeping, self.waits = sweeping, {}
        self.model = {} if model is None else model  # (row, half) -> (data, exponent); zeros where nothing was written
        self.served = {"read": [0] * len(self.readers), "write": [0] * len(self.writers)}
        self.faults = self.compared = self.collisions = self.zeros = self.waited = self.at_once = 0

    def _ports(self, name: str) -> list:
        count = 0
        while hasattr(self.dut, f"{name}__{count}__valid"):
            count += 1
        return [f"{name}__{n}" for n in range(count)]

    def _drive(self, port: str, payload: int) -> None:
        if not self.waits.get(port):
            getattr(self.dut, f"{port}__valid").value = int(self.rng.random() < self.rate)
            getattr(self.dut, f"{port}__payload").value = payload

    def _row(self, port: str) -> int:
        bits = int(getattr(self.dut, f"{port}__payload").value)
        return bits if port in self.readers else unpack(self.write_shape, bits)["row"]

    def _granted(self, ports: list[str]) -> list[int]:
        """The clients served in this cycle, after checking that each is the first that asked for its bank."""
        by_bank = {}
        for n, port in enumerate(ports):
            if int(getattr(self.dut, f"{port}__valid").value):
                by_bank.setdefault(bank_of_row(self._row(port), self.unit.banks), []).append(n)
        served = []
        for asked in by_bank.values():
            granted = [n for n in asked if int(getattr(self.dut, f"{ports[n]}__ready").value)]
            closed = self.sweeping and not granted and ports == self.writers
            self.waited += closed
            assert granted == asked[:1] or closed, f"{ports[0][:-3]}: clients {asked} asked, {granted} were served"
            if self.sweeping:
                self.waits |= {ports[n]: n not in granted for n in asked}
            served += granted
        self.at_once = max(self.at_once, len(served))
        return served

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
                        self.zeros += expected == (0, 0)
            assert int(dut.fault.value) == (cycle - 1 in fault_at), f"cycle {cycle}: fault {dut.fault.value}"
            if int(dut.fault.value):
                self.faults += 1
                assert int(dut.fault_code.value) == Status.RANGE_LOCAL
            # Writes of WRITE_LATENCY or more cycles ago are seen by reads of this cycle.
            for entry in [entry for entry in pending if entry[0] <= cycle - self.unit.WRITE_LATENCY]:
                pending.remove(entry)
                self.model |= entry[1]
            readers, writers = self._granted(self.readers), self._granted(self.writers)
            for reader in readers:
                row = self._row(self.readers[reader])
                self.served["read"][reader] += 1
                if row >= self.unit.rows:
                    fault_at.add(cycle)
                else:
                    unknown = [half for at, halves in pending if at == cycle - self.unit.WRITE_LATENCY + 1
                               for _, half in halves if (row, half) in halves]
                    self.collisions += len(unknown)
                    word = [None if half in unknown else self.model.get((row, half), (0, 0)) for half in range(2)]
                    answers.append((cycle + READ_LATENCY, reader, word))
            for writer in writers:
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
        for _, halves in pending:
            self.model |= halves


async def random_clients(dut, unit, write_shape, row_shape) -> None:
    """Few rows, so that reads meet fresh writes; then also rows beyond the end, whose low bits are those of the few."""
    few, model = [*range(6), *range(unit.rows - 6, unit.rows)], {}
    await swept(dut, unit)
    for rows, rate, count in ((few, 0.5, 1200), (few, 1.0, 200), (few + [unit.rows + row for row in few], 0.4, 1800)):
        clients = Clients(dut, unit, write_shape, row_shape, rows=rows, rate=rate, model=model)
        await clients.run(count)
        cocotb.log.info("served %s, compared %d halves, %d faults", clients.served, clients.compared, clients.faults)
        assert clients.compared > 50 and clients.collisions > 5 and (clients.at_once > 1) == (unit.banks > 1)
        assert (clients.faults > 20) == (rows != few)
        if rate < 1:
            assert all(all(counts) for counts in clients.served.values()), f"a client never came: {clients.served}"
        elif unit.banks == 1:  # one row a cycle, and all of it to client 0
            assert clients.served["read"][0] == clients.served["write"][0] == count


async def swept(dut, unit) -> None:
    """Until the sweep is over, without requests."""
    for side in ("i_read", "i_write"):
        for n in range(8):
            if hasattr(dut, f"{side}__{n}__valid"):
                getattr(dut, f"{side}__{n}__valid").value = 0
    await cycles(dut, unit.rows + 2)


async def begins_with_zeros(dut, unit, write_shape, row_shape) -> None:
    """Every row gives zeros after every reset until it is written, during the sweep as well as after it;
    what was written during the sweep stays."""
    everywhere = list(range(unit.rows))
    for rate in (0.1, 0.5, 0.9):
        model = {}
        clients = Clients(dut, unit, write_shape, row_shape, rows=everywhere, rate=rate, model=model, sweeping=True)
        await clients.run(4 * unit.rows)
        cocotb.log.info("rate %s: compared %d halves, %d of them zeros; a write waited for %d cycles", rate,
                        clients.compared, clients.zeros, clients.waited)
        assert clients.zeros > 50 and clients.compared > clients.zeros + 50 and clients.waited > 50
        after = Clients(dut, unit, write_shape, row_shape, rows=everywhere, model=model)
        await after.run(3 * unit.rows)
        assert after.compared > after.zeros
        await reset(dut)


async def opens_row_by_row(dut, unit, write_shape) -> None:
    """A write waits for the sweep of its block and no longer, others wait after it; the last one for all of it."""
    for row in (0, BLOCK_ROWS - 1, BLOCK_ROWS, unit.rows - 1):
        await reset(dut)
        write = pack(write_shape, {"row": row, "mask": 3})
        dut.i_write__0__valid.value, dut.i_write__0__payload.value = 1, write
        waited = await until(dut, lambda: int(dut.i_write__0__ready.value), unit.rows + 5, f"a write to row {row}")
        due = (row // BLOCK_ROWS + 1) * BLOCK_ROWS
        assert due <= waited <= due + 3, f"row {row} waited for {waited} cycles"
        # The next one is looked up anew while the sweep lasts, and no longer after it.
        await FallingEdge(dut.clk)
        again = await until(dut, lambda: int(dut.i_write__0__ready.value), 3, "the next write")
        assert again == (row != unit.rows - 1), f"row {row} again after {again} more cycles"
        dut.i_write__0__valid.value = 0


async def never_shows_what_was_there(dut, unit, write_shape) -> None:
    """A read in every cycle of the sweep, each block's last row around the moment in which the block opens: zeros."""
    ports = [getattr(dut, f"i_read__0__{name}") for name in ("valid", "payload")]
    await swept(dut, unit)
    for row in range(unit.rows):  # something that could be seen
        dut.i_write__0__valid.value = 1
        dut.i_write__0__payload.value = pack(write_shape, {"row": row, "mask": 3, "data": (1 << 512) - 1})
        await FallingEdge(dut.clk)
    dut.i_write__0__valid.value = 0
    await reset(dut)
    for cycle in range(unit.rows + READ_LATENCY):
        block = max(0, cycle - BLOCK_ROWS // 2) // BLOCK_ROWS
        ports[0].value, ports[1].value = 1, min(block * BLOCK_ROWS + BLOCK_ROWS, unit.rows) - 1
        await FallingEdge(dut.clk)
        if cycle >= READ_LATENCY - 1:
            assert int(dut.o_row__0.value) == 0, f"cycle {cycle}: {int(dut.o_row__0.value):x}"
    ports[0].value = 0
