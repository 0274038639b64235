# SPDX-License-Identifier: Apache-2.0
"""The read engine: data in order under stalls, full rate, faults by name, drain."""

import cocotb
import pytest

from golden.spec.regs import DRAIN_LIMITS
from golden.spec.status import Status
from hw.axi import Response
from hw.dma.read_engine import ReadEngine
from sim.runner import run_bench
from sim.streams import bursts, cycles, half, never, seeded, start, until
from tests.hw.support.axi_agents import BEAT, PORT_BEAT, bursts_of
from tests.hw.support.dma_engines import HI, LO, BeatCounter, Faults, content, read_engine

pytestmark = pytest.mark.rtl
DEPTH, BURSTS, LIMIT = 256, 16, 300


def test_read_engine():
    run_bench(ReadEngine(depth=DEPTH, bursts=BURSTS), module=__name__)


async def halted(dut, memory, limit=2000):
    """Halt as the supervisor does, and wait for the bus to come to rest."""
    dut.halt.value = 1
    await cycles(dut, 4)
    issued = len(memory.bursts)
    await until(dut, lambda: int(dut.quiet.value) == 1, limit, "quiet")
    await cycles(dut, 20)
    assert memory.owed == 0 and int(dut.quiet.value) and len(memory.bursts) <= issued + 1


@cocotb.test()
async def reads_everything_in_order(dut):
    await start(dut)
    rng = seeded("transfers")
    memory, source, sink = await read_engine(dut, latency=20)
    faults = Faults(dut, "rready")
    counter, total = BeatCounter(dut), 0
    policies = [never, half, bursts()]
    for _ in range(12):
        memory.stall_ar, memory.stall_r, sink.stall, source.stall = (rng.choice(policies) for _ in range(4))
        memory.latency = rng.choice([1, 5, 40, 150])
        transfers = [(LO + PORT_BEAT * rng.randrange(1 << 20), rng.choice([1, 2, 4, 63, 64, 65, rng.randint(1, 300)]))
                     for _ in range(8)]
        memory.bursts.clear()
        await source.send({"addr": addr, "beats": beats} for addr, beats in transfers)
        total += sum(beats for _, beats in transfers)
        await sink.receive(total)
        assert sink.values[-transfers[-1][1]:] == [content(transfers[-1][0] + PORT_BEAT * n, PORT_BEAT)
                                                   for n in range(transfers[-1][1])]
        expected = [content(addr + PORT_BEAT * n, PORT_BEAT) for addr, beats in transfers for n in range(beats)]
        assert sink.values[total - len(expected):] == expected
        assert memory.bursts == [burst for transfer in transfers for burst in bursts_of(*transfer, beat=PORT_BEAT)]
    await cycles(dut, 20)
    assert len(sink.values) == total == counter.beats and int(dut.quiet.value) and not faults.seen
    assert memory.most_owed <= DEPTH


@cocotb.test()
async def sustains_one_beat_a_cycle(dut):
    await start(dut)
    memory, source, sink = await read_engine(dut, latency=100)
    beats = 2000
    await source.send([{"addr": LO + 3 * PORT_BEAT, "beats": beats}])
    await sink.receive(beats)
    assert sink.times[-1] - sink.times[0] == beats - 1, "The stream must not break."
    assert memory.most_owed > 100


@cocotb.test()
async def keeps_its_latency(dut):
    await start(dut)
    memory, source, _ = await read_engine(dut)
    memory.dead.add("ar")
    await source.send([{"addr": LO, "beats": 1}])
    waited = await until(dut, lambda: int(dut.axi__arvalid.value) == 1, 50, "ARVALID")
    assert waited == ReadEngine.LATENCY - 1, waited


@cocotb.test()
async def names_every_bad_response(dut):
    await start(dut)
    codes = {Response.SLVERR: Status.R_SLVERR, Response.DECERR: Status.R_DECERR, Response.EXOKAY: Status.EXOKAY}
    for response, status in codes.items():
        for place in (0, 1, 63, 64, 100, 199):
            memory, source, sink = await read_engine(dut, latency=30)
            faults = Faults(dut, "rready")
            wrong = LO + BEAT * place
            memory.responses[wrong] = response.value
            await source.send([{"addr": LO, "beats": 200}, {"addr": LO + 0x10000, "beats": 2000}])
            await until(dut, lambda faults=faults: faults.seen, 1000, "fault")
            assert faults.seen[0] == (status, wrong)
            await halted(dut, memory)
            assert sink.values == [content(LO + BEAT * n) for n in range(len(sink.values))]
            assert len(sink.values) <= place


