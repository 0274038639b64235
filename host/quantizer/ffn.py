# SPDX-License-Identifier: Apache-2.0
"""Quantizer stage for one FFN, dense or a mixture of experts."""

import numpy as np
import torch
from torch import Tensor

from golden.model import ffn as float_ffn
from golden.ops.arith import INT16
from golden.spec.activations import ACT_IN_FRAC, ACT_SHIFT_MAX, ACTIVATIONS, Activation
from golden.spec.isa import Opcode, bounds
from golden.spec.model import GateKind
from golden.spec.tables import (
    ACC_LIMIT,
    GATE_RADIX_LOG2,
    GATE_WEIGHT_FRAC,
    GATE_WEIGHT_MAX,
    SCORE_BITS,
    WIDE_PEAK,
    operand_peak,
)
from host.quantizer import emulation, folding
from host.quantizer.folding import Scale
from host.quantizer.layer import AFFINE_SHIFT_MAX, LayerQuantizer
from host.quantizer.linear import Inputs, fit_linear
from host.quantizer.operand_steps import INT16_MAX, gain_grid, operand_scale
from host.quantizer.rounding import MULTIPLIER_MAX

_, GATE_SHIFT_MAX = bounds(Opcode.GATE, "shift1")
TIE = 2.0 ** 32
"""Float logits are rounded to steps of 1 / TIE, so that ties do not depend on the order of sums."""
Routes = tuple[Tensor, Tensor]
"""Chosen experts [T, k] and their gate weights [T, k]."""


