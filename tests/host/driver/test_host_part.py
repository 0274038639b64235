# SPDX-License-Identifier: Apache-2.0
"""What the host computes of features, the final norm and pooled classifiers: equal to the integer network, bit for bit;
images that lack it are refused."""

from dataclasses import replace

import numpy as np
import pytest

from golden.model.float_model import classify_float, run_float
from golden.model.int_model import dequantize
from golden.model.random_int_model import random_int_model
from golden.model.synthetic import synthetic_model
from golden.ops.pool import mean_rows
from golden.spec.model import NANO
from golden.spec.program.container import BadSection
from golden.spec.program.host_part import layout
from golden.spec.program.image import Image
from host.driver import Session, open_device
from host.driver.host_part import HostPart
from host.quantizer.crops import crops
from host.quantizer.quantize import quantize
from tests.host.support.devices import CLASSIFIER, compiled, picture

DENSE = replace(NANO, name="pooled", moe_layers=(), experts=0, expert_hidden=0, top_k=0, tasks=("default",))
POOLED = {
    "mean": replace(DENSE, classes=37, final_norm=True, pool="mean"),
    "mean without extra tokens": replace(DENSE, classes=37, final_norm=True, pool="mean", extra_tokens=0),
    "mean of many extra tokens": replace(DENSE, classes=5, final_norm=True, pool="mean", extra_tokens=7),
    "fc_norm": replace(DENSE, classes=37, pool="mean", fc_norm=True),
    "fc_norm without extra tokens": replace(DENSE, classes=37, pool="mean", fc_norm=True, extra_tokens=0),
    "class and mean": replace(DENSE, classes=37, final_norm=True, pool="class_mean"),
    "with experts, two tasks": replace(NANO, name="pooled", classes=9, final_norm=True, pool="mean"),
}


def session(image):
    return Session(Image.from_bytes(image.to_bytes()), open_device("golden", machine="nano"))


@pytest.mark.parametrize("name", POOLED)
@pytest.mark.parametrize("plan", ["fast", "accurate"])
def test_pooled_scores_equal_the_integer_networks(name, plan):
    network, image = compiled(POOLED[name], plan)
    opened = session(image)
    for seed in (1, 2):
        for task in network.config.tasks:
            result = opened.frame(picture(seed=seed), task)
            residual = network.run(picture(seed=seed), task)
            np.testing.assert_array_equal(result.scores[task], network.logits(residual))
            assert len(np.unique(result.scores[task])) > network.config.classes // 2
            np.testing.assert_array_equal(result["logits"], dequantize(network.logits(residual)[0]))


@pytest.mark.parametrize("config", [CLASSIFIER, POOLED["mean"], replace(NANO, final_norm=True)],
                         ids=["class tokens", "pooled", "no classifier"])
def test_normed_features_equal_the_integer_networks(config):
    network, image = compiled(config)
    task = image.programs and next(reversed(image.programs))
    result = session(image).frame(picture(), task)
    for name in task.split("+"):
        residual = network.run(picture(), name)
        np.testing.assert_array_equal(result.normed_by_task[name], network.normed(residual))
    np.testing.assert_array_equal(result["normed_features"], result.normed_features)
    assert list(result)[:2] == ["features", "normed_features"]
    assert not np.allclose(result["features"], result["normed_features"])


def test_a_model_without_a_final_norm_has_no_normed_features():
    for config in (NANO, POOLED["fc_norm"]):
        result = session(compiled(config)[1]).frame(picture())
        assert "normed_features" not in result and result.normed_features is None
        with pytest.raises(KeyError, match="This result has features"):
            result["normed_features"]


def test_extremes_equal_the_integer_networks():
    """Streams at their limits, constant rows, shifts of all sizes."""
    for seed, config in enumerate(POOLED.values()):
        network, image = compiled(config, seed=seed)
        host, rng = HostPart(image), np.random.default_rng(seed)
        shape = config.tokens, config.dim
        for residual in (np.full(shape, -32768), np.full(shape, 32767), np.zeros(shape), rng.integers(-1, 2, shape),
                         rng.choice([-32768, 32767], shape), rng.integers(-32768, 32768, shape)):
            residual = residual.astype(np.int16)
            np.testing.assert_array_equal(host.scores(residual), network.logits(residual))
            if config.final_norm:
                codes = host.normed(residual)
                np.testing.assert_array_equal(codes * np.float32(2.0 ** -host.frac), network.normed(residual))


def test_mean_of_rows_is_rounded_to_nearest_ties_upwards():
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 16, 197):
        rows = rng.integers(-32768, 32768, (count, 64)).astype(np.int16)
        exact = rows.astype(np.float64).mean(0)
        assert np.abs(mean_rows(rows)[0] - exact).max() <= 0.5
    assert mean_rows(np.array([[-1], [0]], np.int16)).item() == 0 and mean_rows(np.array([[1], [0]])).item() == 1


@pytest.mark.parametrize("name, least", [("mean", 45.0), ("fc_norm", 45.0), ("class and mean", 40.0)])
def test_quantized_scores_are_near_the_float_networks(name, least):
    model = synthetic_model(POOLED[name])
    pictures = crops(model.config, 20)
    network, shown = quantize(model, pictures[:16]), np.stack(pictures[16:])

    def db(wanted, got):
        return 10 * np.log10((wanted ** 2).mean() / ((wanted - got) ** 2).mean())

    scores = np.stack([dequantize(network.logits(network.run(one))[0], network.plan.logit_frac) for one in shown])
    assert db(classify_float(model, shown), scores) > least
    if model.config.final_norm:
        normed = np.stack([network.normed(network.run(one)) for one in shown])
        assert db(run_float(model, shown, normed=True), normed) > 38.0


def test_images_without_what_the_host_needs_are_refused():
    image = compiled(POOLED["mean"])[1]
    for host in (b"", image.host[:-1], image.host + b"\0"):
        with pytest.raises(BadSection, match="The host needs .* bytes for the final norm and the classifier"):
            replace(image, host=host)
    for field, value in (("features_norm.shift", 200), ("features_norm.eps", -1), ("features_norm.frac", 99),
                         ("head.shift", -3), ("features_norm.normalized_shift", 9)):
        offset, kind, _ = layout(image.model)[field]
        data = np.array(value, kind).tobytes()
        with pytest.raises(BadSection, match=f"{field} must lie in"):
            replace(image, host=image.host[:offset] + data + image.host[offset + len(data):])


def test_models_without_a_norm_need_no_bytes_for_the_host():
    assert compiled()[1].host == b"" and random_int_model(NANO).config.final_norm is False
