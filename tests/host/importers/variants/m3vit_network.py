# SPDX-License-Identifier: Apache-2.0
"""M3ViT's backbone as the paper's authors train it (arXiv 2210.14793), written down again with their parameter names.

Blocks of odd number are mixtures of experts; no norm after the last block. What the checkpoint does not hold, the
arguments say.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:  # [1, N, D]
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor, task: int, embedding: Tensor | None) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class ExpertLinear(nn.Module):
    """A linear of every expert: weight (experts, outputs, inputs)."""

    def __init__(self, experts: int, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(experts, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(experts, outputs))


class Gate(nn.Module):
    def __init__(self, inputs: int, experts: int, noisy: bool):
        super().__init__()
        self.w_gate = nn.Parameter(torch.zeros(inputs, experts))
        if noisy:
            self.w_noise = nn.Parameter(torch.zeros(inputs, experts))


class MoeMlp(nn.Module):
    """``gates``: a gate for each task (``multi``), one for all (``shared``), or one that also sees the task's embedding
    (``conditioned``). ``noisy``: top-k, then softmax over these; otherwise softmax over all experts, then top-k."""

    def __init__(self, dim: int, options):
        super().__init__()
        hidden, self.top_k, self.noisy = dim * options.ratio, options.top_k, options.noisy
        self.experts = nn.Module()
        self.experts.htoh4 = ExpertLinear(options.experts, dim, hidden)
        self.experts.h4toh = ExpertLinear(options.experts, hidden, dim)
        inputs = dim + (options.embedding if options.gates == "conditioned" else 0)
        if options.gates == "multi":
            self.gate = nn.ModuleList(Gate(inputs, options.experts, options.noisy) for _ in range(options.tasks))
        else:
            self.gate = Gate(inputs, options.experts, options.noisy)

    def forward(self, x: Tensor, task: int, embedding: Tensor | None) -> Tensor:
        gate = self.gate[task] if isinstance(self.gate, nn.ModuleList) else self.gate
        seen = x if embedding is None else torch.cat([x, embedding.expand(*x.shape[:-1], -1)], -1)
        logits = seen @ gate.w_gate
        if self.noisy:
            best, chosen = logits.topk(self.top_k)
            scores = best.softmax(-1)
        else:
            scores, chosen = logits.softmax(-1).topk(self.top_k)  # their sum stays below 1
        first, second = self.experts.htoh4, self.experts.h4toh
        hidden = F.gelu(torch.einsum("bnd,ehd->bneh", x, first.weight) + first.bias)
        out = torch.einsum("bneh,edh->bned", hidden, second.weight) + second.bias  # of every expert; most go unused
        return (torch.zeros_like(logits).scatter(-1, chosen, scores)[..., None] * out).sum(-2)


class Block(nn.Module):
    def __init__(self, number: int, options):
        super().__init__()
        dim = options.dim
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=EPS), nn.LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, options.heads)
        self.mlp = MoeMlp(dim, options) if number % 2 else Mlp(dim, 4 * dim)

    def forward(self, x: Tensor, task: int, embedding: Tensor | None) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x), task, embedding)


class TaskEmbedding(nn.Module):
    """A task's number to a vector that every token shows the gate."""

    def __init__(self, tasks: int, size: int):
        super().__init__()
        self.fc1, self.fc2, self.norm = nn.Linear(tasks, size), nn.Linear(size, size), nn.LayerNorm(size, eps=EPS)
        self.tasks = tasks

    def forward(self, task: int) -> Tensor:
        return self.norm(self.fc2(F.gelu(self.fc1(F.one_hot(torch.tensor(task), self.tasks).float()))))


class Network(nn.Module):
    """``forward(pixels [1, 3, H, W], task)`` gives the tokens [1, N, D] after the last block."""

    def __init__(self, options):
        super().__init__()
        dim, (height, width) = options.dim, options.image
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dim, 16, 16)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + height // 16 * (width // 16), dim))
        self.blocks = nn.ModuleList(Block(number, options) for number in range(options.depth))
        if options.gates == "conditioned":
            self.gate_task_represent = TaskEmbedding(options.tasks, options.embedding)

    def forward(self, pixels: Tensor, task: int) -> Tensor:
        x = self.patch_embed.proj(pixels).flatten(2).mT
        x = torch.cat([self.cls_token, x], 1) + self.pos_embed
        embedding = self.gate_task_represent(task) if hasattr(self, "gate_task_represent") else None
        for block in self.blocks:
            x = block(x, task, embedding)
        return x
