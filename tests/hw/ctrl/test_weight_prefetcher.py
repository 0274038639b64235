# SPDX-License-Identifier: Apache-2.0
"""Weight prefetcher: requests every line of the stream once, in order, and never one that could not be stored."""

import os
from dataclasses import replace

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from golden.spec import tiling
from golden.spec.isa import STREAM_LINES, Opcode, encode
from golden.spec.machine import LINE, NANO
from golden.spec.machine import MAX_EXPERTS as EXPERTS
from hw.ctrl.credits import MULTIPLIER_LINES, NORM_LINES
from hw.ctrl.weight_prefetcher import READ_CYCLES, WeightPrefetcher
from hw.dma.weight_lines import CHUNK, CHUNK_LINES, ROUTE, Destination
from sim.runner import run_bench
from sim.streams import Sink, Source, cycles, half, never, reset, seeded, start, until
from tests.hw.support.programs import PLAIN, program, random_word
from tests.hw.support.weight_segments import expected

pytestmark = pytest.mark.rtl
CONFIGS = {"nano": NANO, "two_lines": replace(NANO, ports=4, port_bytes=32)}
CFG = CONFIGS[os.environ.get("PREFETCHER_CFG", "nano")]
DEPTHS = {Destination.RING: CFG.ring_lines, Destination.PARAM: CFG.param_lines, Destination.NORM: NORM_LINES,
          Destination.MULTIPLIERS: MULTIPLIER_LINES}
LINES_PER_ROW = CFG.row_bytes // LINE


@pytest.mark.parametrize("config", list(CONFIGS))
def test_weight_prefetcher(config):
    run_bench(WeightPrefetcher(CONFIGS[config]), module=__name__, name=f"weight_prefetcher-{config}",
              env={"PREFETCHER_CFG": config})


class Testbench:
    """Program memory, consumers that free lines some time after they were asked for, and a gate that names experts.

    ``gate``: its round and the experts in order of arrival, as many of them as ``named``.
    """

    def __init__(self, dut, *, stall=never, consume=0.3):
        self.dut, self.consume, self.rng, self.words, self.pipe = dut, consume, seeded("tb"), [0], [0] * READ_CYCLES
        self.chunks, self.routes = Sink(dut, "o_chunk", CHUNK, stall=stall), Sink(dut, "o_route", ROUTE, stall=stall)
        self.total = Source(dut, "i_total", EXPERTS.bit_length())
        self.gate, self.named = (0, []), 0
        self.empty_ring = False
        """The ring gives all of its rows back at once."""
        self.clear()
        self.tasks = [cocotb.start_soon(self._run()), self.chunks.task, self.routes.task]

    def stop(self):
        for task in self.tasks:
            task.cancel()

    def clear(self):
        self.held = dict.fromkeys(Destination, 0)
        self.most, self.seen, self.route, self.left = dict.fromkeys(Destination, 0), 0, 0, 0
        self.chunks.values.clear(), self.routes.values.clear()
        self.chunks.times.clear(), self.routes.times.clear()

    async def _run(self):
        dut = self.dut
        while True:
            # Lines asked for are held until a consumer frees them; rows of the ring whole.
            while self.seen < len(self.chunks.values):
                if not self.left:
                    self.left, self.target = (self.routes.values[self.route][k] for k in ("lines", "destination"))
                    self.route += 1
                lines = self.chunks.values[self.seen]["lines"]
                assert lines <= self.left, "A chunk crosses the end of its segment."
                assert lines % CFG.beat_lines == 0, "A chunk ends within a stream beat."
                self.left, self.seen = self.left - lines, self.seen + 1
                target = Destination(self.target)
                self.held[target] += lines
                self.most[target] = max(self.most[target], self.held[target])
                assert self.held[target] <= DEPTHS[target], f"{target.name} was promised more than it holds."
            for target in (Destination.PARAM, Destination.NORM, Destination.MULTIPLIERS):
                frees = self.held[target] > 0 and self.rng.random() < self.consume
                getattr(dut, f"{target.name.lower()}_release").value = int(frees)
                self.held[target] -= frees * CFG.beat_lines
            rows = self.held[Destination.RING] // LINES_PER_ROW
            frees = self.rng.randint(1, rows) if rows and self.rng.random() < self.consume / 4 else 0
            if self.empty_ring:
                frees, self.empty_ring = rows, False
            dut.ring_release.value, dut.ring_release_en.value = frees or self.rng.randint(0, 9), int(frees > 0)
            self.held[Destination.RING] -= frees * LINES_PER_ROW
            round_, order = self.gate
            dut.round.value, dut.arrivals.value = round_, self.named
            place = int(dut.place.value)
            dut.arrival.value = order[place] if place < self.named else self.rng.randrange(EXPERTS)
            await RisingEdge(dut.clk)
            index = int(dut.index.value)
            self.pipe = [self.words[index] if index < len(self.words) else 0, *self.pipe[:READ_CYCLES - 1]]
            await FallingEdge(dut.clk)
            dut.word.value = self.pipe[READ_CYCLES - 1]

    async def _name(self, rounds):
        """Each round begins late, names one expert after the other, and stays as it is until the next one begins."""
        for round_, order in rounds:
            await cycles(self.dut, self.rng.randrange(300))
            self.gate, self.named = (round_, order), 0
            while self.named < len(order):
                await cycles(self.dut, self.rng.choice([1, 2, 300]))
                self.named += 1
            await cycles(self.dut, self.rng.randrange(2, 300))
            await self.total.send([len(order)])

    async def run(self, words, rounds=(), limit=60_000):
        """``rounds``: for each EXPERTS the rounds begun before it, and the experts in order of arrival."""
        self.clear()
        self.words = words
        routes, chunks = expected(words, [order for _, order in rounds], CFG)
        self.dut.start.value = 1
        await cycles(self.dut, 1)
        self.dut.start.value = 0
        giving = cocotb.start_soon(self._name(rounds))
        total = sum(lines for _, lines, _ in routes)
        await until(self.dut, lambda: sum(chunk["lines"] for chunk in self.chunks.values) >= total, limit, "the end")
        await giving
        await cycles(self.dut, 100)
        assert [(route["destination"], route["lines"]) for route in self.routes.values] \
            == [(target.value, lines) for target, lines, _ in routes]
        found = [chunk["line"] + n for chunk in self.chunks.values for n in range(chunk["lines"])]
        assert found == chunks
        following = None
        for n, chunk in enumerate(self.chunks.values):
            assert chunk["jump"] == (n == 0 or chunk["line"] != following), n
            following = (chunk["line"] + chunk["lines"]) % STREAM_LINES
        return routes


