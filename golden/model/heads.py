# SPDX-License-Identifier: Apache-2.0
"""Task head in PyTorch: M3ViT's up-sampling head, from the tokens of the last block to maps of the picture's size.

Shapes: B images, N tokens, D embedding, h x w token grid, C channels, M result maps.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden.spec.heads import NORM_EPS, UPSAMPLED, WINDOWS, HeadConfig
from golden.spec.model import ModelConfig


def upsampled(x: Tensor) -> Tensor:  # [B, C, h, w] -> [B, C, 2h, 2w]
    """Twice the height and width: on each axis 3/4 of the nearer value and 1/4 of the other, edges repeated."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def pooled(config: ModelConfig, x: Tensor) -> Tensor:  # [B, N, D] -> [B, D or 2 D]
    """What a classifier reads that pools features: their mean over the patches, with ``class_mean`` after the class
    token's.
    """
    mean = x[:, config.extra_tokens:].mean(1)
    return torch.cat([x[:, 0], mean], 1) if config.pool == "class_mean" else mean


class UpsamplingHead(nn.Module):
    """Layer norm of the patch tokens, then ``conv_0`` to ``conv_3`` (3x3, ReLU) and ``conv_4`` (1x1), enlarged by
    2 after all but ``conv_3`` (:data:`golden.spec.heads.UPSAMPLED`).
    """

    def __init__(self, config: ModelConfig, head: HeadConfig):
        super().__init__()
        self.name, self.grid, self.extra = f"heads.{head.task}.", config.grid, config.extra_tokens
        self.norm = nn.LayerNorm(config.dim, eps=NORM_EPS)
        for i in range(WINDOWS):
            setattr(self, f"conv_{i}", nn.Conv2d(head.inputs(i, config.dim), head.outputs(i), 3, padding=1))
        setattr(self, f"conv_{WINDOWS}", nn.Conv2d(head.channels, head.classes, 1))

    def forward(self, stream: Tensor, probe) -> Tensor:  # [B, N, D] -> [B, M, 16 h, 16 w]
        """``probe`` receives ``heads.<task>.norm`` (tokens), ``.conv_i`` (after ReLU) and ``.up_i``."""
        tokens = probe[f"{self.name}norm"] = self.norm(stream[:, self.extra:])
        x = tokens.mT.reshape(len(tokens), -1, *self.grid)
        for i, doubled in enumerate(UPSAMPLED):
            x = getattr(self, f"conv_{i}")(x)
            x = probe[f"{self.name}conv_{i}"] = F.relu(x) if i < WINDOWS else x
            if doubled:
                x = probe[f"{self.name}up_{i}"] = upsampled(x)
        return x
