# SPDX-License-Identifier: Apache-2.0
"""Noisy top-k gate and balancing losses of mixtures of experts, as in M3ViT (after Shazeer et al., 2017).

Shapes: M tokens, D embedding, E experts, k chosen ones.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden.model.float_model import route
from golden.spec.model import GateKind

NOISE_FLOOR = 0.01
"""Standard deviation that the noise on a logit has at least."""


class NoisyGate(nn.Linear):
    """Gate of one task in one block; ``w_noise`` scales the noise that is added to its logits in training."""

    def __init__(self, dim: int, experts: int, top_k: int, kind: GateKind):
        super().__init__(dim, experts)
        nn.init.normal_(self.weight, std=0.02)
        nn.init.zeros_(self.bias)
        self.top_k, self.kind = top_k, kind
        self.w_noise = nn.Parameter(torch.zeros(dim, experts))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # [M, D] -> [M, k], [M, k], scalar
        """Chosen experts, their weights, and the balancing loss (0 when not training)."""
        with torch.autocast(z.device.type, enabled=False):
            clean = super().forward(z.float())
            if not self.training:
                return *route(clean, self.top_k, self.kind), clean.new_zeros(())
            deviation = F.softplus(z.float() @ self.w_noise) + NOISE_FLOOR
            noisy = clean + torch.randn_like(clean) * deviation
            chosen, weights = route(noisy, self.top_k, self.kind)
            return chosen, weights, self._imbalance(clean, noisy, deviation, chosen, weights)

    def _imbalance(self, clean, noisy, deviation, chosen, weights) -> Tensor:
        """cv^2 of the experts' importance (sum of weights) plus cv^2 of their load (expected number of tokens)."""
        importance = torch.zeros_like(clean).scatter(1, chosen, weights).sum(0)
        experts = clean.shape[1]
        if self.top_k == experts:
            return squared_variation(importance)
        ranked = noisy.topk(self.top_k + 1, dim=1).values
        inside = noisy > ranked[:, -1:]
        limit = torch.where(inside, ranked[:, -1:], ranked[:, -2:-1])  # what each logit must exceed to be chosen
        load = torch.special.ndtr((clean - limit) / deviation).sum(0)
        return squared_variation(importance) + squared_variation(load)


def squared_variation(x: Tensor) -> Tensor:
    """Variance over squared mean.

    >>> float(squared_variation(torch.tensor([2.0, 2.0, 2.0])))
    0.0
    """
    return x.var(unbiased=False) / (x.mean().square() + 1e-10)
