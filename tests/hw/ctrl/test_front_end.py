# SPDX-License-Identifier: Apache-2.0
"""The front end: brings programs in as they are, refuses each illegal one by name and place, never runs it."""

import cocotb
import pytest
from cocotb.triggers import FallingEdge, RisingEdge

from golden.spec import isa
from golden.spec.isa import FORMATS, LIMITS, Opcode, encode
from golden.spec.machine import NANO
from golden.spec.status import Status
from hw.axi import BEAT_BITS, TRANSFER
from hw.ctrl.front_end import FrontEnd
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, cycles, half, never, reset, seeded, start, until
from tests.hw.support.programs import OUTSIDE_THE_GATE, begin, program, random_word, tame_word

pytestmark = pytest.mark.rtl
ADDR = 0x8_1234_5640
UNKNOWN = [code for code in range(16) if code not in set(Opcode)]


def test_front_end():
    run_bench(FrontEnd(NANO), module=__name__)


class Outcome:
    """What became of one start: ``loaded`` or (code, index)."""

    def __init__(self, dut):
        self.dut, self.loaded, self.faults = dut, 0, []
        cocotb.start_soon(self._run())

    async def _run(self):
        while True:
            await RisingEdge(self.dut.clk)
            self.loaded += int(self.dut.loaded.value)
            if int(self.dut.fault.value):
                self.faults.append((Status(int(self.dut.fault_code.value)), int(self.dut.fault_index.value)))


class Bench:
    def __init__(self, dut):
        self.dut, self.rng, self.outcome = dut, seeded("bench"), Outcome(dut)
        self.requests, self.beats = Sink(dut, "o_request", TRANSFER), Source(dut, "i_data", BEAT_BITS)

    async def fetch(self, words):
        """Start, serve the requests from ``words``, wait for the outcome; the result is None or (code, index)."""
        dut = self.dut
        await reset(dut)
        self.requests.values.clear(), self.outcome.faults.clear()
        self.outcome.loaded, serving = 0, None
        dut.addr.value, dut.start.value = ADDR, 1
        await cycles(dut, 1)
        dut.start.value = 0
        served = 0
        for _ in range(20_000):
            if len(self.requests.values) > served:
                request = self.requests.values[served]
                assert request == ({"addr": ADDR, "beats": 2} if served == 0 else
                                   {"addr": ADDR + 32, "beats": 2 * len(words) - 2}), request
                served += 1
                first, count = (request["addr"] - ADDR) // 32, request["beats"] // 2
                data = [word >> part & (1 << BEAT_BITS) - 1 for word in words[first:first + count] for part in (0, 128)]
                if serving:
                    await serving
                serving = cocotb.start_soon(self.beats.send(data))
            if self.outcome.loaded or self.outcome.faults:
                break
            await cycles(dut, 1)
        else:
            raise AssertionError("The front end came to no end.")
        if self.outcome.loaded:
            assert not int(dut.fetching.value)
        await cycles(dut, 2 * len(words) + 20)  # what follows a fault must not load after all
        if serving:
            serving.cancel()
        self.beats.idle()
        if self.outcome.faults:
            assert not self.outcome.loaded
            return self.outcome.faults[0]
        assert self.outcome.loaded == 1
        return None

    async def read(self, port, indices):
        """Words at one of the two readers, one index a cycle."""
        index, word = getattr(self.dut, f"{port}_index"), getattr(self.dut, f"{port}_word")
        found = []
        for n in range(len(indices) + FrontEnd.READ_LATENCY):
            if n < len(indices):
                index.value = indices[n]
            await RisingEdge(self.dut.clk)
            if n >= FrontEnd.READ_LATENCY:
                found.append(int(word.value))
            await FallingEdge(self.dut.clk)
        return found


@cocotb.test()
async def brings_programs_in(dut):
    await start(dut)
    bench = Bench(dut)
    for policy in (never, half, bursts()):
        bench.beats.stall = bench.requests.stall = policy
        for count in (0, 1, 2, 30, NANO.program_depth - 2):
            words = program(NANO, [tame_word(bench.rng, bench.rng.choice(OUTSIDE_THE_GATE)) for _ in range(count)])
            assert await bench.fetch(words) is None
            order = [bench.rng.randrange(len(words)) for _ in range(60)]
            for port in ("prefetcher", "sequencer"):
                assert await bench.read(port, order) == [words[i] for i in order]


@cocotb.test()
async def knows_the_body_of_experts(dut):
    await start(dut)
    bench = Bench(dut)
    body = [tame_word(bench.rng, Opcode.LINEAR) for _ in range(15)]
    for length in (1, 2, 15):
        experts = random_word(bench.rng, Opcode.EXPERTS, body=length)
        assert await bench.fetch(program(NANO, [experts, *body[:length], experts, *body[:length]])) is None
        for wrong in (experts, encode(Opcode.END)):
            words = program(NANO, [experts, *body[:length - 1], wrong, *body])
            assert await bench.fetch(words) == (Status.BAD_OPCODE, 1 + length)