@cocotb.test()
async def names_a_wrong_last(dut):
    await start(dut)
    for place in (0, 10, 63):  # early, early, missing
        memory, source, _ = await read_engine(dut, latency=3, limit=LIMIT)
        faults = Faults(dut, "rready")
        memory.flip_last.add(LO + BEAT * place)
        await source.send([{"addr": LO, "beats": 64}])
        await until(dut, lambda faults=faults: faults.seen, 1000, "fault")
        assert faults.seen[0] == (Status.BAD_RESPONSE, LO + BEAT * place)
        await halted(dut, memory)


@cocotb.test()
async def names_an_unasked_beat(dut):
    await start(dut)
    memory, _, sink = await read_engine(dut)
    faults = Faults(dut, "rready")
    await cycles(dut, 5)
    memory.unasked = 1
    await until(dut, lambda: faults.seen, 100, "fault")
    assert faults.seen[0][0] == Status.BAD_RESPONSE and not sink.values


@cocotb.test()
async def names_a_beat_before_its_address_was_taken(dut):
    """It is not counted against the burst, and does not stand for a sign of life of the address channel."""
    await start(dut)
    memory, source, sink = await read_engine(dut, limit=LIMIT)
    faults = Faults(dut, "rready")
    memory.dead.add("ar")
    await source.send([{"addr": LO, "beats": 2}])
    await until(dut, lambda: int(dut.axi__arvalid.value) == 1, 50, "ARVALID")
    memory.unasked = 10 * LIMIT
    await until(dut, lambda: faults.seen, 100, "fault")
    assert faults.seen[0][0] == Status.BAD_RESPONSE and not sink.values
    dut.halt.value = 1
    await until(dut, lambda: faults.expired, LIMIT + 20, "expired")
    memory.unasked = 0
    memory.dead.clear()
    begun = memory.cycle
    await until(dut, lambda: int(dut.quiet.value) == 1, 2 * LIMIT, "quiet")
    assert memory.beats == 2 and memory.owed == 0 and memory.cycle - begun >= LIMIT


