# SPDX-License-Identifier: Apache-2.0
"""Summary of retired instructions by layer: cycles, MAC use, DRAM bytes, experts."""

from dataclasses import dataclass, field

from golden.iss.trace import Entry
from golden.spec.heads import WINDOWS
from golden.spec.isa import Opcode, stream_lines
from golden.spec.machine import LINE, SLICE, TN, MachineConfig
from sim.trace import Retired


def macs(entry: Entry) -> int:
    """Useful multiply-accumulates of one instruction; both passes of a wide operand count once."""
    f = entry.fields
    if entry.opcode is Opcode.LINEAR:
        tokens = f["tokens"] if entry.tokens is None else len(entry.tokens)
        return tokens * f["tiles"] * TN * f["slices"] * SLICE
    if entry.opcode is Opcode.ATTENTION:
        return 2 * f["heads"] * f["head_slices"] * SLICE * f["queries"] * f["keys"]
    return 0


def stream_bytes(entry: Entry) -> int:
    """Bytes of weights and parameters that one instruction takes from DRAM."""
    f = entry.fields
    lines = stream_lines(entry.opcode, f).lines
    rows = f["rows"] if entry.opcode in (Opcode.LOAD, Opcode.STORE) else 0
    return (lines + rows) * LINE


def _layer_of(symbol: str) -> str:
    """``blocks.3.attn.q`` -> ``blocks.3``, ``heads.depth.conv_1.3`` -> ``heads.depth.conv_1``.

    What overlaps is one layer: loads and patch embedding; a head's last two convolutions and the STORE of their
    result, one tile after the other.
    """
    parts = symbol.split(".")
    if parts[0] == "heads":
        last = len(parts) == 2 or parts[2] in (f"conv_{WINDOWS - 1}", f"conv_{WINDOWS}")
        return f"heads.{parts[1]}.last" if last else ".".join(parts[:3])
    if parts[0] == "blocks":
        return ".".join(parts[:2])
    return "embedding" if parts[0] in ("pos_embed", "patches", "patch_embed") else parts[0]


@dataclass
class Layer:
    """Totals of the instructions of one layer. ``queues``: tokens of each expert that was hit."""

    name: str
    cycles: int = 0
    macs: int = 0
    bytes: int = 0
    queues: dict[int, int] = field(default_factory=dict)

    def use(self, machine: MachineConfig) -> float:
        """Useful MACs over what the array could have done in these cycles."""
        return self.macs / max(1, self.cycles * machine.macs_per_cycle)


def layers(retired: list[Retired], symbols) -> list[Layer]:
    """One :class:`Layer` for each block and for what comes before and after, in program order.

    An instruction's cycles run from the latest retirement before it in program order to its own, so that they add up
    to the whole frame although units overlap.
    """
    found: dict[str, Layer] = {}
    last = 0
    for item in sorted(retired, key=lambda r: r.cycle):
        name = _layer_of(symbols[item.entry.index].name)
        layer = found.setdefault(name, Layer(name))
        layer.cycles += max(0, item.cycle - last)
        last = max(last, item.cycle)
        layer.macs += macs(item.entry)
        layer.bytes += stream_bytes(item.entry)
        if item.entry.expert >= 0 and item.entry.tokens is not None:
            layer.queues[item.entry.expert] = len(item.entry.tokens)
    return list(found.values())
