# SPDX-License-Identifier: Apache-2.0
"""The page in a headless browser: a picture goes in, its result is shown; a device that dies has a name there."""

import re
import time

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.spec.machine import NANO, ZCU102
from host.driver.session import Session
from host.pictures.palette import painted
from host.service import page as routes
from host.service.service import Limits
from tests.host.support.served import Endless
from tests.host.support.services import NAMES, STREET, Mortal, models_of, nano, noise, png, street

PICTURE = {"name": "street.png", "mimeType": "image/png", "buffer": png(noise(STREET))}


@pytest.fixture
def opened(chromium):
    """Opens the page of a service; whatever it logs, fails in, or asks of other servers, fails the test."""
    contexts, wrong = [], []

    def opens(running, **options):
        contexts.append(chromium.new_context(**options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") and
                "Failed to load resource" not in line.text else None)
        page.on("request", lambda request: None if request.url.startswith((running.url, "data:", "blob:"))
                else wrong.append(request.url))
        page.set_default_timeout(20_000)
        page.goto(running.url)
        page.wait_for_selector("#tasks input")
        return page
    yield opens
    for context in contexts:
        context.close()
    assert not wrong


def upload(page, file=PICTURE):
    with page.expect_response("**/api/run") as answer:
        page.set_input_files("#file", file)
    page.wait_for_selector("#results[aria-busy=false]")
    return answer.value


def test_a_picture_is_uploaded_and_its_result_shown(streets, opened):
    page = opened(streets)
    assert page.is_visible("#empty") and page.is_disabled("#run") and not page.is_visible("#shown")
    assert upload(page).status == 200
    result = Session(street()[1], GoldenDevice(ZCU102)).frame(noise(STREET), "semseg+depth")
    legend = page.locator("figure[data-map=semseg] .legend li")
    assert [re.match("[a-z]+", text)[0] for text in legend.all_inner_texts()] == list(NAMES)
    share = float(re.search(r"([\d.]+) %", legend.nth(4).inner_text())[1])
    assert share == pytest.approx(100 * (result["semseg"] == 4).mean(), abs=0.06)
    ticks = page.locator("figure[data-map=depth] .ticks span").all_inner_texts()
    depths = [float(text) for text in ticks]
    assert len(depths) > 2 and depths == sorted(depths) and depths[-1] <= result["depth"].max()
    assert "model units" in page.inner_text("figure[data-map=depth]")
    assert "model units" not in page.inner_text("figure[data-map=semseg]")
    assert page.locator("#experts-body .load li").count() == STREET.experts
    counts = [int(text) for text in page.locator("#experts-body .count").all_inner_texts()]
    assert sum(counts) == STREET.top_k * STREET.tokens
    rows = page.locator("#time tbody tr td:first-child").all_inner_texts()
    assert {"embedding", "blocks.0.attn", "blocks.1.ffn", "heads.semseg.last", "heads.depth.last"} <= set(rows)
    kinds = page.locator("#kinds li")
    colours = {kind.evaluate("item => getComputedStyle(item.firstChild).backgroundColor") for kind in kinds.all()}
    assert len(colours) == kinds.count() and "MoE FFN" in kinds.all_inner_texts()
    assert "does not count cycles" in page.inner_text("#time") and "predicted" in page.inner_text("#time tfoot")
    assert page.locator("#summary .value").first.inner_text().endswith("ms")
    assert not page.is_visible("#error") and not page.is_visible("#empty")


def test_the_pointer_and_the_keys_read_all_maps(streets, opened):
    page = opened(streets)
    upload(page)
    result = Session(street()[1], GoldenDevice(ZCU102)).frame(noise(STREET), "semseg+depth")
    frame = page.locator("figure[data-map=depth] .frame")
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    u, v = 0.25, 0.75
    page.mouse.move(box["x"] + u * box["width"], box["y"] + v * box["height"])
    text = page.inner_text("#readout")
    y, x = (int(number) for number in (re.search(r"y\s+(\d+)", text)[1], re.search(r"x\s+(\d+)", text)[1]))
    assert abs(x - u * STREET.image_width) <= 1 and abs(y - v * STREET.image_height) <= 1
    assert NAMES[result["semseg"][y, x]] in text and "experts of block 1 (semseg)" in text
    depth = float(re.search(r"depth ([\d.]+) model units", text)[1])
    assert depth == pytest.approx(max(0, result["depth"][y, x]), abs=0.02 + 0.01 * depth)
    frame.focus()
    page.keyboard.press("ArrowRight")
    moved = int(re.search(r"x\s+(\d+)", page.inner_text("#readout"))[1])
    assert moved == x + STREET.image_width // 64
    page.keyboard.press("ArrowDown")
    assert page.locator(".cross:visible").count() == page.locator(".frame").count() >= 5


def test_a_device_that_counts_cycles_stands_below_the_prediction(serving, opened):
    class Counting(GoldenDevice):
        def _start(self):
            super()._start()
            self._set("CYCLES", 300_000)
    page = opened(serving(models_of(street=street()[1]), lambda: Counting(ZCU102)))
    upload(page)
    row = page.inner_text("#time tfoot tr >> nth=1")
    assert row.startswith("measured") and "300,000" in row and "1.000" in row
    assert "from the prediction" in page.inner_text("#time")
    assert "1.00 ms" in " ".join(page.inner_text("#summary").split()) and "measured" in page.inner_text("#summary")


def test_another_task_another_layer_without_experts(streets, opened):
    page = opened(streets)
    upload(page)
    page.get_by_text("depth", exact=True).first.click()
    page.uncheck("#experts")
    with page.expect_response("**/api/run"):
        page.click("#run")
    page.wait_for_selector("#results[aria-busy=false]")
    assert page.locator("figure[data-map=semseg]").count() == 0 and page.is_visible("figure[data-map=depth]")
    assert page.inner_text("#experts-body") == "They were not asked for."
    assert "semseg" not in page.inner_text("#time")


@pytest.mark.parametrize("fails, words", [(lambda *_: time.sleep(4), "needs more time"),
                                          (lambda *_: 1 // 0, "failed with ZeroDivisionError")], ids=["late", "fails"])
def test_a_reference_model_that_gives_nothing_leaves_the_maps(serving, opened, monkeypatch, fails, words):
    monkeypatch.setattr(routes, "chosen_experts", fails)
    page = opened(serving(nano(), lambda: GoldenDevice(NANO), Limits(seconds=2.5)))
    assert upload(page).status == 200
    assert words in page.inner_text("#experts-body") and page.is_visible("figure[data-map=features]")


def test_an_expert_is_shown_alone_and_the_overlay_fades(streets, opened):
    page = opened(streets)
    upload(page)

    def canvas():
        return page.evaluate("document.querySelector('#experts-body canvas').toDataURL()")
    before = canvas()
    page.locator("#experts-body .load button").nth(2).click()
    assert page.locator("#experts-body .load button[aria-pressed=true]").count() == 1 and canvas() != before
    page.locator("#experts-body .load button").nth(2).click()
    assert canvas() == before
    page.get_by_label("Strength").press("End")
    assert page.evaluate("document.querySelector('figure .top').style.opacity") == "1"


def test_a_sample_is_one_press_away(streets, opened):
    page = opened(streets)
    with page.expect_response("**/api/run") as answer:
        page.get_by_label("Take street 2").click()
    assert answer.value.status == 200
    page.wait_for_selector("#shown:not([hidden])")
    assert page.get_attribute("#samples button >> nth=1", "aria-pressed") == "true"


def test_a_dropped_picture_runs(streets, opened):
    page = opened(streets)
    page.evaluate("""async () => {
        const transfer = new DataTransfer();
        const blob = await (await fetch("/samples/0.png")).blob();
        transfer.items.add(new File([blob], "dropped.png", {type: "image/png"}));
        document.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
    }""")
    page.wait_for_selector("#shown:not([hidden])")
    assert "dropped.png" in page.inner_text("#drop")


def test_a_device_killed_in_mid_request_is_named_and_the_next_request_works(serving, opened):
    running = serving(models_of(street=street()[1]), lambda: Mortal(ZCU102))
    page = opened(running)
    assert "ready" in page.inner_text("#pill")
    running.device.dies = True
    assert upload(page).status == 503
    assert page.inner_text("#error .error-name") == "DeviceLost"
    assert page.inner_text("#error .error-text") == "The cable of the device was pulled."
    assert page.is_visible("#error[role=alert]")
    with page.expect_response("**/api/run") as answer:
        page.click("#run")
    assert answer.value.status == 200
    page.wait_for_selector("figure[data-map=depth]")
    assert not page.is_visible("#error")
    page.get_by_text("1 times").wait_for()
    assert "DeviceLost" in page.inner_text("#device")


def test_progress_is_shown_while_a_job_runs_and_its_end_is_named(serving, opened):
    page = opened(serving(models_of(street=street()[1]), lambda: Endless(ZCU102), Limits(seconds=4)))
    page.set_input_files("#file", PICTURE)
    page.wait_for_selector("#progress[value]")
    assert page.inner_text("#run") == "Running…" and "busy" in page.inner_text("#pill")
    page.wait_for_selector("#error:not([hidden])")
    assert page.inner_text("#error .error-name") == "RequestTimeout" and not page.is_visible("#progress")


def test_what_is_no_picture_is_named_on_the_page(streets, opened):
    page = opened(streets)
    assert upload(page, {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}).status == 400
    assert page.inner_text("#error .error-name") == "PictureError"
    assert "must be a file of PNG" in page.inner_text("#error .error-text")
    page.get_by_label("Close this message").click()
    assert not page.is_visible("#error")


def test_a_service_that_is_gone_is_said_to_be(serving, opened):
    running = serving(models_of(street=street()[1]), lambda: GoldenDevice(ZCU102))
    page = opened(running)
    running.stop()
    page.set_input_files("#file", PICTURE)
    page.wait_for_selector("#error:not([hidden])")
    assert page.inner_text("#error .error-name") == "ServiceGone"
    page.wait_for_selector("#pill[data-status=lost]")


@pytest.mark.parametrize("width, scheme", [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")])
def test_it_fits_its_window_and_can_be_read(streets, opened, width, scheme):
    page = opened(streets, viewport={"width": width, "height": 900}, color_scheme=scheme)
    upload(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ratios = page.evaluate(CONTRAST, ["h2", ".hint", ".facts dt", ".summary .label", ".legend li", ".ticks", ".note",
                                      "#run", ".layers th", "footer p", ".segments input:checked + span"])
    assert min(ratios.values()) >= 4.5, ratios


def test_everything_has_a_name(streets, opened):
    page = opened(streets)
    upload(page)
    nameless = page.evaluate("""() => [...document.querySelectorAll("button, input, select, [role=img], a")].filter(
        (each) => each.checkVisibility() && !(each.getAttribute("aria-label") || each.textContent.trim() ||
                                              each.labels?.length)).map((each) => each.outerHTML)""")
    assert not nameless
    page.keyboard.press("Tab")
    reached = set()
    for _ in range(60):
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
        page.keyboard.press("Tab")
    assert {"file", "model", "run", "frame"} <= reached


CONTRAST = """(selectors) => {
    const light = (colour) => colour.map((part) => part / 255).map((part) =>
        part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
    const parts = (text) => text.match(/[\\d.]+/g).map(Number);
    const ground = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const colour = parts(getComputedStyle(each).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3);
        }
        return [255, 255, 255];
    };
    return Object.fromEntries(selectors.map((selector) => {
        const element = document.querySelector(selector);
        const both = [light(parts(getComputedStyle(element).color).slice(0, 3)), light(ground(element))];
        return [selector, (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05)];
    }));
}"""


def test_the_pictures_on_the_page_are_those_of_the_result(streets, opened):
    page = opened(streets)
    upload(page)
    result = Session(street()[1], GoldenDevice(ZCU102)).frame(noise(STREET), "semseg+depth")
    drawn = page.evaluate("""() => {
        const image = document.querySelector("figure[data-map=semseg] img");
        const canvas = Object.assign(document.createElement("canvas"), {width: image.naturalWidth,
                                                                        height: image.naturalHeight});
        canvas.getContext("2d").drawImage(image, 0, 0);
        return [canvas.width, canvas.height, Array.from(canvas.getContext("2d").getImageData(
            0, 0, canvas.width, canvas.height).data)];
    }""")
    found = np.array(drawn[2], np.uint8).reshape(drawn[1], drawn[0], 4)[..., :3]
    np.testing.assert_array_equal(found, painted(result["semseg"], NAMES))
