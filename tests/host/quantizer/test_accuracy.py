# SPDX-License-Identifier: Apache-2.0
"""The accuracy report: its figures, its pictures, its exit status; and the thresholds on the reference weights."""

import json
from dataclasses import replace

import numpy as np
import pytest

from golden.model.reference_data import reference_folder
from golden.spec.model import MODELS
from host.report import accuracy
from host.report.compare import Error
from host.report.thresholds import LIMITS, Threshold

SMALL = replace(MODELS["nano"], name="nano-seeded")


def test_error_figures_are_the_textbook_ones():
    wanted, came = np.array([3.0, 4.0]), np.array([3.0, 3.0])
    error = Error.between(came, wanted)
    assert (error.mse, error.mae) == (0.5, 0.5)
    assert error.sqnr == pytest.approx(10 * np.log10(12.5 / 0.5))
    assert error.cosine == pytest.approx(21 / (5 * np.sqrt(18)))


def test_a_threshold_knows_which_way_is_better():
    assert Threshold("mse", 1.0, 0.5).met and not Threshold("mse", 1.0, 1.5).met
    assert Threshold("dB", 1.0, 1.5, at_least=True).met and not Threshold("dB", 1.0, 0.5, at_least=True).met


@pytest.mark.parametrize("limit, status", [(10.0, 0), (99.0, 1)])
def test_seeded_report_prints_figures_and_leaves_a_picture(limit, status, monkeypatch, tmp_path, edge_moe):
    monkeypatch.setattr(accuracy, "SEEDED", SMALL)
    monkeypatch.setattr(accuracy, "held_out", lambda config: {
        f"photograph {i}": view for i, view in enumerate(accuracy.crops(config, 2, seed=5))})
    monkeypatch.setattr(accuracy, "SEEDED_SQNR", {"fast": limit})
    arguments = ["accuracy", "--only", "seeded", "--plan", "fast", "--crops", "4", "--out", tmp_path]
    code, printed, _ = edge_moe(*arguments, *(() if status else ("--json",)))
    assert code == status
    if status:
        assert all(word in printed for word in ("block 1", "experts", "saturations", "thresholds", "NO"))
    else:
        case = json.loads(printed)["nano-seeded, fast"]
        assert len(case["pictures"]) == 2 * len(SMALL.tasks) and case["thresholds"][0]["met"]
        assert {"mse", "mae", "cosine", "sqnr", "changed"} <= set(case["pictures"][0])
        rows = list(accuracy.rows({"nano-seeded, fast": case}))
        assert len(rows) == 1 + 5 * len(case["pictures"]) and all(tuple(row) == accuracy.COLUMNS for row in rows)
        assert rows[0]["met"] is True and rows[1]["value"] == case["pictures"][0]["changed"]
    assert (tmp_path / "nano-seeded-fast.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.skipif(reference_folder() is None, reason="the folder of reference weights is not here")
@pytest.mark.parametrize("plan", [pytest.param(plan, marks=[pytest.mark.nightly] if plan != "fast" else [])
                                  for plan in LIMITS])
def test_every_threshold_on_the_reference_weights_is_met(plan, tmp_path, edge_moe):
    status, out, _ = edge_moe("accuracy", "--only", "reference", "--plan", plan, "--out", tmp_path, "--json")
    figures = json.loads(out)
    thresholds = [threshold for case in figures.values() for threshold in case["thresholds"]]
    assert {threshold["limit"] for threshold in thresholds} == set(LIMITS[plan].values())
    assert [threshold for threshold in thresholds if not threshold["met"]] == [] and status == 0
