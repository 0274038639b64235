# SPDX-License-Identifier: Apache-2.0
"""Pictures as the libraries prepare them: what ``config.json`` and ``preprocessor_config.json`` say is what is done."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from golden.spec.model import NANO
from host.images import fitted
from host.importers import pixels
from host.importers.facts import Facts
from host.importers.options import Options
from host.quantizer.crops import photograph

SIZES = {"wide": (300, 451), "tall": (333, 250), "small": (60, 47), "exact": (64, 64)}


def shown(height: int, width: int) -> np.ndarray:
    return np.array(Image.fromarray(photograph("chelsea")).resize((width, height)))


def model_of(facts: Facts, height: int = 64, width: int = 64):
    o = facts.options
    return replace(NANO, image_height=height, image_width=width, patch=16, **{
        key: value for key, value in (("fit", o.fit), ("crop_share", o.crop_share), ("interpolation", o.interpolation))
        if value is not None})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("crop_pct, interpolation, mode", [
    (0.875, "bicubic", "center"), (0.9, "bicubic", "center"), (1.0, "bicubic", "squash"), (0.95, "bilinear", "squash"),
    (1.0, "bilinear", "center")])
def test_pixels_equal_timms(size, crop_pct, interpolation, mode):
    data = pytest.importorskip("timm.data", exc_type=ImportError)
    cfg = {"mean": [0.0] * 3, "std": [1.0] * 3, "crop_pct": crop_pct, "interpolation": interpolation, "crop_mode": mode}
    said: list[str] = []
    facts = Facts(Options(), said.append)
    pixels.tell_pretrained_cfg(facts, {"pretrained_cfg": cfg})
    assert not said
    picture = shown(*SIZES[size])
    prepare = data.create_transform(input_size=(3, 64, 64), interpolation=interpolation, mean=(0.0,) * 3,
                                    std=(1.0,) * 3, crop_pct=crop_pct, crop_mode=mode)
    wanted = np.rint(prepare(Image.fromarray(picture)).numpy().transpose(1, 2, 0) * 255)
    np.testing.assert_array_equal(fitted(picture, model_of(facts)), wanted)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("given", [
    {"size": {"height": 64, "width": 64}, "resample": 2}, {"size": {"height": 64, "width": 64}, "resample": 3},
    {"size": {"height": 73, "width": 73}, "resample": 3, "do_center_crop": True, "crop_size": {"height": 64,
                                                                                               "width": 64}},
    {"size": {"shortest_edge": 73}, "resample": 3, "do_center_crop": True, "crop_size": {"height": 64, "width": 64}}],
    ids=["vit", "bicubic", "deit", "dinov2"])
def test_pixels_equal_transformers(size, given):
    """Within a code or two: transformers resizes by PyTorch, we by Pillow."""
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    facts = Facts(Options())
    pixels.tell_preprocessor(facts, given | {"do_normalize": False})
    kind = transformers.BitImageProcessor if "shortest_edge" in given["size"] else transformers.DeiTImageProcessor
    processor = kind(**{"do_center_crop": False, "do_convert_rgb": False} | given, do_normalize=False, do_rescale=False)
    picture = shown(*SIZES[size])
    found = np.asarray(processor(picture, return_tensors="np")["pixel_values"][0]).transpose(1, 2, 0).astype(np.float64)
    difference = np.abs(fitted(picture, model_of(facts)) - found)
    assert difference.max() <= 2 and difference.mean() < 0.2


def test_what_cannot_be_done_is_said():
    for given in ({"size": {"shortest_edge": 64}}, {"size": {"height": 64, "width": 64}, "resample": 9},
                  {"size": {"longest_edge": 64}}, {"size": {"height": 40, "width": 40}, "do_center_crop": True,
                                                   "crop_size": 64}, {"size": [1]}, {"size": {"height": "a"}}):
        said: list[str] = []
        facts = Facts(Options(), said.append)
        pixels.tell_preprocessor(facts, json.loads(json.dumps(given)))
        assert facts.options.fit is None and "edge-moe run does not do" in said[0]
    for cfg in ({"crop_pct": 1.5, "interpolation": "bicubic"}, {"crop_pct": 0.9, "interpolation": "random"},
                {"crop_pct": 0.9, "interpolation": "bicubic", "crop_mode": "border"}):
        said = []
        facts = Facts(Options(), said.append)
        pixels.tell_pretrained_cfg(facts, cfg | {"mean": [0.5], "std": [0.5]})
        assert facts.options.fit is None and "edge-moe run does not do" in said[0]


def test_pictures_of_other_proportions_cover_the_model():
    picture = shown(300, 451)
    for fit in ("shortest", "squash"):
        model = replace(NANO, fit=fit, crop_share=0.9, interpolation="bicubic")
        assert fitted(picture, model).shape == (32, 64, 3) and fitted(picture, model, 2).shape == (64, 128, 3)
    flat = fitted(np.full((90, 37, 3), 7, np.uint8), replace(NANO, fit="shortest", crop_share=0.8))
    assert (flat == 7).all()
