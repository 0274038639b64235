# SPDX-License-Identifier: Apache-2.0
"""The prover itself, on a small unit: what is true is proved, what is false refuted, in the right cycle."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sim.formal.exhaustive import results
from sim.formal.harness import Harness
from sim.formal.prover import Verdict, prove, refute


class Counter(wiring.Component):
    """Counts ``step`` up to 5 and begins anew; ``old`` is a register without reset."""

    step: In(1)
    count: Out(3)
    old: Out(1)

    def elaborate(self, platform):
        m = Module()
        held = Signal(reset_less=True)
        m.d.comb += self.old.eq(held)
        with m.If(self.step):
            m.d.sync += [self.count.eq(self.count + 1), held.eq(~held)]
            with m.If(self.count == 5):
                m.d.sync += self.count.eq(0)
        return m


@pytest.fixture
def found(tmp_path):
    h = Harness()
    unit = h.add(Counter())
    h.claim("stays_below_6", unit.count < 6)
    h.claim("stays_below_5", unit.count < 5)
    h.claim("old_is_0", ~unit.old)
    h.lemma("begins_at_0", h.later | (unit.count == 0))
    h.cover("reaches_5", unit.count == 5)
    h.cover("reaches_7", unit.count == 7)
    return {result.claim: result for result in prove("counter", h, tmp_path)}


def test_true_claims_are_proved(found):
    assert found["stays_below_6"].verdict is Verdict.PROVED
    assert found["begins_at_0"].verdict is Verdict.PROVED


def test_a_false_claim_is_refuted_in_its_first_cycle(found):
    assert found["stays_below_5"].verdict is Verdict.REFUTED
    assert found["stays_below_5"].cycles == 6  # cycle 0 is the reset, and five steps


def test_a_register_without_reset_may_hold_anything(found):
    assert found["old_is_0"].verdict is Verdict.REFUTED


def test_covers(found):
    assert found["reaches_5"].verdict is Verdict.REACHED
    assert found["reaches_7"].verdict is Verdict.UNREACHABLE


def test_a_defect_that_breaks_a_lemma_hides_no_claim(tmp_path):
    """The counter goes to 5: of a claim that assumes that it stays below 5 nothing is said after cycle 6, and without
    the lemma the run that breaks both is found."""
    def harness():
        h = Harness()
        unit = h.add(Counter())
        h.lemma("lemma_below_5", unit.count < 5)
        h.claim("claim_below_5", unit.count < 5)
        return h
    found = {result.claim: result for result in prove("counter", harness(), tmp_path)}
    assert found["lemma_below_5"].verdict is Verdict.REFUTED
    assert found["claim_below_5"].verdict is Verdict.BOUNDED and found["claim_below_5"].cycles == 6
    assert not found["claim_below_5"].good
    alone = refute("counter", harness(), tmp_path, "claim_below_5")
    assert (alone.verdict, alone.cycles) == (Verdict.REFUTED, 6)


def test_a_contradiction_in_the_assumptions_leaves_no_cover(tmp_path):
    h = Harness()
    unit = h.add(Counter())
    h.assume(unit.step)
    h.assume(~unit.step)
    h.cover("anything", unit.count == 0)
    assert [result.verdict for result in prove("counter", h, tmp_path)] == [Verdict.UNREACHABLE]


def test_what_depends_on_the_past_is_no_function_of_the_input(tmp_path):
    with pytest.raises(AssertionError, match="depends on"):
        list(results(Counter(), tmp_path, iter([]), {"count": 3}, 1))
