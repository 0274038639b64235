# SPDX-License-Identifier: Apache-2.0
"""Credit counters: free lines of the weight stream's four destinations."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.machine import LINE, MachineConfig
from hw.dma.weight_lines import CHUNK_LINES, Destination

NORM_LINES = 128
"""Lines that the norm's parameter queue holds; the widest norm takes 96, or 128 in stream beats of two lines."""
MULTIPLIER_LINES = 4
"""Lines that the queue of ATTENTION's score multipliers holds."""


class Credits(wiring.Component):
    """Credit counters, in lines: depth[d] + released - taken; ``possible``: ``destination`` can take a whole chunk.

    Timing: LATENCY cycles from a release to ``possible``; a line taken counts in the next cycle.
    Domain: nothing is taken while not ``possible``; nothing is released that was not taken.
    Reference model: none.

    Members: ``destination`` In, ``taken`` In, lines, ``possible`` Out, ``ring_release`` In, rows of the ring,
    ``param_release``, ``norm_release``, ``multipliers_release`` In, a stream beat each.
    """

    LATENCY = 2

    destination: Signal
    taken: Signal
    possible: Signal
    ring_release: Signal
    param_release: Signal
    norm_release: Signal
    multipliers_release: Signal

    def __init__(self, cfg: MachineConfig):
        self.cfg = cfg
        super().__init__({
            "destination": In(Destination), "taken": In(range(CHUNK_LINES + 1)), "possible": Out(1),
            "ring_release": In(range(cfg.ring_rows + 1)),
            "param_release": In(1), "norm_release": In(1), "multipliers_release": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        cfg = self.cfg
        # Destination: depth, lines that must be free before a chunk, lines freed in this cycle.
        targets = {
            Destination.RING: (cfg.ring_lines, CHUNK_LINES, self.ring_release * (cfg.row_bytes // LINE)),
            Destination.PARAM: (cfg.param_lines, CHUNK_LINES, self.param_release * cfg.beat_lines),
            Destination.NORM: (NORM_LINES, CHUNK_LINES, self.norm_release * cfg.beat_lines),
            Destination.MULTIPLIERS: (MULTIPLIER_LINES, cfg.beat_lines, self.multipliers_release * cfg.beat_lines),
        }
        possible = []
        for target, (depth, wanted, released) in targets.items():
            credit = Signal(range(depth + 1), init=depth, name=f"credit_{target.name.lower()}")
            s1_freed = Signal(range(depth + 1), name=f"s1_freed_{target.name.lower()}")
            m.d.sync += [
                s1_freed.eq(released),
                credit.eq(credit + s1_freed - Mux(self.destination == target, self.taken, 0)),
            ]
            possible.append(credit >= wanted)
        m.d.comb += self.possible.eq(Array(possible)[self.destination.as_value()])
        return m