@cocotb.test()
async def weights_are_kept_outside_of_bodies_only(dut):
    """A LINEAR that keeps its weights is legal right after a body and in no place of it."""
    await start(dut)
    bench = Bench(dut)
    keeps = tame_word(bench.rng, Opcode.LINEAR, retain_weights=1, block=0)
    for length in (1, 2, 15):
        experts = random_word(bench.rng, Opcode.EXPERTS, body=length)
        body = [tame_word(bench.rng, Opcode.LINEAR) for _ in range(length)]
        assert await bench.fetch(program(NANO, [experts, *body, keeps])) is None
        for place in range(length):
            words = [experts, *body[:place], keeps, *body[place + 1:], keeps]
            assert await bench.fetch(program(NANO, words)) == (Status.BAD_FIELD, 2 + place), (length, place)


@cocotb.test()
async def refuses_a_foreign_program_before_reading_it(dut):
    await start(dut)
    bench = Bench(dut)
    good = begin(NANO, 10)
    cases = [
        (encode(Opcode.END), Status.BAD_OPCODE), (good & ~15, Status.BAD_OPCODE),
        (begin(NANO, 10, magic=isa.MAGIC ^ 1 << 31), Status.BAD_VERSION), (begin(NANO, 10, abi=0), Status.BAD_VERSION),
        (begin(NANO, 10, fingerprint=NANO.fingerprint ^ 1 << 63), Status.BAD_CONFIG),
        (begin(NANO, 10, fingerprint=NANO.fingerprint ^ 1), Status.BAD_CONFIG),
        (begin(NANO, 0), Status.BAD_FIELD), (begin(NANO, 1), Status.BAD_FIELD),
        (begin(NANO, NANO.program_depth + 1), Status.BAD_FIELD), (begin(NANO, 0xFFFF), Status.BAD_FIELD),
        (good | 1 << FORMATS[Opcode.BEGIN].used, Status.BAD_FIELD), (good | 1 << 255, Status.BAD_FIELD),
    ]
    for word, status in cases:
        assert await bench.fetch([word]) == (status, 0), hex(word)
        assert not int(dut.fetching.value), "the main port must be free again"
        assert len(bench.requests.values) == 1


@cocotb.test()
async def refuses_every_field_beyond_its_limits(dut):
    await start(dut)
    bench = Bench(dut)
    bench.beats.stall = never
    for opcode, limits in LIMITS.items():
        widths = {field.name: field for field in FORMATS[opcode].fields}
        for name, (low, high) in limits.items():
            for value in (low - 1, high + 1, widths[name].high):
                if low <= value <= high or not widths[name].low <= value <= widths[name].high:
                    continue
                at = bench.rng.randint(1, 5)
                words = [tame_word(bench.rng, bench.rng.choice(OUTSIDE_THE_GATE)) for _ in range(6)]
                words[at - 1] = tame_word(bench.rng, opcode, **{name: value})
                assert await bench.fetch(program(NANO, words)) == (Status.BAD_FIELD, at), (opcode, name, value)
        for bit in {FORMATS[opcode].used, 254, 255}:
            if bit >= FORMATS[opcode].used:
                word = random_word(bench.rng, opcode) | 1 << bit
                assert await bench.fetch(program(NANO, [word])) == (Status.BAD_FIELD, 1), (opcode, bit)
    assert await bench.fetch([begin(NANO, 2), encode(Opcode.END) | 1 << 200]) == (Status.BAD_FIELD, 1)


@cocotb.test()
async def refuses_unknown_opcodes_and_missing_ends(dut):
    await start(dut)
    bench = Bench(dut)
    plain = [tame_word(bench.rng, bench.rng.choice(OUTSIDE_THE_GATE)) for _ in range(20)]
    for code in UNKNOWN:
        at = bench.rng.randint(1, 20)
        words = program(NANO, plain)
        words[at] = bench.rng.getrandbits(256) & ~15 | code
        assert await bench.fetch(words) == (Status.BAD_OPCODE, at), code
    words = program(NANO, plain)
    words[7] = begin(NANO, 22)
    assert await bench.fetch(words) == (Status.BAD_OPCODE, 7)
    assert await bench.fetch([begin(NANO, 21), *plain]) == (Status.NO_END, 21)
    assert await bench.fetch([begin(NANO, 2), plain[0]]) == (Status.NO_END, 2)
    # Two mistakes: the first one counts. After END nothing counts.
    words = program(NANO, plain)
    words[9], words[12] = UNKNOWN[0], plain[0] | 1 << 255
    assert await bench.fetch(words) == (Status.BAD_OPCODE, 9)
    words[5] = encode(Opcode.END)
    assert await bench.fetch(words) is None


@cocotb.test()
async def works_again_after_a_reset_in_mid_fetch(dut):
    await start(dut)
    bench = Bench(dut)
    words = program(NANO, [tame_word(bench.rng, bench.rng.choice(OUTSIDE_THE_GATE)) for _ in range(40)])
    for _ in range(5):
        dut.addr.value, dut.start.value = ADDR, 1
        await cycles(dut, 1)
        dut.start.value = 0
        await until(dut, lambda: int(dut.i_data__ready.value) == 1, 20, "a read")
        task = cocotb.start_soon(bench.beats.send([bench.rng.getrandbits(128)] * 30))
        await cycles(dut, bench.rng.randint(1, 20))
        task.cancel()
        bench.beats.idle()
        assert await bench.fetch(words) is None
        assert await bench.read("sequencer", list(range(len(words)))) == words
