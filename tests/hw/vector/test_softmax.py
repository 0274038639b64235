# SPDX-License-Identifier: Apache-2.0
"""Softmax against its reference model: ragged rows, ties, rising and extreme scores, both widths, overlapped jobs,
timing."""

import os
from dataclasses import dataclass, replace

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from golden.ops.arith import reciprocal, rsh, sat
from golden.ops.softmax import softmax
from golden.spec.machine import NANO, SLICE, ZCU102
from golden.spec.tables import SCORE_BITS
from hw.interfaces import READ_LATENCY, SOFTMAX_JOB, SOFTMAX_SLOTS, score_beat, softmax_done
from hw.vector.softmax.softmax import Softmax
from sim.runner import run_bench
from sim.streams import Sink, Source, bursts, cycles, half, never, reset, seeded, start, until

CONFIGS = {"nano": NANO, "zcu102": ZCU102, "serial2": replace(ZCU102, serialization=2),
           "serial4": replace(NANO, serialization=4), "serial8": replace(NANO, serialization=8)}
BRIEF = {config: ["matches_golden_when_stalled", "keeps_its_latency_and_interval"] for config in ("serial2", "serial8")}
"""What runs of the bench where not all of it does."""
CFG = CONFIGS[os.environ.get("SOFTMAX_CFG", "nano")]
LOW, HIGH = -1 << SCORE_BITS - 1, (1 << SCORE_BITS - 1) - 1
"""Ends of a score in log2 units: 2048 powers of two on either side."""


@pytest.mark.parametrize("config", list(CONFIGS))
def test_softmax(config):
    run_bench(Softmax(CONFIGS[config]), module=__name__, name=f"softmax-{config}", tests=BRIEF.get(config),
              env={"SOFTMAX_CFG": config})


