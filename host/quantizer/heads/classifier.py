# SPDX-License-Identifier: Apache-2.0
"""Quantizer stage after the last block: the final norm of features, and the classifier on the machine or the host."""

import torch
import torch.nn.functional as F
from torch import Tensor

from golden.ops.arith import INT16
from golden.spec.tables import WIDE_PEAK, operand_peak
from host.quantizer import emulation, folding
from host.quantizer.folding import Scale
from host.quantizer.layer import NORM_SHIFT_MAX, LayerQuantizer
from host.quantizer.linear import Inputs
from host.quantizer.operand_steps import INT16_MAX, INT32_MAX
from host.quantizer.value_ranges import result_frac


class ClassifierQuantizer(LayerQuantizer):
    """Quantizer stage of everything that reads the residual stream after the last block, but the task heads."""

    def quantize(self, x_float: Tensor, x: Tensor) -> None:
        """Quantizes and stores final norm and classifier on streams [B, N, D]."""
        c = self.config
        if c.final_norm:
            self.host_norm("features_norm", "norm", x_float, x)
        if c.pooled:
            self.pooled(x_float, x)
        elif c.classes:
            self.head(x_float, x)

    def head(self, x_float: Tensor, x: Tensor) -> None:
        """The norm and the heads that read class tokens, on the machine."""
        names = self.config.class_heads
        n = len(names)
        following = torch.cat([self.weights(name)[0] for name in names])
        x_float, x = x_float[:, :n].contiguous(), x[:, :n].contiguous()
        y, _, _, a, scale = self.norm("norm", x_float, x, self.plan.head, following)
        for j, name in enumerate(names):
            weight, bias = self.weights(name)
            target = y[j::n] @ weight.T + bias
            weight, bias = folding.fold_input(*folding.fold_norm(self.model, "norm", weight, bias), scale)
            self.scores(name, a[j::n], target, weight, bias, operand_peak(self.plan.head))

    def pooled(self, x_float: Tensor, x: Tensor) -> None:
        """The head that reads the mean of the patches, on the host: of normed features, or normed after pooling."""
        c, extra = self.config, self.config.extra_tokens
        if c.fc_norm:
            y, a = x_float[:, extra:].mean(1, keepdim=True), _mean_rows(x[:, extra:])
            y, a, step = self.host_norm("fc_norm", "fc_norm", y, a)
        else:
            y, a, step = self.host_norm("features_norm", "norm", x_float, x)
            first = int(c.pool == "class_mean")
            y = torch.cat([y[:, :first], y[:, extra:].mean(1, keepdim=True)], 1)
            a = torch.cat([a[:, :first], _mean_rows(a[:, extra:])], 1)
        y, a = y.flatten(1), a.flatten(1)
        weight, bias = self.weights("head")
        target = y.double() @ weight.T + bias
        scale = Scale(torch.full((c.head_inputs,), step, dtype=torch.float64), torch.zeros(c.head_inputs).double())
        self.scores("head", a, target, *folding.fold_input(weight, bias, scale), WIDE_PEAK)

    def scores(self, name: str, a: Tensor, target: Tensor, weight: Tensor, bias: Tensor, limit: int) -> None:
        """Quantizes a head, given as a linear of operand values ``a`` whose results should be ``target``."""
        step = 2.0 ** -self.plan.logit_frac
        u = self.linear(name, a, Inputs.of(a), target.mean(0), weight, bias, step, limit)
        self.findings.stream(name, target, self.findings.clip(name, "logits", u, *INT16) * step)

    def host_norm(self, name: str, norm: str, x_float: Tensor, x: Tensor) -> tuple[Tensor, Tensor, float]:
        """Stores the norm ``name`` of the host, the model's ``norm``; returns its float results and its codes, both
        [B, N, D], and their step, the same for all channels.
        """
        weight, bias = self.weights(norm)
        y = torch.stack([F.layer_norm(rows.double(), (self.config.dim,), weight, bias, self.config.eps).float()
                         for rows in x_float])
        frac = result_frac(f"features after {norm!r}", float(y.abs().max()), f"{norm}.weight and {norm}.bias")
        normalized, unit = self.normalized(name, x)
        gain, offset = weight * unit * 2.0 ** frac, bias * 2.0 ** frac
        most = min(INT16_MAX / max(float(gain.abs().max()), 1e-9), INT32_MAX / 2 / max(float(offset.abs().max()), 1e-9))
        shift = int(torch.floor(torch.log2(torch.tensor(most, dtype=torch.float64))).clamp(0, NORM_SHIFT_MAX))
        gain, offset = torch.round(gain * 2.0 ** shift), torch.round(offset * 2.0 ** shift)
        self.put_affine(name, gain, offset, shift, "shift")
        self.put(f"{name}.frac", frac)
        return y, emulation.affine(normalized, gain, offset, shift, True).view_as(x), 2.0 ** -frac


def _mean_rows(codes: Tensor) -> Tensor:
    """Integer codes [B, N, D] -> rounded means [B, 1, D], as :func:`golden.ops.pool.mean_rows`."""
    return emulation.round_half_up(codes.double().sum(1, keepdim=True) / codes.shape[1]).float()