@cocotb.test()
async def is_quiet_only_when_nothing_comes_any_more(dut):
    """RLAST early or missing, too few beats, too many at once or late: each alone and all together."""
    await start(dut)
    rng, outcomes = seeded("misbehaviour"), set()
    for trial in range(80):
        memory, source, _ = await read_engine(dut, limit=LIMIT, latency=rng.choice([1, 20, 100]),
                                         stall_r=rng.choice([never, half]), stall_ar=rng.choice([never, half]))
        faults = Faults(dut, "rready")
        beats = 64 * rng.randint(1, 6)
        places = [LO + BEAT * (rng.choice([0, 1, 62, 63, rng.randrange(64)]) + 64 * rng.randrange(beats // 64))
                  for _ in range(rng.choice([1, 1, 1, 3]))]
        cut = set()
        for addr in places:
            kind = trial % 4 if len(places) == 1 else rng.randrange(4)
            if kind < 2:
                memory.flip_last.add(addr)
            if kind == 1:
                cut.add(addr)
            if kind == 2:
                memory.surplus[addr] = rng.choice([1, 2, 64, 130]), rng.choice([0, 5, LIMIT // 2])
            if kind == 3:
                last = addr | 63 * BEAT
                memory.flip_last.add(last)
                memory.surplus[last] = rng.choice([1, 63]), rng.choice([0, 90])
        memory.cut |= cut
        await source.send([{"addr": LO, "beats": beats}])
        await until(dut, lambda faults=faults: faults.seen, 3000, "fault")
        assert faults.seen[0][0] == Status.BAD_RESPONSE
        await cycles(dut, 3)
        dut.halt.value = 1
        await cycles(dut, 4)
        limit = 64 * 8 * 4 + (DRAIN_LIMITS + 1) * LIMIT
        await until(dut, lambda faults=faults: int(dut.quiet.value) or faults.expired, limit, "quiet or expired")
        if int(dut.quiet.value):
            assert memory.owed == 0, (trial, places)
            beats_then = memory.beats
            await cycles(dut, 2 * LIMIT)
            assert int(dut.quiet.value) and memory.beats == beats_then and not faults.expired
            outcomes.add("quiet")
        else:  # beats that were asked for never come
            assert cut or memory.owed, (trial, places)
            await cycles(dut, 2 * LIMIT)
            assert not int(dut.quiet.value)
            outcomes.add("expired")
    assert outcomes == {"quiet", "expired"}


@cocotb.test()
async def gives_up_a_bus_that_never_rests(dut):
    await start(dut)
    memory, source, _ = await read_engine(dut, limit=LIMIT)
    faults = Faults(dut, "rready")
    memory.surplus[LO] = 1, 0
    await source.send([{"addr": LO, "beats": 1}])
    await until(dut, lambda: faults.seen, 100, "fault")
    memory.unasked = 1 << 30
    memory.stall_r = lambda rng: rng.random() < 0.9
    dut.halt.value = 1
    begun = memory.cycle
    await until(dut, lambda: faults.expired, (DRAIN_LIMITS + 1) * LIMIT, "expired")
    assert memory.cycle - begun > (DRAIN_LIMITS - 1) * LIMIT and not int(dut.quiet.value)
    # It goes on listening, and counts anew.
    await until(dut, lambda: faults.expired == 2, (DRAIN_LIMITS + 1) * LIMIT, "expired again")
    memory.unasked = 0
    begun = memory.cycle
    await until(dut, lambda: int(dut.quiet.value) == 1, 3 * LIMIT, "quiet")
    assert memory.cycle - begun >= LIMIT and faults.expired == 2


@cocotb.test()
async def refuses_a_transfer_that_leaves_the_window(dut):
    """Nothing of it is read, not even what lies inside."""
    await start(dut)
    for addr, beats in ((HI - 64, 5), (LO - 16, 2), (HI, 1), ((1 << 64) - 1024, 200), (LO, (1 << 19) - 1)):
        memory, source, _ = await read_engine(dut)
        dut.hi.value = HI if addr != LO else LO + 0x1000
        faults = Faults(dut, "rready")
        await source.send([{"addr": LO + 64, "beats": 3}])
        await until(dut, lambda memory=memory: memory.bursts, 100, "the legal burst")
        await source.send([{"addr": addr, "beats": beats}])
        await until(dut, lambda faults=faults: faults.seen, 100, "fault")
        assert faults.seen == [(Status.RANGE_READ, addr)]
        await cycles(dut, 100)
        assert memory.bursts == bursts_of(LO + 64, 3)


@cocotb.test()
async def notices_a_dead_channel(dut):
    await start(dut)
    for channel in ("ar", "r"):
        memory, source, sink = await read_engine(dut, limit=LIMIT, latency=5)
        faults = Faults(dut, "rready")
        # Slow but alive is no reason.
        memory.stall_r = lambda rng, state=[0]: state.__setitem__(0, (state[0] + 1) % (LIMIT - 20)) or state[0] != 0
        await source.send([{"addr": LO, "beats": 4}])
        await sink.receive(4, 8 * LIMIT)
        await cycles(dut, 2 * LIMIT)
        assert not faults.expired
        memory.dead.add(channel)
        await source.send([{"addr": LO, "beats": 64}])
        begun = memory.cycle
        await until(dut, lambda faults=faults: faults.expired, 2 * LIMIT, "expired")
        assert LIMIT <= memory.cycle - begun <= LIMIT + 40
        dut.halt.value = 1
        begun = memory.cycle
        await until(dut, lambda faults=faults: faults.expired == 2, 2 * LIMIT, "expired again")
        assert LIMIT <= memory.cycle - begun <= LIMIT + 10 and not int(dut.quiet.value)
        assert faults.owed == {LO}, faults.owed
        memory.dead.clear()
        await until(dut, lambda: int(dut.quiet.value) == 1, 100 * LIMIT, "quiet")
    # A halt begins the count anew: the drain has the whole limit to itself.
    memory, source, sink = await read_engine(dut, limit=LIMIT, latency=5)
    faults = Faults(dut, "rready")
    memory.dead.add("r")
    await source.send([{"addr": LO, "beats": 64}])
    await cycles(dut, LIMIT - 30)
    dut.halt.value = 1
    waited = await until(dut, lambda: faults.expired, 2 * LIMIT, "expired")
    assert waited >= LIMIT, waited


@cocotb.test()
async def stops_issuing_when_enough_is_owed(dut):
    """Single beats: the list of outstanding bursts fills long before the data queue does."""
    await start(dut)
    memory, source, sink = await read_engine(dut)
    memory.dead.add("r")
    cocotb.start_soon(source.send({"addr": LO + BEAT * n, "beats": 1} for n in range(40)))
    await cycles(dut, 1000)
    assert len(memory.bursts) == BURSTS
    memory.dead.clear()
    assert await sink.receive(40) == [content(LO + BEAT * n) for n in range(40)]


@cocotb.test()
async def drains_when_halted(dut):
    await start(dut)
    rng = seeded("halt")
    for _ in range(25):
        memory, source, sink = await read_engine(dut, latency=rng.choice([1, 30]), stall_ar=half, stall_r=half,
                                                 stall_o=half)
        task = cocotb.start_soon(source.send({"addr": LO + 0x1000 * n, "beats": 100} for n in range(100)))
        await cycles(dut, rng.randint(1, 300))
        await halted(dut, memory, limit=4000)
        task.cancel()
        assert sink.values == [content(LO + 0x1000 * (n // 100) + BEAT * (n % 100)) for n in range(len(sink.values))]
