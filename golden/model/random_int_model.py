# SPDX-License-Identifier: Apache-2.0
"""Random quantized models with realistic magnitudes, to test the machine and the compiler."""

import math

import numpy as np

from golden.model.int_checks import linears
from golden.model.int_model import IntModel
from golden.ops.layernorm import eps_code
from golden.spec.activations import ACT_IN_FRAC, ACTIVATIONS
from golden.spec.heads import WINDOWS, HeadConfig
from golden.spec.isa import Opcode, bounds
from golden.spec.model import ModelConfig
from golden.spec.quantized import PACKED_BITS, HeadPlan, Plan, quantized_schema, weight_limit
from golden.spec.tables import (
    ACC_LIMIT,
    ATTENTION_FRAC,
    GATE_WEIGHT_FRAC,
    GATE_WEIGHT_MAX,
    LOG2_FRAC,
    NORMALIZED_FRAC,
    WEIGHT_LEVELS,
    least_p_shift,
)

RMS8, RMS16 = 45.0, 3000.0
"""Target root mean square of block and wide operands: blocks then use every exponent, wide ones seldom clip."""

MAP8, MAP16 = 75.0, 7500.0
"""Target standard deviation of a convolution's results before ReLU, for unsigned bytes and for 16 bits: maps then use
their whole range and seldom clip."""

MAP_MEAN, MAP_DEVIATION = 0.4, 0.58
"""Mean and standard deviation of what ReLU leaves of normal values, in standard deviations of those."""

STREAM = 512
"""Code of the residual stream that counts as 1, whatever its step: the stream then never saturates."""


