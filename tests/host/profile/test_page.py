# SPDX-License-Identifier: Apache-2.0
"""The page in a browser: complete, sortable, nothing asked of a network, no text on another, hostile names escaped."""

import json
from dataclasses import replace

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.model.random_int_model import random_int_model
from golden.spec.machine import NANO
from golden.spec.model import NANO as NANO_MODEL
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.profile.layers import total
from host.profile.page import save_page
from host.profile.perfetto import save_trace, trace_events
from host.profile.ranges import value_ranges
from host.profile.run import profile
from host.profile.table import columns
from tests.browser.texts import collisions
from tests.host.support.devices import CLASSIFIER, compiled, picture

HOSTILE = '"><script>document.title = "owned"</script><img src=x onerror="document.title=1">'


@pytest.fixture
def opened(chromium):
    """Opens a file; whatever goes wrong in it or leaves it fails the test."""
    wrong, pages = [], []

    def open_page(path, width=1280, scheme="light"):
        page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: wrong.append(request.url) if request.url != path.as_uri() and
                not request.url.startswith("data:") else None)
        page.goto(path.as_uri())
        pages.append(page)
        return page
    yield open_page
    for page in pages:
        page.close()
    assert not wrong, wrong


@pytest.fixture(scope="module")
def written(street, tmp_path_factory):
    folder = tmp_path_factory.mktemp("street")
    found, ranges = street
    save_trace(found.timed, found.image.symbols[found.program], found.clock_hz, folder / "street trace.json",
               "street")
    save_page(found, folder / "report.html", ranges, folder / "street trace.json")
    return folder / "report.html"


def column(page, number):
    return page.eval_on_selector_all("#layers tbody tr", f"rows => rows.map(row => row.cells[{number}].textContent)")


def head(page, title):
    titles = page.eval_on_selector_all("#layers th button", "heads => heads.map(head => head.textContent)")
    return titles.index(title)


@pytest.mark.parametrize("width, scheme", [(1280, "light"), (1280, "dark"), (400, "light")])
def test_it_can_be_looked_at(opened, written, width, scheme):
    page = opened(written, width, scheme)
    assert collisions(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 31)"
    assert dark == (scheme == "dark")
    for picture_ in page.query_selector_all("#pictures img"):
        assert picture_.evaluate("image => image.complete && image.naturalWidth") == 256
    assert page.locator("#pictures figure b").all_text_contents() == ["input", "semseg", "depth"]
    assert page.locator("svg").count() == 4 and "road" in page.inner_text("#pictures .classes")
    assert page.inner_text("#pictures .scale").split()[0] == "0"
    assert page.inner_text("#pictures .scale").endswith("model units")


BEYOND = """() => [...document.querySelectorAll("body *")].filter((element) => !element.closest(".scroll")
  && element.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map((found) => found.outerHTML)"""
"""What reaches beyond the right edge of a page outside of the boxes that scroll."""


@pytest.mark.parametrize("width", [375, 320])
def test_on_a_phone_charts_and_tables_scroll_in_their_own_boxes(opened, written, width):
    page = opened(written, width)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width and page.evaluate(BEYOND) == []
    boxes = page.locator(".scroll").all()
    assert len(boxes) == page.locator("svg, table.layers").count() == 6
    for box in boxes:
        inside = box.locator("svg, table").first.bounding_box()
        assert inside["width"] > box.bounding_box()["width"], "what fits needs no box that scrolls"
        box.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("box => box.scrollLeft > 0", arg=box.element_handle())
        box.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
        assert box.locator("svg, table").first.evaluate("it => it.getBoundingClientRect().right") <= width
    heights = page.eval_on_selector_all("svg text", "all => all.map((text) => text.getBoundingClientRect().height)")
    assert min(heights) >= 8, "texts of a chart are too small to be read"


def test_its_figures_are_those_of_the_run(opened, written, street):
    found, page = street[0], opened(written)
    whole = total(found.layers)
    cards = dict(zip(page.locator(".card span").all_text_contents(), page.locator(".card b").all_text_contents(),
                     strict=True))
    assert cards["cycles"] == f"{found.cycles:,.0f}" and cards["DRAM bytes"] == f"{whole.bytes / 1e6:,.2f} MB"
    assert page.inner_text("h1").split() == ["m3vit-street", "semseg+depth"]
    assert "assumed 300 MHz" in page.inner_text("header") and found.fingerprint in page.inner_text("#facts")
    assert page.inner_text("tfoot td:nth-child(3)") == cards["cycles"]
    sources = page.locator("#layers th i").all_text_contents()
    assert len(sources) == len(columns(found)) and set(sources) == {"model", "counted"}
    assert "no cycle counters" in page.inner_text("#layers .note")
    keys = page.eval_on_selector_all("#layers tbody tr", "rows => rows.map(row => Number(row.cells[2].dataset.key))")
    assert sum(keys) == pytest.approx(found.predicted)


