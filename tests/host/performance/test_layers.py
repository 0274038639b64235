# SPDX-License-Identifier: Apache-2.0
"""Layers: names, kinds, and whose the cycles are where units overlap; predicted and run layers are the same."""

import pytest

from golden.device import GoldenDevice
from golden.spec.machine import NANO
from host.performance.layers import (
    END,
    FETCH,
    PRODUCT_KINDS,
    TRANSFER,
    End,
    block_of,
    kind_of,
    part_of,
    predicted_layers,
    shared_cycles,
)
from host.profile.run import profile
from tests.host.support.devices import CLASSIFIER, compiled, picture


@pytest.mark.parametrize("symbol, block, part", [
    ("patch_embed", "embedding", "embedding"), ("pos_embed", "embedding", "embedding"),
    ("blocks.11.norm1.kept", "blocks.11", "blocks.11.attn"), ("blocks.3.attn", "blocks.3", "blocks.3.attn"),
    ("blocks.3.prompts", "blocks.3", "blocks.3.attn"), ("blocks.3.norm2", "blocks.3", "blocks.3.ffn"),
    ("blocks.3.gate.a.b.route", "blocks.3", "blocks.3.ffn"), ("blocks.3.mlp.fc2", "blocks.3", "blocks.3.ffn"),
    ("heads.depth.norm", "heads.depth.norm", "heads.depth.conv_0"),
    ("heads.depth.conv_1.3", "heads.depth.conv_1", "heads.depth.conv_1"),
    ("heads.depth.map_0", "heads.depth.map_0", "heads.depth.conv_1"),
    ("heads.depth.up_0", "heads.depth.up_0", "heads.depth.conv_1"),
    ("heads.depth.up_2", "heads.depth.up_2", "heads.depth.last"),
    ("heads.depth.conv_4.7", "heads.depth.last", "heads.depth.last"), ("heads.depth", "heads.depth.last",
                                                                      "heads.depth.last"),
    ("heads.a.b.conv_0", "heads.a.b.conv_0", "heads.a.b.conv_0"), ("heads.a.b", "heads.a.b.last", "heads.a.b.last"),
    ("residual.depth", "residual", "residual"), ("head", "head", "head")])
def test_names(symbol, block, part):
    assert block_of(symbol) == block and part_of(symbol) == part


def test_kinds():
    kinds = [kind_of(layer, (1,)) for layer in ("blocks.0.attn", "blocks.0.ffn", "blocks.1.ffn", "embedding",
                                                "heads.a.conv_0", "head", "residual")]
    assert kinds == [*PRODUCT_KINDS, TRANSFER]


def test_cycles_belong_to_what_the_array_ends_next():
    """Norm and first store are hidden; the last store ends after the array."""
    ends = [End(100, "store", False), End(30, "norm", False), End(40, "a", True), End(90, "b", True),
            End(60, "store", False), End(10, "a", False)]
    assert list(shared_cycles(ends).items()) == [("a", 40), ("norm", 0), ("store", 10), ("b", 50)]


def test_without_products_cycles_belong_to_what_ends_next():
    assert shared_cycles([End(10, "load", False), End(100, "store", False)]) == {"load": 10, "store": 90}


@pytest.mark.parametrize("config", [None, CLASSIFIER], ids=["experts", "classifier"])
def test_predicted_layers_are_those_of_a_run(config):
    image = compiled(*[config] if config else [])[1]
    for program in image.programs:
        with GoldenDevice(NANO) as device:
            run = profile(image, device, picture(image.model), program).layers
        predicted = predicted_layers(image, program)
        assert [(layer.name, layer.kind) for layer in predicted] == [(layer.name, layer.kind) for layer in run]
        assert predicted[0].name == FETCH and predicted[-1].name == END
        assert predicted[0].bytes == run[0].bytes > 0