class _Maker:
    def __init__(self, config: ModelConfig, plan: Plan, seed: int):
        self.config, self.plan, self.rng = config, plan, np.random.default_rng(seed)
        self.schema, self.peaks, self.tensors = quantized_schema(config), linears(config, plan), {}

    def put(self, name: str, values) -> None:
        dtype, shape = self.schema[name]
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        values = np.clip(np.rint(np.asarray(values, np.float64)), low, high)
        self.tensors[name] = np.broadcast_to(values, shape).astype(dtype)

    def variation(self, shape) -> np.ndarray:
        """Positive factors around 1, as scales of channels differ."""
        return np.exp(self.rng.normal(0, 0.4, shape))

    def linear(self, name: str, x_rms: float, out_rms: float, x_mean: float = 0.0) -> None:
        """Weights, bias and multipliers that bring operands of ``x_rms`` to results of ``out_rms``."""
        rng, (_, shape) = self.rng, self.schema[f"{name}.weight"]
        lead = shape[:1] if name.startswith("heads.") else shape[:-1]
        inputs, peak = math.prod(shape[len(lead):]), self.peaks[name]
        # Three quarters of the accumulator range, for E |w| = 0.8 rms.
        bits = self.plan.bits(name, self.config)
        limit = weight_limit(bits)
        rms = min(30.0, 0.4 * limit, 0.75 * ACC_LIMIT / (0.8 * inputs * peak))
        weight = np.clip(np.rint(rng.normal(0, rms, (*lead, inputs))), -limit, limit)
        if bits == PACKED_BITS:
            weight = rng.choice(WEIGHT_LEVELS, weight.shape)
        self.put(f"{name}.weight", weight.reshape(shape))
        acc_rms = rms * x_rms * math.sqrt(inputs)
        self.put(f"{name}.bias", rng.normal(0, 0.3 * acc_rms, lead) - weight.sum(-1) * x_mean)
        self.scale(f"{name}.multiplier", f"{name}.shift", out_rms / acc_rms, self.variation(lead))

    def scale(self, multiplier: str, shift: str, factor: float, variation) -> None:
        """``multiplier / 2**shift ~ factor * variation`` with the largest multiplier between 2**14 and 2**16."""
        s = int(15 - math.floor(math.log2(factor * np.max(variation))))
        s = max(0, min(bounds(Opcode.LINEAR, "shift1")[1], s))
        self.put(multiplier, np.minimum(factor * variation * 2.0 ** s, 65535))
        self.put(shift, s)

    def affine(self, gain: str, offset: str, shift: str, in_rms: float, out_rms: float) -> None:
        shape = self.schema[gain][1]
        factor = out_rms / in_rms * self.variation(shape) * self.rng.choice([-1, 1], shape)
        s = max(0, min(31, int(14 - math.floor(math.log2(np.abs(factor).max())))))
        self.put(gain, factor * 2.0 ** s)
        self.put(offset, self.rng.normal(0, 0.4 * out_rms, shape) * 2.0 ** s)
        self.put(shift, s)

    def norm(self, name: str, wide: bool) -> None:
        self.affine(f"{name}.gain", f"{name}.offset", f"{name}.shift", 1 << NORMALIZED_FRAC, RMS16 if wide else RMS8)
        self.put(f"{name}.eps", eps_code(self.config.eps, self.config.dim, self.plan.residual_frac))
        self.put(f"{name}.normalized_shift", 0)

    def block(self, i: int) -> None:
        c, b, plan, rng = self.config, f"blocks.{i}.", self.plan.layers[i], self.rng
        norm1, norm2 = (RMS16 if wide else RMS8 for wide in (plan.norm1, plan.norm2))
        attn, hidden = (RMS16 if wide else RMS8 for wide in (plan.attn, plan.hidden))
        if i in c.prompt_layers:
            self.put(f"{b}prompts", rng.normal(0, 0.7 * STREAM, (c.prompts, c.dim)))
        self.norm(f"{b}norm1", plan.norm1)
        for part in "qkv":
            self.linear(f"{b}attn.{part}", norm1, RMS8)
        self.scale(f"{b}attn.score_multiplier", f"{b}attn.score_shift",
                   (1.5 * 2 ** LOG2_FRAC) / (RMS8 ** 2 * math.sqrt(c.head_dim)), self.variation((c.heads,)))
        self.put(f"{b}attn.p_shift", least_p_shift(c.keys(i), plan.prob))
        self.affine(f"{b}attn.out.gain", f"{b}attn.out.offset", f"{b}attn.out.shift2", 0.4 * RMS8 * 2 ** ATTENTION_FRAC,
                    attn)
        self.linear(f"{b}attn.proj", attn, 0.4 * STREAM)
        self.norm(f"{b}norm2", plan.norm2)
        self.linear(f"{b}mlp.fc1", norm2, 1.2 * 2 ** ACT_IN_FRAC)
        self.put(f"{b}mlp.fc1.act_shift", 0)
        one = 2.0 ** ACTIVATIONS[c.activation].out_frac(0)
        self.affine(f"{b}mlp.fc1.gain", f"{b}mlp.fc1.offset", f"{b}mlp.fc1.shift2", 0.8 * one, hidden)
        if not c.is_moe(i):
            self.linear(f"{b}mlp.fc2", hidden, 0.4 * STREAM)
            return
        self.linear(f"{b}mlp.fc2", hidden, 4000.0)
        self.put(f"{b}mlp.fc2.shift2", GATE_WEIGHT_FRAC + 2)
        for task in c.tasks:
            g = f"{b}gate.{task}."
            rms = 3000.0
            logit = rms * 2 ** NORMALIZED_FRAC * math.sqrt(c.dim)
            self.put(f"{g}weight", np.clip(rng.normal(0, rms, (c.experts, c.dim)), -GATE_WEIGHT_MAX, GATE_WEIGHT_MAX))
            self.put(f"{g}bias", rng.normal(0, 0.3 * logit, (c.experts,)))
            self.scale(f"{g}multiplier", f"{g}shift", 1.5 * 2 ** LOG2_FRAC / logit, 1.0)

    def task_head(self, head: HeadConfig, plan: HeadPlan) -> None:
        name, rms, mean = f"heads.{head.task}", RMS16 if plan.norm else RMS8, 0.0
        self.norm(f"{name}.norm", plan.norm)
        for layer in range(WINDOWS):
            size = MAP16 if plan.last and layer == WINDOWS - 1 else MAP8
            self.linear(f"{name}.conv_{layer}", rms, size, mean)
            rms, mean = MAP_DEVIATION * size, MAP_MEAN * size
        self.linear(f"{name}.conv_{WINDOWS}", rms, 4.0 * STREAM, mean)

    def make(self) -> IntModel:
        c = self.config
        self.linear("patch_embed", 75.0, 0.7 * STREAM, x_mean=128.0)
        self.put("pos_embed", self.rng.normal(0, 0.7 * STREAM, (c.tokens, c.dim)))
        for i in range(c.depth):
            self.block(i)
        for name in ("features_norm", "fc_norm"):
            if f"{name}.gain" in self.schema:
                self.norm(name, True)
                self.put(f"{name}.frac", NORMALIZED_FRAC)
        if c.classes and not c.pooled:
            self.norm("norm", self.plan.head)
        for head in c.class_heads:
            self.linear(head, RMS16 if self.plan.head or c.pooled else RMS8, 2.0 * STREAM)
        for head, plan in zip(c.task_heads, self.plan.task_heads, strict=True):
            self.task_head(head, plan)
        return IntModel(c, self.plan, self.tensors, "random")


def random_int_model(config: ModelConfig, plan: Plan | None = None, seed: int = 0) -> IntModel:
    """A structurally valid model whose tensors follow from ``seed`` alone; ``plan`` None means every operand 8 bit.

    Multipliers and shifts are chosen so that every stage has results of ordinary magnitude for images of independent
    random bytes: few clip, every block exponent occurs, queues are of unequal length and some may be empty.
    """
    return _Maker(config, Plan.fast(config.depth, config.task_heads) if plan is None else plan, seed).make()
