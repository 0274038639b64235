# SPDX-License-Identifier: Apache-2.0
"""LOAD, STORE, COPY, UPSAMPLE and KEEP against byte arrays: every memory, stalls everywhere, rates, ranges, reset."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import RisingEdge

from golden.ops.keep import kept
from golden.ops.upsample import upsample
from golden.spec.isa import Memory, Opcode, Region, encode
from golden.spec.machine import LINE, NANO
from golden.spec.status import Status
from hw.axi import BEAT_BITS, BEAT_BYTES, LINE_BEATS, TRANSFER
from hw.dma.load_store import ROW_QUEUE, LoadStore
from hw.dma.upsample.upsample import Upsample
from hw.interfaces import ISSUE, OPERAND_ROW, OPERAND_WRITE, RESIDUAL_WRITE
from hw.memory.row_memory import RowMemory
from sim.payload import pack
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, cycles, half, never, reset, seeded, start, until
from tests.hw.support.dma_engines import MemoryReader

pytestmark = pytest.mark.rtl
BASES = {Region.TABLES: 0x8_0000_0000, Region.INPUT: 0x9_FFFF_FFC0, Region.OUTPUT: 0xFFFF_FFFF_0000_0000}
DEPTH = {Memory.OPERAND: NANO.operand_rows, Memory.RESIDUAL: NANO.residual_rows}


def test_load_store():
    run_bench(LoadStore(NANO), module=__name__)


class Testbench:
    """The unit's neighbours: two on-chip memories as lists of integers, and the main port as the streams it sees."""

    def __init__(self, dut, *, stall=never, read_stall=None):
        self.dut, self.rng = dut, seeded("tb")
        self.rows = {memory: [self.rng.getrandbits(8 * LINE) for _ in range(depth)] for memory, depth in DEPTH.items()}
        for memory, name in ((Memory.OPERAND, "operand"), (Memory.RESIDUAL, "residual")):
            wrap = (lambda row: pack(OPERAND_ROW, {"data": row, "exp": [3, 1]})) if memory is Memory.OPERAND else int
            MemoryReader(dut, f"o_{name}_read", f"i_{name}_row", self.rows[memory], wrap, read_stall or stall)
        self.writes = {Memory.OPERAND: Sink(dut, "o_operand_write", OPERAND_WRITE, stall=stall),
                       Memory.RESIDUAL: Sink(dut, "o_residual_write", RESIDUAL_WRITE, stall=stall)}
        self.load, self.store = Sink(dut, "o_load", TRANSFER, stall=stall), Sink(dut, "o_store", TRANSFER, stall=stall)
        self.data = Sink(dut, "o_data", BEAT_BITS, stall=stall)
        self.beats = Source(dut, "i_data", BEAT_BITS, stall=stall)
        self.issue = Source(dut, "i", ISSUE)
        dut.stored.value = 1
        dut.table_addr.value, dut.input_addr.value = BASES[Region.TABLES], BASES[Region.INPUT]
        dut.output_addr.value = BASES[Region.OUTPUT]
        self.retired = self.faults = 0
        cocotb.start_soon(self._watch())

    async def _watch(self):
        while True:
            await RisingEdge(self.dut.clk)
            self.retired += int(self.dut.retire.value)
            if int(self.dut.fault.value):
                assert int(self.dut.fault_code.value) == Status.RANGE_LOCAL
                self.faults += 1

    async def run(self, index, opcode, limit=20_000, **fields):
        """Issue one instruction and wait until the unit is idle; cycles it took."""
        retired = self.retired
        await self.issue.send([{"word": encode(opcode, **fields), "index": index}])
        assert not int(self.dut.idle.value)
        taken = await until(self.dut, lambda: int(self.dut.idle.value) == 1, limit, opcode.name)
        await cycles(self.dut, 2)
        assert self.retired == retired + 1 and int(self.dut.at.value) == index
        return taken


def beats_of(rows):
    return [row >> 8 * BEAT_BYTES * n & (1 << BEAT_BITS) - 1 for row in rows for n in range(LINE_BEATS)]


