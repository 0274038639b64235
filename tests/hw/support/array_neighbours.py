# SPDX-License-Identifier: Apache-2.0
"""Models of the units around ArrayControl: memories, ring, queues, softmax, array; each with its own stall policy."""

from dataclasses import dataclass

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from golden.spec.machine import TN
from golden.spec.tiling import ceil_div
from hw.array.array import DRAIN_BANKS
from hw.array.token_iterator import TRAVERSAL
from hw.interfaces import (
    ISSUE,
    LINE_BITS,
    QUEUE_ENTRY,
    SOFTMAX_JOB,
    SOFTMAX_SLOTS,
    array_beat,
    softmax_done,
    tile_context,
)
from sim.payload import pack
from sim.streams import Sink, Source, never, seeded
from tests.hw.support.array_model import Loops, Testbench


@dataclass
class Manners:
    """How the neighbours behave. Stall policies as in ``sim.streams``; delays in cycles as (lowest, highest)."""

    issue: object = never
    operand: object = never
    context: object = never
    traversal: object = never
    entry: object = never
    job: object = never
    ring_rate: float = 1.0   # rows a cycle
    ring_start: int = 1 << 16  # rows there before the first cycle, as far as the ring holds them
    release: tuple[int, int] = (15, 15)
    done: tuple[int, int] = (30, 30)
    multipliers: tuple[int, int] = (0, 0)


