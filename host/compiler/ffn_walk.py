# SPDX-License-Identifier: Apache-2.0
"""The quantizer's way through one FFN, dense or a mixture of experts."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from golden.spec.model import GateKind
from golden.spec.tables import GATE_RADIX_LOG2, GATE_WEIGHT_FRAC, GATE_WEIGHT_MAX, RESIDUAL_FRAC
from host.compiler import batch, folds
from host.compiler.calibrate import INT16_MAX, operand_scale
from host.compiler.fit import ACC_LIMIT, WIDE_MAX, Samples, fit_linear
from host.compiler.folds import Scale
from host.compiler.rounding import MULT_MAX
from host.compiler.walk import AFFINE_SHIFT_MAX, GELU_IN_STEP, GELU_OUT_STEP, Walk, gain_grid, operand_max

GATE_SHIFT_MAX = 63
Routes = tuple[Tensor, Tensor]
"""Chosen experts [T, k] and their scores [T, k]."""


def mlp(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> tuple[Tensor, Tensor]:
    """Float FFN: what stands before GELU, and the result."""
    before = x @ w1.T.float() + b1.float()
    return before, F.gelu(before) @ w2.T.float() + b2.float()


class FfnWalk(Walk):
    """``x + ffn(norm2(x))`` on both streams."""

    def dense(self, i: int, x_float: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        b, plan, bits = f"blocks.{i}.", self.plan.layers[i], self.plan.layers[i].weight_bits
        (w1, b1), (w2, b2) = self.weights(f"{b}mlp.fc1"), self.weights(f"{b}mlp.fc2")
        z, _, a, scale = self.norm(f"{b}norm2", x_float, x, plan.norm2, w1, bits)
        before, target = mlp(z, w1, b1, w2, b2)
        weight, bias = folds.fold_input(*folds.fold_norm(self.model, f"{b}norm2", w1, b1), scale)
        g = batch.gelu(self.linear(f"{b}mlp.fc1", a, before, weight, bias, GELU_IN_STEP, operand_max(plan.norm2),
                                   bits))
        scale = operand_scale(g * GELU_OUT_STEP, w2, plan.hidden, self.options.policy, hidden=True, bits=bits)
        a, scale = self.affine(f"{b}mlp.fc1", scale, GELU_OUT_STEP, g, plan.hidden)
        self.put(f"{b}mlp.fc1.act_shift", 0)
        return self.add(f"{b}mlp.fc2", x_float, x, a, target, *folds.fold_input(w2, b2, scale),
                        operand_max(plan.hidden), bits)

    def gate(self, i: int, xhat: Tensor, z: Tensor, task: str) -> tuple[Routes, Routes]:
        """Stores a task's gate; routes of the float and of the integer stream."""
        c, b = self.config, f"blocks.{i}."
        name = f"{b}gate.{task}"
        weight, bias = self.weights(name)
        logits = z @ weight.T.float() + bias.float()
        weight, bias = folds.fold_input(*folds.fold_norm(self.model, f"{b}norm2", weight, bias),
                                        folds.xhat_scale(c.dim))
        step = max(float(weight.abs().max()) / GATE_WEIGHT_MAX, 1e-12)
        # Both columns of an expert must stay within 32 bits; the high one is the larger.
        while True:
            codes, bias_codes = torch.round(weight / step), torch.round(bias / step)
            high = torch.floor(codes / 2 ** GATE_RADIX_LOG2 + 0.5).abs().sum(1) * WIDE_MAX
            if bool((high + bias_codes.abs() / 2 ** GATE_RADIX_LOG2 + 1 < ACC_LIMIT).all()):
                break
            step *= 1.25
        scale = step * folds.gate_scale()
        shift = int(np.clip(np.floor(np.log2(MULT_MAX / scale)), 0, GATE_SHIFT_MAX))
        mult = max(1, round(scale * 2 ** shift))
        for key, value in (("weight", codes), ("bias", bias_codes), ("mult", mult), ("shift", shift)):
            self.put(f"{name}.{key}", value)
        renormalise = c.gate is GateKind.TOPK_THEN_SOFTMAX
        found = batch.route(xhat.double() @ codes.T + bias_codes, mult / 2.0 ** shift, c.top_k, renormalise)
        ranked, order = logits.sort(dim=-1, descending=True, stable=True)
        chosen = order[:, :c.top_k]
        score = ranked[:, :c.top_k].softmax(-1) if renormalise else logits.softmax(-1).gather(1, chosen)
        return (chosen, score), found

    def gates(self, i: int, xhat: Tensor, z: Tensor) -> tuple[Routes, Routes]:
        """Every task's gate on that task's tokens."""
        tasks = self.config.tasks
        routes = [self.gate(i, *part) for part in zip(xhat.chunk(len(tasks)), z.chunk(len(tasks)), tasks, strict=True)]
        return tuple(tuple(torch.cat([r[stream][part] for r in routes]) for part in (0, 1)) for stream in (0, 1))

    def experts(self, i: int, x_float: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        c, b, plan = self.config, f"blocks.{i}.", self.plan.layers[i]
        bits = plan.expert_bits
        (w1, b1), (w2, b2) = self.weights(f"{b}mlp.fc1"), self.weights(f"{b}mlp.fc2")
        z, xhat, a, scale = self.norm(f"{b}norm2", x_float, x, plan.norm2, w1.flatten(0, 1), bits)
        (chosen_float, score_float), (chosen, score) = self.gates(i, xhat, z)
        out = torch.zeros_like(z)
        for e in range(c.experts):
            token, place = torch.where(chosen_float == e)
            out.index_add_(0, token, mlp(z[token], w1[e], b1[e], w2[e], b2[e])[1] * score_float[token, place, None])
        # The experts are fitted on the tokens that the integer gate sends them, whatever the float one does.
        queues = [torch.where(chosen == e) for e in range(c.experts)]
        wanted = [mlp(z[t], w1[e], b1[e], w2[e], b2[e]) for e, (t, _) in enumerate(queues)]
        few = torch.linspace(0, len(z) - 1, min(self.options.background, len(z))).long()
        weight, bias = folds.fold_input(*folds.fold_norm(self.model, f"{b}norm2", w1, b1), scale)
        samples = [Samples(a[t], before) for (t, _), (before, _) in zip(queues, wanted, strict=True)]
        fc1 = fit_linear(samples, weight, bias, GELU_IN_STEP, operand_max(plan.norm2), self.options.rounding, a[few],
                         bits)
        self.put_codes(f"{b}mlp.fc1", fc1)
        g = [batch.gelu(fc1.run(a[torch.cat([t, few])], e)) for e, (t, _) in enumerate(queues)]
        hidden, stacked = self.expert_hidden(f"{b}mlp.fc1", g, len(few), w2, plan.hidden, bits)
        weight, bias = w2 * stacked.step[:, None, :], b2 + (w2 @ stacked.offset[..., None])[..., 0]
        samples = [Samples(h[:len(t)], y) for h, (t, _), (_, y) in zip(hidden, queues, wanted, strict=True)]
        fraction = self.result_fraction(f"{b}mlp.fc2", [y for _, y in wanted])
        background = torch.cat([h[len(t):] for h, (t, _) in zip(hidden, queues, strict=True)])
        fc2 = fit_linear(samples, weight, bias, 2.0 ** -fraction, operand_max(plan.hidden), self.options.rounding,
                         background, bits)
        self.put_codes(f"{b}mlp.fc2", fc2)
        codes = x.flatten(0, 1).clone()
        for e, (t, place) in enumerate(queues):
            weighted = fc2.run(hidden[e][:len(t)], e) * score[t, place, None]
            codes.index_add_(0, t, batch.round_half_up(weighted * 2.0 ** (RESIDUAL_FRAC - fraction - GATE_WEIGHT_FRAC)))
        return x_float + out.view_as(x_float), batch.sat16(codes.view_as(x))

    def expert_hidden(self, name: str, g: list[Tensor], few: int, w2: Tensor,
                      wide: bool, bits: int) -> tuple[list[Tensor], Scale]:
        """Stores the affine behind every expert's GELU (one shift for all); operand values and stacked scales.

        The last ``few`` rows of ``g`` are the background's; they only count where an expert has hardly any own.
        """
        scales = [operand_scale((h if len(h) < few + 64 else h[:-few]) * GELU_OUT_STEP, w2[e], wide,
                                self.options.policy, hidden=True, bits=bits) for e, h in enumerate(g)]
        stacked = Scale(torch.stack([s.step for s in scales]), torch.stack([s.offset for s in scales]))
        gain, offset, shift, stacked = gain_grid(stacked, GELU_OUT_STEP, AFFINE_SHIFT_MAX)
        self.put_affine(name, gain, offset, shift)
        self.put(f"{name}.act_shift", 0)
        return [batch.operand(batch.affine(h, gain[e].float(), offset[e].float(), shift), wide)
                for e, h in enumerate(g)], stacked

    def result_fraction(self, name: str, results: list[Tensor]) -> int:
        """Fraction bits of the experts' results before their weights: as many as the largest allows, with one bit to
        spare. Stores the right shift behind that multiplication.
        """
        top = max([float(y.abs().max()) for y in results if len(y)] + [1e-3])
        fraction = int(np.clip(np.floor(np.log2(INT16_MAX / (2 * top))), 0, 15))
        self.put(f"{name}.shift2", GATE_WEIGHT_FRAC + fraction - RESIDUAL_FRAC)
        return fraction