def small(rng, opcode, **fixed):
    """A random instruction with few lines, so that a bench can follow many of them."""
    sizes = {Opcode.LINEAR: {"tiles": rng.randint(1, 5), "slices": rng.choice([1, 2, 12, 24])},
             Opcode.NORM: {"blocks": rng.choice([1, 6, 32])},
             Opcode.ATTENTION: {"heads": rng.randint(1, 6), "head_slices": rng.choice([2, 4, 8])}}.get(opcode, {})
    if opcode in (Opcode.LINEAR, Opcode.NORM, Opcode.ATTENTION):
        sizes["stream"] = rng.choice([0, rng.getrandbits(20), rng.getrandbits(32)])
    return random_word(rng, opcode, **(sizes | fixed))


@cocotb.test()
async def asks_for_every_line_once_and_in_order(dut):
    await start(dut)
    rng = seeded("programs")
    for stall, consume in ((never, 0.9), (half, 0.3), (never, 0.1)):
        tb = Testbench(dut, stall=stall, consume=consume)
        await reset(dut)
        needed = [small(rng, Opcode.UPSAMPLE), small(rng, Opcode.ATTENTION), small(rng, Opcode.NORM),
                  small(rng, Opcode.LINEAR, reuse_weights=0)]
        words = program(CFG, [*(small(rng, rng.choice(PLAIN)) for _ in range(25)), *needed])
        routes = await tb.run(words)
        assert {target for target, _, _ in routes} == set(Destination)
        tb.stop()


@cocotb.test()
async def follows_the_stream_without_jumps(dut):
    """Instructions whose parts lie one after the other make one uninterrupted run."""
    await start(dut)
    tb = Testbench(dut, consume=1)
    await reset(dut)
    words, line = [], 100
    for opcode, fields, length in ((Opcode.NORM, {"tokens": 1, "blocks": 6}, tiling.norm_lines(6, CFG)),
                                   (Opcode.LINEAR, {"tiles": 3, "slices": 12}, tiling.linear_lines(3, 12)),
                                   (Opcode.ATTENTION, {"heads": 3, "head_slices": 4, "queries": 1, "keys": 1},
                                    tiling.attention_lines(3, 4, CFG)),
                                   (Opcode.LINEAR, {"tiles": 1, "slices": 1}, tiling.linear_lines(1, 1))):
        words += [encode(opcode, stream=line, **fields), encode(Opcode.COPY, rows=1)]
        line += length
    await tb.run(program(CFG, words))
    assert sum(chunk["jump"] for chunk in tb.chunks.values) == 1


@cocotb.test()
async def never_promises_more_than_fits(dut):
    """With consumers that take nothing, exactly what fits is asked for; what they free is asked for again."""
    await start(dut)
    tb = Testbench(dut, consume=0)
    await reset(dut)
    linear = encode(Opcode.LINEAR, tiles=8, slices=511, stream=5)
    tb.words = program(CFG, [linear])
    dut.start.value = 1
    await cycles(dut, 1)
    dut.start.value = 0
    await cycles(dut, 2000)
    assert tb.held[Destination.RING] == CFG.ring_lines and not int(dut.o_chunk__valid.value)
    tb.empty_ring = True
    await cycles(dut, 2000)
    assert tb.held[Destination.RING] == CFG.ring_lines, "not all rows of a whole ring came back as credit"
    tb.consume = 1
    await until(dut, lambda: tb.chunks.values[-1]["line"] > 5 + 2 * CFG.ring_lines, 10_000, "more lines")


