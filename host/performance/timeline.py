# SPDX-License-Identifier: Apache-2.0
"""Timeline of a program: when the sequencer, the units, the weight stream and the bus do what, a tile at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from math import ceil

from golden.spec import isa
from golden.spec.boards.dram import DramTiming
from golden.spec.isa import Dest, Index, Memory, Opcode, Unit, stream_lines
from golden.spec.machine import BEAT_BYTES, LINE, PARAM_LINES, SCORES_AHEAD, SLICE_LINES, MachineConfig
from host.performance.cycles import (
    array_cycles,
    attention_group,
    blocks,
    drain,
    group_rows,
    groups_ahead,
    keep_cycles,
    last_scores,
    linear_pass,
    norm_cycles,
    norm_planes,
    token_groups,
    upsample_cycles,
)
from host.performance.latencies import Latencies, latencies
from host.performance.moving_rows import MovingRows, delay
from host.performance.spans import Arrival, Span
from host.performance.weight_stream_model import Store, WeightStreamModel


@dataclass(frozen=True)
class _Gating:
    """A LINEAR into the gate: its first token, when what that one chose is known, and cycles from group to group."""

    first: int
    known: float
    pace: float


class Timeline:
    """Simulation of one program, a tile at a time."""

    score_passes = 1
    """How often the softmax reads the scores of a token group before its first probability."""

    def __init__(self, machine: MachineConfig, dram: DramTiming | None = None, latency: Latencies | None = None):
        self.machine, self.dram = machine, dram or DramTiming()
        self.latency = latency or latencies(machine)
        ports, awake = machine.weight_bytes_per_cycle, self.dram.awake
        alone, shared = (min(ports, self.dram.bytes_per_cycle - taken) for taken in (0, BEAT_BYTES))
        self.main_bytes = min(BEAT_BYTES, self.dram.bytes_per_cycle) * awake
        self.stream = WeightStreamModel(alone * awake / LINE, max(shared, 1e-3) * awake / LINE, self.dram.latency,
                             Store(machine.ring_lines), Store(machine.param_lines))
        self.spans: list[Span] = []
        self.norm: MovingRows | None = None
        self.writing = (0.0, 1.0, 0)
        """When the epilogue writes operand rows, and how many."""
        self.reading = (0.0, 1.0, 0)
        """When the array reads operand rows, and how many."""
        self.load: MovingRows | None = None
        self.now = 0.0
        self.idle = {unit: 0.0 for unit in Unit}
        self.array_free = 0.0
        self.loaded = 0.0
        """When the operand loader is done with what was issued."""
        self.held = 0
        """Lines of weights that LINEARs left in the ring."""
        self.gate: dict = {}
        self.gated = 0
        """Tokens that went to the gate since its queues were emptied."""
        self.gatings: list[_Gating] = []

    def run(self, words: Sequence[int], queues: Iterable[Sequence[Arrival]] = ()) -> list[Span]:
        """Spans in order of issue; the last one's ``end`` is the job's.

        ``queues``: for each EXPERTS in turn its experts in order of arrival; balanced ones where they are missing.
        """
        program, routes = [isa.decode(word) for word in words], iter(queues)
        # Fetch of BEGIN, then of the rest, through the main port.
        self.now = 2 * (self.dram.latency + self.latency.dma) + len(words) * isa.INSTRUCTION_BYTES / self.main_bytes
        self.stream.hold_back(self.now)
        at = 0
        while at < len(program):
            opcode, fields = program[at]
            if opcode is Opcode.EXPERTS:
                body = program[at + 1:at + 1 + fields["body"]]
                self._experts(at, fields, body, next(routes, None))
                at += fields["body"]
            elif opcode is Opcode.LINEAR:
                issue = self._issue(fields)
                # LOADs after it that do not wait for it take their part of the bus while its weights come.
                shared = list(takewhile(lambda i: program[i][0] is Opcode.LOAD and not program[i][1]["wait"]
                                        & Unit.ARRAY, range(at + 1, len(program))))
                for i in shared:
                    self.spans.append(self._step(i, *program[i]))
                self.spans.append(self._linear(at, fields, issue, fields["tokens"], -1))
                at += len(shared)
            else:
                self.spans.append(self._step(at, opcode, fields))
            at += 1
        return self.spans

    def share(self, at: int) -> float:
        """The part of the multipliers that works for instruction ``at``."""
        return 1.0

    def _issue(self, fields: dict) -> float:
        waits = [self.idle[unit] + self.latency.issue for unit in Unit(fields["wait"])]
        self.now = max([self.now + self.latency.fetch, *waits])
        return self.now

    def _experts(self, at: int, fields: dict, body: list, arrivals: Sequence[Arrival] | None) -> None:
        start = max(self._issue(fields), self.idle[Unit.GATE]) + self.latency.experts
        self.now = start
        for arrival in self._balanced(fields["experts"]) if arrivals is None else arrivals:
            # What the gate has named is fetched; to run, it waits for the gate's last token.
            self.stream.hold_back(self._known(arrival.first))
            self.now += self.latency.expert
            for step, (opcode, inner) in enumerate(body):
                self.spans.append(self._step(at + 1 + step, opcode, inner, arrival.expert, arrival.tokens))
        self.spans.append(Span(at, -1, start, self.now))

    def _balanced(self, experts: int) -> list[Arrival]:
        """Every token chooses the experts that follow those of the token before it."""
        top_k = self.gate["top_k"]
        hit, first = min(experts, self.gated * top_k), self.gatings[0].first
        return [Arrival(expert, ceil(self.gated * top_k / experts), first + expert // top_k) for expert in range(hit)]

    def _known(self, token: int) -> float:
        """When the prefetcher knows what a token chose."""
        gating = max((g for g in self.gatings if g.first <= token), key=lambda g: g.first)
        return gating.known + (token - gating.first) // self.machine.tm * gating.pace

    def _step(self, at: int, opcode: Opcode, f: dict, expert: int = -1, count: int = 0) -> Span:
        issue = self._issue(f)
        if opcode is Opcode.LINEAR:
            tokens = count if Index.DIRECT not in (f["src_index"], f["dst_index"]) else f["tokens"]
            return self._linear(at, f, issue, tokens, expert)
        if opcode is Opcode.ATTENTION:
            return self._attention(at, f, issue)
        if opcode is Opcode.NORM:
            return self._norm(at, f, issue)
        if opcode in (Opcode.LOAD, Opcode.STORE, Opcode.COPY, Opcode.UPSAMPLE, Opcode.KEEP):
            return self._transfer(at, opcode, f, issue)
        if opcode is Opcode.GATE:
            if not f["append"]:
                self.gated, self.gatings = 0, []
            self.gate = f
            self.gated += f["tokens"]
            self.idle[Unit.GATE] = float("inf")
            return Span(at, -1, issue, issue)
        if opcode is Opcode.END:
            end = max(issue, *(idle for idle in self.idle.values())) + self.latency.issue
            return Span(at, -1, issue, end)
        return Span(at, -1, issue, issue)

    def _transfer(self, at: int, opcode: Opcode, f: dict, issue: float) -> Span:
        start = max(issue, self.idle[Unit.DMA])
        self.load = None
        if opcode is Opcode.COPY:
            end = start + f["rows"] + 8
        elif opcode is Opcode.KEEP:
            end = start + keep_cycles(self.machine, f) + self.latency.keep
        elif opcode is Opcode.UPSAMPLE:
            # The array reads operand rows first; four results take two rows.
            work, (begin, until, taken) = upsample_cycles(self.machine, f), self.reading
            left = self._left(taken, until - begin)
            work += delay(max(begin, start), until, start + work, left, 0.5)
            end = start + self.latency.upsample + work
        else:
            # A write is acknowledged in half the time that a read takes to arrive.
            latency = self.dram.latency // (2 if opcode is Opcode.STORE else 1)
            end = start + latency + self.latency.dma + f["rows"] * LINE / self.main_bytes
            self.stream.main.append((start, end))
            if opcode is Opcode.LOAD and f["memory"] == Memory.OPERAND:
                self.load = MovingRows(len(self.spans), start, end, self.main_bytes / LINE)
        self.idle[Unit.DMA] = end
        return Span(at, -1, start, end)

    def _linear(self, at: int, f: dict, issue: float, tokens: int, expert: int) -> Span:
        m, lat = self.machine, self.latency
        groups, sizes = token_groups(m, f, tokens), blocks(f)
        lines, gate = f["slices"] * SLICE_LINES >> f["packed"], f["dst"] == Dest.GATE
        collect = gate or f["retain_weights"] or f["reuse_weights"]
        # The operand loader works ahead, across instructions, as far as the lane buffers go: a row a cycle.
        loaded = max(issue + lat.load - m.tm, self.loaded)
        lanes, rows, ahead = max(1, min(m.tm, tokens)), group_rows(m, f), groups_ahead(m, f)
        start = max(loaded + lanes, self.array_free)
        # The first tile of the first group ends when the last of the group's rows is there.
        filled = loaded + rows * lanes / m.tm
        when, waited = max(start, filled - array_cycles(m, f, 1, self.share(at))), 0.0
        for size in sizes:
            one, begin = array_cycles(m, f, size, self.share(at)), when
            for tile in range(1, size + 1):
                there = self.stream.lines(PARAM_LINES, self.stream.params)
                if not f["reuse_weights"]:
                    there = self.stream.lines(lines, self.stream.ring)
                    self.held += lines
                # In the first group each tile can only end when its weights are there; the others find them.
                stall = max(0.0, there - (begin + tile * one / size))
                begin += stall
                self.stream.params.release(begin + tile * one / size, PARAM_LINES)
            waited += begin - when
            loaded += groups * rows
            when = max(begin + groups * one, loaded)
            loaded = max(loaded, when - ahead * one)
            if not collect:
                self._release(when, self.held)
        if collect and not f["retain_weights"]:
            self._release(when,
                          f["reuse_offset"] * SLICE_LINES + f["tiles"] * lines if f["reuse_weights"] else self.held)
        self.array_free, self.loaded = when, loaded
        self.reading = start, when, groups * len(sizes) * rows
        self.idle[Unit.ARRAY] = end = when + lat.array + drain(m) + lat.epilogue
        if gate:
            self.idle[Unit.GATE] = end + lat.gate
            pace = linear_pass(m, f)
            known = start + pace + (end - when) + lat.gate
            self.gatings.append(_Gating(self.gate["first_token"], known, pace))
        if f["dst"] == Dest.RESIDUAL and f["accumulate"]:
            # The epilogue reads what it adds to, before the norm.
            self._slow(Unit.NORM, self.norm, start + lat.array, end - lat.epilogue, 2 * tokens * f["tiles"])
        if f["dst"] in (Dest.OPERAND8, Dest.OPERAND16):
            self.writing = start + lat.array, end, tokens * f["tiles"] * (1 + (f["dst"] == Dest.OPERAND16))
        return Span(at, expert, start, end, waited)

    def _release(self, when: float, lines: int) -> None:
        self.stream.ring.release(when, lines)
        self.held -= lines

    def _slow(self, unit: Unit, rows: "MovingRows | None", begin: float, end: float, taken: float) -> None:
        """Between ``begin`` and ``end`` another unit takes ``taken`` rows of a memory first; what ``unit`` lacks then
        makes its last instruction longer.
        """
        if rows is None:
            return
        longer = delay(max(begin, rows.start), end, rows.end, self._left(taken, end - begin), rows.rows_per_cycle)
        rows.end += longer
        self.idle[unit] += longer
        self.spans[rows.at] = replace(self.spans[rows.at], end=self.idle[unit])

    def _left(self, taken: float, cycles: float) -> float:
        """Rows a cycle that one stream gets where others, served first, take ``taken`` in so many cycles: a row a cycle
        and bank, and the stream waits where its next row lies in a bank at work."""
        return 1 - taken / (self.machine.banks * max(cycles, 1))

    def _attention(self, at: int, f: dict, issue: float) -> Span:
        m, lat = self.machine, self.latency
        lines = stream_lines(Opcode.ATTENTION, f, m).lines
        self.stream.lines(lines, self.stream.params)
        groups, scores, mixed, beats = attention_group(m, f, self.share(at))
        start = max(issue + lat.load, self.array_free)
        # Outputs of a group follow the scores of those after it: with few or short rows the softmax shows.
        when, fed, ready, again = start, start, [], (self.score_passes - 1) * beats
        for group in range(groups + SCORES_AHEAD):
            if group < groups:
                when += scores
                fed = max(fed + beats, when + lat.array + last_scores(m, f)) + again
                ready.append(fed + lat.softmax + beats)
            if group >= SCORES_AHEAD:
                when = max(when, ready[group - SCORES_AHEAD]) + mixed
        self.array_free = when
        self.stream.params.release(start, lines)
        self.idle[Unit.ARRAY] = end = self.array_free + lat.array + drain(m) + lat.epilogue
        return Span(at, -1, start, end)

    def _norm(self, at: int, f: dict, issue: float) -> Span:
        lines = stream_lines(Opcode.NORM, f, self.machine).lines
        there = self.stream.lines(lines)
        start = max(issue, self.idle[Unit.NORM], there - lines)
        work = norm_cycles(self.machine, f, f["tokens"])
        # The epilogue writes operand rows before the norm.
        (begin, until, taken), written = self.writing, f["tokens"] * f["blocks"] * norm_planes(f) / 2
        each = self.machine.clusters  # has a stream of rows of its own
        work += delay(max(begin, start), until, start + work, self._left(taken, until - begin), written / each / work)
        self.idle[Unit.NORM] = end = start + self.latency.norm + work
        self.norm = MovingRows(len(self.spans), start, start + work, f["tokens"] * f["blocks"] / each / work)
        # The norm writes operand rows before the DMA unit.
        self._slow(Unit.DMA, self.load, start + self.latency.norm, end, written)
        return Span(at, -1, start, end)


def predict(image, task: str | None = None, queues: Iterable[Sequence[Arrival]] = (),
            dram: DramTiming | None = None) -> list[Span]:
    """Spans of one program of an image."""
    return Timeline(image.machine, dram).run(image.words(task), queues)
