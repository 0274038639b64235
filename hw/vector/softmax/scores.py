# SPDX-License-Identifier: Apache-2.0
"""Stage A of the softmax: accumulators become exponentials below the reference that their lane has so far."""

from typing import NamedTuple

from amaranth.hdl import Array, Cat, Mux, Signal, signed

from golden.spec.machine import LANES, MachineConfig
from golden.spec.tables import LOG2_FRAC, SCORE_BITS, SCORE_REFERENCE_MIN
from hw.arith.exp2 import DISTANCE_BITS, EXPONENTIAL_BITS, Exponential
from hw.arith.log2_score import REFERENCE, rounded_up
from hw.arith.round_shift import SCALED_LATENCY, round_shift_scaled
from hw.arith.trees import top_of_four
from hw.interfaces import SOFTMAX_SLOTS, lane_bits
from hw.lib.pipeline import Pipeline, delay
from hw.vector.parts import part_of
from hw.vector.softmax.jobs import MULTIPLIER_BITS, Jobs, row_address


class Scored(NamedTuple):
    """``fed``: a job's last beat is accepted now. ``written``: its last row, of slot ``written_slot``, is written now.
    ``finals``: references by slot and lane, final with the lane's last chunk."""

    fed: Signal
    written: Signal
    written_slot: Signal
    finals: list[list[Signal]]


class Position(NamedTuple):
    """``entry``: part ``part`` of the beat enters; ``row_ends``: its chunk is its lane's last; ``fed`` as in Scored."""

    entry: Signal
    part: Signal
    row_ends: Signal
    fed: Signal


def stages(cfg: MachineConfig) -> dict[str, int]:
    """Registers from the entry of a part to the write of its exponentials."""
    wait = cfg.serialization - 1  # of each part, for the last of its chunk
    return {"taken": 1, "products": 1, "product": 1, "shifted": SCALED_LATENCY - 1, "scaled": 1, "ceiling": 1,
            "tops": 1, "top": 1, "reference": 1, "wait": wait, "distance": 1, "exponential": Exponential.LATENCY}


def score(m, cfg: MachineConfig, beats, jobs: Jobs, slot, opened, port) -> Scored:
    """Takes the ``beats`` of the job in ``slot`` while ``opened``; rows of exponentials and their reference go to the
    write port ``port``. Reference model: ``golden.ops.softmax.softmax``."""
    position = _position(m, cfg, beats, jobs, slot, opened)
    beat, job = beats.payload, jobs.kept[slot]
    pipe = Pipeline(m, "a", stages(cfg), flags={"valid": position.entry, "end": position.fed}, tag={
        "slot": slot, "lane": beat.lane, "chunk": beat.chunk, "part": position.part, "row_ends": position.row_ends,
        "count": job.shift1})
    scores = _scale(m, pipe, part_of(cfg, beat.value, position.part), job.multiplier)
    live = _live(m, cfg, pipe, jobs)
    wholes, fractions = _round_up(m, scores, live)
    reference, finals = _raise_reference(m, cfg, pipe, wholes)
    exponentials = _exponentials(m, cfg, pipe, wholes, fractions, live, reference)
    done = pipe.at("exponential")
    of_row = delay(m, reference, pipe.cycles("wait", "exponential"), "row_reference")
    m.d.comb += [port.addr.eq(row_address(cfg, done.slot, done.lane, done.chunk, done.part)), port.en.eq(done.valid),
                 port.data.eq(Cat(exponentials, of_row))]
    return Scored(fed=position.fed, written=done.end, written_slot=done.slot, finals=finals)


def _position(m, cfg, beats, jobs, slot, opened) -> Position:
    """A beat stays for its parts; lanes of a job come as its rows end."""
    serial, beat = cfg.serialization, beats.payload
    entry, transfer, row_ends, fed = (Signal(name=name) for name in ("entry", "transfer", "row_ends", "fed_now"))
    part, rows = Signal(range(serial), name="part"), Signal(4, name="rows")
    last_key = jobs.last[slot]
    m.d.comb += [entry.eq(beats.valid & opened), beats.ready.eq(opened & (part == serial - 1)),
                 transfer.eq(beats.valid & beats.ready), row_ends.eq(beat.chunk == last_key[4:]),
                 fed.eq(transfer & row_ends & (rows + 1 == jobs.kept[slot].lanes))]
    m.d.sync += part.eq(part + entry)
    with m.If(transfer & row_ends):
        m.d.sync += rows.eq(Mux(fed, 0, rows + 1))
    return Position(entry, part, row_ends, fed)


