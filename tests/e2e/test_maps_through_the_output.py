# SPDX-License-Identifier: Apache-2.0
"""Maps enlarged on the chip, stored, loaded back from the output and enlarged again: golden and RTL, bit by bit."""

import pytest

from golden.spec import isa
from golden.spec.isa import FORMATS, Edge, Memory, Opcode, Region
from golden.spec.status import Status
from golden.spec.tiling import upsampled
from sim.board.settings import DramSettings
from tests.fuzz.programs import Instruction, finished
from tests.fuzz.rig import Contents, Rig, on_golden

pytestmark = pytest.mark.rtl
ROWS, WIDTH, LINES = 2, 7, 5
STRIP = ROWS * WIDTH * LINES
ENLARGED = STRIP + 60
"""Operand row of the enlarged map."""
SCRATCH = 200
"""Its line of the output; the end of each program stores both memories over it."""


def program(edges: int, bands: int = 3) -> list[int]:
    """Enlarge a strip of the input, store the result, load a part of it as the next strip, and so on."""
    height = upsampled(LINES, bool(edges & Edge.TOP) + bool(edges & Edge.BOTTOM))
    width = upsampled(WIDTH, bool(edges & Edge.LEFT) + bool(edges & Edge.RIGHT))
    found = [(Opcode.LOAD, {"region": Region.INPUT, "rows": STRIP})]
    for band in range(bands):
        found += [
            (Opcode.UPSAMPLE, {"dst_row": ENLARGED, "rows": ROWS, "width": WIDTH, "lines": LINES, "pitch": WIDTH,
                               "edges": edges}),
            (Opcode.STORE, {"row": ENLARGED, "rows": ROWS * height * width, "offset": SCRATCH}),
            (Opcode.LOAD, {"region": Region.OUTPUT, "rows": STRIP, "offset": SCRATCH + ROWS * band}),
        ]
    found.append((Opcode.LOAD, {"region": Region.OUTPUT, "memory": Memory.RESIDUAL, "rows": 150, "offset": SCRATCH}))
    return [isa.encode(opcode, **fields) for opcode, fields in finished([whole(*one) for one in found])]


def whole(opcode: Opcode, fields: dict) -> Instruction:
    return opcode, {field.name: 0 for field in FORMATS[opcode].fields[1:]} | fields


@pytest.mark.parametrize("edges", [0, int(sum(Edge)), int(Edge.TOP | Edge.LEFT), int(Edge.BOTTOM | Edge.RIGHT)])
def test_what_was_stored_is_loaded_and_enlarged(edges, device):
    rig, contents = Rig(device), Contents.of(edges)
    words = program(edges)
    wanted = on_golden(words, contents)
    assert wanted.status is Status.OK, wanted
    for settings in (DramSettings(latency=20), DramSettings(latency=300), DramSettings(latency=40, stall=0.5)):
        device.board.configure(settings)
        assert rig.run(words, contents) == wanted, settings


def test_a_load_beyond_the_output_is_refused(device):
    rig, contents = Rig(device), Contents.of(0)
    device.board.configure(DramSettings(latency=20))
    words = program(0)
    at = next(n for n, word in enumerate(words) if isa.decode(word)[1].get("region") == Region.OUTPUT)
    words[at] = isa.encode(Opcode.LOAD, **isa.decode(words[at])[1] | {"offset": 1 << 20})
    wanted, came = on_golden(words, contents), rig.run(words, contents)
    assert (came.status, came.index) == (wanted.status, wanted.index) == (Status.RANGE_READ, at)
