# SPDX-License-Identifier: Apache-2.0
"""Payloads between the weight prefetcher and the weight ports."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from golden.spec import isa
from golden.spec.isa import STREAM_BITS
from golden.spec.machine import MAX_BURST, SLICE_LINES

CHUNK_LINES = SLICE_LINES
"""Most lines that the prefetcher requests at once: one slice of a tile's weights."""


class Destination(enum.Enum, shape=2):
    """Where a line of the weight stream goes: ``golden.spec.isa.Destination``, as a shape."""

    RING = int(isa.Destination.RING)
    PARAM = int(isa.Destination.PARAM)
    NORM = int(isa.Destination.NORM)
    MULTIPLIERS = int(isa.Destination.MULTIPLIERS)


CHUNK = data.StructLayout({
    "line": unsigned(STREAM_BITS), "lines": unsigned(CHUNK_LINES.bit_length()),
    "jump": unsigned(1),       # `line` does not follow the last chunk's last line
})
ROUTE = data.StructLayout({"destination": Destination, "lines": unsigned(13)})
"""The next ``lines`` lines go to ``destination``."""
RANGE = data.StructLayout({"beat": unsigned(STREAM_BITS), "beats": unsigned(MAX_BURST.bit_length())})
"""Stream beats of which every port is to read its share, at most one burst."""
