# SPDX-License-Identifier: Apache-2.0
"""The write engine: data under stalls, full rate, faults by name, and a drain that writes nothing any more."""

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from golden.spec.regs import DRAIN_LIMITS
from golden.spec.status import Status
from hw.axi import Response
from hw.dma.write_engine import WriteEngine
from sim.runner import run_bench
from sim.streams import bursts, cycles, half, never, seeded, start, until
from tests.hw.support.axi_agents import BEAT, bursts_of
from tests.hw.support.dma_engines import AGENTS, HI, LO, BeatCounter, Faults, write_engine

pytestmark = pytest.mark.rtl
LIMIT = 300
BURSTS = 16


def test_write_engine():
    run_bench(WriteEngine(bursts=BURSTS), module=__name__)


def words(transfers, salt=0):
    """Data for ``transfers`` and what the memory must hold then."""
    data = [(addr + BEAT * n) * 0x10001 + salt << 17 for addr, beats in transfers for n in range(beats)]
    places = [addr + BEAT * n for addr, beats in transfers for n in range(beats)]
    return data, dict(zip(places, data, strict=True))


def send(transfers, data, source, source_data):
    tasks = [cocotb.start_soon(source.send({"addr": addr, "beats": beats} for addr, beats in transfers)),
             cocotb.start_soon(source_data.send(data))]
    AGENTS.extend(type("Task", (), {"task": task})() for task in tasks)
    return tasks


async def halted(dut, memory, limit=4000):
    """Halt as the supervisor does; what was started is completed without strobes, nothing else is begun."""
    dut.halt.value = 1
    await cycles(dut, 4)
    issued, written = len(memory.bursts), len(memory.written)
    await until(dut, lambda: int(dut.quiet.value) == 1, limit, "quiet")
    await cycles(dut, 20)
    assert memory.owed == 0 and int(dut.quiet.value) and len(memory.bursts) <= issued + 1
    assert len(memory.written) == sum(burst.beats for burst in memory.bursts)
    # At most the output registers still held strobed beats.
    assert sum(strobe != 0 for _, strobe in memory.written[written:]) <= 3


@cocotb.test()
async def writes_everything(dut):
    await start(dut)
    rng = seeded("transfers")
    memory, source, source_data = await write_engine(dut)
    faults = Faults(dut, "bready")
    counter, total = BeatCounter(dut), 0
    policies = [never, half, bursts()]
    for salt in range(15):
        memory.stall_aw, memory.stall_w, memory.stall_b = (rng.choice(policies) for _ in range(3))
        source.stall, source_data.stall = rng.choice(policies), rng.choice(policies)
        memory.latency = rng.choice([1, 5, 40])
        starts = rng.sample(range(1 << 12), 6)
        lengths = [1, 2, 4, 63, 64, 65, rng.randint(1, 300)]
        transfers = [(LO + 0x4000 * n + BEAT * rng.randrange(256), rng.choice(lengths)) for n in starts]
        memory.bursts.clear(), memory.memory.clear(), memory.written.clear()
        data, expected = words(transfers, salt)
        for task in send(transfers, data, source, source_data):
            await task
        await until(dut, lambda: int(dut.idle.value) == 1, 20_000, "idle")
        assert memory.owed == 0 and memory.memory == expected and len(memory.written) == len(expected)
        assert memory.bursts == [burst for transfer in transfers for burst in bursts_of(*transfer)]
        total += sum(beats for _, beats in transfers)
    await cycles(dut, 2)
    assert not faults.seen and int(dut.quiet.value) and counter.beats == total


@cocotb.test()
async def sustains_one_beat_a_cycle(dut):
    await start(dut)
    memory, source, source_data = await write_engine(dut, latency=30)
    transfers = [(LO + 16, 1000)]
    times = []

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            if int(dut.axi__wvalid.value) and int(dut.axi__wready.value):
                times.append(memory.cycle)

    cocotb.start_soon(watch())
    send(transfers, words(transfers)[0], source, source_data)
    await until(dut, lambda: len(times) == 1000, 3000, "the last beat")
    assert times[-1] - times[0] <= 1000, "The stream must not break."


