# SPDX-License-Identifier: Apache-2.0
"""Generated scenes: the same bytes in every process, labels and depths that belong together, variety."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from host.scenes import scene
from host.scenes.classes import CLASSES, DEPTH_STEP, FARTHEST, SKY

ROOT = Path(__file__).parents[3]
DIGESTS = {(0, 3): "c2be316bd6019a14", (7, 3): "0f2c1eca80912173", (123, 3): "5b6c60af08236f0c"}
"""Start of the SHA-256 of a scene (number, seed). Another value means another :data:`host.scenes.cache.SERIES`."""


def digest(number: int, seed: int) -> str:
    made = scene(number, seed)
    return hashlib.sha256(made.image.tobytes() + made.label.tobytes() + made.depth.tobytes()).hexdigest()[:16]


@pytest.fixture(scope="module")
def some():
    return [scene(number, seed=5, height=64, width=128) for number in range(12)]


@pytest.mark.parametrize("number, seed", DIGESTS)
def test_bytes_are_those_of_every_machine(number, seed):
    assert digest(number, seed) == DIGESTS[number, seed]


def test_bytes_do_not_depend_on_the_hash_seed_or_on_simd():
    """Another process, without the vector instructions that numpy chooses by the processor."""
    code = "from tests.host.scenes.test_scenes import digest; print(digest(7, 3))"
    simple = {"PYTHONHASHSEED": "3", "PYTHONPATH": str(ROOT),
              "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512_SKX"}
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True,
                         text=True, env=simple, check=True).stdout
    assert out.strip() == DIGESTS[7, 3]


def test_shapes_and_ranges(some):
    for made in some:
        assert made.image.shape == (64, 128, 3) and made.image.dtype == np.uint8
        assert made.label.shape == made.depth.shape == (64, 128) and made.label.max() < len(CLASSES)
        assert made.depth.min() >= 0 and made.depth.max() <= FARTHEST and (made.depth[made.label == SKY] == 0).all()
        assert np.array_equal(made.depth, np.rint(made.depth / DEPTH_STEP) * np.float32(DEPTH_STEP))


def test_sizes():
    assert scene(1, 0, 48, 80).image.shape == (48, 80, 3)


def test_every_class_occurs(some):
    shares = np.bincount(np.concatenate([made.label.reshape(-1) for made in some]), minlength=len(CLASSES)) / (
        len(some) * 64 * 128)
    assert (shares > 0.003).all() and shares.max() < 0.5


def test_depth_grows_upwards_on_the_road(some):
    """Below the horizon, a road pixel is nearer than the road pixel above it."""
    for made in some:
        pair = (made.label[1:] == 0) & (made.label[:-1] == 0) & (made.depth[1:] > 0) & (made.depth[:-1] > 0)
        assert (made.depth[:-1] - made.depth[1:])[pair].min() >= 0


def test_scenes_differ(some):
    assert len({made.image.tobytes() for made in some}) == len(some)
    assert np.std([made.image.mean() for made in some]) > 10


def test_colours_alone_do_not_tell_the_class():
    """A colour classifier, trained on some scenes, must do badly on others (on the whole set: at most 0.45)."""
    from sklearn.tree import DecisionTreeClassifier

    from host.evaluation.metrics import confusion, mean_iou

    known, others = ([scene(n, seed, 64, 128) for n in range(16)] for seed in (11, 12))
    tree = DecisionTreeClassifier(min_samples_leaf=50, random_state=0).fit(
        np.concatenate([s.image.reshape(-1, 3) for s in known]), np.concatenate([s.label.reshape(-1) for s in known]))
    guess = np.concatenate([tree.predict(s.image.reshape(-1, 3)) for s in others])
    truth = np.concatenate([s.label.reshape(-1) for s in others])
    assert mean_iou(confusion(guess, truth, len(CLASSES))) < 0.45