class FfnQuantizer(LayerQuantizer):
    """Quantizer stage ``x + ffn(norm2(x))`` on the float and the integer stream."""

    @property
    def activation(self) -> Activation:
        return ACTIVATIONS[self.config.activation]

    def mlp(self, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> tuple[Tensor, Tensor, float]:
        """Float FFN of [T, D]: the mean of the values before the activation, the result, and the largest value before
        the activation. Only positive values count, since those far below 0 become 0 clipped or not, except where the
        activation passes its input.
        """
        total, out, top = torch.zeros_like(b1), [], 0.0
        for start in range(0, len(x), emulation.ROWS):
            before = x[start:start + emulation.ROWS] @ w1.T + b1
            total += before.sum(0)
            top = max(top, float((before.abs() if self.activation.passes else before).max()))
            out.append(float_ffn.ACTIVATIONS[self.activation.name](before) @ w2.T + b2)
        return total / max(1, len(x)), torch.cat(out) if out else x.new_zeros(0, len(b2)), top

    def act_shift(self, name: str, top: float) -> tuple[int, float]:
        """How many fraction bits an activation's inputs of up to ``top`` lack, and their step; stored."""
        room = self.options.policy.act_room
        shift = next((s for s in range(ACT_SHIFT_MAX) if room * top * 2 ** (ACT_IN_FRAC - s) <= INT16_MAX),
                     ACT_SHIFT_MAX)
        self.put(f"{name}.act_shift", shift)
        self.findings.near(name, "activation inputs", top, INT16_MAX / 2.0 ** (ACT_IN_FRAC - ACT_SHIFT_MAX))
        return shift, 2.0 ** (shift - ACT_IN_FRAC)

    def activated(self, name: str, u: Tensor, act_shift: int) -> Tensor:
        """The activation of ``u``, not yet clipped."""
        u = u if self.activation.passes else u.clamp(min=INT16[0])
        u = self.findings.clip(name, "activation inputs", u, *INT16)
        return emulation.activate(u, self.activation.code, act_shift)

    def quantize(self, i: int, x_float: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.experts(i, x_float, x) if self.config.is_moe(i) else self.dense(i, x_float, x)

    def dense(self, i: int, x_float: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        b, plan, bits = f"blocks.{i}.", self.plan.layers[i], self.plan.layers[i].mlp_bits
        name = f"{b}mlp.fc1"
        (w1, b1), (w2, b2) = self.weights(name), self.weights(f"{b}mlp.fc2")
        z, _, _, a, scale = self.norm(f"{b}norm2", x_float, x, plan.norm2, w1, bits)
        wanted, target, top = self.mlp(z, w1, b1, w2, b2)
        act_shift, step = self.act_shift(name, top)
        weight, bias = folding.fold_input(*folding.fold_norm(self.model, f"{b}norm2", w1, b1), scale)
        u = self.linear(name, a, Inputs.of(a), wanted, weight, bias, step, operand_peak(plan.norm2), bits)
        g = self.activated(name, u, act_shift)
        out_step = 2.0 ** -self.activation.out_frac(act_shift)
        scale = operand_scale(g, out_step, w2, plan.hidden, self.options.policy, hidden=True, bits=bits)
        a, scale = self.affine(name, scale, out_step, g, plan.hidden)
        return self.add(f"{b}mlp.fc2", x_float, x, a, target, *folding.fold_input(w2, b2, scale),
                        operand_peak(plan.hidden), bits)

    def gate(self, i: int, normalized: Tensor, step: float, z: Tensor, task: str) -> tuple[Routes, Routes]:
        """Stores a task's gate, which acts on normalized codes of ``step``; routes of the float and integer stream."""
        c, b = self.config, f"blocks.{i}."
        name = f"{b}gate.{task}"
        weight, bias = self.weights(name)
        logits = torch.round((z @ weight.T + bias) * TIE) / TIE
        weight, bias = folding.fold_norm(self.model, f"{b}norm2", weight, bias)
        weight = weight * step
        # Both columns of an expert must stay within 32 bits; the high one is the larger.
        radix = 2 ** GATE_RADIX_LOG2
        least = (weight.abs().sum(1) * WIDE_PEAK + bias.abs()) / (radix * ACC_LIMIT)
        unit = max(float(weight.abs().max()) / GATE_WEIGHT_MAX, float(least.max()), 2.0 ** -200)
        while True:
            codes, bias_codes = torch.round(weight / unit), torch.round(bias / unit)
            high = torch.floor(codes / radix + 0.5).abs().sum(1) * WIDE_PEAK
            if bool((high + bias_codes.abs() / radix + 1 < ACC_LIMIT).all()):
                break
            unit *= 1.05
        scale = unit * folding.gate_scale()
        shift = int(np.clip(np.floor(np.log2(MULTIPLIER_MAX / scale)), 0, GATE_SHIFT_MAX))
        multiplier = min(MULTIPLIER_MAX, max(1, round(scale * 2 ** shift)))
        for key, value in (("weight", codes), ("bias", bias_codes), ("multiplier", multiplier), ("shift", shift)):
            self.put(f"{name}.{key}", value)
        raw = normalized.double() @ codes.T + bias_codes
        self.findings.top(name, "scores", float(raw.max()) * multiplier / 2.0 ** shift, 2 ** (SCORE_BITS - 1))
        renormalise = c.gate is GateKind.TOPK_THEN_SOFTMAX
        found = emulation.route(raw, multiplier / 2.0 ** shift, c.top_k, renormalise)
        ranked, order = logits.sort(dim=-1, descending=True, stable=True)
        chosen = order[:, :c.top_k]
        gate_weight = ranked[:, :c.top_k].softmax(-1) if renormalise else logits.softmax(-1).gather(1, chosen)
        return (chosen, gate_weight), found

    def gates(self, i: int, normalized: Tensor, step: float, z: Tensor) -> tuple[Routes, Routes]:
        """Stores all gates, each with its task's tokens; joined routes of both streams."""
        tasks = self.config.tasks
        routes = [self.gate(i, codes, step, y, task)
                  for codes, y, task in zip(normalized.chunk(len(tasks)), z.chunk(len(tasks)), tasks, strict=True)]
        return _joined([of_float for of_float, _ in routes]), _joined([of_integer for _, of_integer in routes])

    def experts(self, i: int, x_float: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        c, b, plan = self.config, f"blocks.{i}.", self.plan.layers[i]
        bits = plan.expert_bits
        (w1, b1), (w2, b2) = self.weights(f"{b}mlp.fc1"), self.weights(f"{b}mlp.fc2")
        z, normalized, step, a, scale = self.norm(f"{b}norm2", x_float, x, plan.norm2, w1.flatten(0, 1), bits)
        (chosen_float, weight_float), (chosen, gate_weight) = self.gates(i, normalized, step, z)
        out = torch.zeros_like(z)
        for e in range(c.experts):
            token, place = _queue(chosen_float, e)
            y = self.mlp(z[token], w1[e], b1[e], w2[e], b2[e])[1]
            out.index_add_(0, token, y * weight_float[token, place, None])
        # The experts are fitted on the tokens that the integer gate routes to them, not on those of the float gate.
        queues = [_queue(chosen, e) for e in range(c.experts)]
        wanted = [self.mlp(z[t], w1[e], b1[e], w2[e], b2[e]) for e, (t, _) in enumerate(queues)]
        fc2, hidden, fraction = self.expert_linears(b, plan, a, scale, queues, wanted, (w1, b1), (w2, b2))
        codes = x.flatten(0, 1).double()
        for e, (t, place) in enumerate(queues):
            u = self.findings.clip(f"{b}mlp.fc2", f"results of expert {e}", fc2.run(hidden[e], e), *INT16)
            weighted = u.double() * gate_weight[t, place, None]
            codes.index_add_(0, t, emulation.round_half_up(
                weighted * 2.0 ** (self.plan.residual_frac - fraction - GATE_WEIGHT_FRAC)))
        codes = self.findings.clip(f"{b}mlp.fc2", "values of the residual stream after it", codes, *INT16)
        x_float, x = x_float + out.view_as(x_float), codes.float().view_as(x)
        self.findings.stream(f"{b}mlp.fc2", x_float, x * self.residual_step)
        return x_float, x

    def expert_linears(self, b: str, plan, a: Tensor, scale: Scale, queues: list[tuple[Tensor, Tensor]],
                       wanted: list[tuple[Tensor, Tensor, float]], one: tuple[Tensor, Tensor],
                       two: tuple[Tensor, Tensor]):
        """Stores both linears of all experts; ``one`` and ``two`` are their float weights and biases. Returns fc2, its
        operands for each expert's tokens, and the fraction bits of its results.
        """
        bits, rounding, name = plan.expert_bits, self.options.rounding, f"{b}mlp.fc1"
        few = a[torch.linspace(0, len(a) - 1, min(self.options.background, len(a))).long()]
        act_shift, step = self.act_shift(name, max(top for _, _, top in wanted))
        weight, bias = folding.fold_input(*folding.fold_norm(self.model, f"{b}norm2", *one), scale)
        fc1 = fit_linear([Inputs.of(a[t]) for t, _ in queues], torch.stack([mean for mean, _, _ in wanted]), weight,
                         bias, step, operand_peak(plan.norm2), rounding, Inputs.of(few), bits)
        self.put_codes(name, fc1)
        g = [self.activated(name, fc1.run(torch.cat([a[t], few]), e), act_shift) for e, (t, _) in enumerate(queues)]
        hidden, stacked = self.expert_hidden(name, g, 2.0 ** -self.activation.out_frac(act_shift), len(few),
                                             two[0], plan.hidden, bits)
        fraction = self.result_fraction(f"{b}mlp.fc2", [y for _, y, _ in wanted])
        own = [h[:len(t)] for h, (t, _) in zip(hidden, queues, strict=True)]
        mean = torch.stack([y.mean(0) if len(y) else torch.zeros_like(two[1][0]) for _, y, _ in wanted])
        background = Inputs.of(torch.cat([h[len(t):] for h, (t, _) in zip(hidden, queues, strict=True)]))
        weight, bias = two[0] * stacked.step[:, None, :], two[1] + (two[0] @ stacked.offset[..., None])[..., 0]
        fc2 = fit_linear([Inputs.of(h) for h in own], mean, weight, bias, 2.0 ** -fraction, operand_peak(plan.hidden),
                         rounding, background, bits)
        self.put_codes(f"{b}mlp.fc2", fc2)
        return fc2, own, fraction

    def expert_hidden(self, name: str, g: list[Tensor], unit: float, few: int, w2: Tensor, wide: bool,
                      bits: int) -> tuple[list[Tensor], Scale]:
        """Stores the affine after every expert's activation (one shift for all), whose results ``g`` have steps of
        ``unit``; operand values and stacked scales.

        The last ``few`` rows of ``g`` are background tokens, used only where an expert has few tokens itself.
        """
        scales = [operand_scale(h if len(h) < few + 64 else h[:-few], unit, w2[e], wide,
                                self.options.policy, hidden=True, bits=bits) for e, h in enumerate(g)]
        stacked = Scale(torch.stack([s.step for s in scales]), torch.stack([s.offset for s in scales]))
        gain, offset, shift, stacked = gain_grid(stacked, unit, AFFINE_SHIFT_MAX)
        self.put_affine(name, gain, offset, shift)
        return [emulation.affine(h, gain[e], offset[e], shift, wide) for e, h in enumerate(g)], stacked

    def result_fraction(self, name: str, results: list[Tensor]) -> int:
        """Fraction bits of the experts' results before the gate weight: as many as the largest allows, less one bit of
        headroom. Stores the right shift after that multiplication.
        """
        top = max([float(y.abs().max()) for y in results if len(y)] + [1e-3])
        fraction = int(np.clip(np.floor(np.log2(INT16_MAX / (2 * top))), 0, 15))
        self.put(f"{name}.shift2", GATE_WEIGHT_FRAC + fraction - self.plan.residual_frac)
        return fraction


def _joined(routes: list[Routes]) -> Routes:
    """Routes of the tokens of all tasks."""
    return torch.cat([chosen for chosen, _ in routes]), torch.cat([weights for _, weights in routes])


def _queue(chosen: Tensor, expert: int) -> tuple[Tensor, Tensor]:
    """Tokens that chose an expert, and the rank at which each did."""
    token, rank = torch.where(chosen == expert)
    return token, rank
