# SPDX-License-Identifier: Apache-2.0
"""Figures are current: a drawing that is not what `make docs` writes is red."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from golden.spec.machine import MACHINES, ZCU102
from host.report.figures import FIGURES, ROOT, machine, tile


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_what_make_docs_would_write(name):
    assert (ROOT / name).read_text() == FIGURES[name](), f"{name} is stale: run `make docs`."


@pytest.mark.parametrize("name", FIGURES)
def test_figure_stands_on_the_front_page_and_stays_inside_its_frame(name):
    assert f"]({name})" in (ROOT / "README.md").read_text(), f"README.md does not show {name}."
    drawing = ElementTree.fromstring(FIGURES[name]().encode())
    width, height = int(drawing.get("width")), int(drawing.get("height"))
    boxes = [part for part in drawing if part.tag.endswith("rect") and part.get("x")]
    assert boxes
    for box in boxes:
        assert 0 <= int(box.get("x")) <= width - int(box.get("width"))
        assert 0 <= int(box.get("y")) <= height - int(box.get("height"))


@pytest.mark.parametrize("cfg", MACHINES.values(), ids=lambda cfg: cfg.name)
def test_every_machine_can_be_drawn(cfg):
    product = f"{cfg.tm} x 32 x {cfg.tk}"
    assert f"{product} MAC/cycle" in machine(cfg) and f"{product} = {cfg.macs_per_cycle}" in tile(cfg)


def test_figures_follow_the_spec():
    assert "768 KiB of weights" in machine(replace(ZCU102, ring_lines=12288))
    assert machine() == machine()