def test_a_click_sorts_the_table(opened, written):
    page = opened(written)
    before = column(page, 0)
    cycles, kind = head(page, "cycles"), head(page, "kind")
    page.click(f"#layers th:nth-child({cycles + 1}) button")
    numbers = [int(text.replace(",", "")) for text in column(page, cycles)]
    assert numbers == sorted(numbers, reverse=True) and numbers[0] > numbers[-1]
    page.click(f"#layers th:nth-child({cycles + 1}) button")
    assert [int(text.replace(",", "")) for text in column(page, cycles)] == sorted(numbers)
    page.click(f"#layers th:nth-child({kind + 1}) button")
    assert column(page, kind) == sorted(column(page, kind), key=str.lower)
    assert page.locator("#layers th[aria-sort=ascending]").count() == 1
    page.click("#layers th:nth-child(1) button")
    assert sorted(column(page, 0)) == sorted(before)
    page.focus("#layers th:nth-child(3) button")
    page.keyboard.press("Enter")
    assert page.get_attribute("#layers th:nth-child(3)", "aria-sort") == "descending"


def test_the_trace_lies_next_to_it(opened, written, street):
    link = opened(written).locator("#facts a")
    assert link.get_attribute("href") == "street%20trace.json"
    events = json.loads((written.parent / "street trace.json").read_text())["traceEvents"]
    assert len([event for event in events if event["ph"] == "X"]) == len(street[0].timed)


def test_a_trace_by_hand(street):
    found = street[0]
    events = [event for event in trace_events(found.timed, found.image.symbols[found.program], 100e6, "a")
              if event["ph"] == "X"]
    assert max(event["ts"] + event["dur"] for event in events) == pytest.approx(found.predicted / 100, rel=1e-3)
    tracks = {event["args"]["opcode"]: event["tid"] for event in events}
    assert tracks["LINEAR"] == tracks["ATTENTION"] != tracks["NORM"] and tracks["LOAD"] == tracks["STORE"]
    assert any("expert 3" in event["name"] for event in events) and min(event["dur"] for event in events) >= 0


def test_hostile_names_are_text(opened, tmp_path):
    config = replace(NANO_MODEL, name=HOSTILE, tasks=("a<b>&\"'", "c.d"))
    network = random_int_model(config, Plan.fast(config.depth), seed=1)
    with GoldenDevice(NANO) as device:
        found = profile(compile_model(network, NANO), device, picture(config), config.tasks[0])
    save_page(replace(found, device=HOSTILE), tmp_path / "r.html", value_ranges(network, found.pixels, config.tasks),
              tmp_path / 'x"><b>.json')
    page = opened(tmp_path / "r.html")
    assert page.title().startswith(HOSTILE) and HOSTILE in page.inner_text("h1")
    assert page.locator("script").count() == 1 and page.locator("img").count() == 1
    assert any("a<b>&\"'" in text for text in page.locator("#experts text").all_text_contents())
    assert collisions(page) == []


def test_a_device_that_counts_whole_jobs_only(opened, tmp_path):
    """Its cycles and bytes are measured, those of the layers the model's; a wrong result is called that."""
    with GoldenDevice(NANO) as device:
        found = profile(compiled()[1], device, picture(), "task0")
    whole = total(found.layers)
    counters = dict.fromkeys(found.result.counters, 0) | {
        "CYCLES": 20_000, "ARRAY_BUSY": whole.steps, "ARRAY_WEIGHTS": 100, "WEIGHT_READ0": whole.weights // 16,
        "MAIN_READ": whole.loaded // 16, "MAIN_WRITTEN": whole.stored // 16}
    board = replace(found, result=replace(found.result, counters=counters), device="uio:edge-moe", exact=False)
    save_page(board, tmp_path / "r.html")
    page = opened(tmp_path / "r.html")
    assert page.locator(".card i").all_text_contents() == ["measured"] * 5 + ["counted"]
    assert page.inner_text(".card b") == "20,000" and "layers: model" in page.inner_text("#cycles h2")
    note = page.inner_text("#layers .note")
    assert "those of the layers are the model's" in note and f"counters of the ports say {whole.bytes:,}" in note
    assert f"{found.predicted / 20_000 - 1:+.1%} of the 20,000 measured" in note
    assert "DIFFERENT" in page.inner_text("#facts")
    assert "whole job: waiting for weights, 100 cycles" in page.locator("#cycles title").all_text_contents()[2]


def test_other_networks(opened, tmp_path):
    """A classifier without experts has its best classes, and no load of experts; a program image has no ranges."""
    network, image = compiled(CLASSIFIER)
    with GoldenDevice(NANO) as device:
        found = profile(image, device, picture(CLASSIFIER), "default")
    save_page(found, tmp_path / "r.html")
    page = opened(tmp_path / "r.html")
    best = int(np.argmax(found.result["logits"]))
    assert page.inner_text(".best tr:first-child td") == f"class {best}"
    assert page.locator("#experts").count() == 0 and page.locator("svg").count() == 2
    assert "give the quantized model" in page.inner_text("#ranges") and "skipped" not in page.inner_text("#layers")
    assert "classifier" in column(page, 1) and page.locator("#facts a").count() == 0


def test_it_is_one_file_without_an_address(written):
    text = written.read_text()
    assert "http:" not in text.replace("http://www.w3.org/2000/svg", "") and "https:" not in text
    assert "{{" not in text and "{%" not in text and len(text) < 600_000
