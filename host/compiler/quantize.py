# SPDX-License-Identifier: Apache-2.0
"""Float model and calibration images -> integer model, block after block, each on what those before really give."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from golden.model.float_model import run_float
from golden.model.int_model import IntModel
from golden.model.params import FloatModel
from golden.spec.model import GateKind, require
from golden.spec.quantized import Plan, quantized_schema
from golden.spec.tables import (
    ATTENTION_FRAC,
    EXP_ONE,
    GATE_WEIGHT_FRAC,
    GATE_WEIGHT_MAX,
    GELU_IN_FRAC,
    GELU_OUT_FRAC,
    RESIDUAL_FRAC,
    WEIGHT_MAX,
    XHAT_FRAC,
)
from host.compiler import batch, folds, rotate
from host.compiler.calibrate import BYTE_REACH, Policy, gain_grid, key_scale, operand_scale, query_finer
from host.compiler.fit import BLOCK_MAX, MULT_SHIFT_MAX, PIXEL_MAX, WIDE_MAX, LinearCodes, Rounding, Samples, fit_linear
from host.compiler.folds import Scale
from host.compiler.plan import mixed

RESIDUAL_STEP = 2.0 ** -RESIDUAL_FRAC
GELU_IN_STEP = 2.0 ** -GELU_IN_FRAC
GELU_OUT_STEP = 2.0 ** -GELU_OUT_FRAC
AFFINE_SHIFT_MAX, NORM_SHIFT_MAX = 40, 31
MULT_MAX = 65535
INT16_MAX = 32767


@dataclass(frozen=True)
class Options:
    """Everything that may be tuned; the defaults are what was measured best."""

    rounding: Rounding = Rounding()
    policy: Policy = Policy()
    background: int = 512
    float_operands: bool = False
    follow: bool = True
    turn: bool = True
    turn_floor: float = 1e-2


class Quantizer:
    """Walks the network once with two streams: the float one, and the integer one of the tensors chosen so far."""

    def __init__(self, model: FloatModel, plan: Plan, options: Options):
        self.model, self.config, self.plan, self.options = model, model.config, plan, options
        self.tensors: dict[str, np.ndarray] = {}
        self.schema = quantized_schema(self.config)

    def put(self, name: str, value) -> None:
        dtype, shape = self.schema[name]
        array = value.double().numpy() if isinstance(value, Tensor) else np.asarray(value)
        self.tensors[name] = np.rint(array).astype(dtype).reshape(shape)

    def put_affine(self, name: str, gain: Tensor, offset: Tensor, shift: int, shift_name: str = "shift2") -> None:
        self.put(f"{name}.gain", gain)
        self.put(f"{name}.offset", offset)
        self.put(f"{name}.{shift_name}", shift)

    def weights(self, name: str) -> tuple[Tensor, Tensor]:
        return folds.parameter(self.model, f"{name}.weight"), folds.parameter(self.model, f"{name}.bias")

    def linear(self, name: str, a: Tensor, target: Tensor, weight: Tensor, bias: Tensor, out_step, operand_max: int):
        """Quantizes and stores one linear; returns its ``u`` for the operand values ``a``."""
        codes = fit_linear([Samples(a, target)], weight[None], bias[None], out_step, operand_max, self.options.rounding)
        self.put_codes(name, codes)
        return codes.run(a)

    def put_codes(self, name: str, codes: LinearCodes) -> None:
        self.put(f"{name}.weight", codes.weight)
        self.put(f"{name}.bias", codes.bias)
        self.put(f"{name}.mult", codes.mult)
        self.put(f"{name}.shift", codes.shift)

    def operand(self, v: Tensor, wide: bool) -> Tensor:
        return v if self.options.float_operands else batch.operand(v, wide)

    # ---- parts -------------------------------------------------------------------------------------------------

    def embed(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """pixels [B, patches, K] codes -> float stream and residual codes, both [B, N, D]."""
        c = self.config
        weight, bias = self.weights("patch_embed")
        weight, bias = folds.fold_input(weight, bias, folds.pixel_scale(c))
        pos = folds.parameter(self.model, "pos_embed").float()
        flat = pixels.flatten(0, 1)
        target = flat @ weight.T.float() + bias.float()
        u = self.linear("patch_embed", flat, target, weight, bias, RESIDUAL_STEP, PIXEL_MAX)
        codes = torch.round(pos / RESIDUAL_STEP)
        self.put("pos_embed", codes)
        extra = torch.zeros(len(pixels), c.extra_tokens, c.dim)
        x_float = torch.cat([extra, target.unflatten(0, pixels.shape[:2])], 1) + pos
        return x_float, batch.sat16(torch.cat([extra, u.unflatten(0, pixels.shape[:2])], 1) + codes)

    def norm(self, name: str, x_float: Tensor, x: Tensor, wide: bool, following: Tensor):
        """-> float result, xhat codes and operand values, each [T, D], and the operand's scale (of xhat)."""
        c = self.config
        weight, bias = self.weights(name)
        y = F.layer_norm(x_float, (c.dim,), weight.float(), bias.float(), c.eps).flatten(0, 1)
        xhat = batch.xhat(x, c.eps * 4.0 ** RESIDUAL_FRAC).flatten(0, 1)
        unit = 2.0 ** -XHAT_FRAC
        scale = operand_scale(xhat * unit, following * weight, wide, self.options.policy)
        gain, offset, shift, scale = gain_grid(scale, unit, NORM_SHIFT_MAX)
        self.put_affine(name, gain, offset, shift, "shift")
        self.put(f"{name}.eps", round(c.eps * 4 ** RESIDUAL_FRAC * c.dim ** 2))
        return y, xhat, self.operand(batch.affine(xhat, gain.float(), offset.float(), shift), wide), scale

    def heads(self, v: Tensor, images: int) -> Tensor:  # [B * N, D] -> [B, H, N, d]
        return v.reshape(images, -1, self.config.heads, self.config.head_dim).transpose(1, 2)

    def attention(self, i: int, x_float: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        c, plan, b, policy = self.config, self.plan.layers[i], f"blocks.{i}.", self.options.policy
        weight, bias = self.weights(f"{b}attn.qkv")
        y, _, a, scale = self.norm(f"{b}norm1", x_float, x, plan.norm1, weight)
        limit = WIDE_MAX if plan.norm1 else BLOCK_MAX
        q, k, v = (y @ weight.T.float() + bias.float()).chunk(3, -1)
        proj, proj_bias = self.weights(f"{b}attn.proj")
        if self.options.turn:
            weight, bias, proj, (q, k, v) = self.turned(weight, bias, proj, q, k, v)
        weight, bias = folds.fold_input(*folds.fold_norm(self.model, f"{b}norm1", weight, bias), scale)
        part = {name: (weight[j * c.dim:(j + 1) * c.dim], bias[j * c.dim:(j + 1) * c.dim])
                for j, name in enumerate("qkv")}
        # The offset of K adds the same to all scores of a query and cancels in softmax; V's adds to the output.
        scale_k, scale_v = key_scale(k, policy), key_scale(v, policy)
        q_step, score_scale = self.score_steps(b, q, scale_k)
        u = self.linear(f"{b}attn.q", a, q, *part["q"], q_step, limit)
        u_k = self.linear(f"{b}attn.k", a, k - scale_k.offset.float(), part["k"][0], part["k"][1] - scale_k.offset,
                          scale_k.step, limit)
        u_v = self.linear(f"{b}attn.v", a, v - scale_v.offset.float(), part["v"][0], part["v"][1] - scale_v.offset,
                          scale_v.step, limit)
        qkv = [self.heads(t, len(x)) for t in (self.operand(u, False), batch.key_clip(u_k), batch.key_clip(u_v))]
        p_shift = 0
        while plan.prob and (EXP_ONE >> p_shift) * WEIGHT_MAX * c.tokens >= 2 ** 31:
            p_shift += 1
        self.put(f"{b}attn.p_shift", p_shift)
        u = batch.attend(*qkv, score_scale, plan.prob, p_shift).transpose(1, 2).reshape(-1, c.dim)
        q, k, v = (self.heads(t, len(x)) for t in (q, k, v))
        out = ((q @ k.mT * c.head_dim ** -0.5).softmax(-1) @ v).transpose(1, 2).reshape(-1, c.dim)
        unit = scale_v.step / 2 ** ATTENTION_FRAC
        gain, offset, shift, scale = gain_grid(operand_scale(u * unit.float(), proj, plan.attn, policy), unit,
                                               AFFINE_SHIFT_MAX)
        self.put_affine(f"{b}attn.out", gain, offset, shift)
        a = self.operand(batch.affine(u, gain.float(), offset.float(), shift), plan.attn)
        weight, bias = proj, proj_bias
        target = out @ weight.T.float() + bias.float()
        weight, bias = folds.fold_input(weight, bias + weight @ scale_v.offset, scale)
        return self.add(f"{b}attn.proj", x_float, x, a, target, weight, bias, WIDE_MAX if plan.attn else BLOCK_MAX)

    def turned(self, weight, bias, proj, q, k, v):
        """Everything of one attention in the heads' balanced bases (:mod:`host.compiler.rotate`)."""
        heads, floor = self.config.heads, self.options.turn_floor
        gram = rotate.head_moments(proj, heads, False)
        pairs = [rotate.balance(x, y, floor) for x, y in zip(rotate.head_moments(q, heads, False),
                                                             rotate.head_moments(k, heads, True), strict=True)]
        basis_q, basis_k = (torch.stack(t) for t in zip(*pairs, strict=True))
        pairs = [rotate.balance(x, y, floor) for x, y in zip(rotate.head_moments(v, heads, True), gram, strict=True)]
        basis_v, dual = (torch.stack(t) for t in zip(*pairs, strict=True))
        bases = basis_q, basis_k, basis_v
        parts = zip(weight.chunk(3), bias.chunk(3), bases, strict=True)
        rows = [rotate.turn_rows(w, r, basis) for w, r, basis in parts]
        weight, bias = (torch.cat(t) for t in zip(*rows, strict=True))
        turned = [rotate.turn(t, basis) for t, basis in zip((q, k, v), bases, strict=True)]
        return weight, bias, rotate.turn_columns(proj, dual), turned

    def score_steps(self, block: str, q: Tensor, scale_k: Scale) -> tuple[Tensor, Tensor]:
        """Steps of Q [D] and the score scale [H]: in a head, q_step * k_step is the same for all channels."""
        c = self.config
        needed = q.double() * scale_k.step
        top = needed.abs().amax(0).reshape(c.heads, -1).amax(1)
        finer = query_finer(needed / top.repeat_interleave(c.head_dim), c.heads, self.options.policy)
        scale = top / (BYTE_REACH * 2.0 ** finer) * folds.log2_scale(c)
        shift = int(torch.floor(torch.log2(MULT_MAX / scale.max())).clamp(0, MULT_SHIFT_MAX))
        mult = torch.round(scale * 2.0 ** shift).clamp(1, MULT_MAX)
        self.put(f"{block}attn.score_mult", mult)
        self.put(f"{block}attn.score_shift", shift)
        product = mult / 2.0 ** shift / folds.log2_scale(c)
        return product.repeat_interleave(c.head_dim) / scale_k.step, (mult / 2.0 ** shift).float()

    def add(self, name, x_float, x, a, target, weight, bias, limit):
        """A linear into the residual stream."""
        target = target.view_as(x_float)
        wanted, extra = (x_float + target - x * RESIDUAL_STEP), 0.0
        wanted = wanted if self.options.follow else target
        u = self.linear(name, a, wanted.flatten(0, 1), weight, bias + extra, RESIDUAL_STEP, limit)
        return x_float + target, batch.sat16(x + u.view_as(x))

    def dense(self, i: int, x_float: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        b, plan = f"blocks.{i}.", self.plan.layers[i]
        weight, bias = self.weights(f"{b}mlp.fc1")
        z, _, a, scale = self.norm(f"{b}norm2", x_float, x, plan.norm2, weight)
        target = z @ weight.T.float() + bias.float()
        weight, bias = folds.fold_input(*folds.fold_norm(self.model, f"{b}norm2", weight, bias), scale)
        g = batch.gelu(self.linear(f"{b}mlp.fc1", a, target, weight, bias, GELU_IN_STEP,
                                   WIDE_MAX if plan.norm2 else BLOCK_MAX))
        weight, bias = self.weights(f"{b}mlp.fc2")
        scale = operand_scale(g * GELU_OUT_STEP, weight, plan.hidden, self.options.policy, True)
        gain, offset, shift, scale = gain_grid(scale, GELU_OUT_STEP, AFFINE_SHIFT_MAX)
        self.put_affine(f"{b}mlp.fc1", gain, offset, shift)
        a = self.operand(batch.affine(g, gain.float(), offset.float(), shift), plan.hidden)
        target = F.gelu(target) @ weight.T.float() + bias.float()
        return self.add(f"{b}mlp.fc2", x_float, x, a, target, *folds.fold_input(weight, bias, scale),
                        WIDE_MAX if plan.hidden else BLOCK_MAX)

    def gate(self, i: int, xhat: Tensor, z: Tensor, task: str, rows: slice):
        """Stores a task's gate; -> chosen experts and scores of the float and of the integer stream."""
        c, b = self.config, f"blocks.{i}."
        name = f"{b}gate.{task}"
        weight, bias = self.weights(name)
        logits = z[rows] @ weight.T.float() + bias.float()
        weight, bias = folds.fold_input(*folds.fold_norm(self.model, f"{b}norm2", weight, bias),
                                        folds.xhat_scale(c.dim))
        step = float(weight.abs().max()) / GATE_WEIGHT_MAX
        codes, bias_codes = torch.round(weight / step), torch.round(bias / step)
        scale = step * folds.gate_scale()
        shift = int(np.clip(np.floor(np.log2(MULT_MAX / scale)), 0, 63))
        mult = max(1, round(scale * 2 ** shift))
        for key, value in (("weight", codes), ("bias", bias_codes), ("mult", mult), ("shift", shift)):
            self.put(f"{name}.{key}", value)
        renormalise = c.gate is GateKind.TOPK_THEN_SOFTMAX
        found = batch.route(xhat[rows].double() @ codes.T + bias_codes, mult / 2.0 ** shift, c.top_k, renormalise)
        ranked, order = logits.sort(dim=-1, descending=True, stable=True)
        chosen = order[:, :c.top_k]
        score = ranked[:, :c.top_k].softmax(-1) if renormalise else logits.softmax(-1).gather(1, chosen)
        return (chosen, score), found

    def experts(self, i: int, x_float: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        c, b, plan = self.config, f"blocks.{i}.", self.plan.layers[i]
        w1, b1 = self.weights(f"{b}mlp.fc1")
        w2, b2 = self.weights(f"{b}mlp.fc2")
        z, xhat, a, scale = self.norm(f"{b}norm2", x_float, x, plan.norm2, w1.flatten(0, 1))
        per_task = len(z) // len(c.tasks)
        routes = [self.gate(i, xhat, z, task, slice(t * per_task, (t + 1) * per_task))
                  for t, task in enumerate(c.tasks)]
        chosen_float, score_float, chosen, score = (torch.cat([r[s][p] for r in routes])
                                                    for s in (0, 1) for p in (0, 1))
        out_float = torch.zeros_like(z)
        for e in range(c.experts):
            token, place = torch.where(chosen_float == e)
            y = F.gelu(z[token] @ w1[e].T.float() + b1[e].float()) @ w2[e].T.float() + b2[e].float()
            out_float.index_add_(0, token, y * score_float[token, place, None])
        # fc1 of every expert, on the tokens that the integer gate sends there.
        few = torch.linspace(0, len(z) - 1, min(self.options.background, len(z))).long()
        queues = [torch.where(chosen == e) for e in range(c.experts)]
        samples = [Samples(a[t], z[t] @ w1[e].T.float() + b1[e].float()) for e, (t, _) in enumerate(queues)]
        f1, fb1 = folds.fold_input(*folds.fold_norm(self.model, f"{b}norm2", w1, b1), scale)
        codes1 = fit_linear(samples, f1, fb1, GELU_IN_STEP, WIDE_MAX if plan.norm2 else BLOCK_MAX,
                            self.options.rounding, Samples(a[few], z[few]))
        self.put_codes(f"{b}mlp.fc1", codes1)
        hidden, g = [], []
        for e, (t, _) in enumerate(queues):
            g.append(batch.gelu(codes1.run(a[torch.cat([t, few])], e)))
        scales = [operand_scale((h if len(h) < len(few) + 64 else h[:-len(few)]) * GELU_OUT_STEP, w2[e], plan.hidden,
                                self.options.policy, True) for e, h in enumerate(g)]
        stacked = Scale(torch.stack([s.step for s in scales]), torch.stack([s.offset for s in scales]))
        gain, offset, shift, stacked = gain_grid(stacked, GELU_OUT_STEP, AFFINE_SHIFT_MAX)
        self.put_affine(f"{b}mlp.fc1", gain, offset, shift)
        hidden = [self.operand(batch.affine(h, gain[e].float(), offset[e].float(), shift), plan.hidden)
                  for e, h in enumerate(g)]
        samples2 = [Samples(hidden[e][:len(t)], F.gelu(samples[e].target) @ w2[e].T.float() + b2[e].float())
                    for e, (t, _) in enumerate(queues)]
        f2, fb2 = w2 * stacked.step[:, None, :], b2 + (w2 @ stacked.offset[..., None])[..., 0]
        # Results keep as many fraction bits as their largest value allows, with one bit to spare.
        top = max(float(s.target.abs().max()) for s in samples2 if len(s.target))
        fraction = int(np.clip(np.floor(np.log2(INT16_MAX / (2 * top))), 0, 15))
        self.put(f"{b}mlp.fc2.shift2", GATE_WEIGHT_FRAC + fraction - RESIDUAL_FRAC)
        background = torch.cat([hidden[e][len(t):] for e, (t, _) in enumerate(queues)])
        codes2 = fit_linear(samples2, f2, fb2, 2.0 ** -fraction, WIDE_MAX if plan.hidden else BLOCK_MAX,
                            self.options.rounding, Samples(background, background))
        self.put_codes(f"{b}mlp.fc2", codes2)
        flat = x.flatten(0, 1).clone()
        scale2 = 2.0 ** (RESIDUAL_FRAC - fraction - GATE_WEIGHT_FRAC)
        for e, (t, place) in enumerate(queues):
            u = codes2.run(hidden[e][:len(t)], e)
            flat.index_add_(0, t, batch.round_half_up(u * score[t, place, None] * scale2))
        return x_float + out_float.view_as(x_float), batch.sat16(flat.view_as(x))

    def head(self, x_float: Tensor, x: Tensor) -> None:
        """Final norm and classifier heads, on their own tokens."""
        c, n = self.config, self.config.extra_tokens
        if not c.final_norm:
            return
        x_float, x = (x_float[:, :n], x[:, :n]) if c.classes else (x_float, x)
        names = ("head", "head_dist")[:n] if c.classes else ()
        following = torch.cat([self.weights(name)[0] for name in names]) if names else torch.eye(c.dim).double()
        y, _, a, scale = self.norm("norm", x_float.contiguous(), x.contiguous(), self.plan.head, following)
        for j, name in enumerate(names):
            weight, bias = self.weights(name)
            target = y[j::n] @ weight.T.float() + bias.float()
            weight, bias = folds.fold_input(*folds.fold_norm(self.model, "norm", weight, bias), scale)
            self.linear(name, a[j::n], target, weight, bias, RESIDUAL_STEP, WIDE_MAX if self.plan.head else BLOCK_MAX)

    def run(self, images: np.ndarray, progress=None) -> dict[str, np.ndarray]:
        """Quantizes everything on uint8 images [B, height, width, C]; every task sees every image."""
        c = self.config
        x_float, x = self.embed(patches(c, images))
        x_float, x = (t.repeat(len(c.tasks), 1, 1) for t in (x_float, x))
        for i in range(c.depth):
            if progress:
                progress(i + 1, c.depth, f"block {i}")
            x_float, x = self.attention(i, x_float, x)
            x_float, x = self.experts(i, x_float, x) if c.is_moe(i) else self.dense(i, x_float, x)
        self.head(x_float, x)
        self.last = (x_float, x)
        return self.tensors


def patches(config, images: np.ndarray) -> Tensor:
    """uint8 [B, height, width, C] -> codes [B, patches, C * patch * patch], inputs ordered channel, row, column."""
    c = config
    x = torch.from_numpy(np.ascontiguousarray(images)).float()
    x = x.reshape(len(x), c.image_height // c.patch, c.patch, c.image_width // c.patch, c.patch, c.channels)
    return x.permute(0, 1, 3, 5, 2, 4).reshape(len(x), c.patches, c.patch_dim)


def quantize(model: FloatModel, images, plan: Plan | str = "fast", *, progress=None, cycle_budget: int | None = None,
             options: Options | None = None) -> IntModel:
    """The integer model of ``model`` under ``plan`` ("fast", "accurate", "mixed" or one of your own).

    ``images``: uint8 [height, width, channels] of the model's size, used for every task
    (:func:`host.compiler.views.views` makes some). ``progress(done, total, what)`` is told of every block.
    ``cycle_budget`` belongs to "mixed". The same arguments give the same bytes.
    """
    c = model.config
    images = np.stack([np.asarray(image) for image in images]) if len(images) else np.zeros((0, 0, 0, 0), np.uint8)
    wanted = (c.image_height, c.image_width, c.channels)
    require(len(images) > 0 and images.dtype == np.uint8 and images.shape[1:] == wanted,
            f"Calibration wants at least one uint8 image of shape {wanted}, not {images.dtype} {images.shape[1:]}.")
    named = {"fast": Plan.fast, "accurate": Plan.accurate}
    require(cycle_budget is None or plan == "mixed", f"A cycle budget belongs to the mixed plan, not to {plan!r}.")
    if plan == "mixed":
        fast, accurate = (quantize(model, images, name, progress=progress, options=options) for name in named)
        return mixed(fast, accurate, images, lambda probes: run_float(model, probes), cycle_budget, progress=progress)
    if isinstance(plan, str):
        require(plan in named, f"plan must be one of {sorted([*named, 'mixed'])} or a Plan, not {plan!r}.")
        plan = named[plan](c.depth)
    with torch.no_grad():
        tensors = Quantizer(model, plan, options or Options()).run(images, progress)
    return IntModel(c, plan, tensors, source=f"{c.name}, {len(images)} calibration images")
