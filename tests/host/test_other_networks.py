# SPDX-License-Identifier: Apache-2.0
"""Counts of other networks: what their papers state, and what the machine's own configurations count."""

from dataclasses import replace

import pytest

from golden.spec.model import DEIT_SMALL
from host.report.other_networks import ATTENTION, DEPTHWISE, LINEAR, MIXING, NETWORKS, vit


def test_a_vit_counts_as_a_model_configuration_does():
    config = replace(DEIT_SMALL, classes=0)
    ours = vit(config.tokens, config.dim, config.depth)
    assert ours[LINEAR] + ours[ATTENTION] + config.patches * config.patch_dim * config.dim == config.macs


@pytest.mark.parametrize("name, stated", [("TinyViT-5M", 1.3e9), ("TinyViT-21M", 4.3e9), ("SparseFormer-T", 2.0e9)])
def test_counts_are_near_those_of_the_papers(name, stated):
    """SparseFormer's count leaves out products of two activations."""
    macs = NETWORKS[name]
    counted = sum(macs.values()) - (macs[MIXING] + macs[ATTENTION] if name.startswith("Sparse") else 0)
    assert counted == pytest.approx(stated, rel=0.04)


def test_only_convolutional_networks_have_depthwise_products():
    assert NETWORKS["AHIQ, a pair"][DEPTHWISE] == NETWORKS["MobileCLIP2-B, image"][DEPTHWISE] == 0
    assert NETWORKS["MobileCLIP2-S0, image"][DEPTHWISE] > 1e8
