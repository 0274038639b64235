# SPDX-License-Identifier: Apache-2.0
"""Formal proofs that are quick: every claim is proved, every cover reached, every planted defect refuted."""

import pytest

from sim.formal.defects import Defect, planted
from sim.formal.enumerated import ENUMERATIONS
from sim.formal.proofs import PROOFS
from sim.formal.prover import Verdict

pytestmark = pytest.mark.slow
QUICK = {"queue of 1", "queue of 2", "write engine, WLAST", "bus timer", "rounding shift, 32 to 16 bits",
         "leading zeros of 31 bits", "burst splitter", "write engine, progress"}
"""Proofs of some seconds each. The other short ones are for the night, the long ones for ``make formal-long``."""


def marked(name: str) -> list:
    """Marks of what is not quick."""
    return [] if name in QUICK else [pytest.mark.nightly]


CLAIMS = [pytest.param(proof, id=proof.name, marks=marked(proof.name)) for proof in PROOFS if not proof.long]
DEFECTS = [pytest.param(proof, defect, id=f"{proof.name}-{defect.what}", marks=marked(proof.name))
           for proof in PROOFS if not proof.long for defect in proof.defects]
SMALL = [pytest.param(e, id=e.name, marks=pytest.mark.nightly) for e in ENUMERATIONS if not e.long]


@pytest.mark.parametrize("proof", CLAIMS)
def test_claims_are_proved(proof):
    wrong = [f"{result.claim}: {result}" for result in proof.results() if not result.good]
    assert not wrong, f"{proof.name}: {wrong}"


@pytest.mark.parametrize("proof, defect", DEFECTS)
def test_a_planted_defect_is_refuted(proof, defect):
    result = proof.with_defect(defect)
    assert result.verdict is Verdict.REFUTED, f"{defect.what}: {result.claim} is {result}"


@pytest.mark.parametrize("enumeration", SMALL)
def test_every_input_gives_the_formula(enumeration):
    results = list(enumeration.results())
    assert results and all(result.good for result in results), results


@pytest.mark.parametrize("enumeration", SMALL)
def test_a_planted_defect_changes_a_result(enumeration):
    assert all(enumeration.with_defect(defect).verdict is Verdict.REFUTED for defect in enumeration.defects)


def test_each_proof_has_a_defect_or_shares_its_unit_with_one_that_has():
    with_defect = {proof.module for proof in PROOFS if proof.defects}
    assert not [proof.name for proof in PROOFS if proof.module not in with_defect]


def test_after_a_planted_defect_modules_are_as_before():
    import hw.dma.window_guard as before

    defect = Defect("", "hw.dma.window_guard", "LATENCY = 5", "LATENCY = 6", "")
    with planted(defect):
        from hw.dma.window_guard import WindowGuard
        assert WindowGuard.LATENCY == 6
    import hw.dma.window_guard as after
    assert after is before and after.WindowGuard.LATENCY == 5


def test_a_defect_that_is_not_in_the_source_is_refused():
    with planted(Defect("", "hw.dma.window_guard", "LATENCY = 7", "", "")), pytest.raises(ValueError, match="0 times"):
        __import__("hw.dma.window_guard")
