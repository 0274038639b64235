# SPDX-License-Identifier: Apache-2.0
"""What objects show in a notebook: one line, a table, pictures that other programs read; no device is touched."""

import base64
import doctest
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Picture

from golden.device import GoldenDevice
from golden.model.random_int_model import random_int_model
from golden.model.synthetic import synthetic_model
from golden.spec.machine import NANO as NANO_MACHINE
from golden.spec.machine import ZCU102
from golden.spec.model import NANO
from golden.spec.program import html_table
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.driver import Session
from host.driver.maps import TaskMap
from host.driver.notebook.thumbnails import LARGEST, pixels_of, png
from host.training.recipe import STREET
from tests.host.support.devices import CLASSIFIER, Recorded, compiled, picture

HOSTILE = '<b onload="x()">&'


def text_of(html):
    """The words of a table: its rows as pairs."""
    assert html.count("<table>") == 1 and "<script" not in html
    cells = re.findall(r"<td[^>]*>(.*?)</td>", html)
    return dict(zip(cells[::2], cells[1::2], strict=True))


def pictures_of(html):
    data = re.findall(r'src="data:image/png;base64,([^"]*)"', html)
    return [np.asarray(Picture.open(io.BytesIO(base64.b64decode(each)))) for each in data]


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3), (1, 1), (256, 256, 3)])
def test_pictures_are_what_other_programs_read(shape):
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert (np.asarray(Picture.open(io.BytesIO(png(pixels)))) == pixels).all()


@pytest.mark.parametrize("kind, classes", [("semseg", 7), ("depth", 1), ("edge", 1), ("normals", 3)])
def test_maps_become_pixels(kind, classes):
    codes = np.random.default_rng(2).integers(-3000, 3000, (8, 300, classes), dtype=np.int16)
    found = TaskMap("a", kind, codes, 8)
    pixels = pixels_of(found)
    assert found.shape == found.picture.shape and "codes" not in repr(found)
    assert pixels.dtype == np.uint8 and pixels.shape[0] == 6 and pixels.shape[1] == 200 <= LARGEST
    if kind == "semseg":
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) == classes
    elif kind != "normals":
        assert (pixels.min(), pixels.max()) == (0, 255)
    flat = pixels_of(TaskMap("a", kind, np.zeros((2, 2, classes), np.int16), 8))
    assert flat.shape[:2] == (4, 4) and (flat == flat[0, 0]).all()


def test_a_session_its_device_and_its_result():
    image, device = compiled()[1], Recorded()
    session = Session(image, device)
    result, before = session.run(picture()), len(device.seen)
    shown = text_of(session._repr_html_())
    assert shown["machine"] == "nano, 256 MAC/cycle" and shown["clock"] == "assumed 300 MHz"
    assert shown["programs"].startswith("task0 (") and shown["picture"] == "uint8 32 x 64 x 3"
    assert text_of(device._repr_html_())["clock"] == "assumed 300 MHz"
    assert repr(result) == "<Result: features 33x64>"
    assert text_of(result._repr_html_())["cycles"] == "this device has no time"
    assert len(device.seen) == before, "a notebook that shows objects must not touch the device"
    device.close()
    assert text_of(device._repr_html_())["closed"] == "yes" and session._repr_html_()


def test_maps_of_a_result_are_pictures():
    network = random_int_model(STREET, Plan.fast(STREET.depth, STREET.task_heads), seed=3)
    with GoldenDevice(ZCU102) as device:
        result = Session(compile_model(network, ZCU102), device).run(picture(STREET), "depth")
    timed = replace(result, counters=result.counters | {"CYCLES": 766625}, pictures=4)
    assert repr(timed) == "<Result: depth 128x256, features 129x192; 766,625 cycles of 4 pictures>"
    html = timed._repr_html_()
    assert text_of(html)["depth"] == "128x256" and text_of(html)["pictures of the job"] == "4"
    shown, = pictures_of(html)
    assert (shown == pixels_of(result.maps["depth"])).all()


def test_a_classifier():
    result = Session(compiled(CLASSIFIER)[1], GoldenDevice(NANO_MACHINE)).run(picture(CLASSIFIER))
    assert repr(result) == "<Result: features 34x64, normed_features 34x64, logits 37>"


def test_a_program_image():
    image = compiled()[1]
    assert repr(image) == "<Image of 'nano' for nano: task0, task1, task0+task1>"
    shown = text_of(image._repr_html_())
    assert shown["plan"] == "fast" and shown["weights"].endswith("in 1 planes") and "task1 (" in shown["programs"]


def test_a_board(opened):
    assert text_of(opened._repr_html_()).keys() == {"clock"}
    assert repr(opened).strip("<>") in opened._repr_html_()


def test_models():
    network = compiled()[0]
    assert repr(network) == "<IntModel 'nano': 2 blocks of 64, 4 experts, tasks task0, task1; fast plan, 112 kB>"
    shown = text_of(network._repr_html_())
    assert shown["experts"] == "4" and shown["moe layers"] == "1" and shown["top k"] == "2"
    assert shown["plan"] == "fast" and shown["tokens"] == "33"
    model = synthetic_model(CLASSIFIER)
    assert repr(model).startswith("<FloatModel 'classifier': 2 blocks of 64, tasks default; 0.")
    assert repr(model).endswith(" M parameters>") and "\n" not in repr(model)
    shown = text_of(model._repr_html_())
    assert shown["classes"] == "37" and "experts" not in shown and int(shown["parameters"].replace(",", "")) == sum(
        tensor.size for tensor in model.tensors.values())


def test_hostile_names_are_text():
    config = replace(NANO, name=HOSTILE, tasks=(HOSTILE, "b"))
    network = random_int_model(config, Plan.fast(config.depth), seed=1)
    session = Session(compile_model(network, NANO_MACHINE), GoldenDevice(NANO_MACHINE))
    session.device.name = HOSTILE
    for shown in (network, session.image, session, session.device, synthetic_model(config)):
        assert HOSTILE not in shown._repr_html_() and "&lt;b onload=&quot;x()&quot;&gt;&amp;" in shown._repr_html_()
    html = replace(session.run(picture()), maps={HOSTILE: TaskMap(HOSTILE, "depth", np.zeros((2, 2, 1), np.int16), 8)}
                   )._repr_html_()
    assert HOSTILE not in html


def test_examples():
    assert doctest.testmod(html_table).failed == 0
