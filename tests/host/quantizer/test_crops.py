# SPDX-License-Identifier: Apache-2.0
"""Calibration crops: as many as a model's tokens allow, the same every time, none of an excluded photograph."""

from dataclasses import replace

import numpy as np
import pytest

from golden.spec.model import M3VIT_SMALL, M3VIT_TINY, NANO, ConfigError
from host.quantizer import crops as made
from host.quantizer.crops import PHOTOGRAPHS, crop, photograph


def test_many_tokens_make_fewer_crops(monkeypatch):
    monkeypatch.setattr(made, "photograph", lambda name: np.zeros((64, 64, 3), np.uint8))
    assert len(made.crops(M3VIT_TINY)) == made.CROPS == 96
    assert len(made.crops(M3VIT_SMALL)) == 24_576 // 1201
    assert len(made.crops(replace(M3VIT_SMALL, image_height=16 * 60, image_width=16 * 60))) == made.LEAST_CROPS


def test_the_first_crops_are_the_photographs_in_turn_without_excluded_ones():
    names = [name for name in PHOTOGRAPHS if name != "brick"]
    for view, name in zip(made.crops(NANO, 4, exclude=("brick",)), names, strict=False):
        assert view.dtype == np.uint8 and np.array_equal(view, crop(photograph(name), NANO, 1.0, 0.5, 0.5))


def test_a_seed_decides_the_later_crops():
    first, again, other = (np.stack(made.crops(NANO, 20, seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.array_equal(first[:16], other[:16]) and not np.array_equal(first[16:], other[16:])


def test_an_unknown_photograph_is_refused():
    with pytest.raises(ConfigError, match="no photograph 'lena'"):
        photograph("lena")
