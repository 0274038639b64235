# SPDX-License-Identifier: Apache-2.0
"""Trainable M3ViT: the network of :mod:`golden.model.float_model`, arranged for speed on batches, with noisy gates.

All tasks run together: once the first experts are met, the batch is repeated for each task, and each part uses its
task's gates. Parameters have the names of the float model's, except gates, heads and BatchNorm (see ``export.py``).
Shapes: B images, T tasks, N tokens, D embedding, E experts, k chosen ones.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden.model.ffn import ACTIVATIONS, Mlp, Stacked
from golden.model.float_model import Attention
from golden.model.heads import upsampled
from golden.spec.heads import NORM_EPS, UPSAMPLED, WINDOWS, HeadConfig
from golden.spec.model import ModelConfig
from host.training.gate import NoisyGate

ROWS = 128
"""Experts' queues are padded to a multiple of it: oneDNN prepares each new size of a product anew, which takes long."""
DEPTH_START = 2.0
"""Depth that a new head predicts everywhere, in the recipe's units."""


@dataclass
class Outputs:
    """Result of a forward pass: a map for each head, the balancing loss, tokens of each expert by (block, task)."""

    maps: dict[str, Tensor]
    imbalance: Tensor
    tokens: dict[tuple[int, str], Tensor]


class Experts(nn.Module):
    """All experts of a block as batched products: each expert's tokens lie on ``rows`` rows, unused ones at the end.

    ``rows`` is a multiple of :data:`ROWS`: each new size costs the matrix library more time than the unused rows.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        self.fc1 = Stacked(config.experts, config.expert_hidden, config.dim)
        self.fc2 = Stacked(config.experts, config.dim, config.expert_hidden)

    def forward(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:  # [M, D], [M, k], [M, k] -> [M, D]
        experts, k = len(self.fc1.weight), chosen.shape[1]
        expert = chosen.reshape(-1)
        order = expert.argsort(stable=True)
        counts = torch.bincount(expert, minlength=experts)
        rows = -(-int(counts.max()) // ROWS) * ROWS
        rank = torch.arange(len(order)) - (counts.cumsum(0) - counts)[expert[order]]
        slot = torch.empty_like(order)
        slot[order] = expert[order] * rows + rank
        source = torch.zeros(experts * rows, dtype=torch.long)  # unused rows hold token 0
        source[slot] = torch.arange(len(slot)) // k
        queues = x.index_select(0, source).reshape(experts, rows, -1)
        hidden = self.activation(_products(queues, self.fc1))
        y = _products(hidden, self.fc2).flatten(0, 1).index_select(0, slot).reshape(*chosen.shape, -1)
        return (y * weights[..., None]).sum(1)


def _products(x: Tensor, linears: Stacked) -> Tensor:  # [E, rows, inputs] -> [E, rows, outputs]
    y = x @ linears.weight.mT
    return y + linears.bias[:, None].to(y.dtype)


class Block(nn.Module):
    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.is_moe, self.tasks, self.experts = config.is_moe(layer), len(config.tasks), config.experts
        self.norm1 = nn.LayerNorm(config.dim, eps=config.eps)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(config.dim, eps=config.eps)
        if self.is_moe:
            self.gate = nn.ModuleList(NoisyGate(config.dim, config.experts, config.top_k, config.gate)
                                      for _ in config.tasks)
        self.mlp = Experts(config) if self.is_moe else Mlp(config)

    def forward(self, x: Tensor, images: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Tokens [B or T B, N, D] of ``images`` = B pictures; the balancing loss; tokens of each expert by task."""
        x = x + self.attn(self.norm1(x), {}, "")
        if not self.is_moe:
            return x + self.mlp(self.norm2(x), {}, ""), x.new_zeros(()), []
        if len(x) == images:
            x = x.repeat(self.tasks, 1, 1)
        z = self.norm2(x).reshape(self.tasks, -1, x.shape[-1])
        routes = [gate(part) for gate, part in zip(self.gate, z, strict=True)]
        chosen, weights = (torch.cat([route[i] for route in routes]) for i in range(2))
        y = self.mlp(z.flatten(0, 1), chosen, weights)
        counts = [torch.bincount(route[0].reshape(-1), minlength=self.experts) for route in routes]
        return x + y.reshape(x.shape), torch.stack([route[2] for route in routes]).sum(), counts


