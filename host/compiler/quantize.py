# SPDX-License-Identifier: Apache-2.0
"""Float model and calibration images -> integer model, block after block, each on what those before really give."""

from collections.abc import Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from golden.model.float_model import run_float
from golden.model.int_model import IntModel
from golden.model.params import FloatModel
from golden.spec.model import ModelConfig, require
from golden.spec.quantized import Plan
from host.compiler import batch, folds
from host.compiler.attention_walk import AttentionWalk
from host.compiler.ffn_walk import FfnWalk
from host.compiler.fit import PIXEL_MAX
from host.compiler.plan import mixed
from host.compiler.walk import RESIDUAL_STEP, Options, operand_max


class Quantizer(AttentionWalk, FfnWalk):
    """The whole network: patch embedding, blocks, classifier."""

    def embed(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """pixels [B, patches, K] codes -> float stream and residual codes, both [B, N, D]."""
        c = self.config
        weight, bias = folds.fold_input(*self.weights("patch_embed"), folds.pixel_scale(c))
        pos = folds.parameter(self.model, "pos_embed").float()
        flat = pixels.flatten(0, 1)
        target = flat @ weight.T.float() + bias.float()
        u = self.linear("patch_embed", flat, target, weight, bias, RESIDUAL_STEP, PIXEL_MAX)
        codes = batch.sat16(torch.round(pos / RESIDUAL_STEP))
        self.put("pos_embed", codes)
        extra = torch.zeros(len(pixels), c.extra_tokens, c.dim)
        x_float = torch.cat([extra, target.unflatten(0, pixels.shape[:2])], 1) + pos
        return x_float, batch.sat16(torch.cat([extra, u.unflatten(0, pixels.shape[:2])], 1) + codes)

    def head(self, x_float: Tensor, x: Tensor) -> None:
        """Final norm and classifier heads, each on its own token."""
        c, n = self.config, self.config.extra_tokens
        if not c.final_norm:
            return
        names = ("head", "head_dist")[:n] if c.classes else ()
        following = torch.cat([self.weights(name)[0] for name in names]) if names else torch.eye(c.dim).double()
        if names:
            x_float, x = x_float[:, :n].contiguous(), x[:, :n].contiguous()
        y, _, a, scale = self.norm("norm", x_float, x, self.plan.head, following)
        for j, name in enumerate(names):
            weight, bias = self.weights(name)
            target = y[j::n] @ weight.T.float() + bias.float()
            weight, bias = folds.fold_input(*folds.fold_norm(self.model, "norm", weight, bias), scale)
            self.linear(name, a[j::n], target, weight, bias, RESIDUAL_STEP, operand_max(self.plan.head))

    def run(self, images: np.ndarray, progress=None) -> dict[str, np.ndarray]:
        """Quantizes everything on uint8 images [B, height, width, C]; every task sees every image."""
        c = self.config
        streams = (stream.repeat(len(c.tasks), 1, 1) for stream in self.embed(patches(c, images)))
        x_float, x = streams
        for i in range(c.depth):
            if progress:
                progress(i + 1, c.depth, f"block {i}")
            x_float, x = self.attention(i, x_float, x)
            x_float, x = self.experts(i, x_float, x) if c.is_moe(i) else self.dense(i, x_float, x)
        self.head(x_float, x)
        return self.tensors


def patches(config: ModelConfig, images: np.ndarray) -> Tensor:
    """uint8 [B, height, width, C] -> codes [B, patches, C * patch * patch], inputs ordered channel, row, column."""
    c = config
    x = torch.from_numpy(np.ascontiguousarray(images)).float()
    x = x.reshape(len(x), c.image_height // c.patch, c.patch, c.image_width // c.patch, c.patch, c.channels)
    return x.permute(0, 1, 3, 5, 2, 4).reshape(len(x), c.patches, c.patch_dim)


@contextmanager
def one_thread():
    """Sums in one order, whatever the number of cores: the same input must give the same bytes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(before)


def quantize(model: FloatModel, images: Sequence[np.ndarray], plan: Plan | str = "fast", *, progress=None,
             cycle_budget: int | None = None, weight_bits: int | None = None, expert_bits: int | None = None,
             options: Options | None = None) -> IntModel:
    """The integer model of ``model`` under ``plan`` ("fast", "accurate", "mixed" or one of your own).

    ``images``: uint8 [height, width, channels] of the model's size, used for every task
    (:func:`host.compiler.views.views` makes some). ``progress(done, total, what)`` is told of every block.
    ``cycle_budget`` belongs to "mixed". ``weight_bits`` and ``expert_bits`` (4 to 8) override the plan's in every
    block. The same arguments give the same bytes.
    """
    c = model.config
    images = np.stack([np.asarray(image) for image in images]) if len(images) else np.zeros((0, 0, 0, 0), np.uint8)
    wanted = (c.image_height, c.image_width, c.channels)
    require(len(images) > 0 and images.dtype == np.uint8 and images.shape[1:] == wanted,
            f"Calibration wants at least one uint8 image of shape {wanted}, not {images.dtype} {images.shape[1:]}.")
    named = {"fast": Plan.fast, "accurate": Plan.accurate}
    require(cycle_budget is None or plan == "mixed", f"A cycle budget belongs to the mixed plan, not to {plan!r}.")
    if plan == "mixed":
        fast, accurate = (quantize(model, images, name, progress=progress, weight_bits=weight_bits,
                                   expert_bits=expert_bits, options=options) for name in named)
        told = {"progress": progress} if progress else {}
        return mixed(fast, accurate, images, lambda probes: run_float(model, probes), cycle_budget, **told)
    if isinstance(plan, str):
        require(plan in named, f"plan must be one of {sorted([*named, 'mixed'])} or a Plan, not {plan!r}.")
        plan = named[plan](c.depth)
    require(len(plan.layers) == c.depth, f"The plan describes {len(plan.layers)} layers, the model has {c.depth}.")
    plan = plan.with_bits(weight_bits, expert_bits)
    with one_thread():
        tensors = Quantizer(model, plan, options or Options()).run(images, progress)
    return IntModel(c, plan, tensors, source=f"{c.name}, {len(images)} calibration images")
