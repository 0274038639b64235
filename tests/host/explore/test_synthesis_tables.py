# SPDX-License-Identifier: Apache-2.0
"""Tables of synthesis results: from entries to Markdown, and the results that the repository keeps."""

import json

import pytest

from golden.spec.machine import MACHINES
from host.report import synthesis

UNIT = {"unit": "array", "resources": {"LUT": 1200, "FF": 7, "DSP": 3, "BRAM18": 3}, "bram36": 1.5,
        "paths": {"register to register": {"levels": 4}}}
WHOLE = UNIT | {"unit": "top", "resources": {"LUT": 137_040, "DSP": 252}, "bram36": 91.2}


def test_a_row_holds_the_areas_and_depths_of_a_unit():
    assert "| array | 1,200 | 0 | 7 | 3 | 1.5 | 0 | 4 | - | - | - |" in synthesis.areas("small", [UNIT])


def test_a_machine_is_compared_with_its_board_and_its_limits():
    table = synthesis.areas("zcu102", [UNIT, WHOLE])
    assert "| used | 50 % |  | 0 % | 10 % | 10 % |" in table and "274,080" in table
    assert "| must stay within | 105,000 |  |  | 1,754 | 638 |  | 8 |" in table
    assert "| reach for | 95,000 |  |  | 1,300 | 450 |  | 6 |" in table
    assert "must stay" not in synthesis.areas("small", [UNIT, WHOLE])


def test_clocks_are_listed_with_the_part():
    rows = [{"unit": "a", "used": {"LUT4": 1000}, "mhz": 123.45}, {"unit": "b", "used": {"LUT4": 234}, "mhz": None}]
    table = synthesis.clocks(rows, "PART", {"LUT4": 2000})
    assert "| a | 1,000 | 123.5 |" in table or "| a | 1,000 | 123.4 |" in table
    assert "| b | 234 | - |" in table
    assert "| PART has | 2,000 |  |" in table and "used" not in table
    whole = synthesis.clocks([*rows, rows[0] | {"unit": "top"}], "PART", {"LUT4": 2000})
    assert "| **top** | 1,000 | 123." in whole and whole.endswith("| used | 50 % |  |")


def test_what_is_kept_is_found_again(tmp_path, monkeypatch):
    monkeypatch.setattr(synthesis, "KEPT", tmp_path / "new")
    synthesis.keep("small", {"sources": "0", "units": [UNIT, WHOLE]})
    assert synthesis.kept_areas("small") == synthesis.areas("small", [UNIT, WHOLE])
    synthesis.keep("small-pnr", {"part": "PART", "has": {"LUT4": 9}, "units": [], "sentences": ["It does not fit."]})
    assert "| PART has | 9 |  |" in synthesis.kept_clocks("small")
    assert synthesis.kept_clocks("small").endswith("It does not fit.")


@pytest.mark.parametrize("path", sorted(synthesis.KEPT.glob("*.json")), ids=lambda path: path.stem)
def test_kept_results_are_whole(path):
    """Every figure that a table needs is there, and the sum is the sum: a file edited by hand is red."""
    kept = json.loads(path.read_text())
    machine = path.stem.removesuffix("-pnr")
    assert machine in MACHINES and len(kept["sources"]) == 16
    if path.stem.endswith("-pnr"):
        assert all(entry["mhz"] is None or entry["mhz"] > 0 for entry in kept["units"])
        assert all(set(entry["used"]) <= set(kept["has"]) for entry in kept["units"])
        return
    *parts, whole = kept["units"]
    assert (parts[-1]["unit"], whole["unit"]) == (synthesis.GLUE, synthesis.MACHINE)
    for name in ("LUT", "FF", "DSP"):
        assert sum(entry["resources"].get(name, 0) for entry in parts) == whole["resources"][name]
    assert sum(entry["bram36"] for entry in parts) == whole["bram36"]


@pytest.mark.parametrize("machine", sorted(synthesis.MUST))
def test_the_kept_machine_stays_within_its_limits(machine):
    whole = json.loads((synthesis.KEPT / f"{machine}.json").read_text())["units"][-1]
    measured = whole["resources"] | {"BRAM36": whole["bram36"],
                                     "levels": max(path["levels"] for path in whole["paths"].values()),
                                     "reset": whole["reset"][1]}
    limits = synthesis.MUST[machine] | synthesis.LOGIC
    assert all(measured[name] <= most for name, most in limits.items())
    assert f"| must stay within | {limits['LUT']:,} |" in synthesis.kept_totals(machine)