@dataclass
class Job:
    """One job: ``scores`` int64 [lanes, keys] are the array's accumulators."""

    scores: np.ndarray
    multiplier: int
    shift1: int
    wide: bool = False
    p_shift: int = 0

    @property
    def chunks(self) -> int:
        return -(-self.scores.shape[1] // SLICE)

    def payload(self) -> dict:
        lanes, keys = self.scores.shape
        return {"multiplier": self.multiplier, "shift1": self.shift1, "wide": int(self.wide), "p_shift": self.p_shift,
                "keys": keys, "lanes": lanes}

    def beats(self, rng) -> list[dict]:
        """In the order of the epilogue: key tiles, lanes, halves. Keys beyond the last carry noise."""
        lanes, keys = self.scores.shape
        found = []
        for tile in range(-(-self.chunks // 2)):
            for lane in range(lanes):
                for chunk in range(2 * tile, min(2 * tile + 2, self.chunks)):
                    value = [int(v) for v in self.scores[lane, chunk * SLICE:(chunk + 1) * SLICE]]
                    value += [rng.randrange(-1 << 31, 1 << 31) for _ in range(SLICE - len(value))]
                    found.append({"value": value, "chunk": chunk, "lane": lane})
        return found

    def t(self) -> np.ndarray:
        return sat(rsh(self.scores * self.multiplier, self.shift1), SCORE_BITS)

    def expected(self) -> tuple[list[list[list[int]]], list[tuple[int, int]]]:
        """Planes of P as [plane][chunk][lane * 16 + key], absent lanes 0; (recip, shift) of each lane."""
        rows = softmax(self.t(), wide_p=self.wide, p_shift=self.p_shift)
        lanes, keys = self.scores.shape
        p = np.zeros((CFG.tm, self.chunks * SLICE), np.int64)
        p[:lanes, :keys] = rows.p
        planes = [p >> 8, p & 255] if self.wide else [p]
        r, sh = reciprocal(rows.total)
        shaped = [plane.reshape(CFG.tm, self.chunks, SLICE).transpose(1, 0, 2).reshape(self.chunks, -1).tolist()
                  for plane in planes]
        return shaped, [(int(a), 23 + int(b)) for a, b in zip(r, sh, strict=True)]


def job_from_t(rng, t, **fields) -> Job:
    """A job whose scores land near the given ``t``: the output is drawn, the accumulator follows."""
    multiplier, shift1 = rng.randint(1, 65535), rng.randint(0, 47)
    if rng.random() < 0.5:  # exact: every t is reached, ties included
        multiplier, shift1 = 1 << rng.randint(0, 15), 0
        shift1 = multiplier.bit_length() - 1
    t = np.asarray(t, np.int64)
    scores = np.array([[(int(v) << shift1) // multiplier for v in row] for row in t], dtype=object)
    return Job(np.clip(scores, -(1 << 31) + 1, (1 << 31) - 1).astype(np.int64), multiplier, shift1, **fields)


def random_job(rng) -> Job:
    lanes, keys = rng.randint(1, CFG.tm), rng.randint(1, CFG.max_keys)
    kind = rng.randrange(6)
    if kind == 0:  # around the table's range, beyond the ends at times
        limit = rng.choice([300, 3000, 45000, 700_000])
        t = [[rng.randint(-limit, limit) for _ in range(keys)] for _ in range(lanes)]
    elif kind == 1:  # rising: the reference moves in every chunk
        t = [[-2000 + 4000 * k // keys + rng.randint(-20, 20) for k in range(keys)] for _ in range(lanes)]
    elif kind == 2:  # ties, and references at exact powers of two
        t = [[256 * rng.randint(-2, 2) for _ in range(keys)] for _ in range(lanes)]
    elif kind == 3:  # one key far above the rest, anywhere
        t = [[rng.randint(LOW, -320_000) for _ in range(keys)] for _ in range(lanes)]
        for row in t:
            row[rng.randrange(keys)] = rng.choice([HIGH, 32767, 0, -19000])
    elif kind == 4:  # close to each other, far from 0
        middle = rng.choice([LOW, HIGH, rng.randint(LOW, HIGH)])
        t = [[middle + rng.randint(-3000, 3000) for _ in range(keys)] for _ in range(lanes)]
    else:
        t = [[rng.choice([LOW, LOW + 1, -32769, HIGH, HIGH - 255, 0]) for _ in range(keys)] for _ in range(lanes)]
    wide = rng.random() < 0.4
    return job_from_t(rng, t, wide=wide, p_shift=rng.randint(0, 8) if wide else 0)


class Bench:
    """Sends jobs and their beats, reads P of each finished job, compares, releases."""

    def __init__(self, dut, *, stall=never, hold=0):
        self.dut, self.hold, self.rng = dut, hold, seeded("bench")
        self.jobs = Source(dut, "i_job", SOFTMAX_JOB, stall=stall)
        self.scores = Source(dut, "i", score_beat(CFG), stall=stall)
        self.done = Sink(dut, "o", softmax_done(CFG), stall=stall)
        for port in (dut.p_slot, dut.p_chunk, dut.p_plane, dut.p_en, dut.p_release):
            port.value = 0

    async def read(self, slot: int, chunks: int, plane: int) -> list[list[int]]:
        """All chunks of one plane, one request a cycle."""
        found = []
        for cycle in range(chunks + READ_LATENCY):
            self.dut.p_en.value, self.dut.p_slot.value, self.dut.p_plane.value = int(cycle < chunks), slot, plane
            self.dut.p_chunk.value = min(cycle, chunks - 1)
            if cycle >= READ_LATENCY:
                bits = int(self.dut.p_data.value)
                found.append([bits >> (8 * i) & 255 for i in range(CFG.tm * SLICE)])
            await FallingEdge(self.dut.clk)
        return found

    async def run(self, jobs: list[Job]) -> None:
        feed = cocotb.start_soon(self.jobs.send([job.payload() for job in jobs]))
        beats = cocotb.start_soon(self.scores.send([beat for job in jobs for beat in job.beats(self.rng)]))
        for n, job in enumerate(jobs):
            done = (await self.done.receive(n + 1))[n]
            planes, divisions = job.expected()
            assert done["slot"] == n % SOFTMAX_SLOTS, f"job {n}: slot {done['slot']}"
            for lane, (r, shift) in enumerate(divisions):
                got = done["recip"][lane], done["shift"][lane]
                assert got == (r, shift), f"job {n}, lane {lane}: division {got}, expected {(r, shift)}"
            for plane, rows in enumerate(planes):
                got = await self.read(n % SOFTMAX_SLOTS, job.chunks, plane)
                for chunk, (g, e) in enumerate(zip(got, rows, strict=True)):
                    assert g == e, f"job {n} {job.payload()}, plane {plane}, chunk {chunk}: {g}, expected {e}"
            await cycles(self.dut, self.rng.randint(0, self.hold))
            self.dut.p_release.value = 1
            await FallingEdge(self.dut.clk)
            self.dut.p_release.value = 0
        await feed
        await beats
        await cycles(self.dut, 60)
        assert len(self.done.values) == len(jobs), f"{len(self.done.values)} jobs finished, {len(jobs)} were sent"
        assert int(self.dut.idle.value), "not idle after the last release"


def coverage(jobs: list[Job]) -> None:
    """What the stimulus exercises; a bench that stops exercising it fails."""
    t = np.concatenate([job.t().ravel() for job in jobs])
    raw = np.concatenate([rsh(job.scores * job.multiplier, job.shift1).ravel() for job in jobs])
    moved = sum(int((np.diff(softmax(job.t(), wide_p=True, references=True).reference) > 0).sum()) for job in jobs)
    ragged = sum(job.scores.shape[1] % SLICE != 0 for job in jobs)
    far = np.sum(abs(t) > 1 << 15)
    print(f"coverage: {len(t)} scores, {np.sum(raw != t)} saturated, {np.sum(t < 0)} negative, {far} beyond 128, "
          f"{np.sum(t % 256 == 0)} whole, {moved} references raised, {ragged} ragged rows, "
          f"{sum(job.wide for job in jobs)} wide jobs")
    assert np.sum(raw != t) > 10 and np.sum(t < 0) > 100 and np.sum(t % 256 == 0) > 100 and far > 100
    assert moved > 20 and ragged > 5 and any(job.wide for job in jobs)


@cocotb.test()
async def matches_golden(dut):
    """Random jobs, no stalls: jobs overlap as far as the slots allow."""
    await start(dut)
    rng = seeded()
    jobs = [random_job(rng) for _ in range(60)]
    coverage(jobs)
    await Bench(dut).run(jobs)


@cocotb.test()
async def matches_golden_when_stalled(dut):
    await start(dut)
    rng = seeded()
    await Bench(dut, stall=half, hold=80).run([random_job(rng) for _ in range(20)])


@cocotb.test()
async def matches_golden_in_bursts(dut):
    await start(dut)
    rng = seeded()
    await Bench(dut, stall=bursts(), hold=5).run([random_job(rng) for _ in range(20)])


@cocotb.test()
async def handles_corner_rows(dut):
    """One key, one chunk, one key more than a chunk, a full row, 129 keys; equal, rising and falling scores."""
    await start(dut)
    rng, jobs = seeded(), []
    for keys in (1, 2, 15, 16, 17, 33, CFG.max_keys, min(129, CFG.max_keys - 1)):
        for shape in ("equal", "rising", "falling", "lowest"):
            row = {"equal": [77] * keys, "rising": [min(8896 * k + LOW, HIGH) for k in range(keys)],
                   "falling": [HIGH - 256 * k for k in range(keys)], "lowest": [LOW] * keys}[shape]
            lanes = rng.randint(1, CFG.tm)
            jobs += [job_from_t(rng, [row] * lanes, wide=wide) for wide in (False, True)]
    await Bench(dut).run(jobs)


@cocotb.test()
async def keeps_its_latency_and_interval(dut):
    """``o`` comes LATENCY + II * n after the last beat; a following job's beats go in without a gap next to C."""
    await start(dut)
    rng = seeded()
    keys = min(129, CFG.max_keys)
    jobs = [job_from_t(rng, [[rng.randint(-3000, 3000) for _ in range(keys)] for _ in range(CFG.tm)]) for _ in range(2)]
    unit, n = Softmax(CFG), len(jobs[0].beats(rng))
    assert unit.II == CFG.serialization
    sink = Sink(dut, "o", softmax_done(CFG))
    for port in (dut.p_slot, dut.p_chunk, dut.p_plane, dut.p_en, dut.p_release):
        port.value = 0
    source = Source(dut, "i", score_beat(CFG))
    await Source(dut, "i_job", SOFTMAX_JOB).send([job.payload() for job in jobs])
    before = sink.cycle
    await source.send(jobs[0].beats(rng))
    assert sink.cycle - before == unit.II * n, f"{n} beats took {sink.cycle - before} cycles"
    last = sink.cycle - 1
    await source.send(jobs[1].beats(rng))
    assert sink.cycle - before == unit.II * 2 * n, f"{2 * n} beats of two jobs took {sink.cycle - before} cycles"
    await sink.receive(2)
    assert sink.times[0] - last == unit.LATENCY + unit.II * n, f"latency {sink.times[0] - last - unit.II * n}"
    between = sink.times[1] - sink.times[0]
    assert between == unit.II * n, f"the second job came {between} cycles later"


@cocotb.test()
async def waits_for_the_release(dut):
    """Jobs fill all slots; one more gets its scores, but P only when the first slot is free."""
    await start(dut)
    rng = seeded()
    jobs = [job_from_t(rng, [[rng.randint(-900, 900) for _ in range(20)]] * CFG.tm) for _ in range(SOFTMAX_SLOTS + 2)]
    bench = Bench(dut)
    cocotb.start_soon(bench.jobs.send([job.payload() for job in jobs]))
    cocotb.start_soon(bench.scores.send([beat for job in jobs for beat in job.beats(rng)]))
    await bench.done.receive(SOFTMAX_SLOTS)
    await cycles(dut, 200)
    assert len(bench.done.values) == SOFTMAX_SLOTS
    for n in range(SOFTMAX_SLOTS):
        assert await bench.read(n, jobs[n].chunks, 0) == jobs[n].expected()[0][0], f"slot {n} was overwritten"
    dut.p_release.value = 1
    await FallingEdge(dut.clk)
    dut.p_release.value = 0
    await bench.done.receive(SOFTMAX_SLOTS + 1)
    for n in range(1, SOFTMAX_SLOTS + 1):
        assert await bench.read(n % SOFTMAX_SLOTS, jobs[n].chunks, 0) == jobs[n].expected()[0][0], f"slot of job {n}"
    assert not int(dut.idle.value)


@cocotb.test()
async def starts_clean_after_reset(dut):
    """Reset in the middle of a job forgets it."""
    await start(dut)
    rng = seeded()
    for cut in (3, 17, 40):
        job = random_job(rng)
        beats = job.beats(rng)
        sources = [cocotb.start_soon(Source(dut, "i_job", SOFTMAX_JOB).send([job.payload()])),
                   cocotb.start_soon(Source(dut, "i", score_beat(CFG)).send(beats))]
        await cycles(dut, cut)
        for task in sources:
            task.cancel()
        dut.i_job__valid.value = dut.i__valid.value = 0
        await reset(dut)
        await until(dut, lambda: int(dut.idle.value) == 1, 5, "idle")
        bench = Bench(dut)
        await bench.run([random_job(rng) for _ in range(3)])
        bench.done.task.cancel()
