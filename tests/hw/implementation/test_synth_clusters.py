# SPDX-License-Identifier: Apache-2.0
"""Synthesis of machines with clusters: one cluster of each unit stands for all of them."""

from collections import Counter
from dataclasses import replace

import pytest

from golden.spec.machine import NANO
from sim.implementation.synth import design, report, units


def test_a_unit_of_clusters_comes_apart_at_its_clusters():
    """One is synthesised for all of them, so they must be alike; what distributes work to them is the top's."""
    pair = replace(NANO, name="pair", tm=4, clusters=2)
    shell, parts = design.split(design.to_rtlil(units.component(units.TOP, pair)))
    of_clusters = {name.partition(".")[0] for name in parts if design.CLUSTER.search(name)}
    assert of_clusters == {"array", "epilogue", "norm", "softmax"} and not of_clusters & set(parts)
    for unit in of_clusters:
        (kind, first), (_, second) = parts[f"{unit}.cluster0"], parts[f"{unit}.cluster1"]
        names = design.same_ports(first, second)
        assert set(names.values()) == set(design.ports(second)) and names["cluster0_clk"] == "cluster1_clk"
        wrapper = kind.partition(".cluster")[0]
        assert f"module \\{wrapper}\n" in shell and f"cell \\{kind} " in shell
    with pytest.raises(ValueError, match="not alike"):
        design.same_ports(parts["array.cluster0"][1], parts["softmax.cluster0"][1])


def test_areas_of_clusters_add_up():
    one = report.Result("norm", Counter(LUT=7, FF=3), {}, products=5)
    four = report.of_clusters(one, 4)
    assert four.resources == Counter(LUT=28, FF=12) and four.products == 20 and four.unit == "norm"
