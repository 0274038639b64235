# SPDX-License-Identifier: Apache-2.0
"""Nested FFNs in one weight stream: programs that use the first neurons of every FFN, with the weights stored once.

fc1 of a narrow FFN is the first tiles of the whole one. fc2's tiles hold the inputs of all neurons, so a narrow fc2 is
one LINEAR for each tile, which reads the first slices of its weights (``golden/doc/0003-nested-ffns.md``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from golden.spec.isa import LIMITS, Opcode
from golden.spec.machine import SLICE, MachineConfig
from golden.spec.model import ModelConfig
from golden.spec.tiling import linear_lines, linear_tile_lines, slices, tiles
from host.compiler import weight_stream as lay
from host.ir.model import QuantizedModel
from host.ir.nodes import Node, NotFitting, Row

MOST_IN_BODY = LIMITS[Opcode.EXPERTS]["body"][1]


@dataclass(frozen=True)
class Nest:
    """The networks whose programs share a weight stream: one or more widths of one network, the widest first."""

    parts: tuple[QuantizedModel, ...]

    @property
    def stored(self) -> ModelConfig:
        """The network whose weights are in the stream."""
        return self.parts[0].config

    def rests(self, name: str) -> list[np.ndarray]:
        """What absent neurons of the FFN ``name`` left in the bias of fc2, of each width where that is not nothing."""
        return [part.rest[name] for part in self.parts if has_rest(part, name)]

    def place(self, model: QuantizedModel, name: str) -> int | None:
        """Position of the rest of ``model`` in :meth:`rests`, None where it has none."""
        if not has_rest(model, name):
            return None
        at = next(i for i, part in enumerate(self.parts) if part is model)
        return sum(has_rest(part, name) for part in self.parts[:at])


def has_rest(model: QuantizedModel, name: str) -> bool:
    """Whether absent neurons of the FFN ``name`` left anything."""
    return name in model.rest and bool(model.rest[name].any())


def rest_lines(config: ModelConfig) -> int:
    """Stream lines of a LINEAR that only adds a bias."""
    return linear_lines(tiles(config.dim), 1)


def rest_payload(machine: MachineConfig, rest: np.ndarray, multiplier: np.ndarray) -> bytes:
    """Stream of that LINEAR: one slice of weights, all zero."""
    return lay.linear(machine, np.zeros((len(rest), SLICE), np.int8), rest, multiplier)


def rest_linear(name: str, fc1: Node, fc2: Node, payload: str | None, **fields: int) -> Node:
    """The LINEAR that adds a rest to what ``fc2`` adds to, for the tokens that ``fc1`` reads, whose values count for
    nothing; ``fields`` of the instruction."""
    source = {key: fc1.fields[key] for key in ("src_row", "src_stride", "src_index") if key in fc1.fields}
    narrow = {"slices": 1, "packed": 0, "src_wide": 0, "src_plane": 0}
    results = tuple(access for access in fc2.reads if access in fc2.writes)
    return replace(fc2, name=f"{name}.rest", payload=payload, macs=0, reads=(*fc1.reads, *results),
                   fields=fc2.fields | source | narrow | fields)


def by_tile(fc2: Node, stored: int, first_line: int | None = None) -> list[Node]:
    """``fc2`` as it is, or a LINEAR for each tile where the stream has ``stored`` neurons and it uses fewer. Inside
    EXPERTS its stream begins at ``first_line`` of an expert's part."""
    pitch, count = linear_tile_lines(slices(stored), fc2.fields["packed"]), fc2.fields["tiles"]
    if fc2.fields["slices"] == slices(stored):
        return [fc2]
    row = fc2.fields["dst_row"]
    assert isinstance(row, Row), "A residual row holds the results of one tile."
    parts = []
    for tile in range(count):
        fields = fc2.fields | {"tiles": 1, "dst_row": row.moved(0, tile)}
        if first_line is None:
            parts.append(replace(fc2, fields=fields, lines=fc2.lines + tile * pitch, macs=fc2.macs // count))
        else:
            parts.append(replace(fc2, fields=fields | {"stream": first_line + tile * pitch}, macs=fc2.macs // count))
    return parts


def check_body(body: Sequence[Node], config: ModelConfig) -> None:
    """Raise :class:`NotFitting` for more instructions than EXPERTS can repeat."""
    if len(body) > MOST_IN_BODY:
        raise NotFitting(f"A narrow expert of {config.name!r} takes {len(body)} instructions, one for each 32 of dim "
                         f"{config.dim} and {len(body) - tiles(config.dim)} more; experts have at most {MOST_IN_BODY}. "
                         f"Compile it with an FFN width of 1 alone.")
