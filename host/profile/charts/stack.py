# SPDX-License-Identifier: Apache-2.0
"""Cycle stack: one bar for each layer, or for each run, divided by what the matrix array did in its cycles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from golden.spec.machine import MachineConfig
from host.profile.layers import Layer
from host.profile.svg import SMALL, Drawing, shortened, width_of

PARTS = {
    "useful": "useful products", "padding": "unused lanes, second passes", "weights": "waiting for weights",
    "operands": "waiting for operands", "drain": "waiting for epilogue or softmax", "idle": "nothing issued"}
"""Parts of a bar by their class, in the order in which they are drawn."""
WIDTH, ROW, BAR, LABELS = 1080, 21, 14, 40


@dataclass(frozen=True)
class Bar:
    """One bar: cycles by part; ``strong``: set apart from the others."""

    name: str
    parts: Mapping[str, float]
    strong: bool = False

    @property
    def cycles(self) -> float:
        return sum(self.parts.values())


def of_counters(name: str, counters: Mapping[str, int], macs: int, machine: MachineConfig) -> Bar:
    """The bar of a job by the hardware's counters; ``macs``: its useful ones."""
    useful = min(macs / machine.macs_per_cycle, counters["ARRAY_BUSY"])
    parts = {"useful": useful, "padding": counters["ARRAY_BUSY"] - useful, "weights": counters["ARRAY_WEIGHTS"],
             "operands": counters["ARRAY_OPERANDS"], "drain": counters["ARRAY_DRAIN"]}
    return Bar(name, parts | {"idle": max(0.0, counters["CYCLES"] - sum(parts.values()))}, strong=True)


def of_layer(layer: Layer, machine: MachineConfig) -> Bar:
    """The bar of a layer: its steps as they were counted, what it waited for weights by the model, and the rest."""
    useful = min(layer.macs / machine.macs_per_cycle, layer.cycles)
    padding = min(layer.steps - layer.macs / machine.macs_per_cycle, layer.cycles - useful)
    weights = min(layer.waited, layer.cycles - useful - padding)
    parts = {"useful": useful, "padding": max(0.0, padding), "weights": weights}
    return Bar(layer.name, parts | {"idle": max(0.0, layer.cycles - sum(parts.values()))})


def cycle_stack(bars: Sequence[Bar], names: Mapping[str, str] = PARTS) -> Drawing:
    """``names``: what the parts are called here. A strong bar has a scale of its own: it fills the width."""
    used = [part for part in PARTS if any(bar.parts.get(part) for bar in bars)]
    left = 12 + width_of("x" * min(LABELS, max(len(bar.name) for bar in bars)))
    share = WIDTH - 2 - width_of("100.0%", SMALL)
    right = share - width_of(f"{max(bar.cycles for bar in bars):,.0f}", SMALL) - 8
    drawing = Drawing(WIDTH, 0, "where the cycles go")
    top = drawing.legend(8, 10, [(part, names.get(part, PARTS[part])) for part in used]) + 22
    strong = sum(bar.strong for bar in bars)
    drawing.height = top + ROW * len(bars) + (10 if 0 < strong < len(bars) else 0) + 6
    longest = max((bar.cycles for bar in bars if not bar.strong), default=0.0) or 1.0
    whole = sum(bar.cycles for bar in bars if not bar.strong) or 1.0
    y = float(top)
    for number, bar in enumerate(bars):
        scale = (right - left) / max(1.0, bar.cycles if bar.strong and strong < len(bars) else
                                     max(longest, *(b.cycles for b in bars)) if strong == len(bars) else longest)
        drawing.text(left - 8, y + BAR / 2, shortened(bar.name, LABELS), "strong" if bar.strong else "ink", "end")
        x = left
        for part in used:
            wide = bar.parts.get(part, 0.0) * scale
            if wide > 0:
                drawing.rect(x, y, wide, BAR, part, f"{bar.name}: {names.get(part, PARTS[part])}, "
                             f"{bar.parts[part]:,.0f} cycles, {bar.parts[part] / max(1, bar.cycles):.1%}")
            x += wide
        drawing.text(share, y + BAR / 2, f"{bar.cycles:,.0f}", "muted", "end", SMALL)
        if not bar.strong:
            drawing.text(WIDTH - 2, y + BAR / 2, f"{bar.cycles / whole:.1%}", "muted", "end", SMALL)
        y += ROW + (10 if bar.strong and number + 1 == strong < len(bars) else 0)
    return drawing