@cocotb.test()
async def asks_for_nothing_after_the_end(dut):
    """Whatever the program memory says by then: the next program may be on its way into it."""
    await start(dut)
    tb = Testbench(dut, consume=1)
    await reset(dut)
    linear = encode(Opcode.LINEAR, tiles=1, slices=1)
    await tb.run(program(CFG, [linear]))
    before = len(tb.routes.values), len(tb.chunks.values)
    tb.words = [linear] * 8
    await cycles(dut, 100)
    assert (len(tb.routes.values), len(tb.chunks.values)) == before
    tb.stop()


@cocotb.test()
async def runs_well_ahead_of_the_ports(dut):
    await start(dut)
    tb = Testbench(dut, consume=1)
    await reset(dut)
    await tb.run(program(CFG, [encode(Opcode.LINEAR, tiles=1, slices=24)]))
    ring = tb.chunks.times[-24:]
    assert ring[-1] - ring[0] == 2 * 23 and all(chunk["lines"] == CHUNK_LINES for chunk in tb.chunks.values[-24:])
    # Between instructions and segments it still grants more than a line a cycle.
    tb.stop()
    tb = Testbench(dut, consume=1)
    await reset(dut)
    routes = await tb.run(program(CFG, [encode(Opcode.LINEAR, tiles=1, slices=1)] * 30))
    assert sum(lines for _, lines, _ in routes) / (tb.chunks.times[-1] - tb.chunks.times[0]) > 1


@cocotb.test()
async def prefetches_exactly_the_experts_that_the_gate_names(dut):
    await start(dut)
    rng = seeded("experts")
    tb = Testbench(dut, consume=0.9)
    await reset(dut)
    everyone = list(range(EXPERTS))
    orders = [[], [0], [63], rng.sample(everyone, EXPERTS), [63, 0], *(rng.sample(everyone, 7) for _ in range(3))]
    for n, order in enumerate(orders):
        gates = [encode(Opcode.GATE, tokens=1, experts=EXPERTS, top_k=1, append=append) for append in (0, 1, 0)]
        rounds = [(2, order), (3, orders[n - 1])]
        experts = rng.choice([64, 64, 20])
        first, second = rng.choice([(4, 1), (2, 3)])
        body = [encode(Opcode.LINEAR, tiles=first, slices=1), encode(Opcode.STORE, rows=1),
                encode(Opcode.LINEAR, tiles=second, slices=2, stream=tiling.linear_lines(first, 1))]
        loop = encode(Opcode.EXPERTS, experts=experts, body=3, stream=1000, pitch=rng.choice([80, 1 << 20, 0x1_2345]))
        words = program(CFG, [*gates, loop, *body, small(rng, Opcode.LINEAR), gates[0], gates[1], loop, *body,
                               small(rng, Opcode.NORM)])
        tb.gate, tb.named = (0, []), 0
        await reset(dut)
        await tb.run(words, rounds)


@cocotb.test()
async def asks_for_an_expert_as_soon_as_it_is_named(dut):
    """Neither before nor for one of the round before, and without the total."""
    await start(dut)
    tb = Testbench(dut, consume=1)
    tb.gate, tb.named = (0, [4, 3]), 2
    await reset(dut)
    length = tiling.linear_lines(2, 1)
    tb.words = program(CFG, [encode(Opcode.GATE, tokens=1, experts=64, top_k=1),
                                 encode(Opcode.EXPERTS, experts=64, body=1, stream=100, pitch=1000),
                                 encode(Opcode.LINEAR, tiles=2, slices=1), encode(Opcode.NORM, tokens=1, blocks=1)])
    dut.start.value = 1
    await cycles(dut, 1)
    dut.start.value = 0
    await cycles(dut, 300)
    assert not tb.chunks.values, "The gate has not begun this round yet."
    tb.gate, tb.named = (1, [9, 63, 5]), 0
    for n, expert in enumerate((9, 63, 5)):
        await cycles(dut, 300)
        assert sum(chunk["lines"] for chunk in tb.chunks.values) == n * length
        tb.named += 1
        await cycles(dut, 60)
        assert tb.chunks.values[-1]["line"] // 1000 == expert
    await cycles(dut, 300)
    assert sum(chunk["lines"] for chunk in tb.chunks.values) == 3 * length
    await tb.total.send([3])
    await until(dut, lambda: tb.chunks.values[-1]["line"] == 0, 100, "the norm after the loop")


@cocotb.test()
async def starts_afresh_after_a_reset(dut):
    await start(dut)
    rng = seeded("reset")
    tb = Testbench(dut, stall=half, consume=0.5)
    for _ in range(8):
        tb.words = program(CFG, [small(rng, Opcode.LINEAR) for _ in range(20)])
        dut.start.value = 1
        await cycles(dut, 1)
        dut.start.value = 0
        await cycles(dut, rng.randint(1, 300))
        await reset(dut)
        tb.clear()
        await tb.run(program(CFG, [small(rng, Opcode.LINEAR)]))
