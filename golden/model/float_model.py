# SPDX-License-Identifier: Apache-2.0
"""Float reference model: a vision transformer whose FFNs may be mixtures of experts, in plain PyTorch.

Shapes: B images, N tokens, D embedding, H heads, d = D / H, E experts, k = top_k, F hidden.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden.model.ffn import Experts, Mlp, Probe
from golden.model.heads import UpsamplingHead, pooled
from golden.model.params import FloatModel
from golden.model.pruning import add_attention
from golden.spec.model import GateKind, ModelConfig, require


class Attention(nn.Module):
    """``softmax(q k^T / sqrt(d)) v`` for each head, then ``proj``. Rows of ``qkv`` are ordered q, k, v;
    head; dim. Tokens see the others of their ``window``, so many in a row, or all.
    """

    def __init__(self, config: ModelConfig, layer: int = 0):
        super().__init__()
        self.heads, self.window = config.heads, config.window ** 2 if layer in config.window_layers else 0
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.proj = nn.Linear(config.dim, config.dim)

    def forward(self, x: Tensor, probe: Probe, name: str) -> Tensor:  # [B, N, D] -> [B, N, D]
        b, n, dim = x.shape  # with windows, B below is b times their number
        q, k, v = self.qkv(x).reshape(-1, self.window or n, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        p = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)  # [B, H, N, N]
        out = (p @ v).transpose(1, 2).reshape(b, n, dim)  # [B, N, D]
        probe[f"{name}q"], probe[f"{name}k"], probe[f"{name}v"] = q, k, v
        probe[f"{name}attn.prob"], probe[f"{name}attn.out"] = p, out
        return self.proj(out)


def route(logits: Tensor, top_k: int, kind: GateKind) -> tuple[Tensor, Tensor]:
    """Chosen experts, best first, and their gate weights, both [..., k], from gate logits [..., E].

    Of equal logits the lower index wins. Gate weights of ``SOFTMAX_THEN_TOPK`` sum to less than 1 on purpose."""
    ranked, order = logits.sort(dim=-1, descending=True, stable=True)  # torch.topk promises nothing about ties
    chosen = order[..., :top_k]
    if kind is GateKind.SOFTMAX_THEN_TOPK:
        return chosen, logits.softmax(-1).gather(-1, chosen)
    return chosen, ranked[..., :top_k].softmax(-1)


class Block(nn.Module):
    """``x + attn(norm1(x))``, then ``x + ffn(norm2(x))``; a MoE block's FFN is chosen by the gate of the
    task.
    """

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.config, self.layer, self.name, self.is_moe = config, layer, f"blocks.{layer}.", config.is_moe(layer)
        self.norm1 = nn.LayerNorm(config.dim, eps=config.eps)
        self.attn = Attention(config, layer)
        self.norm2 = nn.LayerNorm(config.dim, eps=config.eps)
        if self.is_moe:
            self.gate = nn.ModuleList(nn.Linear(config.dim, config.experts) for _ in config.tasks)
        self.mlp = Experts(config) if self.is_moe else Mlp(config)
        if layer in config.prompt_layers:
            self.prompts = nn.Parameter(torch.zeros(config.prompts, config.dim))

    def prompted(self, x: Tensor) -> Tensor:
        """``x`` [B, N, D] with this block's prompts, if any, in the place of the last extra tokens."""
        if not hasattr(self, "prompts"):
            return x
        end = self.config.extra_tokens
        prompts = self.prompts.expand(len(x), -1, -1)
        return torch.cat([x[:, :end - self.config.prompts], prompts, x[:, end:]], 1)

    def forward(self, x: Tensor, task: int, probe: Probe) -> Tensor:  # [B, N, D] -> [B, N, D]
        x = self.prompted(x)
        y = self.norm1(x)
        x = add_attention(self.config, self.layer, self.attn, x, y, probe)
        z = self.norm2(x)
        probe[f"{self.name}norm1"], probe[f"{self.name}mid"], probe[f"{self.name}norm2"] = y, x, z
        if self.is_moe:
            logits = self.gate[task](z)  # [B, N, E]
            chosen, weights = route(logits, self.config.top_k, self.config.gate)  # [B, N, k]
            probe[f"{self.name}gate.logits"] = logits
            probe[f"{self.name}gate.experts"], probe[f"{self.name}gate.scores"] = chosen, weights
            x = x + self.mlp(z, chosen, weights, probe, self.name)
        else:
            x = x + self.mlp(z, probe, self.name)
        probe[f"{self.name}out"] = x
        return x


class _Nothing(dict):
    """Probe that discards everything, used where the caller passes none."""

    def __setitem__(self, name, value): ...


