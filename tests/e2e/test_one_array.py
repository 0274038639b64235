# SPDX-License-Identifier: Apache-2.0
"""One array for everything: its busy cycles are those of all the network's products, kind by kind, and no others."""

import pytest

from golden.device import GoldenDevice
from golden.iss import Entry
from golden.spec.isa import Dest, Opcode
from golden.spec.machine import TN, MachineConfig
from golden.spec.tiling import ceil_div, slices
from host.driver.session import Session
from sim.board.settings import DramSettings

pytestmark = pytest.mark.rtl


def array_cycles(entry: Entry, cfg: MachineConfig) -> int:
    """Steps of one retired instruction: a token group meets every row of its weights once (twice with 16-bit data)."""
    f = entry.fields
    if entry.opcode is Opcode.LINEAR:
        tokens = f["tokens"] if entry.tokens is None else len(entry.tokens)
        return ceil_div(tokens, cfg.tm) * f["tiles"] * f["slices"] * cfg.steps * (1 + f["src_wide"])
    if entry.opcode is not Opcode.ATTENTION:
        return 0
    scores = ceil_div(f["keys"], TN) * f["head_slices"]
    values = f["head_slices"] // 2 * slices(f["keys"]) * (1 + f["wide_p"])
    return f["heads"] * ceil_div(f["queries"], cfg.tm) * (scores + values) * cfg.steps


def kind(entry: Entry) -> str:
    if entry.opcode is Opcode.ATTENTION:
        return "scores and values"
    if entry.expert >= 0:
        return "experts"
    return "gate" if entry.fields["dst"] == Dest.GATE else "patches, projections, feed-forward"


def test_all_products_of_a_frame_are_the_arrays(image, device, picture):
    config = device.board.config
    for task in image.programs:
        device.board.configure(DramSettings(latency=20))
        device.board.inject([])
        counters = Session(image, device).frame(picture, task).counters
        trace = []
        Session(image, GoldenDevice(config, trace=trace.append)).frame(picture, task)
        cycles = {}
        for entry in trace:
            if found := array_cycles(entry, config):
                cycles[kind(entry)] = cycles.get(kind(entry), 0) + found
        assert len(cycles) == 4, cycles
        assert counters["ARRAY_BUSY"] == sum(cycles.values()), (task, cycles)
