# SPDX-License-Identifier: Apache-2.0
"""Measured figures in the prose of the site come from kept results; none is typed there."""

import re

import pytest

from golden.spec.model import M3VIT_TINY
from host.report import comparison, measured
from host.report.comparison import FIGURES
from host.site import PAGES
from host.site.assemble import filled

PROSE = [*sorted((PAGES / "concepts").glob("*.md")), PAGES / "faq.md", PAGES / "comparison.md",
         PAGES / "tutorials" / "read-a-profile.md"]
NO_PROSE = r"<!-- begin ([\w-]+) -->.*?<!-- end \1 -->|```.*?```|`[^`]*`|\[arXiv [^]]*\]|\(http[^)]*\)"
MEASURED = r"\d+\.\d+|\d+ ?%|\d+ (?:ms|mm|kB|MB|seconds|minutes|cycles)\b"
"""What a measured figure looks like."""
OF_OTHERS = {"2.5", "0.9"}
"""What papers assume; what a rule of thumb calls much."""


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.stem)
def test_no_measured_figure_is_typed(page):
    prose = re.sub(NO_PROSE, "", page.read_text(), flags=re.DOTALL)
    assert set(re.findall(MEASURED, prose)) <= OF_OTHERS


def test_every_figure_stands_on_a_page_in_a_sentence():
    for name, figure in FIGURES.items():
        lines = [line for page in PROSE for line in page.read_text().splitlines() if f"<!-- begin {name} -->" in line]
        assert len(lines) == 1 and figure() in filled(lines[0]) and "\n" not in figure()


def test_figures_follow_what_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(measured, "KEPT", tmp_path)
    monkeypatch.setattr(comparison, "KEPT", tmp_path)
    case = {"cycles": 100, "predicted": 103.0, "dram_ratio": 1.25, "experts_hit": 9.0}
    measured.keep("m3vit-tiny-zcu102", {comparison.BOARD: case, comparison.IDEAL: case | {"predicted": 94.9}})
    measured.keep("predicted", {"cells": [], "cycles": 1})
    assert comparison.bytes_over_needed() == "1.250" and comparison.model_error() == "5.1 %"
    assert comparison.experts_hit() == f"9.0 of {M3VIT_TINY.experts}"
