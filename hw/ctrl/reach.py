# SPDX-License-Identifier: Apache-2.0
"""How far an instruction reaches into the memories, before anything of the program runs."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.isa import FORMATS, INSTRUCTION_BYTES, Dest, Opcode
from golden.spec.machine import MachineConfig
from golden.spec.reach import SLOTS, Routing, Store, contradictions, depth, derived, kept, routed, spans
from hw.shapes import INSTRUCTION

TOKENS_BITS = 13
ENTRIES_BITS = 17
SPAN = data.StructLayout({"when": 1, "store": unsigned(range(len(Store)).stop.bit_length()), "base": ENTRIES_BITS,
                          "steps": TOKENS_BITS, "stride": 9, "count": 18})
TOTAL_BITS = 24


class ReachChecker(wiring.Component):
    """For each instruction: does a field contradict another, does a row lie beyond its memory? The conditions are those
    of ``golden.spec.reach``, evaluated on signals.

    ::

        word -> [s1 word, products] -> [s2 spans: base, steps, stride, count] -> [s3 steps * stride | base + count]
                       gate state --^                                     [any] <- [s5 > depth] <- [s4 sum] <-'

    Timing: LATENCY cycles from ``valid`` to ``contradiction`` and ``beyond``; II = 2, the gate's state needs one more.
    Domain: instructions inside ``isa.LIMITS``; of others nothing is said.
    Twin: ``golden.iss.judge``.

    Members: ``valid``, ``word`` In; ``body`` In, a cycle later: it stands in a body of EXPERTS; ``contradiction``,
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
        routing = Routing(**state, body=self.body)

        # Stage 2: what each opcode says about itself.
        s2 = [Signal(SPAN, name=f"s2_span{n}") for n in range(SLOTS)]
        s2_wrong, s2_gate, s2_append, s2_entries = Signal(), Signal(), Signal(), Signal(ENTRIES_BITS)
        m.d.sync += [s2_wrong.eq(0), s2_gate.eq(0)] + [span.when.eq(0) for span in s2]
        with m.Switch(s1_word[:4]):
            for opcode, layout in INSTRUCTION.items():
                now, next_ = layout(s1_word), layout(self.word)
                f = {field.name: now[field.name] for field in FORMATS[opcode].fields}
                for name, value in derived(opcode, {field: next_[field] for field in f}).items():
                    f[name] = Signal.like(value, name=f"s1_{name}")
                    m.d.sync += f[name].eq(value)
                with m.Case(opcode):
                    for condition in contradictions(opcode, f, routing):
                        with m.If(condition):
                            m.d.sync += s2_wrong.eq(1)
                    for span in spans(opcode, f, routing, Mux):
                        with m.If(Value.cast(span.when)):
                            m.d.sync += [s2[span.slot].when.eq(1)] + [
                                s2[span.slot][name].eq(getattr(span, name))
                                for name in ("store", "base", "steps", "stride", "count")]
                    with m.If(s1_valid):
                        if opcode is Opcode.GATE:
                            after = routed(f, routing, Mux)
                            m.d.sync += [state[name].eq(after[name]) for name in after if name != "entries"]
                            m.d.sync += [s2_gate.eq(1), s2_append.eq(f["append"]),
                                         s2_entries.eq(f["tokens"] * f["top_k"])]
                        elif opcode is Opcode.LINEAR:
                            m.d.sync += state["held"].eq(kept(f, routing, Mux))
                            with m.If(f["dst"] == Dest.GATE):
                                m.d.sync += state["left"].eq(state["left"] - f["tokens"])
        with m.If(s2_gate):
            m.d.sync += state["entries"].eq(s2_entries + Mux(s2_append, state["entries"], 0))

        # Stages 3 to 6: the highest row of each span against the size of its store.
        over = Signal(SLOTS)
        for n, span in enumerate(s2):
            s3_when, s4_when = Signal(name=f"s3_when{n}"), Signal(name=f"s4_when{n}")
            s3_store, s4_store = (Signal.like(span.store, name=f"{stage}_store{n}") for stage in ("s3", "s4"))
            product, rest = Signal(TOTAL_BITS, name=f"s3_product{n}"), Signal(TOTAL_BITS, name=f"s3_rest{n}")
            total = Signal(TOTAL_BITS, name=f"s4_total{n}")
            m.d.sync += [
                product.eq(span.steps * span.stride), rest.eq(span.base + span.count), s3_when.eq(span.when),
                s3_store.eq(span.store), total.eq(product + rest), s4_when.eq(s3_when), s4_store.eq(s3_store),
                over[n].eq(0),
            ]
            with m.Switch(s4_store):
                for store in Store:
                    with m.Case(store):
                        m.d.sync += over[n].eq(s4_when & (total > depth(self.cfg, store)))
        m.d.sync += self.beyond.eq(over.any())
        wrong = s2_wrong
        for stage in range(3, self.LATENCY):
            later = Signal(name=f"s{stage}_wrong")
            m.d.sync += later.eq(wrong)
            wrong = later
        m.d.sync += self.contradiction.eq(wrong)
        return m
