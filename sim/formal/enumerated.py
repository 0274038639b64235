# SPDX-License-Identifier: Apache-2.0
"""Units whose inputs are all tried: exponential, activations, division, scores in whole powers of two."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.ops.activation import activate
from golden.ops.softmax import exp2_below
from golden.spec.activations import ACT_SHIFT_MAX, BY_CODE
from golden.spec.tables import RECIPROCAL_BITS, RSQRT_RADICAND_BITS
from hw.vector.requantize import G_BITS
from sim.formal.defects import Defect, planted
from sim.formal.exhaustive import CHUNK, results
from sim.formal.prover import Result, Verdict


@dataclass(frozen=True)
class Enumeration:
    """``unit`` makes the unit; ``inputs`` gives all its inputs, ``expected`` the outputs by the integer formula;
    ``held``: registers that keep their value for inputs outside of the domain."""

    name: str
    claim: str
    unit: Callable
    inputs: Callable[[], Iterator[dict]]
    outputs: dict
    expected: Callable[[dict], dict]
    defect: Defect
    held: int = 0
    long: bool = False

    def wrong(self, *, first: bool = False) -> tuple[int, int]:
        """(Inputs, those of them whose result differs from the formula); ``first``: up to the first of those."""
        count = wrong = 0
        unit = self.unit()
        with tempfile.TemporaryDirectory() as directory:
            for given, found in results(unit, Path(directory), self.inputs(), self.outputs, unit.LATENCY,
                                        self.held):
                expected = self.expected(given)
                differs = np.zeros(len(next(iter(found.values()))), bool)
                for name in self.outputs:
                    differs |= found[name] != expected[name]
                count, wrong = count + len(differs), wrong + int(differs.sum())
                if first and wrong:
                    break
        return count, wrong

    @property
    def defects(self) -> tuple[Defect]:
        return (self.defect,)

    def results(self, limit: float = 0, *, first: bool = False) -> Iterator[Result]:
        """The one result; there is no limit, as all inputs are tried, or all up to the ``first`` wrong one."""
        start = time.perf_counter()
        count, wrong = self.wrong(first=first)
        verdict = Verdict.REFUTED if wrong or not count else Verdict.PROVED
        yield Result(self.name, self.claim, verdict, None, f"enumeration of {count} cases", time.perf_counter() - start)

    def with_defect(self, defect: Defect, limit: float = 0) -> Result:
        """The result with ``defect`` planted, refuted if it changes any."""
        with planted(defect):
            return next(self.results(first=True))


def _exponential():
    from hw.arith.exp2 import Exponential
    return Exponential(2)


def _distances() -> Iterator[dict]:
    from hw.arith.exp2 import EXPONENT
    total = 1 << EXPONENT.size
    for start in range(0, total, CHUNK):
        yield {"i": np.arange(start, min(start + CHUNK, total), dtype=np.int64)}


def _activation():
    from hw.vector.activation import Activation
    return Activation(2)


def _activations() -> Iterator[dict]:
    u = np.arange(1 << 16, dtype=np.int64)
    for code, kind in enumerate(BY_CODE):
        for shift in range(1 if kind.passes else ACT_SHIFT_MAX + 1):
            yield {"u": u, "activation": np.full(u.shape, code), "act_shift": np.full(u.shape, shift)}


def _activated(given: dict) -> dict:
    u = given["u"] - (given["u"] >> 15 << 16)
    return {"o": activate(u, int(given["activation"][0]), int(given["act_shift"][0]))}


def _division(bits: int):
    def unit():
        from sim.formal.properties.arithmetic import Division
        divide = Division(bits)
        divide.LATENCY = bits
        return divide
    return unit


def _divisors(bits: int):
    return lambda: iter([{"i": np.arange(1 << bits - 1, 1 << bits, dtype=np.int64)}])


RECIPROCAL = "hw.arith.reciprocal"
ENUMERATIONS = (
    Enumeration("exponential", "EXP[fraction] >> whole", _exponential, _distances, {"o": 16},
                lambda given: {"o": exp2_below(given["i"])},
                Defect("a shift of 16 becomes one of 15", "hw.arith.exp2", "EXPONENTIAL_BITS, whole)",
                       "EXPONENTIAL_BITS - 1, whole)", "")),
    Enumeration("activation", "every code and act_shift", _activation, _activations, {"o": -G_BITS}, _activated,
                Defect("the correction is not rounded", "hw.vector.activation", "Const(1 << STEP >> 1, STEP)",
                       "Const(0, STEP)", ""), held=4),
    *(Enumeration(f"division of {bits} bits", "(2**(2 bits - 1) - 1) // divisor", _division(bits), _divisors(bits),
                  {"o": bits}, lambda given, bits=bits: {"o": ((1 << 2 * bits - 1) - 1) // given["i"]},
                  Defect("a remainder of 0 does not fit", RECIPROCAL, "fits = ~trial[-1]",
                         "fits = ~trial[-1] & (trial != 0)", ""))
      for bits in (RECIPROCAL_BITS, RSQRT_RADICAND_BITS // 2)),
)
