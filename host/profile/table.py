# SPDX-License-Identifier: Apache-2.0
"""Table of the layers in vaitrace's vocabulary: what each column says of a layer and of all, and where it is from."""

from collections.abc import Callable
from dataclasses import dataclass

from host.profile.layers import Layer
from host.profile.run import COUNTED, MODEL, Profile

ARRAY_BOUND = 0.8
"""Share of a layer's cycles with a step of the array from which on the array bounds it."""


@dataclass(frozen=True)
class Cell:
    """What is shown, and what a column is sorted by."""

    text: str
    key: float | str


@dataclass(frozen=True)
class Column:
    """``source``: whether the device measured it, the executed instructions were counted, or the model says so."""

    title: str
    source: str
    about: str
    cell: Callable[[Layer], Cell]
    number: bool = True


def bound(layer: Layer) -> str:
    """What a layer's cycles are spent on for the most part: steps of the ``array``, waiting for ``weights``, ``units``
    around the array (operands, norm, softmax, epilogue), or the main ``port``; ``hidden`` where others cover it all."""
    if layer.cycles <= 0:
        return "hidden"
    if layer.steps >= ARRAY_BOUND * layer.cycles:
        return "array"
    if not layer.steps:
        return "port" if layer.loaded or layer.stored else "units"
    return "weights" if layer.waited > layer.cycles - layer.steps - layer.waited else "units"


def columns(profile: Profile) -> list[Column]:
    """The columns for a profile; those of experts where it has any."""
    timing, clock, machine = profile.timing, profile.clock_hz, profile.machine

    def rate(amount: float, layer: Layer) -> float:
        return amount / (layer.cycles / clock) if layer.cycles else 0.0

    def number(value: float, form: str, none: bool = False) -> Cell:
        return Cell("" if none else f"{value:{form}}", value)

    found = [
        Column("layer", COUNTED, "instructions of a layer, by their names", lambda layer: Cell(layer.name, layer.name),
               False),
        Column("kind", COUNTED, "what it computes", lambda layer: Cell(layer.kind, layer.kind), False),
        Column("cycles", timing, "until the array ends its last instruction, from the end of the layer before it",
               lambda layer: number(layer.cycles, ",.0f")),
        Column("ms", timing, f"at {profile.clock}", lambda layer: number(layer.cycles / clock * 1e3, ".3f")),
        Column("WL MMAC", COUNTED, "millions of useful multiply-accumulates; two operations each",
               lambda layer: number(layer.macs / 1e6, ",.2f", not layer.macs)),
        Column("GOP/s", timing, "useful operations a second, two for a multiply-accumulate",
               lambda layer: number(rate(2 * layer.macs, layer) / 1e9, ",.0f", not layer.macs)),
        Column("MAC eff. %", timing, "useful multiply-accumulates over what the array can make in these cycles",
               lambda layer: number(100 * layer.use(machine), ".1f", not layer.macs)),
        Column("LdWB KB", COUNTED, "weights, biases and other parameters loaded through the weight ports",
               lambda layer: number(layer.weights / 1e3, ",.1f", not layer.weights)),
        Column("LdFM KB", COUNTED, "pixels, positions, maps and instructions loaded through the main port",
               lambda layer: number(layer.loaded / 1e3, ",.1f", not layer.loaded)),
        Column("StFM KB", COUNTED, "results and maps stored through the main port",
               lambda layer: number(layer.stored / 1e3, ",.1f", not layer.stored)),
        Column("MB/s", timing, "average bandwidth", lambda layer: number(
            rate(layer.bytes, layer) / 1e6, ",.0f", not (layer.bytes and layer.cycles))),
        Column("bound by", MODEL, bound.__doc__ or "",
               lambda layer: Cell(bound(layer), bound(layer)), False)]
    if any(layer.experts for layer in profile.layers):
        found += [
            Column("experts", COUNTED, "experts with tokens, of how many", lambda layer: Cell(
                f"{len(layer.queues)}/{layer.experts}" if layer.experts else "", len(layer.queues))),
            Column("tokens", COUNTED, "fewest and most tokens of an expert that was hit", lambda layer: Cell(
                f"{min(layer.queues.values())}–{max(layer.queues.values())}" if layer.queues else "",
                max(layer.queues.values(), default=0))),
            Column("skipped KB", COUNTED, "weights of experts without a token, which were not loaded",
                   lambda layer: number(layer.skipped / 1e3, ",.1f", not layer.experts))]
    return found


def losses(profile: Profile, count: int = 3) -> list[tuple[Layer, float]]:
    """The layers that lose most cycles to anything but useful products, and how many."""
    peak = profile.machine.macs_per_cycle
    found = sorted(((layer, layer.cycles - layer.macs / peak) for layer in profile.layers), key=lambda pair: -pair[1])
    return [(layer, lost) for layer, lost in found[:count] if lost > 0]
