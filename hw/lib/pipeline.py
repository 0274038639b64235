# SPDX-License-Identifier: Apache-2.0
"""Registers of a pipeline: delays, and the control and tags that accompany the data through named stages."""

from types import SimpleNamespace

from amaranth.hdl import Module, Signal

ENTRY = "entry"
"""Start of a pipeline, before its first register."""


def delay(m: Module, value, cycles: int, name: str, *, reset_less: bool = True):
    """``value`` of ``cycles`` cycles ago; ``value`` itself for 0. Each register is named after the cycle it adds."""
    for cycle in range(1, cycles + 1):
        held = Signal(value.shape(), name=f"{name}_{cycle}", reset_less=reset_less)
        m.d.sync += held.eq(value)
        value = held
    return value


class Pipeline:
    """Pipeline: flags and a tag that accompany the data of a free-running pipeline, read after each named stage.

    ::

        flags, tag -> [stage] -> [stage] -> ... at("stage").field

    ``stages`` maps each stage's name to its registers (none is allowed), in order. Values in ``flags`` are zero after a
    reset, those in ``tag`` are undefined and used only together with a flag. Registers that are not read cost
    nothing: synthesis drops them.
    """

    def __init__(self, m: Module, name: str, stages: dict[str, int], *, flags: dict, tag: dict | None = None):
        if ENTRY in stages:
            raise ValueError(f"Stage {ENTRY!r} of pipeline {name!r} comes before all others; choose another name.")
        values, reset_less = flags | (tag or {}), dict.fromkeys(flags, False)
        self.LATENCY = sum(stages.values())
        self._beats, self._ends = {ENTRY: SimpleNamespace(**values)}, {ENTRY: 0}
        for stage, cycles in stages.items():
            values = {field: delay(m, value, cycles, f"{name}_{stage}_{field}",
                                   reset_less=reset_less.get(field, True)) for field, value in values.items()}
            self._ends[stage] = self.cycles() + cycles
            self._beats[stage] = SimpleNamespace(**values)

    def at(self, stage: str) -> SimpleNamespace:
        """The fields that belong to the result of ``stage``."""
        return self._beats[stage]

    def cycles(self, since: str = ENTRY, until: str | None = None) -> int:
        """Registers after stage ``since`` up to the output of stage ``until`` (the last)."""
        return self._ends[until or next(reversed(self._ends))] - self._ends[since]
