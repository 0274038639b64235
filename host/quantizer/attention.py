# SPDX-License-Identifier: Apache-2.0
"""Quantizer stage for one attention layer."""

from collections.abc import Callable

import torch
from torch import Tensor

from golden.ops.arith import INT16
from golden.spec.tables import ATTENTION_FRAC, SCORE_BITS, WEIGHT_MAX, least_p_shift, operand_peak
from host.quantizer import emulation, folding, rotation
from host.quantizer.folding import Scale
from host.quantizer.layer import LayerQuantizer
from host.quantizer.linear import MULTIPLIER_SHIFT_MAX, Inputs
from host.quantizer.noise import BYTE_RANGE
from host.quantizer.operand_steps import key_scale, operand_scale, query_finer
from host.quantizer.rounding import MULTIPLIER_MAX

Mix = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Attention of q, k, v [B, H, N, d]."""
SCORES = 1 << 22
"""Attention scores computed at a time, to limit memory for long sequences."""


def softmax_mix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Float attention of [B, H, N, d]."""
    return (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v


class AttentionQuantizer(LayerQuantizer):
    """Quantizer stage ``x + proj(attention(norm1(x)))`` on the float and the integer stream."""

    def heads(self, v: Tensor, keys: int) -> Tensor:  # [T, D] -> [B, H, N, d]
        return v.reshape(-1, keys, self.config.heads, self.config.head_dim).transpose(1, 2)

    def by_run(self, mix: Mix, q: Tensor, k: Tensor, v: Tensor, keys: int) -> Tensor:
        """``mix`` of q, k, v [T, D], each run of ``keys`` tokens (an image, or a window) by itself, as many at a time
        as fit; [T, D]."""
        c = self.config
        q, k, v = self.heads(q, keys), self.heads(k, keys), self.heads(v, keys)
        at_once = max(1, SCORES // (c.heads * keys ** 2))
        batches = [slice(start, start + at_once) for start in range(0, len(q), at_once)]
        out = [mix(q[batch], k[batch], v[batch]) for batch in batches]
        return torch.cat(out).transpose(1, 2).reshape(-1, c.dim)

    def quantize(self, i: int, x_float: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        plan, b, policy = self.plan.layers[i], f"blocks.{i}.", self.options.policy
        weight, bias = self.weights(f"{b}attn.qkv")
        proj, proj_bias = self.weights(f"{b}attn.proj")
        y, _, _, a, scale = self.norm(f"{b}norm1", x_float, x, plan.norm1, weight, plan.weight_bits)
        q, k, v = (y @ weight.T + bias).chunk(3, -1)
        if self.options.rotate:
            weight, bias, proj, (q, k, v) = self.rotated(weight, bias, proj, q, k, v)
        weight, bias = folding.fold_input(*folding.fold_norm(self.model, f"{b}norm1", weight, bias), scale)
        # The offset of K adds a constant to all scores of a query and cancels in softmax; that of V adds to the output.
        scale_k, scale_v = key_scale(k, policy), key_scale(v, policy)
        u, unit = self.mixed(b, a, (q, k, v), weight, bias, scale_k, scale_v, self.config.keys(i))
        target = self.by_run(softmax_mix, q, k, v, self.config.keys(i)) @ proj.T + proj_bias
        scale = operand_scale(u, unit, proj, plan.attn, policy, bits=plan.weight_bits)
        a, scale = self.affine(f"{b}attn.out", scale, unit, u, plan.attn)
        weight, bias = folding.fold_input(proj, proj_bias + proj @ scale_v.offset, scale)
        return self.add(f"{b}attn.proj", x_float, x, a, target, weight, bias, operand_peak(plan.attn), plan.weight_bits)

    def mixed(self, b: str, a: Tensor, wanted: tuple[Tensor, Tensor, Tensor], weight: Tensor, bias: Tensor,
              scale_k: Scale, scale_v: Scale, keys: int) -> tuple[Tensor, Tensor]:
        """Quantizes and stores Q, K, V and the scaling of scores to log2 units; ``wanted``: the float q, k, v [T, D].
        Returns the attention's ``u`` [T, D] and its steps [D].
        """
        plan, inputs = self.plan.layers[int(b.split(".")[1])], Inputs.of(a)
        q_step, score_scale = self.score_steps(b, wanted[0], scale_k)
        steps, starts = (q_step, scale_k.step, scale_v.step), (0.0, scale_k.offset, scale_v.offset)
        found = []
        for part, w, o, start, step, target in zip("qkv", weight.chunk(3), bias.chunk(3), starts, steps, wanted,
                                                   strict=True):
            name = f"{b}attn.{part}"
            u = self.linear(name, a, inputs, target.mean(0) - start, w, o - start, step, operand_peak(plan.norm1),
                            plan.weight_bits)
            found.append(emulation.block_quantize(self.findings.clip(name, "results", u, *INT16, step))
                         if part == "q" else
                         self.findings.clip(name, "values", u, -WEIGHT_MAX, WEIGHT_MAX, step))
        p_shift, limit = self.p_shift(b, plan.prob, keys), 2 ** (SCORE_BITS - 1)
        highest = [0.0]

        def machine(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            t = emulation.scores(q, k, score_scale)
            highest[0] = max(highest[0], float(t.max()))
            return emulation.mix(t, v, plan.prob, p_shift)

        u = self.by_run(machine, found[0], found[1], found[2], keys)
        self.findings.top(f"{b}attn", "scores", highest[0], limit)
        return u, scale_v.step / 2 ** ATTENTION_FRAC

    def rotated(self, weight: Tensor, bias: Tensor, proj: Tensor, q: Tensor, k: Tensor, v: Tensor):
        """All tensors of one attention in the heads' balanced bases (:mod:`host.quantizer.rotation`)."""
        heads, floor = self.config.heads, self.options.rotation_floor

        def bases(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
            pairs = [rotation.balance(x, y, floor) for x, y in zip(left, right, strict=True)]
            return torch.stack([basis for basis, _ in pairs]), torch.stack([dual for _, dual in pairs])

        for_q, for_k = bases(rotation.head_moments(q, heads, False), rotation.head_moments(k, heads, True))
        for_v, for_proj = bases(rotation.head_moments(v, heads, True), rotation.head_moments(proj, heads, False))
        sides = for_q, for_k, for_v
        rows = [rotation.rotate_rows(*part) for part in zip(weight.chunk(3), bias.chunk(3), sides, strict=True)]
        weight, bias = (torch.cat(part) for part in zip(*rows, strict=True))
        values = [rotation.rotate(t, basis) for t, basis in zip((q, k, v), sides, strict=True)]
        return weight, bias, rotation.rotate_columns(proj, for_proj), values

    def score_steps(self, block: str, q: Tensor, scale_k: Scale) -> tuple[Tensor, Tensor]:
        """Steps of Q [D] and the score scale [H]: in a head, q_step * k_step is the same for all channels."""
        c = self.config
        needed = q * scale_k.step
        top = needed.abs().amax(0).reshape(c.heads, -1).amax(1)
        top = torch.where(top > 0, top, top.max() if float(top.max()) else 1.0)
        finer = query_finer(needed / top.repeat_interleave(c.head_dim), c.heads, self.options.policy)
        scale = top / (BYTE_RANGE * 2.0 ** finer) * folding.log2_scale(c)
        shift = int(torch.floor(torch.log2(MULTIPLIER_MAX / scale.max())).clamp(0, MULTIPLIER_SHIFT_MAX))
        multiplier = torch.round(scale * 2.0 ** shift).clamp(1, MULTIPLIER_MAX)
        self.put(f"{block}attn.score_multiplier", multiplier)
        self.put(f"{block}attn.score_shift", shift)
        product = multiplier / 2.0 ** shift / folding.log2_scale(c)
        return product.repeat_interleave(c.head_dim) / scale_k.step, multiplier / 2.0 ** shift

    def p_shift(self, block: str, wide: bool, keys: int) -> int:
        """The smallest shift of 16-bit probabilities with which P V cannot leave 32 bits."""
        shift = least_p_shift(keys, wide)
        self.put(f"{block}attn.p_shift", shift)
        return shift
