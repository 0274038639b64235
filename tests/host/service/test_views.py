# SPDX-License-Identifier: Apache-2.0
"""What the page shows is what was computed: experts of each patch, time of the layers, values of the maps."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from golden.device import GoldenDevice
from golden.model.random_int_model import random_int_model
from golden.spec.machine import NANO as MACHINE
from golden.spec.machine import ZCU102
from golden.spec.model import M3VIT_TINY, NANO
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model
from host.driver.session import Session
from host.performance.layers import FETCH, predicted_layers
from host.performance.timeline import predict
from host.pictures.palette import painted
from host.service import views
from host.service.experts import chosen_experts, of_patches, why_not
from host.service.models import Model, ModelNameError, load_models
from tests.host.support.devices import CLASSIFIER, compiled
from tests.host.support.services import NAMES, STREET, models_of, noise, street

WINDOWS = replace(NANO, name="windows", image_height=64, extra_tokens=0, window=2,
                  window_layers=(0,))


def network_of(network, image):
    model = Model(network.config.name, Path("x.safetensors"), image)
    model.__dict__["network"] = network
    return model


def image_of(image):
    return next(iter(models_of(model=image).values()))


def test_the_page_has_patches_on_their_places_and_all_tokens_in_the_load():
    network = random_int_model(STREET, Plan.fast(STREET.depth, STREET.task_heads), 3)
    model, pixels = network_of(network, compile_model(network, ZCU102)), noise(STREET)
    chosen = chosen_experts(model, "semseg+depth", pixels)
    view = views.experts_view(model, chosen, None)
    assert view["source"] == "the quantized model" and set(view["tasks"]) == {"semseg", "depth"}
    for task, layers in view["tasks"].items():
        assert {int(layer) for layer in layers} == set(STREET.moe_layers)
        for layer, shown in layers.items():
            rows = chosen[task][int(layer)]
            np.testing.assert_array_equal(shown["patches"], rows[STREET.extra_tokens:])
            np.testing.assert_array_equal(shown["load"], np.bincount(rows.reshape(-1), minlength=STREET.experts))


def test_patches_of_windows_lie_at_their_places():
    network = random_int_model(WINDOWS, Plan.fast(WINDOWS.depth), 3)
    seen = {}
    network.run(noise(WINDOWS), "task0", trace=seen.__setitem__)
    model = network_of(network, compile_model(network, MACHINE))
    rows = of_patches(chosen_experts(model, "task0", noise(WINDOWS))["task0"][1], WINDOWS)
    raw = seen["blocks.1.gate.experts"][WINDOWS.extra_tokens:]
    assert WINDOWS.patch_order()[2] == WINDOWS.grid[1]  # the third patch of a window is on its second line
    np.testing.assert_array_equal(rows[WINDOWS.grid[1]], raw[2])
    assert not np.array_equal(rows, raw)


def test_why_experts_are_not_shown():
    assert why_not(NANO) is None and "no experts" in why_not(CLASSIFIER)
    assert "drops patches" in why_not(replace(M3VIT_TINY, keep=((3, 90),)))
    model = image_of(compiled()[1])
    assert views.experts_view(model, None, "It takes too long.") == {"reason": "It takes too long."}
    assert "not asked for" in views.experts_view(model, None, None)["reason"]


@pytest.mark.parametrize("image", [lambda: street()[1], lambda: compiled()[1], lambda: compiled(CLASSIFIER)[1]],
                         ids=["street", "nano", "classifier"])
def test_cycles_of_the_layers_add_up_to_the_job(image):
    image = image()
    for task in image.programs:
        layers = predicted_layers(image, task)
        end = max(span.end for span in predict(image, task))
        assert sum(layer.cycles for layer in layers) == pytest.approx(end)
        assert sum(layer.macs for layer in layers) == sum(symbol.macs for symbol in image.symbols[task])
        assert sum(layer.bytes for layer in layers) == sum(symbol.bytes for symbol in image.symbols[task]) + len(
            image.program(task))
        names = [layer.name for layer in layers]
        assert names[0] == FETCH and [name for name in names if name[:6] == "blocks"] == [
            f"blocks.{i}.{part}" for i in range(image.model.depth) for part in ("attn", "ffn")]
        assert all(layer.macs <= layer.cycles * image.machine.macs_per_cycle for layer in layers)
        assert {layer.name for layer in layers if layer.kind == "MoE FFN"} == {
            f"blocks.{i}.ffn" for i in image.model.moe_layers}


def pixels_of(url):
    return np.asarray(Picture.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def values_of(values):
    codes = np.frombuffer(base64.b64decode(values["codes"]), "<u2").reshape(values["height"], values["width"])
    return values["low"] + values["step"] * codes


def test_maps_show_the_values_of_the_result():
    image = street()[1]
    result = Session(image, GoldenDevice(ZCU102)).frame(noise(STREET), "semseg+depth")
    semseg, depth, features = views.maps(result, image_of(image))
    np.testing.assert_array_equal(pixels_of(semseg["picture"]), painted(result["semseg"], NAMES))
    np.testing.assert_array_equal(values_of(semseg["values"]), result["semseg"])
    assert [each["name"] for each in semseg["legend"]] == list(NAMES)
    for index, each in enumerate(semseg["legend"]):
        assert each["share"] == pytest.approx((result["semseg"] == index).mean(), abs=1e-4)
        found = pixels_of(semseg["picture"])[result["semseg"] == index]
        assert all("#" + bytes(pixel.tolist()).hex() == each["colour"] for pixel in found[:3])
    scale = depth["scale"]
    assert scale["unit"] == "model units" and scale["low"] == 0
    assert scale["high"] == pytest.approx(result["depth"].max())
    np.testing.assert_allclose(values_of(depth["values"]), np.maximum(result["depth"], 0), atol=scale["high"] / 60_000)
    assert pixels_of(features["picture"]).shape == (*STREET.grid, 3) and features["shape"] == [33, 64]


def test_a_classifier_shows_its_largest_scores():
    image = compiled(CLASSIFIER)[1]
    result = Session(image, GoldenDevice(MACHINE)).frame(noise(CLASSIFIER))
    logits, features = views.maps(result, image_of(image))
    assert len(logits["scores"]) == 5 and logits["scores"][0]["name"] == f"class {result.logits.argmax()}"
    assert features["kind"] == "features"


def test_models_of_files(tmp_path):
    network, image = compiled()
    for name in ("a.emoe", "b.emoe"):
        image.save(tmp_path / name)
    network.save(tmp_path / "c.q.safetensors")
    found = load_models([tmp_path / "a.emoe", tmp_path / "c.q.safetensors"])
    assert list(found) == ["a", "c"] and found.machine.name == "nano"  # a quantized model is compiled for the others'
    assert found["a"].network is None and found["c"].network is not None
    assert found["a"].tasks == ("task0", "task1", "task0+task1")
    (tmp_path / "b.emoe").rename(tmp_path / "a.q.emoe")
    with pytest.raises(ModelNameError, match="both be the model 'a'"):
        load_models([tmp_path / "a.emoe", tmp_path / "a.q.emoe"])