@cocotb.test()
async def is_busy_until_the_last_row_can_be_read(dut):
    await start(dut)
    tb = Testbench(dut)
    for memory in Memory:
        sink = tb.writes[memory]
        cocotb.start_soon(tb.beats.send(beats_of([5] * 3)))
        await tb.run(1, Opcode.LOAD, memory=memory, rows=3)
        # `run` returns two cycles after idle rose.
        assert sink.cycle - 2 - sink.times[-1] > RowMemory.WRITE_LATENCY
    sink = tb.writes[Memory.OPERAND]
    await tb.run(2, Opcode.UPSAMPLE, dst_row=100, rows=1, width=2, lines=2, pitch=2)
    assert sink.cycle - 2 - sink.times[-1] > RowMemory.WRITE_LATENCY


def check_writes(sink, memory, first, rows):
    """``rows`` were written from row ``first`` on, in any order."""
    assert sorted(write["row"] for write in sink.values) == list(range(first, first + len(rows)))
    assert [write["data"] for write in sorted(sink.values, key=lambda write: write["row"])] == rows
    assert all(write["mask"] == 3 for write in sink.values)
    if memory is Memory.OPERAND:
        assert all(write["exp"] == [0, 0] for write in sink.values)
    sink.values.clear()


def enlarged(rows, f):
    """The operand rows that UPSAMPLE with the fields ``f`` makes of ``rows``."""
    positions = np.arange(f["lines"])[:, None] * f["pitch"] + np.arange(f["width"])
    at = (f["src_row"] + positions[..., None] * f["rows"] + np.arange(f["rows"])).reshape(-1)
    strip = np.frombuffer(b"".join(rows[n].to_bytes(LINE, "little") for n in at), np.uint8)
    out = upsample(strip.reshape(f["lines"], f["width"], -1), f["edges"]).reshape(-1, LINE)
    return [int.from_bytes(row.tobytes(), "little") for row in out]


