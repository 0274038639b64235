# SPDX-License-Identifier: Apache-2.0
"""The window guard: nothing outside [lo, hi) comes out, whatever goes in; everything inside does."""

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from hw.axi import BURST, TRANSFER
from hw.dma.window_guard import WindowGuard
from sim.payload import pack, unpack
from sim.runner import run_bench
from sim.streams import Sink, Source, cycles, half, reset, seeded, start
from tests.hw.support.axi_agents import PORT_BEAT

pytestmark = pytest.mark.rtl
TOP = 1 << 64


@pytest.mark.parametrize("beat", [16, 32])
def test_window_guard(beat):
    run_bench(WindowGuard(BURST, beat_bytes=beat), module=__name__, name=f"window_guard_{beat}",
              env={"PORT_BEAT": str(beat)})


def test_window_guard_for_transfers():
    run_bench(WindowGuard(TRANSFER), module=__name__, name="window_guard_transfer")


def shape_of(dut):
    return next(shape for shape in (BURST, TRANSFER) if shape.size == len(dut.i__payload))


def inside(lo, hi, addr, beats):
    return lo <= addr and addr + PORT_BEAT * beats <= hi and beats > 0 and addr % PORT_BEAT == 0


async def offer(dut, shape, lo, hi, addr, beats):
    """Offer one item to a fresh guard: (came out as it went in, was refused)."""
    await reset(dut)
    dut.lo.value, dut.hi.value, dut.o__ready.value = lo, hi, 1
    dut.i__payload.value, dut.i__valid.value = pack(shape, {"addr": addr, "beats": beats}), 1
    came = refused = False
    for n in range(WindowGuard.LATENCY + 4):
        await RisingEdge(dut.clk)
        if int(dut.o__valid.value):
            assert n == WindowGuard.LATENCY, n
            assert unpack(shape, int(dut.o__payload.value)) == {"addr": addr, "beats": beats}
            came = True
        if int(dut.fault.value):
            assert int(dut.fault_addr.value) == addr
            refused = True
        await FallingEdge(dut.clk)
        dut.i__valid.value = 0
    assert bool(int(dut.busy.value)) is refused  # a refusal blocks for good
    return came, refused


def cases(rng, longest, count):
    """Windows and items that touch, miss or cross each other's ends, also across 2**32 and at 2**64."""
    yield from [
        (0, TOP - 1, 0, 1), (0, TOP - 1, TOP - 16, 1), (0, TOP - 16, TOP - 32, 1), (0, TOP - 1, TOP - 32, 2),
        (0, TOP - 1, TOP - 16, 2), (0, TOP - 1, TOP - 16, longest), (4096, 4096, 4096, 1), (8192, 4096, 4096, 1),
        (0, 0, 0, 1), (4096, 8192, 4096, 0), (4096, 8192, 4104, 1), (1 << 32, 1 << 33, (1 << 32) - 16, 2),
        ((1 << 32) - 64, 1 << 33, (1 << 32) - 32, 4), (0, 1 << 32, (1 << 32) - 32, 2), (0, 1 << 32, (1 << 32) - 32, 3),
    ]
    edges = [0, 1 << 12, 1 << 32, 3 << 32, 0x8_0000_0000, TOP - 4096, TOP - 16]
    for _ in range(count):
        lo = max(0, min(TOP - 1, rng.choice(edges) + PORT_BEAT * rng.randint(-3, 3)))
        hi = max(0, min(TOP - 1, rng.choice([lo + PORT_BEAT * rng.randint(0, 2 * longest), rng.choice(edges)])))
        beats = rng.choice([1, 2, rng.randint(1, longest), longest])
        addr = rng.choice([lo, hi - PORT_BEAT * beats, hi, lo - PORT_BEAT, rng.choice(edges)])
        addr += PORT_BEAT * rng.choice([0, 0, 0, 1, -1]) + rng.choice([0] * 9 + [8])
        yield lo, hi, addr % TOP, beats


@cocotb.test()
async def passes_what_is_inside_and_refuses_the_rest(dut):
    await start(dut)
    shape = shape_of(dut)
    longest = (1 << shape["beats"].width) - 1
    coverage = {True: 0, False: 0}
    for lo, hi, addr, beats in cases(seeded("cases"), longest, 600):
        legal = inside(lo, hi, addr, beats)
        came, refused = await offer(dut, shape, lo, hi, addr, beats)
        assert (came, refused) == (legal, not legal), f"[0x{lo:x}, 0x{hi:x}): 0x{addr:x} + {beats} beats"
        coverage[legal] += 1
    assert min(coverage.values()) > 100, coverage


@cocotb.test()
async def blocks_everything_after_a_refusal(dut):
    await start(dut)
    shape = shape_of(dut)
    await reset(dut)
    dut.lo.value, dut.hi.value = 0x1000, 0x2000
    source, sink = Source(dut, "i", shape), Sink(dut, "o", shape, stall=half)
    good = [{"addr": 0x1000 + PORT_BEAT * n, "beats": 1 + n} for n in range(20)]
    await source.send([*good, {"addr": 0x2000, "beats": 1}])
    cocotb.start_soon(source.send([{"addr": 0x1000, "beats": 1}]))
    await cycles(dut, 200)
    assert sink.values == good and not int(dut.i__ready.value) and int(dut.busy.value)


@cocotb.test()
async def keeps_its_interval(dut):
    await start(dut)
    shape = shape_of(dut)
    await reset(dut)
    dut.lo.value, dut.hi.value = 0, TOP - 1
    source, sink = Source(dut, "i", shape), Sink(dut, "o", shape)
    await source.send([{"addr": PORT_BEAT * n, "beats": 1} for n in range(20)])
    await sink.receive(20)
    assert {b - a for a, b in zip(sink.times, sink.times[1:], strict=False)} == {WindowGuard.II}