@cocotb.test()
async def keeps_its_latency_and_offers_data_before_the_address_is_taken(dut):
    await start(dut)
    memory, source, source_data = await write_engine(dut)
    memory.dead.add("aw")
    transfers = [(LO, 1)]
    cocotb.start_soon(source_data.send(words(transfers)[0]))
    await source.send([{"addr": LO, "beats": 1}])
    assert not int(dut.idle.value)
    waited = await until(dut, lambda: int(dut.axi__awvalid.value) == 1, 50, "AWVALID")
    assert waited == WriteEngine.LATENCY - 1, waited
    await until(dut, lambda: int(dut.axi__wvalid.value) == 1, 10, "WVALID without AWREADY")
    await cycles(dut, 50)
    assert not int(dut.idle.value) and not int(dut.quiet.value)
    memory.dead.clear()
    await until(dut, lambda: int(dut.idle.value) == 1, 20, "idle")
    assert memory.answered == 1


@cocotb.test()
async def stops_issuing_when_enough_is_owed(dut):
    await start(dut)
    memory, source, source_data = await write_engine(dut)
    memory.dead.add("b")
    transfers = [(LO + 0x1000 * n, 2) for n in range(40)]
    data, expected = words(transfers)
    send(transfers, data, source, source_data)
    await cycles(dut, 1000)
    assert len(memory.bursts) == BURSTS
    memory.dead.clear()
    await until(dut, lambda: memory.answered == 40, 2000, "all responses")
    assert memory.memory == expected


@cocotb.test()
async def idle_waits_for_the_last_response(dut):
    await start(dut)
    memory, source, source_data = await write_engine(dut, latency=100)
    transfers = [(LO, 100)]
    send(transfers, words(transfers)[0], source, source_data)
    await cycles(dut, 5)
    await until(dut, lambda: int(dut.idle.value) == 1, 1000, "idle")
    assert memory.answered == len(bursts_of(LO, 100))


@cocotb.test()
async def names_every_bad_response(dut):
    await start(dut)
    codes = {Response.SLVERR: Status.B_SLVERR, Response.DECERR: Status.B_DECERR, Response.EXOKAY: Status.EXOKAY}
    for response, status in codes.items():
        for place in range(4):
            memory, source, source_data = await write_engine(dut, latency=10)
            faults = Faults(dut, "bready")
            transfers = [(LO, 256), (LO + 0x10000, 1000)]
            wrong = bursts_of(LO, 256)[place].addr
            memory.responses[wrong] = response.value
            send(transfers, words(transfers)[0], source, source_data)
            await until(dut, lambda faults=faults: faults.seen, 2000, "fault")
            assert faults.seen[0] == (status, wrong)
            await halted(dut, memory)


@cocotb.test()
async def names_an_unasked_response(dut):
    await start(dut)
    memory, *_ = await write_engine(dut)
    faults = Faults(dut, "bready")
    await cycles(dut, 5)
    memory.unasked = 1
    await until(dut, lambda: faults.seen, 100, "fault")
    assert faults.seen[0][0] == Status.BAD_RESPONSE


@cocotb.test()
async def names_a_response_before_its_burst_was_taken(dut):
    """Without the last beat or the address a response counts for nothing; the true one is still waited for."""
    await start(dut)
    for channel in ("aw", "w"):
        memory, source, source_data = await write_engine(dut, limit=LIMIT)
        faults = Faults(dut, "bready")
        memory.dead.add(channel)
        send([(LO, 8)], words([(LO, 8)])[0], source, source_data)
        await until(dut, lambda: int(dut.axi__awvalid.value) or int(dut.axi__wvalid.value), 50, "a request")
        await cycles(dut, 20)
        assert not faults.seen
        memory.unasked = 1
        await until(dut, lambda faults=faults: faults.seen, 50, "fault")
        assert faults.seen[0][0] == Status.BAD_RESPONSE
        dut.halt.value = 1
        await cycles(dut, 100)
        memory.dead.clear()
        begun = memory.cycle
        await until(dut, lambda: int(dut.quiet.value) == 1, 2 * LIMIT, "quiet")
        assert memory.answered == 1 and memory.owed == 0 and memory.cycle - begun >= LIMIT and not faults.expired


