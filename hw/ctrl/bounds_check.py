# SPDX-License-Identifier: Apache-2.0
"""Bounds check: address ranges and contradictions of each instruction, before anything of the program runs."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import FORMATS, INSTRUCTION_BYTES, INSTRUCTIONS, Dest, Opcode
from golden.spec.legality import (
    SLOTS,
    STAGES,
    ProgramState,
    Resource,
    after_gate,
    capacity,
    contradictions,
    ranges,
    retained,
)
from golden.spec.machine import MachineConfig
from hw.lib.pipeline import delay
from hw.shapes import INSTRUCTION

TOKENS_BITS = 13
ENTRIES_BITS = 17
STEPS_BITS = 17
"""From 1 << 16 on all steps are alike, since every range is then beyond its memory (or has stride 0)."""
RANGE = data.StructLayout({"when": 1, "resource": unsigned(range(len(Resource)).stop.bit_length()),
                           "base": ENTRIES_BITS, "steps": STEPS_BITS, "stride": 9, "count": 18})
END_BITS = 25


class BoundsChecker(wiring.Component):
    """Bounds checker: do an instruction's fields contradict each other, are its rows beyond their memory, do ranges
    that it reads and writes overlap? The conditions are those of ``golden.spec.legality``, evaluated on signals.

    ::

        word -> [extents] -> [products] -> [s1 word, totals] -> [s2 ranges: base, steps, stride, count] -.
                                             program state --^                                           v
            [any] <- [s5 > capacity | slots 0 and 1 meet] <- [s4 base, end] <- [s3 steps * stride | base + count]

    Timing: LATENCY cycles from ``valid`` to ``contradiction`` and ``beyond``; II = 2, the gate's state needs one more.
    Domain: instructions inside ``isa.LIMITS``; for others the result is undefined. ``beyond`` is undefined for a
    window without lines or columns, which is a contradiction.
    Reference model: ``golden.iss.bounds_check``.

    Members: ``valid``, ``word`` In; ``body`` In, a cycle later: it is in a body of EXPERTS; ``contradiction``,
    ``beyond`` Out.
    """

    LATENCY = 5 + len(STAGES)
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
        s1_valid = delay(m, self.valid, len(STAGES), "valid", reset_less=False)
        s1_word, fields = self._fields(m)
        state = {"left": Signal(TOKENS_BITS), "experts": Signal(7), "named": Signal(TOKENS_BITS),
                 "slots": Signal(TOKENS_BITS), "entries": Signal(ENTRIES_BITS), "held": Signal(ENTRIES_BITS)}
        program = ProgramState(**state, body=delay(m, self.body, len(STAGES) - 1, "body"))

        # Stage 2: the conditions and ranges of each opcode.
        s2 = [Signal(RANGE, name=f"s2_range{n}") for n in range(SLOTS)]
        s2_wrong, s2_gate, s2_append, s2_entries = Signal(), Signal(), Signal(), Signal(ENTRIES_BITS)
        m.d.sync += [s2_wrong.eq(0), s2_gate.eq(0)] + [used.when.eq(0) for used in s2]
        with m.Switch(s1_word[:4]):
            for opcode, f in fields.items():
                with m.Case(opcode):
                    for condition in contradictions(opcode, f, program, Mux):
                        with m.If(condition):
                            m.d.sync += s2_wrong.eq(1)
                    for used in ranges(opcode, f, program, Mux):
                        with m.If(Value.cast(used.when)):
                            m.d.sync += [s2[used.slot].when.eq(1), s2[used.slot].steps.eq(_limited(used.steps))] + [
                                s2[used.slot][name].eq(getattr(used, name))
                                for name in ("resource", "base", "stride", "count")]
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

        wrong = delay(m, s2_wrong, self.LATENCY - len(STAGES) - 2, "wrong", reset_less=False)
        m.d.sync += self.contradiction.eq(wrong | self._beyond(m, s2))
        return m

    def _fields(self, m) -> tuple[Signal, dict]:
        """The word in stage 1, and the fields of each opcode with what is derived from them."""
        words = [self.word, *(Signal.like(self.word, name=f"{stage}_word") for stage in STAGES)]
        m.d.sync += [after.eq(before) for before, after in zip(words[:-1], words[1:], strict=True)]
        fields = {}
        for opcode, layout in INSTRUCTION.items():
            raw = [{field.name: layout(word)[field.name] for field in FORMATS[opcode].fields} for word in words]
            found = {}
            for n, stage in enumerate(INSTRUCTIONS[opcode].stages):
                values = found | stage(raw[n] | found, Mux)
                found = {name: Signal.like(Value.cast(value), name=f"{opcode.name.lower()}_{n}_{name}")
                         for name, value in values.items()}
                m.d.sync += [found[name].eq(value) for name, value in values.items()]
            fields[opcode] = raw[-1] | found
        return words[-1], fields

    def _beyond(self, m, s2) -> Value:
        """Stages 3 to 6: the end of each range against its capacity; (whether ranges 0 and 1 meet)"""
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
        return s5_same & s5_a_below & s5_b_below


def _limited(steps) -> Value:
    """``steps`` in STEPS_BITS, at most 1 << 16 or more."""
    value, top = Value.cast(steps), STEPS_BITS - 1
    return Cat(value[:top], value[top:].any()) if len(value) > STEPS_BITS else value