def check_kept(tb, f):
    """The rows that KEEP with the fields ``f`` moves and the numbers of their tokens were written, and nothing else."""
    rows, sink = tb.rows[Memory.RESIDUAL], tb.writes[Memory.RESIDUAL]
    score = np.frombuffer(b"".join(row.to_bytes(LINE, "little") for row in rows[f["score_row"]:]), "<i2")[:f["tokens"]]
    chosen = kept(score, f["first"], f["keep"])
    moved = [rows[f["row"] + token * f["blocks"] + n] for token in chosen for n in range(f["blocks"])]
    numbers = np.zeros(-(-f["keep"] // 32) * 32, "<i2")
    numbers[:f["keep"]] = chosen
    data = numbers.tobytes()
    lines = [int.from_bytes(data[at:at + LINE], "little") for at in range(0, len(data), LINE)]
    wanted = dict(enumerate(moved, f["row"])) | dict(enumerate(lines, f["score_row"]))
    assert {write["row"]: write["data"] for write in sink.values} == wanted, f
    assert len(sink.values) == len(wanted) and all(write["mask"] == 3 for write in sink.values)
    sink.values.clear()


@cocotb.test()
async def beats_wait_while_a_memory_takes_no_row(dut):
    """More rows than the unit can keep come before the first is taken: the channel stops, and none is lost."""
    await start(dut)
    rng, shut = seeded("shut"), {"shut": True}
    tb = Testbench(dut)
    for memory in Memory:
        shut["shut"], tb.writes[memory].stall = True, lambda rng: shut["shut"]
        rows = [rng.getrandbits(8 * LINE) for _ in range(2 * ROW_QUEUE + 3)]
        sending = cocotb.start_soon(tb.beats.send(beats_of(rows)))
        running = cocotb.start_soon(tb.run(1, Opcode.LOAD, memory=memory, row=4, rows=len(rows)))
        await cycles(dut, 8 * LINE_BEATS * len(rows))
        assert not sending.done() and not int(dut.i_data__ready.value) and not tb.writes[memory].values
        shut["shut"] = False
        await running
        await sending
        check_writes(tb.writes[memory], memory, 4, rows)


@cocotb.test()
async def moves_rows_exactly(dut):
    await start(dut)
    rng = seeded("jobs")
    policies = [never, half, bursts()]
    current = {"policy": never}
    tb = Testbench(dut, stall=lambda r: current["policy"](r))
    for index in range(60):
        current["policy"] = rng.choice(policies)
        opcode = rng.choice([Opcode.LOAD, Opcode.STORE, Opcode.COPY, Opcode.UPSAMPLE, Opcode.KEEP])
        memory = Memory.RESIDUAL if opcode is Opcode.COPY else rng.choice(list(Memory))
        count = rng.choice([1, 2, 7, 8, 9, rng.randint(1, 60)])
        row, offset = rng.randint(0, DEPTH[memory] - count), rng.choice([0, 1, 12345, (1 << 32) - 1])
        if opcode is Opcode.LOAD:
            region = rng.choice(list(Region))
            rows = [rng.getrandbits(8 * LINE) for _ in range(count)]
            sending = cocotb.start_soon(tb.beats.send(beats_of(rows)))
            await tb.run(index, opcode, region=region, offset=offset, memory=memory, row=row, rows=count)
            await sending
            assert tb.load.values == [{"addr": (BASES[region] + LINE * offset) % (1 << 64), "beats": 4 * count}]
            check_writes(tb.writes[memory], memory, row, rows)
        elif opcode is Opcode.STORE:
            await tb.run(index, opcode, offset=offset, memory=memory, row=row, rows=count)
            assert tb.store.values == [{"addr": (BASES[Region.OUTPUT] + LINE * offset) % (1 << 64), "beats": 4 * count}]
            assert tb.data.values == beats_of(tb.rows[memory][row:row + count])
            tb.data.values.clear()
        elif opcode is Opcode.UPSAMPLE:
            fields = {"rows": rng.randint(1, 3), "width": rng.randint(2, 5), "lines": rng.randint(2, 4), "pitch": 6,
                      "edges": rng.randrange(16), "src_row": rng.randint(0, 100)}
            await tb.run(index, opcode, dst_row=200, **fields)
            check_writes(tb.writes[Memory.OPERAND], Memory.OPERAND, 200, enlarged(tb.rows[Memory.OPERAND], fields))
        elif opcode is Opcode.KEEP:
            tokens = rng.randint(1, 50)
            fields = {"score_row": 3, "row": rng.randint(5, 20), "blocks": rng.randint(1, 4), "tokens": tokens,
                      "keep": rng.randint(1, tokens)}
            fields["first"] = rng.randint(0, min(2, fields["keep"]))
            await tb.run(index, opcode, **fields)
            check_kept(tb, fields)
        else:
            target = rng.randint(0, DEPTH[memory] - count)
            await tb.run(index, opcode, src_row=row, dst_row=target, rows=count)
            check_writes(tb.writes[memory], memory, target, tb.rows[memory][row:row + count])
        tb.load.values.clear(), tb.store.values.clear()
        assert not any(sink.values for sink in tb.writes.values()) and not tb.data.values
    assert not tb.faults


@cocotb.test()
async def keeps_its_rates(dut):
    await start(dut)
    tb = Testbench(dut)
    rows = tb.rows[Memory.OPERAND][:100]
    cocotb.start_soon(tb.beats.send(beats_of(rows)))
    assert await tb.run(0, Opcode.LOAD, region=Region.INPUT, memory=Memory.OPERAND, rows=100) <= 4 * 100 + 20
    assert await tb.run(1, Opcode.STORE, memory=Memory.OPERAND, rows=100) <= 4 * 100 + 20
    assert await tb.run(2, Opcode.COPY, dst_row=100, rows=100) <= 100 + 20
    strip = {"rows": 1, "width": 32, "lines": 4, "pitch": 32, "edges": 0}
    assert await tb.run(3, Opcode.UPSAMPLE, dst_row=200, **strip) <= 6 * 62 + 3 * Upsample.PAIR + 30


@cocotb.test()
async def enlarges_at_its_rate_with_half_of_the_read_port(dut):
    """Two reads for four writes: the array's loader may take every second cycle."""
    await start(dut)
    tb = Testbench(dut, read_stall=half)
    strip = {"src_row": 0, "rows": 2, "width": 20, "lines": 4, "pitch": 20, "edges": 0}
    taken = await tb.run(0, Opcode.UPSAMPLE, dst_row=200, **strip)
    results = 2 * 6 * 38
    dut._log.info("%.3f cycles a result", taken / results)
    assert taken <= 1.3 * results
    check_writes(tb.writes[Memory.OPERAND], Memory.OPERAND, 200, enlarged(tb.rows[Memory.OPERAND], strip))


@cocotb.test()
async def keeps_its_latency(dut):
    await start(dut)
    tb = Testbench(dut)
    begun = tb.load.cycle
    await tb.issue.send([{"word": encode(Opcode.LOAD, rows=1)}])
    await tb.load.receive(1)
    assert tb.load.times[0] - begun == LoadStore.LATENCY, tb.load.times


@cocotb.test()
async def a_store_ends_with_its_last_acknowledgement(dut):
    await start(dut)
    tb = Testbench(dut)
    dut.stored.value = 0
    await tb.issue.send([{"word": encode(Opcode.STORE, rows=2)}])
    await cycles(dut, 200)
    assert len(tb.data.values) == 8 and not int(dut.idle.value) and not tb.retired
    dut.stored.value = 1
    await until(dut, lambda: int(dut.idle.value) == 1, 5, "idle")


@cocotb.test()
async def a_row_beyond_its_memory_moves_nothing(dut):
    await start(dut)
    tb = Testbench(dut)
    operand, residual = DEPTH[Memory.OPERAND], DEPTH[Memory.RESIDUAL]
    bad = [
        (Opcode.LOAD, {"memory": Memory.OPERAND, "row": operand - 1, "rows": 2}),
        (Opcode.LOAD, {"memory": Memory.RESIDUAL, "row": residual, "rows": 1}),
        (Opcode.LOAD, {"memory": Memory.OPERAND, "row": 0xFFFF, "rows": 1 << 16}),
        (Opcode.STORE, {"memory": Memory.OPERAND, "row": 1, "rows": operand}),
        (Opcode.STORE, {"memory": Memory.RESIDUAL, "row": 0, "rows": residual + 1}),
        (Opcode.COPY, {"src_row": residual - 3, "dst_row": 0, "rows": 4}),
        (Opcode.COPY, {"src_row": 0, "dst_row": residual - 3, "rows": 4}),
    ]
    for n, (opcode, fields) in enumerate(bad):
        await tb.issue.send([{"word": encode(opcode, **fields), "index": 77}])
        await cycles(dut, 100)
        assert tb.faults == n + 1 and not int(dut.idle.value) and not tb.retired, (opcode, fields)
        assert int(dut.at.value) == 77
        assert not (tb.load.values or tb.store.values or tb.data.values)
        assert not any(sink.values for sink in tb.writes.values())
        await reset(dut)
    await tb.run(0, Opcode.STORE, memory=Memory.OPERAND, row=0, rows=operand)
    assert len(tb.data.values) == 4 * operand
    for memory, last in ((Memory.OPERAND, operand), (Memory.RESIDUAL, residual)):  # up to the last row is no fault
        sending = cocotb.start_soon(tb.beats.send(beats_of([7, 8])))
        await tb.run(1, Opcode.LOAD, memory=memory, row=last - 2, rows=2)
        await sending
        check_writes(tb.writes[memory], memory, last - 2, [7, 8])


@cocotb.test()
async def works_again_after_a_reset_in_mid_stream(dut):
    await start(dut)
    rng = seeded("reset")
    tb = Testbench(dut, stall=half)
    for _ in range(10):
        word = rng.choice([encode(Opcode.STORE, rows=50), encode(Opcode.COPY, dst_row=100, rows=50),
                           encode(Opcode.UPSAMPLE, rows=2, width=9, lines=2, pitch=9),
                           encode(Opcode.KEEP, row=9, tokens=33, keep=20, blocks=4)])
        await tb.issue.send([{"word": word}])
        await cycles(dut, rng.randint(1, 100))
        await reset(dut)
        tb.data.values.clear(), tb.store.values.clear()
        for sink in tb.writes.values():
            sink.values.clear()
        await tb.run(1, Opcode.COPY, src_row=3, dst_row=50, rows=20)
        check_writes(tb.writes[Memory.RESIDUAL], Memory.RESIDUAL, 50, tb.rows[Memory.RESIDUAL][3:23])
        strip = {"rows": 1, "width": 4, "lines": 2, "pitch": 4, "edges": 15, "src_row": 3}
        await tb.run(2, Opcode.UPSAMPLE, dst_row=50, **strip)
        check_writes(tb.writes[Memory.OPERAND], Memory.OPERAND, 50, enlarged(tb.rows[Memory.OPERAND], strip))
        fields = {"row": 9, "tokens": 33, "first": 1, "keep": 20, "blocks": 2}
        await tb.run(3, Opcode.KEEP, score_row=100, **fields)
        check_kept(tb, fields | {"score_row": 100})