@cocotb.test()
async def is_quiet_only_when_nothing_comes_any_more(dut):
    """Responses too many, at any moment: what was asked for is waited for, then a silent window."""
    await start(dut)
    rng = seeded("misbehaviour")
    for _ in range(40):
        memory, source, source_data = await write_engine(dut, limit=LIMIT, latency=rng.choice([1, 10, 80]),
                                                   stall_w=rng.choice([never, half]), stall_b=rng.choice([never, half]))
        faults = Faults(dut, "bready")
        transfers = [(LO + 0x1000 * n, rng.choice([1, 5, 64, 100])) for n in range(4)]
        send(transfers, words(transfers)[0], source, source_data)
        await cycles(dut, rng.randint(20, 150))
        memory.unasked = rng.choice([1, 2, 7])
        await until(dut, lambda faults=faults: faults.seen, 3000, "fault")
        assert faults.seen[0][0] == Status.BAD_RESPONSE
        await cycles(dut, 3)
        dut.halt.value = 1
        await until(dut, lambda: int(dut.quiet.value) == 1, 4000 + DRAIN_LIMITS * LIMIT, "quiet")
        assert memory.owed == 0 and memory.unasked == 0 and not faults.expired
        assert memory.answered == len(memory.bursts)


@cocotb.test()
async def gives_up_a_bus_that_never_rests(dut):
    await start(dut)
    memory, *_ = await write_engine(dut, limit=LIMIT, stall_b=lambda rng: rng.random() < 0.9)
    faults = Faults(dut, "bready")
    memory.unasked = 1 << 30
    await until(dut, lambda: faults.seen, 100, "fault")
    dut.halt.value = 1
    begun = memory.cycle
    await until(dut, lambda: faults.expired, (DRAIN_LIMITS + 1) * LIMIT, "expired")
    assert memory.cycle - begun > (DRAIN_LIMITS - 1) * LIMIT and not int(dut.quiet.value)
    memory.unasked = 0
    begun = memory.cycle
    await until(dut, lambda: int(dut.quiet.value) == 1, 3 * LIMIT, "quiet")
    assert memory.cycle - begun >= LIMIT and faults.expired == 1


@cocotb.test()
async def refuses_a_transfer_that_leaves_the_window(dut):
    """Nothing of it is written, not even what lies inside."""
    await start(dut)
    for addr, beats in ((HI - 64, 5), (LO - 16, 2), (HI, 1), ((1 << 64) - 1024, 200)):
        memory, source, source_data = await write_engine(dut)
        faults = Faults(dut, "bready")
        send([(addr, beats)], words([(addr, beats)])[0], source, source_data)
        await until(dut, lambda faults=faults: faults.seen, 100, "fault")
        assert faults.seen == [(Status.RANGE_WRITE, addr)]
        await cycles(dut, 100)
        assert not memory.bursts and not memory.written


@cocotb.test()
async def notices_a_dead_channel(dut):
    await start(dut)
    for channel in ("aw", "w", "b"):
        memory, source, source_data = await write_engine(dut, limit=LIMIT)
        faults = Faults(dut, "bready")
        # A source without data is not the bus's fault.
        await source.send([{"addr": LO, "beats": 64}])
        if channel != "aw":
            await cycles(dut, 3 * LIMIT)
            assert not faults.expired
        memory.dead.add(channel)
        cocotb.start_soon(source_data.send(words([(LO, 64)])[0]))
        await until(dut, lambda faults=faults: faults.expired, 3 * LIMIT, "expired")
        dut.halt.value = 1
        begun = memory.cycle
        await until(dut, lambda faults=faults: faults.expired == 2, 2 * LIMIT, "expired again")
        assert LIMIT <= memory.cycle - begun <= LIMIT + 80 and not int(dut.quiet.value)
        assert faults.owed == {LO}, faults.owed
        memory.dead.clear()
        await until(dut, lambda: int(dut.quiet.value) == 1, 1000, "quiet")


@cocotb.test()
async def writes_nothing_after_a_halt(dut):
    await start(dut)
    rng = seeded("halt")
    zeros = 0
    for _ in range(30):
        memory, source, source_data = await write_engine(dut, latency=rng.choice([1, 30]), stall_aw=half, stall_w=half,
                                                   stall_b=half)
        source_data.stall = rng.choice([half, bursts()])
        transfers = [(LO + 0x1000 * n, rng.randint(1, 200)) for n in range(30)]
        data, expected = words(transfers)
        send(transfers, data, source, source_data)
        await cycles(dut, rng.randint(1, 400))
        await halted(dut, memory)
        assert all(expected[addr] == word for addr, word in memory.memory.items())
        zeros += sum(strobe == 0 for _, strobe in memory.written)
    assert zeros > 100, zeros
