# SPDX-License-Identifier: Apache-2.0
"""Charts in a browser: no text lies on another or leaves its drawing, however many layers and experts there are."""

import doctest
import random

import pytest

from golden.spec.machine import NANO, U280
from host.profile import svg
from host.profile.charts import roofline as roofs
from host.profile.charts.heat import expert_load, headroom
from host.profile.charts.roofline import Point, roofline, spread, ticks
from host.profile.charts.stack import Bar, cycle_stack, of_counters, of_layer
from host.profile.layers import Layer
from host.profile.ranges import Range
from tests.browser.texts import collisions

HOSTILE = '<script>alert("1")</script> & <text y="5">over</text>'


def bars(count):
    return [Bar("whole job", {"useful": 7e8, "idle": 3e8}, True)] + [
        Bar(f"blocks.{number}.attn" if number else HOSTILE, {"useful": 10.0 ** (number % 9), "padding": 3, "drain": 1})
        for number in range(count)]


def points(count):
    rng = random.Random(count)
    kinds = [Point(name, 100 * (1 + rng.random() / 50), 1800 + rng.random(), number) for number, name in enumerate(
        ("attention", "dense FFN", "MoE FFN", "patch embedding", "convolution", HOSTILE))]
    return kinds + [Point(f"l{number}", 10 ** rng.uniform(-1, 5), 10 ** rng.uniform(0, 3.3), 0, True)
                    for number in range(count)]


def ranges(blocks):
    return [Range(f"blocks.{block}", stage, "int8 x 2^0..3", (-1024, 1016), -(block + 1), block, block % 2, 10)
            for block in range(blocks) for stage in ("norm1", "attn.q", "residual")] + [
        Range(f"heads.{HOSTILE}", "out", "int16", (-32768, 32767), 0, 0)]


DRAWINGS = {
    "stack of 2": lambda: cycle_stack(bars(1)), "stack of 60": lambda: cycle_stack(bars(60)),
    "stack of runs": lambda: cycle_stack([Bar(f"fast, packed experts, DRAM of the board {n}", {"useful": n + 1}, True)
                                          for n in range(6)]),
    "roofline of kinds": lambda: roofline(points(0), 2048, 54.3),
    "roofline of many": lambda: roofline(points(80), 8192, 1533.33),
    "roofline of one": lambda: roofline([Point("attention", 3e-3, 1e-3, 0)], 64, 64),
    "experts of 4": lambda: expert_load({"blocks.1 task0": [0, 1, 30, 4], HOSTILE: [0, 0, 0, 0]}),
    "experts of 64": lambda: expert_load({f"blocks.{n} semseg": [1201 * (n % 2)] * 64 for n in range(24)}),
    "ranges of 2": lambda: headroom(ranges(2)), "ranges of 40": lambda: headroom(ranges(40)),
}


@pytest.mark.parametrize("width", [1080, 560])
def test_no_text_lies_on_another(chromium, width):
    page = chromium.new_page(viewport={"width": width, "height": 900})
    for name, draw in DRAWINGS.items():
        page.set_content(f"<body style='margin:0'>{draw().svg(alone=True)}")
        page.add_style_tag(content="svg { width: 100%; height: auto }")
        assert page.locator("svg text").count() > 3, name
        assert collisions(page) == [], name
        assert page.locator("script").count() == 0 and page.locator("svg text text").count() == 0, name
    page.close()


def test_texts_on_each_other_are_found(chromium):
    page = chromium.new_page()
    page.set_content("<svg width=200 height=50><text x=5 y=20>one</text><text x=12 y=24>two</text>"
                     "<text x=190 y=20>cut off</text></svg>")
    assert collisions(page) == ["one lies on two", "cut off leaves its drawing"]
    page.close()


def test_examples():
    assert doctest.testmod(svg).failed == doctest.testmod(roofs).failed == 0


def test_labels_keep_their_order_and_distance():
    places = spread([50, 50, 50, 49, 300], 18, 0, 320)
    assert sorted(places) == [places[i] for i in (3, 0, 1, 2, 4)] and places[4] == 300
    assert min(b - a for a, b in zip(sorted(places), sorted(places)[1:], strict=False)) >= 18


@pytest.mark.parametrize("low, high", [(1, 1.9), (0.3, 7), (3, 900), (1e-4, 1e6)])
def test_there_are_ticks_within_the_bounds(low, high):
    found = ticks(low, high)
    assert 1 <= len(found) <= 11 and all(low <= tick <= high for tick in found)


def test_a_point_lies_on_the_roof_where_it_should():
    """A layer at exactly the attainable rate has its dot on the line, left and right of the ridge."""
    for intensity in (2.0, 400.0):
        drawing = roofline([Point("a", intensity, min(64.0, intensity * 8), 0)], 64, 8)
        dot = next(part for part in drawing.parts if part.startswith("<circle"))
        assert "100.0% of what is attainable" in dot


def test_bars_by_hand():
    counters = {"CYCLES": 100, "ARRAY_BUSY": 60, "ARRAY_WEIGHTS": 5, "ARRAY_OPERANDS": 7, "ARRAY_DRAIN": 8}
    assert of_counters("", counters, 50 * NANO.macs_per_cycle, NANO).parts == {
        "useful": 50, "padding": 10, "weights": 5, "operands": 7, "drain": 8, "idle": 20}
    layer = Layer("", cycles=100, macs=50 * U280.macs_per_cycle, steps=60, waited=70)
    assert of_layer(layer, U280).parts == {"useful": 50, "padding": 10, "weights": 40, "idle": 0}


def test_a_file_of_its_own_is_whole(tmp_path, chromium):
    roofline(points(3), 2048, 64).save(tmp_path / "r.svg")
    page = chromium.new_page()
    page.goto((tmp_path / "r.svg").as_uri())
    assert page.locator("circle").count() == 9 and page.evaluate("document.documentElement.tagName") == "svg"
    assert page.locator("circle title").first.text_content()
    page.close()