class TrainingHead(nn.Module):
    """Up-sampling head; with ``batch_norm`` each 3x3 convolution is followed by a BatchNorm, folded when exported."""

    def __init__(self, config: ModelConfig, head: HeadConfig, batch_norm: bool):
        super().__init__()
        self.extra = config.extra_tokens
        self.norm = nn.LayerNorm(config.dim, eps=NORM_EPS)
        for i in range(WINDOWS + 1):
            size = 3 if i < WINDOWS else 1
            conv = nn.Conv2d(head.inputs(i, config.dim), head.outputs(i), size, padding=size // 2)
            conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
            setattr(self, f"conv_{i}", conv)
            if batch_norm and i < WINDOWS:
                setattr(self, f"batch_norm_{i}", nn.BatchNorm2d(head.outputs(i)))

    def forward(self, stream: Tensor, grid: tuple[int, int]) -> Tensor:  # [B, N, D] -> [B, M, H, W]
        x = self.norm(stream[:, self.extra:]).mT.reshape(len(stream), -1, *grid)
        x = x.to(memory_format=torch.channels_last)
        for i, doubled in enumerate(UPSAMPLED):
            x = getattr(self, f"conv_{i}")(x)
            if i < WINDOWS:
                x = getattr(self, f"batch_norm_{i}")(x) if hasattr(self, f"batch_norm_{i}") else x
                x = F.relu(x)
            x = upsampled(x) if doubled else x
        return x


class TrainingNetwork(nn.Module):
    """``forward(pixels, left)`` of normalised pixels [B, C, H, W]; returns :class:`Outputs`.

    Pictures may be narrower than the model's; ``left`` [B] is then the column of patches at which each one begins.
    """

    def __init__(self, config: ModelConfig, batch_norm: bool = True):
        super().__init__()
        self.config = config
        self.patch_embed = nn.Linear(config.patch_dim, config.dim)
        self.pos_embed = nn.Parameter(torch.zeros(config.tokens, config.dim))
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.depth))
        self.heads = nn.ModuleList(TrainingHead(config, head, batch_norm) for head in config.task_heads)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear) and not isinstance(module, NoisyGate):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, Stacked):
                nn.init.trunc_normal_(module.weight, std=0.05)
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.pos_embed.copy_(sine_positions(self.config))
            for config, head in zip(self.config.task_heads, self.heads, strict=True):
                last = getattr(head, f"conv_{WINDOWS}")
                last.weight.mul_(0.1)
                last.bias.fill_(DEPTH_START if config.kind == "depth" else 0.0)

    def forward(self, pixels: Tensor, left: Tensor | None = None) -> Outputs:
        c, images, grid = self.config, len(pixels), (self.config.grid[0], pixels.shape[3] // self.config.patch)
        x = pixels.reshape(images, c.channels, grid[0], c.patch, grid[1], c.patch).permute(0, 2, 4, 1, 3, 5)
        x = self.patch_embed(x.reshape(images, grid[0] * grid[1], c.patch_dim))
        x = torch.cat([x.new_zeros(images, c.extra_tokens, c.dim), x], 1) + self._positions(images, grid, left)
        imbalance, tokens = x.new_zeros((), dtype=torch.float32), {}
        for i, block in enumerate(self.blocks):
            x, extra, counts = block(x, images)
            imbalance = imbalance + extra
            tokens |= {(i, task): count for task, count in zip(c.tasks, counts, strict=False)}
        streams = dict(zip(c.tasks, x.split(images), strict=True)) if len(x) > images else {}  # else all share one
        return Outputs({config.task: head(streams.get(config.task, x), grid)
                        for config, head in zip(c.task_heads, self.heads, strict=True)}, imbalance, tokens)

    def _positions(self, images: int, grid: tuple[int, int], left: Tensor | None) -> Tensor:  # [1 or B, N, D]
        c = self.config
        if grid == c.grid:
            return self.pos_embed[None]
        extra, patches = self.pos_embed[:c.extra_tokens], self.pos_embed[c.extra_tokens:].reshape(*c.grid, c.dim)
        columns = torch.arange(grid[1]) + (torch.zeros(images, dtype=torch.long) if left is None else left)[:, None]
        chosen = patches[:, columns].transpose(0, 1)  # [B, rows, columns, D]
        return torch.cat([extra.expand(images, -1, -1), chosen.reshape(images, -1, c.dim)], 1)


def sine_positions(config: ModelConfig) -> Tensor:
    """Sines and cosines of the rows and columns of patches, [tokens, dim]; small values for the extra tokens."""
    rows, columns = config.grid
    frequency = 1.0 / 100 ** (torch.arange(config.dim // 4) / (config.dim // 4))
    y, x = torch.meshgrid(torch.arange(rows).float(), torch.arange(columns).float(), indexing="ij")
    angles = torch.cat([y.reshape(-1, 1) * frequency, x.reshape(-1, 1) * frequency], 1)
    positions = torch.cat([angles.sin(), angles.cos()], 1)
    return 0.5 * torch.cat([torch.zeros(config.extra_tokens, config.dim), positions])