class Neighbours:
    """Runs next to the device; ``beats`` are (cycle, packed payload), checked against ``loops`` by :meth:`finish`."""

    def __init__(self, dut, tb: Testbench, issues: list[dict], manners: Manners, salt: str = ""):
        self.dut, self.tb, self.cfg, self.manners = dut, tb, tb.config, manners
        self.issues, self.rng = issues, seeded("neighbours" + salt)
        self.loops = Loops(tb)
        for issue in issues:
            self.loops.run(issue)
        self.beats, self.cycle, self.tail, self.outstanding, self.free_at = [], 0, 0, 0, []
        self.filled = min(manners.ring_start, self.cfg.ring_rows)
        self.releases, self.loads, self.weight_reads, self.p_released, self.slot_job = [], 0, {}, 0, {}
        self.counts = {"busy": 0, "wait_weights": 0, "wait_operands": 0, "wait_drain": 0}
        self.scores_seen, self.scores_read, self.accepted, self.finished = 0, 0, 0, 0
        self.key_tiles = [ceil_div(job["keys"], TN) for job in self.loops.jobs]
        self.contexts = Sink(dut, "o_context", tile_context(self.cfg), stall=manners.context)
        self.traversals = Sink(dut, "o_traverse", TRAVERSAL, stall=manners.traversal)
        self.jobs = Sink(dut, "o_softmax_job", SOFTMAX_JOB, stall=lambda rng: (
            len(self.jobs.values) >= self.scores_read + SOFTMAX_SLOTS or manners.job(rng)))
        self.issue = Source(dut, "i", ISSUE, stall=manners.issue)
        self.entry = Source(dut, "i_entry", QUEUE_ENTRY, stall=manners.entry)
        self.multipliers = Source(dut, "i_multipliers", LINE_BITS)
        self.done = Source(dut, "i_softmax_done", softmax_done(self.cfg))
        dut.ring_level.value = self.filled
        dut.release.value = 0
        self.tasks = [cocotb.start_soon(task) for task in (
            self.memories(), self.issue.send(issues), self.answer_traversals(), self.send_multipliers(),
            self.softmax())]

    def stop(self) -> None:
        for task in (*self.tasks, self.contexts.task, self.traversals.task, self.jobs.task):
            task.cancel()

    async def answer_traversals(self) -> None:
        served = 0
        while True:
            if len(self.traversals.values) > served:
                queue = self.tb.queues[self.traversals.values[served]["expert"]]
                served += 1
                await self.entry.send({"token": t, "weight": w, "last": int(n == len(queue) - 1)}
                                      for n, (t, w) in enumerate(queue))
            else:
                await FallingEdge(self.dut.clk)

    async def send_multipliers(self) -> None:
        for number in range(self.loops.attentions):
            for _ in range(self.rng.randint(*self.manners.multipliers)):
                await FallingEdge(self.dut.clk)
            await self.multipliers.send([sum(m << 16 * n for n, m in enumerate(self.tb.multipliers(number)))])

    async def softmax(self) -> None:
        """Job after job: done some time after the array sent the last of its score tiles."""
        for job in range(len(self.loops.jobs)):
            while job - self.p_released >= SOFTMAX_SLOTS:  # its slot of P is still in use
                await FallingEdge(self.dut.clk)
            while self.scores_seen < sum(self.key_tiles[:job + 1]) or len(self.jobs.values) <= job:
                await FallingEdge(self.dut.clk)
            for _ in range(self.rng.randint(*self.manners.done)):
                await FallingEdge(self.dut.clk)
            self.slot_job[job % SOFTMAX_SLOTS] = job
            self.scores_read += 1
            ratios = [self.tb.ratio(job, lane) for lane in range(self.cfg.tm)]
            await self.done.send([{"slot": job % SOFTMAX_SLOTS, "recip": [r for r, _ in ratios],
                                   "shift": [s for _, s in ratios]}])

    def probabilities(self, slot: int, chunk: int, plane: int) -> int:
        job = self.slot_job[slot]
        assert job >= self.p_released, f"Slot {slot} was given back, then read."
        return int.from_bytes(b"".join(self.tb.probability(job, chunk, plane, lane) for lane in range(self.cfg.tm)),
                              "little")

    def operand(self, row: int) -> int:
        self.loads += 1
        data, exps = self.tb.operand(row)
        return int.from_bytes(data, "little") | exps[0] << LINE_BITS | exps[1] << LINE_BITS + 2

    async def memories(self) -> None:
        """One iteration a cycle: drive what this cycle shows, sample its end, work out what the next ones show."""
        d, rng, tb, manners = self.dut, self.rng, self.tb, self.manners
        last_beat = 1 << array_beat(self.cfg)["last"].offset
        ports = {"key": (d.key_en, d.key_row, d.key_data), "value": (d.value_en, d.value_row, d.value_data)}
        answers = []
        while True:
            ready = not manners.operand(rng)
            d.o_operand_read__ready.value = int(ready)
            # Scores leave their bank once the softmax has taken their job.
            releasing = (bool(self.free_at) and self.free_at[0][0] <= self.cycle
                         and self.free_at[0][1] < len(self.jobs.values))
            d.release.value = int(releasing)
            await RisingEdge(d.clk)
            if int(d.rst.value):
                await FallingEdge(d.clk)
                continue
            asked = []
            if ready and int(d.o_operand_read__valid.value):
                asked.append((d.i_operand_row, self.operand(int(d.o_operand_read__payload.value))))
            if int(d.ring_en.value):
                row = int(d.ring_row.value)
                assert row < self.filled, f"Ring row {row} was read while {self.filled} were there."
                asked.append((d.ring_data, tb.step_row("ring", self.tail + row)))
                self.weight_reads["ring"] = self.weight_reads.get("ring", 0) + 1
            for kind, (en, row, data) in ports.items():
                if int(en.value):
                    asked.append((data, tb.step_row(kind, int(row.value))))
                    self.weight_reads[kind] = self.weight_reads.get(kind, 0) + 1
            if int(d.p_en.value):
                asked.append((d.p_data, self.probabilities(*(int(s.value) for s in (d.p_slot, d.p_chunk, d.p_plane)))))
            if int(d.p_release.value):
                self.p_released += 1
            if int(d.ring_release_en.value):
                self.releases.append(int(d.ring_release.value))
                self.tail += self.releases[-1]
                self.filled -= self.releases[-1]
            if self.filled < self.cfg.ring_rows and rng.random() < manners.ring_rate:
                self.filled += 1
            # Banks: a release is worth a credit from the next cycle on.
            if releasing:
                self.scores_seen += self.free_at.pop(0)[1] >= 0
                self.outstanding -= 1
            if int(d.o_beat__valid.value):
                bits = int(d.o_beat__payload.value)
                self.beats.append((self.cycle, bits))
                if bits & last_beat:
                    self.outstanding += 1
                    assert self.outstanding <= DRAIN_BANKS, "A tile was finished while all drain banks were full."
                    known = len(self.beats) <= len(self.loops.beats)
                    job = self.loops.beats[len(self.beats) - 1]["job"] if known else -1
                    before = self.free_at[-1][0] if self.free_at else 0
                    self.free_at.append((max(self.cycle + rng.randint(*manners.release), before) + 1, job))
            self.finished += self.finished < len(self.loops.ends) and len(self.beats) == self.loops.ends[self.finished]
            assert not int(d.idle_issue.value) or self.accepted == self.finished, (
                f"idle_issue is high; of {self.accepted} instructions {self.finished} have had their last beat.")
            self.accepted += int(d.i__valid.value) and int(d.i__ready.value)
            uses = [name for name in self.counts if int(getattr(d, name).value)]
            assert len(uses) <= 1, f"One cycle was counted as {uses}."
            for name in uses:
                self.counts[name] += 1
            self.cycle += 1
            await FallingEdge(d.clk)
            for port, value in answers:
                port.value = value
            for port in {d.i_operand_row, d.ring_data, d.key_data, d.value_data, d.p_data} - {p for p, _ in answers}:
                port.value = rng.getrandbits(len(port))
            d.ring_level.value = self.filled
            answers = asked

    async def finish(self, limit: int = 60_000) -> None:
        """Wait for the last beat, watch a little longer, compare everything."""
        began = self.cycle
        while len(self.beats) < len(self.loops.beats) or len(self.contexts.values) < len(self.loops.contexts):
            assert self.cycle - began < limit, (
                f"After {limit} cycles {len(self.beats)} of {len(self.loops.beats)} beats and "
                f"{len(self.contexts.values)} of {len(self.loops.contexts)} contexts had come.")
            await FallingEdge(self.dut.clk)
        for _ in range(60):
            await FallingEdge(self.dut.clk)
        self.stop()
        assert int(self.dut.idle_issue.value) == 1, "idle_issue is low after the last beat."
        self.compare()

    def compare(self) -> None:
        layout, loops = array_beat(self.cfg), self.loops
        for n, (expected, (cycle, got)) in enumerate(zip(loops.beats, self.beats, strict=True)):
            fields = {name: got >> field.offset & (1 << field.width) - 1 for name, field in layout}
            for lane, operands in enumerate(expected["operand"]):
                if not any(operands):
                    fields["exp"] &= ~(3 << 2 * lane)  # zero has any exponent
                    expected["exp"][lane] = 0
            for name in layout.members:
                want = expected[name] if isinstance(expected[name], int) else pack(layout.members[name], expected[name])
                assert fields[name] == want, (
                    f"Beat {n} ({expected['kind']}, cycle {cycle}): {name} is {fields[name]:x}, expected {want:x}.")
        for n, (expected, got) in enumerate(zip(loops.contexts, self.contexts.values, strict=True)):
            for name, want in expected.items():
                if name != "lanes":
                    assert got[name] == want, f"Context {n}: {name} is {got[name]}, expected {want}; all: {got}."
            for lane, have in enumerate(got["lanes"]):
                want = expected["lanes"][lane] if lane < len(expected["lanes"]) else {"present": 0}
                have = {name: have[name] for name in want}
                assert have == want, f"Context {n}, lane {lane}: {have}, expected {want}."
        assert self.jobs.values == loops.jobs
        assert [traversal["expert"] for traversal in self.traversals.values] == loops.traversals
        assert self.releases == loops.releases, f"Ring releases {self.releases}, expected {loops.releases}."
        assert self.loads == loops.loads, f"{self.loads} operand rows were read, expected {loops.loads}."
        assert self.p_released == len(loops.jobs)
        assert self.counts["busy"] == len(loops.beats)