class M3ViT(nn.Module):
    """A network with the parameters of a :class:`FloatModel`, of type ``dtype``.

    ``forward(pixels, task)`` takes codes 0..255, uint8 or float, [B, C, height, width], and returns the
    residual stream after the last block, [B, N, D], *before* the final norm. ``logits(stream)`` is the
    classifier, ``maps(stream, task)`` a task head.

    Named intermediates go to ``probe`` when one is given, with windows in the order in which the machine holds tokens
    (:meth:`golden.spec.model.ModelConfig.patch_order`). ``embed``; for each block, with prefix
    ``blocks.i.``: ``norm1``, ``q k v`` [B, H, N, d], ``attn.prob`` [B, H, N, N], ``attn.out`` (before
    ``proj``), ``mid`` (after the first residual add), ``norm2``, ``out``; dense: ``mlp.fc1`` (before the activation),
    ``mlp.hidden`` (after); MoE: ``gate.logits``, ``gate.experts``, ``gate.scores`` (gate weights), and for each
    expert e with tokens ``mlp.tokens.e`` (indices into B * N), ``mlp.fc1.e``, ``mlp.hidden.e``, ``mlp.fc2.e`` (not yet
    weighted); with a classifier ``norm``; of a head ``heads.<task>.norm`` (tokens), ``.conv_i`` (after ReLU) and
    ``.up_i``.
    """

    def __init__(self, model: FloatModel, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.config = c = model.config
        with torch.device("meta"):  # no memory, no random initial values: the parameters come below
            self.patch_embed = nn.Linear(c.patch_dim, c.dim)
            self.pos_embed = nn.Parameter(torch.zeros(c.tokens, c.dim))
            self.blocks = nn.ModuleList(Block(c, i) for i in range(c.depth))
            if c.final_norm:
                self.norm = nn.LayerNorm(c.dim, eps=c.eps)
            if c.fc_norm:
                self.fc_norm = nn.LayerNorm(c.dim, eps=c.eps)
            for head in c.class_heads:
                self.add_module(head, nn.Linear(c.head_inputs, c.classes))
            self.heads = nn.ModuleList(UpsamplingHead(c, head) for head in c.task_heads)
        state = {self._ours(name): torch.tensor(array, dtype=dtype) for name, array in model.tensors.items()}
        self.load_state_dict(state, assign=True)

    def _ours(self, name: str) -> str:
        """Parameter name in this module: gates and task heads are indexed by number, since a task name may contain
        dots.
        """
        if name.startswith("heads."):
            task, layer, kind = name.removeprefix("heads.").rsplit(".", 2)
            return f"heads.{[head.task for head in self.config.task_heads].index(task)}.{layer}.{kind}"
        block, mark, rest = name.partition(".gate.")
        if not mark:
            return name
        task, _, kind = rest.rpartition(".")
        return f"{block}.gate.{self.config.tasks.index(task)}.{kind}"

    def embed(self, pixels: Tensor) -> Tensor:  # [B, C, height, width] -> [B, N, D]
        c, weight = self.config, self.patch_embed.weight
        column = {"dtype": weight.dtype, "device": weight.device}
        mean, std = (torch.tensor(v, **column)[:, None, None] for v in (c.pixel_mean, c.pixel_std))
        x = (pixels.to(weight) / c.pixel_scale - mean) / std
        rows, columns = c.image_height // c.patch, c.image_width // c.patch
        x = x.reshape(-1, c.channels, rows, c.patch, columns, c.patch).permute(0, 2, 4, 1, 3, 5)
        x = self.patch_embed(x.reshape(-1, c.patches, c.patch_dim))  # [B, patches, D]
        extra = x.new_zeros(len(x), c.extra_tokens, c.dim)  # their rows of pos_embed hold token + position
        return torch.cat([extra, x], dim=1) + self.pos_embed

    def ordered(self, x: Tensor, back: bool = False) -> Tensor:  # [B, N, D] -> [B, N, D]
        """Tokens row by row over the image into the machine's order, or ``back``."""
        c = self.config
        order = torch.tensor([*range(c.extra_tokens), *(c.extra_tokens + place for place in c.patch_order())])
        return x[:, order.argsort() if back else order] if c.window else x

    def forward(self, pixels: Tensor, task: str | None = None, probe: Probe | None = None) -> Tensor:
        c, probe = self.config, _Nothing() if probe is None else probe
        require(pixels.ndim == 4 and tuple(pixels.shape[1:]) == (c.channels, c.image_height, c.image_width),
                f"pixels must have shape (images, {c.channels}, {c.image_height}, {c.image_width}), "
                f"not {tuple(pixels.shape)}.")
        index = task_index(c, task)
        x = probe["embed"] = self.ordered(self.embed(pixels))
        for block in self.blocks:
            x = block(x, index, probe)
        x = self.ordered(x, back=True)
        if c.final_norm and not isinstance(probe, _Nothing):
            probe["norm"] = self.norm(x)
        return x

    def features(self, pixels: Tensor, task: str | None = None, normed: bool = True) -> Tensor:  # -> [B, N, D]
        """Features of all tokens: after the final norm, what libraries call ``last_hidden_state``, or before it, which
        is what a program leaves in its output buffer.
        """
        require(not normed or self.config.final_norm, f"The model {self.config.name!r} has no final norm.")
        stream = self(pixels, task)
        return self.norm(stream) if normed else stream

    def maps(self, stream: Tensor, task: str, probe: Probe | None = None) -> Tensor:  # [B, N, D] -> [B, M, H, W]
        """Result of the head named ``task`` at the picture's size, from the stream of its task's pass."""
        names = [head.task for head in self.config.task_heads]
        require(task in names, f"The model {self.config.name!r} has heads for {names}, not for {task!r}.")
        return self.heads[names.index(task)](stream, _Nothing() if probe is None else probe)

    def logits(self, stream: Tensor) -> Tensor:  # [B, N, D] -> [B, classes]
        """Class scores from token 0, from both class tokens (their mean), or from what the model's ``pool`` says."""
        require(self.config.classes > 0, f"The model {self.config.name!r} has no classifier head.")
        return torch.stack(self.class_scores(stream)).mean(0)

    def class_scores(self, stream: Tensor) -> list[Tensor]:  # [B, N, D] -> for each head [B, classes]
        """Scores of each classifier head, each of its own token."""
        c, heads = self.config, self.config.class_heads
        if c.pooled:
            x = pooled(c, self.norm(stream) if c.final_norm else stream)
            x = self.get_submodule("fc_norm")(x) if c.fc_norm else x
            return [self.get_submodule("head")(x)]
        x = self.norm(stream[:, :len(heads)])
        return [self.get_submodule(head)(x[:, i]) for i, head in enumerate(heads)]


def task_index(config: ModelConfig, task: str | None) -> int:
    """Place of a task in ``config.tasks``; ``None`` means the first."""
    require(task is None or task in config.tasks, f"task must be one of {list(config.tasks)}, not {task!r}.")
    return 0 if task is None else config.tasks.index(task)


def to_pixels(config: ModelConfig, images: np.ndarray) -> Tensor:
    """uint8 images [B, height, width, C] (or one image without B) as the codes [B, C, height, width]."""
    images = np.asarray(images)
    images = images[None] if images.ndim == 3 else images
    wanted = (config.image_height, config.image_width, config.channels)
    require(images.dtype == np.uint8 and images.ndim == 4 and images.shape[1:] == wanted,
            f"images must be uint8 of shape (images, {', '.join(map(str, wanted))}), "
            f"not {images.dtype} {images.shape}.")
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


@torch.inference_mode()
def run_float(model: FloatModel, images: np.ndarray, task: str | None = None, *, normed: bool = False) -> np.ndarray:
    """Residual stream after the last block, float32 [B, N, D], of uint8 images [B, height, width, C]; ``normed``:
    after the final norm, as libraries give features.
    """
    return M3ViT(model).eval().features(to_pixels(model.config, images), task, normed).numpy()


@torch.inference_mode()
def normed(model: FloatModel, features: np.ndarray) -> np.ndarray:
    """Features [..., D] of a program, which are those before the final norm, after that of its float model."""
    c = model.config
    require(c.final_norm, f"The model {c.name!r} has no final norm.")
    weight, bias = (torch.from_numpy(model[f"norm.{kind}"]) for kind in ("weight", "bias"))
    return F.layer_norm(torch.from_numpy(np.ascontiguousarray(features, np.float32)), (c.dim,), weight, bias,
                        c.eps).numpy()


@torch.inference_mode()
def classify_float(model: FloatModel, images: np.ndarray, task: str | None = None) -> np.ndarray:
    """Class scores, float32 [B, classes], of uint8 images [B, height, width, C]."""
    net = M3ViT(model).eval()
    return net.logits(net(to_pixels(model.config, images), task)).numpy()


@torch.inference_mode()
def run_heads(model: FloatModel, images: np.ndarray) -> dict[str, np.ndarray]:
    """Result of every task head, float32 [B, maps, height, width], of uint8 images [B, height, width, C]."""
    net, pixels, results = M3ViT(model).eval(), to_pixels(model.config, images), {}
    for task in model.config.tasks:
        if heads := model.config.heads_of(task):
            stream = net(pixels, task)
            results |= {head.task: net.maps(stream, head.task).numpy() for head in heads}
    return results
