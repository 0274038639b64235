# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies: networks, plans and machines of every shape that the records allow, near their limits."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from golden.model.int_model import IntModel
from golden.model.random_int_model import random_int_model
from golden.ops.layernorm import eps_code
from golden.spec.activations import ACT_SHIFT_MAX, ACTIVATIONS
from golden.spec.limits import machine_needs
from golden.spec.machine import BEAT_BYTES, MachineConfig, most_weight_bytes
from golden.spec.model import GateKind, ModelConfig
from golden.spec.quantized import LayerPlan, Plan
from golden.spec.tables import RESIDUAL_FRACS
from golden.spec.tiling import operand_rows, residual_rows, slices, tiles

POWERS = [1 << n for n in range(17)]
DEPTHS = sorted([*POWERS, *(3 * p for p in POWERS if 3 * p < 1 << 16)])
"""What ring, operand and residual memories may be deep."""


@st.composite
def models(draw, most_dim: int = 256, most_tokens: int = 150) -> ModelConfig:
    """A network of any shape, small enough to run in a moment."""
    patch, channels = draw(st.sampled_from([2, 4, 8, 16])), draw(st.integers(1, 4))
    rows, columns = draw(st.integers(1, 9)), draw(st.integers(1, 16))
    extra = draw(st.sampled_from([0, 1, 2, 5]))
    rows = max(1, min(rows, (most_tokens - extra) // columns))
    head_dim = draw(st.sampled_from([32, 64, 96, 128]))
    heads = draw(st.integers(1, max(1, most_dim // head_dim)))
    depth = draw(st.integers(1, 3))
    moe_layers = tuple(sorted(draw(st.sets(st.integers(0, depth - 1)))))
    experts = draw(st.sampled_from([1, 2, 3, 4, 8, 16, 17, 33, 64])) if moe_layers else 0
    final_norm = draw(st.booleans())
    tasks = ("one", "two", "three")[:draw(st.integers(1, 3 if moe_layers else 1))]
    return ModelConfig(
        name="fuzzed", image_height=rows * patch, image_width=columns * patch, patch=patch, channels=channels,
        dim=heads * head_dim, depth=depth, heads=heads, mlp_hidden=32 * draw(st.integers(1, 16)),
        moe_layers=moe_layers, experts=experts, expert_hidden=32 * draw(st.integers(1, 12)) if moe_layers else 0,
        top_k=draw(st.integers(1, min(8, experts))) if moe_layers else 0, gate=draw(st.sampled_from(GateKind)),
        activation=draw(st.sampled_from(sorted(ACTIVATIONS))),
        tasks=tasks, extra_tokens=extra, final_norm=final_norm,
        classes=draw(st.sampled_from([0, 1, 10, 100, 1000])) if final_norm and extra else 0,
        eps=draw(st.sampled_from([0.0, 1e-6, 1e-5, 0.5])), pixel_mean=(0.0,) * channels, pixel_std=(1.0,) * channels,
        pixel_scale=draw(st.sampled_from([1.0, 255.0, 256.0])))


@st.composite
def plans(draw, config: ModelConfig) -> Plan:
    """A plan of any widths: all 8 bit, all 16 bit, or each operand for itself."""
    kind = draw(st.sampled_from(["fast", "accurate", "mixed"]))
    if kind != "mixed":
        plan = getattr(Plan, kind)(config.depth)
    else:
        flags = st.builds(LayerPlan, *[st.booleans()] * 5)
        plan = Plan(tuple(draw(flags) for _ in range(config.depth)), draw(st.booleans()))
    fracs = [frac for frac in RESIDUAL_FRACS if eps_code(config.eps, config.dim, frac) < 1 << 40]
    return replace(plan, residual_frac=draw(st.sampled_from(fracs)),
                   logit_frac=draw(st.sampled_from(RESIDUAL_FRACS)))


@st.composite
def networks(draw, **limits) -> IntModel:
    """A random quantized model with shifts of any size."""
    config = draw(models(**limits))
    model = random_int_model(config, draw(plans(config)), draw(st.integers(0, 1 << 20)))
    shifts = {".normalized_shift": 3, ".act_shift": ACT_SHIFT_MAX}
    changed = {name: np.array(draw(st.integers(0, most)), np.int32) for name in model.tensors
               for suffix, most in shifts.items() if name.endswith(suffix)}
    return IntModel(config, model.plan, model.tensors | changed, "fuzzed")


def _at_least(need: int, depths: list[int], low: int, high: int):
    """Depths from the smallest that holds ``need`` on; more often than not one of the two smallest."""
    good = [depth for depth in depths if low <= depth <= high and depth >= need] or [max(
        depth for depth in depths if low <= depth <= high)]
    return st.one_of(st.sampled_from(good[:2]), st.sampled_from(good[:6]))


@st.composite
def machines_for(draw, model: IntModel) -> MachineConfig:
    """A machine of any geometry whose memories hold the model with little or much to spare, or not quite."""
    c = model.config
    tm, tk = draw(st.sampled_from([2, 4, 8])), draw(st.sampled_from([2, 4, 8, 16]))
    inputs = max(c.patch_dim, c.dim, *(c.ffn_hidden(i) for i in range(c.depth)))
    gate = -(-c.experts // 16) * slices(c.dim)
    kv = max(tiles(c.tokens) * slices(c.dim), tiles(c.dim) * slices(c.tokens))
    rows = c.tokens * (operand_rows(c.dim) * 4 + operand_rows(max(c.mlp_hidden, c.expert_hidden)) * 2)
    copies = draw(st.sampled_from([1, len(c.tasks)]))
    ports, port_bytes = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([16, 32]))
    if ports * port_bytes > most_weight_bytes(tk):
        port_bytes = BEAT_BYTES
    return MachineConfig(
        name="fuzzed", tm=tm, tk=tk, ports=ports, port_bytes=port_bytes,
        serialization=draw(st.sampled_from([1, 2, 4, 8])),
        ring_lines=draw(_at_least(8 * max(slices(inputs), gate), DEPTHS, max(64, tk), 4096)),
        param_lines=draw(st.sampled_from([16, 64, 512])),
        operand_rows=draw(_at_least(rows // draw(st.sampled_from([1, 2, 3])), DEPTHS, 64, 1 << 14)),
        residual_rows=draw(_at_least(copies * c.tokens * residual_rows(c.dim), DEPTHS, 64, 1 << 13)),
        kv_tiles=draw(_at_least(kv, POWERS, 8, 1 << 10)),
        lane_rows=draw(_at_least(operand_rows(c.dim), POWERS, 4, 128)),
        max_keys=draw(_at_least(c.tokens, POWERS, 16, 2048)),
        program_depth=draw(st.sampled_from([64, 128, 256, 512])),
        queue_depth=draw(_at_least(c.top_k * c.tokens // draw(st.sampled_from([1, 2, 3, 5])), POWERS, 16, 1 << 12)))


def fits(model: IntModel, machine: MachineConfig) -> bool:
    """Whether nothing rules out that the machine holds the model."""
    return all(need.need <= need.have for need in machine_needs(model.config, model.plan, machine))