def _scale(m, pipe: Pipeline, accumulators: list, multiplier) -> list[Signal]:
    """Stages taken .. scaled: multiply, as two products of 16 x MULTIPLIER_BITS bits; shift, round, clip."""
    taken_multiplier = Signal(MULTIPLIER_BITS, reset_less=True)
    m.d.sync += taken_multiplier.eq(multiplier)
    products = []
    for k, accumulator in enumerate(accumulators):
        taken = Signal(signed(32), name=f"taken{k}", reset_less=True)
        high = Signal(signed(16 + MULTIPLIER_BITS), name=f"product_high{k}", reset_less=True)
        low = Signal(16 + MULTIPLIER_BITS, name=f"product_low{k}", reset_less=True)
        product = Signal(signed(32 + MULTIPLIER_BITS), name=f"product{k}", reset_less=True)
        m.d.sync += [taken.eq(accumulator), high.eq(taken[16:].as_signed() * taken_multiplier),
                     low.eq(taken[:16] * taken_multiplier), product.eq(Cat(low[:16], high + low[16:]))]
        products.append(product)
    return round_shift_scaled(m, "t", products, pipe.at("product").count, SCORE_BITS)


def _live(m, cfg, pipe: Pipeline, jobs: Jobs) -> dict[str, Signal]:
    """Which of the part's keys are present, not beyond the last: for stages scaled and distance."""
    beat = pipe.at("shifted")
    within, whole = jobs.last[beat.slot], Signal(LANES, name="live_now")
    scaled = Signal(cfg.lanes, name="scaled_live", reset_less=True)
    m.d.comb += whole.eq(Mux(beat.row_ends, (2 << within[:4]) - 1, -1))
    m.d.sync += scaled.eq(Cat(part_of(cfg, whole, beat.part)))
    return {"scaled": scaled, "wait": delay(m, scaled, pipe.cycles("scaled", "wait"), "live")}


def _round_up(m, scores: list[Signal], live) -> tuple[list[Signal], list[Signal]]:
    """Stage ceiling: (whole parts rounded up, fractions below); absent keys get the lowest value."""
    wholes, fractions = [], []
    for k, t in enumerate(scores):
        whole = Signal(REFERENCE, name=f"whole{k}", reset_less=True)
        fraction = Signal(LOG2_FRAC, name=f"fraction{k}", reset_less=True)
        ceiling, below = rounded_up(t)
        m.d.sync += [whole.eq(Mux(live["scaled"][k], ceiling, SCORE_REFERENCE_MIN)), fraction.eq(below)]
        wholes.append(whole)
        fractions.append(fraction)
    return wholes, fractions


def _raise_reference(m, cfg, pipe: Pipeline, wholes: list[Signal]) -> tuple[Signal, list[list[Signal]]]:
    """Stages tops, top: the part's maximum. Stage reference: the lane's, which is the chunk's with its last part.
    (that, the final ones by slot and lane)"""
    tops = wholes
    for stage in ("tops", "top"):
        tops = [top_of_four(m, tops[i:i + 4], f"{stage}{i // 4}") for i in range(0, len(tops), 4)]
    earlier, beat = pipe.at("tops"), pipe.at("top")
    references = Array(Signal(REFERENCE, name=f"reference{i}") for i in range(1 << lane_bits(cfg)))
    finals = [[Signal(REFERENCE, name=f"final{slot}_{lane}") for lane in range(cfg.tm)]
              for slot in range(SOFTMAX_SLOTS)]
    before, raised = Signal(REFERENCE, name="reference_before"), Signal(REFERENCE, name="reference_raised")
    first = Signal(name="top_first", reset_less=True)
    m.d.sync += first.eq((earlier.chunk == 0) & (earlier.part == 0))
    m.d.comb += [before.eq(Mux(first, SCORE_REFERENCE_MIN, references[beat.lane])),
                 raised.eq(Mux(tops[0] > before, tops[0], before))]
    with m.If(beat.valid):
        m.d.sync += references[beat.lane].eq(raised)
        for slot, row in enumerate(finals):
            for lane, final in enumerate(row):
                with m.If(beat.row_ends & (beat.slot == slot) & (beat.lane == lane)):
                    m.d.sync += final.eq(raised)
    reference = Signal(REFERENCE, name="reference_of_chunk", reset_less=True)
    with m.If(beat.part == cfg.serialization - 1):
        m.d.sync += reference.eq(raised)
    return reference, finals


def _exponentials(m, cfg, pipe: Pipeline, wholes, fractions, live, reference):
    """Stage distance: below the reference; an absent key gets the largest distance. Stage exponential."""
    exponential = m.submodules.exponential = Exponential(cfg.lanes)
    for k, (whole, fraction) in enumerate(zip(wholes, fractions, strict=True)):
        waited = delay(m, whole, pipe.cycles("ceiling", "wait"), f"whole{k}_waits")
        distance = Signal(DISTANCE_BITS, name=f"distance{k}", reset_less=True)
        m.d.sync += distance.eq(Mux(live["wait"][k], reference - waited, EXPONENTIAL_BITS))
        m.d.comb += [exponential.i[k].whole.eq(distance), exponential.i[k].fraction.eq(
            delay(m, fraction, pipe.cycles("ceiling", "distance"), f"fraction{k}_waits"))]
    return exponential.o
