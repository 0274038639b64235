# SPDX-License-Identifier: Apache-2.0
"""Trainable network: narrow pictures, experts against a loop, the gate's balancing loss, losses against loops."""

import doctest
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from golden.spec.model import ConfigError, GateKind
from host.training import gate, loop, losses
from host.training.gate import NoisyGate
from host.training.losses import depth_loss, semseg_loss
from host.training.network import Experts, TrainingNetwork
from host.training.recipe import STREET, Recipe
from tests.host.training.test_loop import CONFIG


def test_examples():
    assert doctest.testmod(gate).failed == doctest.testmod(loop).failed == doctest.testmod(losses).failed == 0


def test_experts_against_a_loop_over_tokens():
    torch.manual_seed(0)
    experts = Experts(CONFIG)
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, chosen = torch.randn(300, CONFIG.dim), torch.stack([torch.randperm(4)[:2] for _ in range(300)])
    chosen[:, 0] = torch.where(torch.arange(300) < 200, 3, chosen[:, 0])  # one expert gets most
    weights = torch.rand(300, 2)
    wanted = torch.zeros_like(x)
    for t in range(300):
        for place in range(2):
            e = chosen[t, place]
            hidden = F.gelu(experts.fc1.weight[e] @ x[t] + experts.fc1.bias[e])
            wanted[t] += weights[t, place] * (experts.fc2.weight[e] @ hidden + experts.fc2.bias[e])
    assert torch.allclose(experts(x, chosen, weights), wanted, atol=1e-4)


def test_narrow_pictures_have_the_positions_of_their_place():
    network = TrainingNetwork(replace(CONFIG, moe_layers=())).eval()
    pixels = torch.randn(1, 3, 32, 64)
    with torch.inference_mode():
        for left in (0, 1, 2):
            found = network._positions(1, (2, 2), torch.tensor([left]))
            whole = network.pos_embed[1:].reshape(2, 4, -1)
            assert torch.equal(found[0, 1:].reshape(2, 2, -1), whole[:, left:left + 2])
        maps = network(pixels[..., 16:48], torch.tensor([1])).maps
    assert maps["semseg"].shape == (1, 3, 32, 32) and maps["depth"].shape == (1, 1, 32, 32)


@pytest.mark.parametrize("kind", list(GateKind))
def test_balancing_loss_prefers_even_loads(kind):
    torch.manual_seed(0)
    even, skewed = NoisyGate(32, 4, 2, kind), NoisyGate(32, 4, 2, kind)
    torch.nn.init.zeros_(even.weight)
    torch.nn.init.zeros_(skewed.weight)
    skewed.bias.data[0] = 5.0
    z = torch.randn(500, 32)
    assert even(z)[2].item() < 0.1 < 0.4 < skewed(z)[2].item()
    assert torch.isfinite(torch.autograd.grad(skewed(z)[2], skewed.bias)[0]).all()


def test_gate_in_use_has_no_noise():
    made = NoisyGate(32, 4, 2, GateKind.TOPK_THEN_SOFTMAX).eval()
    z = torch.randn(50, 32)
    assert torch.equal(made(z)[0], made(z)[0]) and float(made(z)[2]) == 0
    made.train()
    assert not torch.equal(made(z)[1], made(z)[1])


def test_losses_leave_out_what_is_unknown():
    scores, labels = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
    labels[0] = 255
    assert float(semseg_loss(scores, labels)) == pytest.approx(float(F.cross_entropy(scores[1:], labels[1:])))
    depth, target = torch.full((2, 1, 4, 4), 2.0), torch.full((2, 4, 4), 10.0)
    target[0] = 0
    assert float(depth_loss(depth, target, 10.0)) == pytest.approx(2.0)  # error 1: |e| + e^2
    assert float(depth_loss(depth, target * 0, 10.0)) == 0


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 0}, {"warmup": 9000}, {"precision": "int8"}, {"zoom": 0.5},
                                   {"stride": 0}])
def test_wrong_recipes_are_refused(wrong):
    with pytest.raises(ConfigError):
        Recipe(**wrong)


def test_the_street_model_fits_the_machine():
    from golden.spec.limits import check_model
    from golden.spec.machine import MACHINES
    from golden.spec.quantized import Plan
    from host.compiler.presets import require_fit

    check_model(STREET)
    require_fit(STREET, Plan.fast(STREET.depth), MACHINES["zcu102"])
