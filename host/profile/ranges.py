# SPDX-License-Identifier: Apache-2.0
"""Value ranges of a run: each tensor of the integer network against the format that the machine holds it in."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, log2

import numpy as np

from golden.model.int_model import IntModel
from golden.ops.saturation import SaturationCounters
from golden.spec.heads import WINDOWS
from golden.spec.tables import BLOCK_SHIFT_MAX, UNSIGNED_MAX, WEIGHT_MAX

_INT8, _INT16 = (-(1 << 7), (1 << 7) - 1), (-(1 << 15), (1 << 15) - 1)
FORMATS = {
    "block": ("int8 x 2^0..3", tuple(limit << BLOCK_SHIFT_MAX for limit in _INT8)),
    "wide": ("int16", _INT16), "residual": ("int16", _INT16), "normalized": ("int16", _INT16),
    "key": ("int8", (-WEIGHT_MAX, WEIGHT_MAX)), "unsigned": ("uint8", (0, UNSIGNED_MAX)),
}
"""Format and limits by what clips in it, the kinds of :class:`golden.ops.saturation.SaturationCounters`."""
STAGES = {"norm1": "norm1", "attn.q": "attn.q", "attn.k": "attn.k", "attn.v": "attn.v", "attn.out": "attn.out",
          "attn.residual": "attn.proj", "norm2": "norm2", "norm2.normalized": "norm2", "mlp.hidden": "mlp.fc1",
          "": "mlp.fc2"}
"""Tensors of a block, by their names in the trace, and the place at which the network counts what it clips in them;
the empty name is the residual stream after the block."""


@dataclass
class Range:
    """One tensor: the ``stage`` of the ``part`` of the network (a block, a head) that writes it, its format and
    ``limits``, its least and largest value, how many of the values written to it were clipped, of how many."""

    part: str
    stage: str
    form: str
    limits: tuple[int, int]
    low: int
    high: int
    clipped: int = 0
    seen: int = 0

    @property
    def headroom(self) -> float:
        """Bits by which all values could grow before the first is clipped; infinite where all are 0."""
        (least, most), scales = self.limits, []
        if self.low < 0:
            scales.append(least / self.low)
        if self.high > 0:
            scales.append(most / self.high)
        return max(0.0, log2(min(scales))) if scales else inf

    @property
    def share(self) -> float:
        """Share of the values that were clipped."""
        return self.clipped / max(1, self.seen)


def value_ranges(model: IntModel, pixels: np.ndarray, tasks: Iterable[str]) -> list[Range]:
    """The ranges of one picture (uint8, the model's size) in the passes for all ``tasks``, in the network's order."""
    found: dict[tuple[str, str], Range] = {}
    for task in tasks:
        saturation, traced = SaturationCounters(), {}
        model.run(pixels, task, trace=lambda name, value, seen=traced: _see(seen, name, value), saturation=saturation)
        for (part, stage), (low, high, place, kind) in traced.items():
            clipped, seen = saturation.counts.get((place, kind), (0, 0))
            form, limits = FORMATS[kind]
            entry = found.setdefault((part, stage), Range(part, stage, form, limits, low, high))
            entry.low, entry.high = min(entry.low, low), max(entry.high, high)
            entry.clipped, entry.seen = entry.clipped + clipped, entry.seen + seen
    return list(found.values())


def _see(seen: dict, name: str, value: np.ndarray) -> None:
    """Note the range of a traced tensor, by part and stage, with the place and the kind of its clipping."""
    key = _stage(name.removesuffix(".exp"))
    if key is None or not value.size:
        return
    part, stage, place, kind = key
    if name.endswith(".exp"):  # the operand that came before it is in blocks; those between convolutions in bytes
        seen[part, stage][3] = "unsigned" if stage.startswith("conv_") else "block"
        return
    low, high = int(value.min()), int(value.max())
    entry = seen.setdefault((part, stage), [low, high, place, kind])
    entry[0], entry[1] = min(entry[0], low), max(entry[1], high)


_BLOCK = re.compile(r"(blocks\.\d+)(?:\.(.+?))?(?:\.\d+)?")
_HEAD = re.compile(rf"(heads\..*)\.(norm|conv_[0-{WINDOWS - 1}]|out)")
_KINDS = {"attn.k": "key", "attn.v": "key", "attn.residual": "residual", "": "residual",
          "norm2.normalized": "normalized"}


def _stage(name: str) -> tuple[str, str, str, str] | None:
    """Part, stage, place and kind of clipping of a traced tensor; operands are 16-bit until their exponents come."""
    if name == "embed":
        return "embed", "residual", "embed", "residual"
    if name in ("norm", "logits"):
        return "classifier", name, *(("norm", "wide") if name == "norm" else ("head", "residual"))
    if match := _HEAD.fullmatch(name):
        head, stage = match.groups()
        place = f"{head}.conv_{WINDOWS}" if stage == "out" else name
        return head, stage, place, "residual" if stage == "out" else "wide"
    match = _BLOCK.fullmatch(name)
    if match is None or (match[2] or "") not in STAGES:
        return None
    part, stage = match[1], match[2] or ""
    return part, stage or "residual", f"{part}.{STAGES[stage]}", _KINDS.get(stage, "wide")
