# SPDX-License-Identifier: Apache-2.0
"""Float models in files: exact round trips; descriptions that make no sense are refused by name."""

import json
import random

import numpy as np
import pytest

from golden.files import safetensors_file
from golden.files.errors import (
    BadHeader,
    ModelFileError,
    NotFinite,
    UnknownLayout,
    UnsupportedModel,
)
from golden.model.store import FORMAT_VERSION, description, load_float, save_float
from golden.model.synthetic import synthetic_model
from golden.spec.model import NANO
from tests.golden.files.test_safetensors_file import same, spoil


def test_survives_fuzz_of_the_description():
    rng, refused = random.Random(22), 0
    for _ in range(600):
        try:
            config = description(json.dumps(spoil(NANO.to_json(), rng)), "f")
        except ModelFileError:
            refused += 1
        else:
            assert config.tokens > 0 and config.fingerprint and len(config.tasks[0]) >= 0
    assert 300 < refused < 600


def test_a_float_model_comes_back_exactly(tmp_path):
    model = synthetic_model(NANO, 4)
    save_float(model, tmp_path / "m.safetensors")
    again = load_float(tmp_path / "m.safetensors")
    assert again.config == NANO and same(again.tensors, model.tensors)
    save_float(again, tmp_path / "n.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == (tmp_path / "n.safetensors").read_bytes()


DESCRIPTIONS = {
    "no_json": ("{", BadHeader, "must be JSON"),
    "a_list": ("[]", UnsupportedModel, "JSON object, not list"),
    "missing_key": ({"dim": None}, UnsupportedModel, "lacks the keys ['dim']"),
    "unknown_key": ({"colour": 1}, UnsupportedModel, "unknown keys ['colour']"),
    "dim_is_text": ({"dim": "64"}, BadHeader, "dim must be like 192, not '64'"),
    "dim_is_odd": ({"dim": 65}, UnsupportedModel, "dim"),
    "tasks_is_text": ({"tasks": "ab"}, BadHeader, "tasks must be like"),
    "moe_layers_of_text": ({"moe_layers": ["1"]}, BadHeader, "moe_layers must be like"),
    "gate_unknown": ({"gate": "best"}, UnsupportedModel, "gate must be one of"),
    "scale_nan": ({"pixel_scale": float("nan")}, BadHeader, "pixel_scale must be like"),
    "scale_zero": ({"pixel_scale": 0}, UnsupportedModel, "pixel_scale must be positive"),
    "depth_huge": ({"depth": 10**12}, ModelFileError, "blocks need at least"),
    "experts_huge": ({"experts": 10**9}, UnsupportedModel, "experts must lie in 1..64"),
}


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_descriptions_that_make_no_sense_are_refused(case, tmp_path):
    change, error, words = DESCRIPTIONS[case]
    model = synthetic_model(NANO)
    text = change
    if isinstance(change, dict):
        merged = NANO.to_json() | change
        text = json.dumps({key: value for key, value in merged.items() if value is not None})
    safetensors_file.write(tmp_path / "m", model.tensors,
                           {"format": "edge-moe-float", "version": FORMAT_VERSION, "model": text})
    with pytest.raises(error) as caught:
        load_float(tmp_path / "m")
    assert words in str(caught.value)


def test_other_formats_and_versions_are_refused(tmp_path):
    model, text = synthetic_model(NANO), json.dumps(NANO.to_json())
    for metadata in ({}, {"format": "pt"}, {"format": "edge-moe-float", "version": "1", "model": text}):
        safetensors_file.write(tmp_path / "m", model.tensors, metadata)
        with pytest.raises(UnknownLayout):
            load_float(tmp_path / "m")


def test_a_model_with_nan_is_refused(tmp_path):
    model = synthetic_model(NANO)
    tensors = {name: array.copy() for name, array in model.tensors.items()}
    tensors["pos_embed"].flat[3] = np.nan
    safetensors_file.write(tmp_path / "m", tensors,
                           {"format": "edge-moe-float", "version": FORMAT_VERSION, "model": json.dumps(NANO.to_json())})
    with pytest.raises(NotFinite, match="'pos_embed' holds 1 values that are NaN"):
        load_float(tmp_path / "m")
