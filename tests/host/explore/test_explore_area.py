# SPDX-License-Identifier: Apache-2.0
"""The area formulas against what Yosys made of the units, measured by `python -m sim.implementation.synth`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from golden.spec.machine import MACHINES, SMALL, ZCU102
from host.explore.area import Area, area, units
from host.explore.unit_area import memory

MEASURED = {
    # (tm, tk, ports) of otherwise `small` machines of serialization 4: LUT, FF, DSP, BRAM36
    ("array", 2, 2, 1): (6_055, 4_787, 64, 0), ("array", 2, 4, 1): (6_366, 5_351, 128, 0),
    ("array", 4, 4, 1): (11_374, 8_859, 256, 0), ("softmax", 2, 2, 1): (3_414, 2_886, 8, 2.5),
    ("epilogue", 2, 2, 1): (8_163, 9_849, 17, 2), ("norm", 2, 2, 1): (5_949, 7_169, 37, 8),
    ("control", 2, 2, 1): (5_644, 5_551, 3, 0), ("control", 4, 4, 1): (8_593, 7_967, 3, 0),
    ("control", 8, 2, 1): (10_816, 10_882, 3, 0), ("weights", 2, 2, 1): (1_395, 2_736, 0, 2),
    ("weights", 2, 4, 2): (2_038, 3_717, 0, 4),
}
KEPT = Path(__file__).parents[3] / "hw" / "synthesis"


def close(found: Area, lut, ff, dsp, bram36, relative=0.06):
    assert found.lut == pytest.approx(lut, rel=relative) and found.ff == pytest.approx(ff, rel=relative)
    assert found.dsp == dsp and found.bram36 == pytest.approx(bram36, rel=0.06)


@pytest.mark.parametrize("key", MEASURED, ids=lambda key: "-".join(map(str, key)))
def test_units_between_the_presets(key):
    unit, tm, tk, ports = key
    close(units(replace(SMALL, tm=tm, tk=tk, ports=ports, serialization=4))[unit], *MEASURED[key])


@pytest.mark.parametrize("name", ["small", "zcu102"])
def test_what_synthesis_last_measured(name):
    """The whole machine; what was kept may be some changes of the gateware older than the units above."""
    path = KEPT / f"{name}.json"
    if not path.exists():
        pytest.skip(f"make synth CONFIG={name} ARGS=--keep was never run.")
    whole = next(unit for unit in json.loads(path.read_text())["units"] if unit["unit"] == "top")
    close(area(MACHINES[name]), whole["resources"]["LUT"], whole["resources"]["FF"], whole["resources"]["DSP"],
          whole["bram36"], relative=0.08)


@pytest.mark.parametrize("width, depth, blocks", [
    (258, 8192, 58), (256, 4096, 29), (512, 2048, 28.5), (128, 512, 2), (516, 128, 7.5), (28, 1024, 1),
    (258, 1024, 7.5),
])
def test_block_memories_are_what_yosys_takes(width, depth, blocks):
    assert memory(width, depth) == (0, blocks)


def test_shallow_memories_are_luts():
    assert memory(512, 63) == (592, 0) and memory(515, 31) == (296, 0)


def test_more_machine_is_more_area():
    for field in ("tm", "tk", "ports", "ring_lines", "operand_rows", "residual_rows"):
        small, large = area(replace(ZCU102, **{field: getattr(ZCU102, field) // 2})), area(ZCU102)
        assert small.lut <= large.lut and small.bram36 <= large.bram36 and small.dsp <= large.dsp and small != large
