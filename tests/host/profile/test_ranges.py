# SPDX-License-Identifier: Apache-2.0
"""Value ranges: least and largest values of the traced tensors, formats of the plan, clipping as it was counted."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest

from golden.model.random_int_model import random_int_model
from golden.ops.saturation import SaturationCounters
from golden.spec.model import NANO
from golden.spec.quantized import Plan
from host.profile.ranges import Range, value_ranges
from tests.host.support.devices import CLASSIFIER, picture


def by_name(config, plan, tasks=None, change=None):
    network = random_int_model(config, plan, seed=5)
    if change is not None:
        network = replace(network, tensors=network.tensors | change(network))
    pixels = picture(config)
    return network, pixels, {(entry.part, entry.stage): entry
                             for entry in value_ranges(network, pixels, tasks or config.tasks)}


def test_headroom_by_hand():
    def bits(low, high, limits=(-128, 127)):
        return Range("", "", "", limits, low, high).headroom

    assert bits(-32, 0) == 2 and bits(-1, 127) == 0 and bits(0, 0) == inf
    assert bits(0, 51, (0, 255)) == pytest.approx(np.log2(5))
    assert bits(-200, 10) == 0, "what lies beyond the limit has no headroom, not less than none"


def test_values_are_those_of_the_trace():
    network, pixels, found = by_name(NANO, Plan.fast(NANO.depth), ("task0",))
    seen = {}
    network.run(pixels, "task0", trace=lambda name, value: seen.update({name: value}))
    for (part, stage), name in ((("blocks.0", "attn.k"), "blocks.0.attn.k"), (("blocks.1", "residual"), "blocks.1"),
                                (("embed", "residual"), "embed"), (("blocks.0", "mlp.hidden"), "blocks.0.mlp.hidden")):
        assert (found[part, stage].low, found[part, stage].high) == (seen[name].min(), seen[name].max())
    hidden = [value for name, value in seen.items() if name.startswith("blocks.1.mlp.hidden") and "exp" not in name]
    assert len(hidden) > 1 and found["blocks.1", "mlp.hidden"].high == max(value.max() for value in hidden)
    assert found["blocks.1", "norm2.normalized"].form == "int16"


@pytest.mark.parametrize("plan, form, limits", [("fast", "int8 x 2^0..3", (-1024, 1016)),
                                                ("accurate", "int16", (-32768, 32767))])
def test_formats_follow_the_plan(plan, form, limits):
    _, _, found = by_name(NANO, getattr(Plan, plan)(NANO.depth))
    for stage in ("norm1", "attn.out", "norm2", "mlp.hidden"):
        assert (found["blocks.1", stage].form, found["blocks.1", stage].limits) == (form, limits)
    assert found["blocks.0", "attn.q"].form == "int8 x 2^0..3" and found["blocks.0", "attn.k"].limits == (-127, 127)


def test_a_classifier_has_ranges():
    _, _, found = by_name(CLASSIFIER, Plan.fast(CLASSIFIER.depth))
    assert found["classifier", "logits"].form == "int16" and ("classifier", "norm") in found


def test_clipping_is_what_the_network_counts():
    """Values of one layer made 16 times as large are clipped there; both tasks count."""
    def louder(network):
        name = "blocks.0.attn.v"
        return {f"{name}.shift": network[f"{name}.shift"] - 4}

    network, pixels, found = by_name(NANO, Plan.fast(NANO.depth), change=louder)
    entry = found["blocks.0", "attn.v"]
    counters = [SaturationCounters() for _ in NANO.tasks]
    for task, counter in zip(NANO.tasks, counters, strict=True):
        network.run(pixels, task, trace=lambda *_: None, saturation=counter)
    counted = [counter.counts["blocks.0.attn.v", "key"] for counter in counters]
    assert entry.clipped == sum(clipped for clipped, _ in counted) > 0
    assert entry.seen == sum(seen for _, seen in counted)
    assert entry.headroom == 0 and 0 < entry.share < 1


def test_heads_are_there(street):
    found = {(entry.part, entry.stage): entry for entry in street[1]}
    assert found["heads.semseg", "conv_3"].form == "uint8" and found["heads.depth", "conv_3"].form == "int16"
    assert found["heads.depth", "out"].limits == (-32768, 32767)
    assert found["heads.semseg", "norm"].form.startswith("int8")
