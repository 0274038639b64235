# SPDX-License-Identifier: Apache-2.0
"""Bounds check: address ranges and contradictions of each instruction, before anything of the program runs."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import FORMATS, INSTRUCTION_BYTES, Dest, Opcode
from golden.spec.legality import (
    SLOTS,
    ProgramState,
    Resource,
    after_gate,
    capacity,
    contradictions,
    derived,
    ranges,
    retained,
)
from golden.spec.machine import MachineConfig
from hw.lib.pipeline import delay
from hw.shapes import INSTRUCTION

TOKENS_BITS = 13
ENTRIES_BITS = 17
RANGE = data.StructLayout({"when": 1, "resource": unsigned(range(len(Resource)).stop.bit_length()),
                           "base": ENTRIES_BITS, "steps": TOKENS_BITS, "stride": 9, "count": 18})
END_BITS = 24


class BoundsChecker(wiring.Component):
    """Bounds checker: do an instruction's fields contradict each other, are its rows beyond their memory, do ranges
    that it reads and writes overlap? The conditions are those of ``golden.spec.legality``, evaluated on signals.

    ::

        word -> [s1 word, derived] -> [s2 ranges: base, steps, stride, count] -> [s3 steps * stride | base + count]
                   program state --^    [any] <- [s5 > capacity | slots 0 and 1 meet] <- [s4 base, end] <-'

    Timing: LATENCY cycles from ``valid`` to ``contradiction`` and ``beyond``; II = 2, the gate's state needs one more.
    Domain: instructions inside ``isa.LIMITS``; for others the result is undefined.
    Reference model: ``golden.iss.bounds_check``.

    Members: ``valid``, ``word`` In; ``body`` In, a cycle later: it is in a body of EXPERTS; ``contradiction``,
    ``beyond`` Out.
    """

    LATENCY = 6
    II = 2

    valid: Signal
    word: Signal
    body: Signal
    contradiction: Signal
    beyond: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({"valid": In(1), "word": In(8 * INSTRUCTION_BYTES), "body": In(1),
                          "contradiction": Out(1), "beyond": Out(1)})

    def elaborate(self, platform):
        m = Module()
        s1_valid, s1_word = Signal(), Signal(8 * INSTRUCTION_BYTES)
        m.d.sync += [s1_valid.eq(self.valid), s1_word.eq(self.word)]
        state = {"left": Signal(TOKENS_BITS), "experts": Signal(7), "named": Signal(TOKENS_BITS),
                 "slots": Signal(TOKENS_BITS), "entries": Signal(ENTRIES_BITS), "held": Signal(ENTRIES_BITS)}
        program = ProgramState(**state, body=self.body)

        # Stage 2: the conditions and ranges of each opcode.
        s2 = [Signal(RANGE, name=f"s2_range{n}") for n in range(SLOTS)]
        s2_wrong, s2_gate, s2_append, s2_entries = Signal(), Signal(), Signal(), Signal(ENTRIES_BITS)
        m.d.sync += [s2_wrong.eq(0), s2_gate.eq(0)] + [used.when.eq(0) for used in s2]
        with m.Switch(s1_word[:4]):
            for opcode, layout in INSTRUCTION.items():
                now, next_ = layout(s1_word), layout(self.word)
                f = {field.name: now[field.name] for field in FORMATS[opcode].fields}
                for name, value in derived(opcode, {field: next_[field] for field in f}, Mux).items():
                    f[name] = Signal.like(Value.cast(value), name=f"s1_{name}")
                    m.d.sync += f[name].eq(value)
                with m.Case(opcode):
                    for condition in contradictions(opcode, f, program, Mux):
                        with m.If(condition):
                            m.d.sync += s2_wrong.eq(1)
                    for used in ranges(opcode, f, program, Mux):
                        with m.If(Value.cast(used.when)):
                            m.d.sync += [s2[used.slot].when.eq(1)] + [
                                s2[used.slot][name].eq(getattr(used, name))
                                for name in ("resource", "base", "steps", "stride", "count")]
                    with m.If(s1_valid):
                        if opcode is Opcode.GATE:
                            after = after_gate(f, program, Mux)
                            m.d.sync += [state[name].eq(after[name]) for name in after if name != "entries"]
                            m.d.sync += [s2_gate.eq(1), s2_append.eq(f["append"]),
                                         s2_entries.eq(f["tokens"] * f["top_k"])]
                        elif opcode is Opcode.LINEAR:
                            m.d.sync += state["held"].eq(retained(f, program, Mux))
                            with m.If(f["dst"] == Dest.GATE):
                                m.d.sync += state["left"].eq(state["left"] - f["tokens"])
        with m.If(s2_gate):
            m.d.sync += state["entries"].eq(s2_entries + Mux(s2_append, state["entries"], 0))

        # Stages 3 to 6: the end of each range against its capacity, and ranges 0 and 1 against each other.
        over, s4 = Signal(SLOTS), []
        for n, used in enumerate(s2):
            s3_when, s4_when = Signal(name=f"s3_when{n}"), Signal(name=f"s4_when{n}")
            s3_resource, s4_resource = (Signal.like(used.resource, name=f"{stage}_resource{n}")
                                        for stage in ("s3", "s4"))
            s3_base, s4_base = (Signal(ENTRIES_BITS, name=f"{stage}_base{n}") for stage in ("s3", "s4"))
            product, rest = Signal(END_BITS, name=f"s3_product{n}"), Signal(END_BITS, name=f"s3_rest{n}")
            s4_end = Signal(END_BITS, name=f"s4_end{n}")
            m.d.sync += [
                product.eq(used.steps * used.stride), rest.eq(used.base + used.count), s3_when.eq(used.when),
                s3_resource.eq(used.resource), s3_base.eq(used.base), s4_end.eq(product + rest), s4_when.eq(s3_when),
                s4_resource.eq(s3_resource), s4_base.eq(s3_base), over[n].eq(0),
            ]
            with m.Switch(s4_resource):
                for resource in Resource:
                    with m.Case(resource):
                        m.d.sync += over[n].eq(s4_when & (s4_end > capacity(self.cfg, resource)))
            s4.append((s4_when, s4_resource, s4_base, s4_end))
        m.d.sync += self.beyond.eq(over.any())
        (a_when, a_resource, a_base, a_end), (b_when, b_resource, b_base, b_end) = s4[:2]
        s5_same, s5_a_below, s5_b_below = Signal(), Signal(), Signal()
        m.d.sync += [s5_same.eq(a_when & b_when & (a_resource == b_resource)), s5_a_below.eq(a_base < b_end),
                     s5_b_below.eq(b_base < a_end)]

        wrong = delay(m, s2_wrong, self.LATENCY - 3, "wrong", reset_less=False)
        m.d.sync += self.contradiction.eq(wrong | s5_same & s5_a_below & s5_b_below)
        return m
