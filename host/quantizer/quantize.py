# SPDX-License-Identifier: Apache-2.0
"""Quantizer: float model and calibration images -> integer model, block by block on the quantized earlier blocks."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from golden.model.float_model import run_float
from golden.model.int_model import IntModel
from golden.model.params import FloatModel
from golden.ops.arith import INT16
from golden.spec.limits import check_model
from golden.spec.model import PATCH_AXES, ModelConfig, require
from golden.spec.quantized import LayerPlan, Plan
from golden.spec.tables import PIXEL_PEAK
from host.quantizer import emulation, folding
from host.quantizer.attention import AttentionQuantizer
from host.quantizer.ffn import FfnQuantizer
from host.quantizer.findings import Finding, Findings
from host.quantizer.heads.classifier import ClassifierQuantizer
from host.quantizer.heads.head import HeadQuantizer, head_pictures
from host.quantizer.layer import LayerQuantizer, Options
from host.quantizer.linear import Inputs
from host.quantizer.mixed_precision import mixed
from host.quantizer.value_ranges import logit_frac, residual_frac, result_frac, result_ranges, value_range

FEWER = 4
"""How many times fewer pictures give the ranges of heads' results than calibrate the heads."""
Progress = Callable[[int, int, str], None]
"""``progress(done, total, what)`` is called for every block."""


class Quantizer(LayerQuantizer):
    """Quantizer of the whole network: patch embedding, the two stages of each block, classifier, task heads."""

    def __init__(self, model: FloatModel, plan: Plan, options: Options, findings: Findings):
        super().__init__(model, plan, options, findings, {})
        self.attention = AttentionQuantizer(model, plan, options, findings, self.tensors)
        self.ffn = FfnQuantizer(model, plan, options, findings, self.tensors)
        self.classifier = ClassifierQuantizer(model, plan, options, findings, self.tensors)
        self.heads = HeadQuantizer(model, plan, options, findings, self.tensors)

    def embed(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """pixels [B, patches, K] codes -> float stream and residual codes, both [B, N, D]."""
        c, step = self.config, self.residual_step
        weight, bias = folding.fold_input(*self.weights("patch_embed"), folding.pixel_scale(c))
        pos = folding.parameter(self.model, "pos_embed")
        flat = pixels.flatten(0, 1)
        target = torch.cat([rows.double() @ weight.T + bias for rows in flat.split(emulation.ROWS)])
        u = self.linear("patch_embed", flat, Inputs.of(flat), target.mean(0), weight, bias, step, PIXEL_PEAK)
        u = self.findings.clip("patch_embed", "results", u, *INT16)
        codes = self.findings.clip("pos_embed", "values", torch.round(pos / step), *INT16)
        self.put("pos_embed", codes)
        extra = torch.zeros(len(pixels), c.extra_tokens, c.dim)
        x_float = torch.cat([extra, target.unflatten(0, pixels.shape[:2])], 1) + pos
        x = torch.cat([extra, u.unflatten(0, pixels.shape[:2])], 1) + codes.float()
        x = self.findings.clip("pos_embed", "values of the residual stream after it", x, *INT16)
        self.findings.stream("patch_embed", x_float, x * step)
        order = [*range(c.extra_tokens), *(c.extra_tokens + place for place in c.patch_order())]
        return x_float[:, order], x[:, order]

    def prompted(self, i: int, x_float: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams with the prompts of block ``i``, if it has any, in the place of the last extra tokens."""
        c, name = self.config, f"blocks.{i}.prompts"
        if i not in c.prompt_layers:
            return x_float, x
        prompts, rows = folding.parameter(self.model, name), slice(c.extra_tokens - c.prompts, c.extra_tokens)
        codes = self.findings.clip(name, "values", torch.round(prompts / self.residual_step), *INT16)
        self.put(name, codes)
        x_float, x = x_float.clone(), x.clone()
        x_float[:, rows], x[:, rows] = prompts, codes.to(x.dtype)
        return x_float, x

    def run(self, images: np.ndarray, progress: Progress | None = None) -> dict[str, np.ndarray]:
        """Quantizes everything on uint8 images [B, height, width, C]; every task sees every image."""
        c = self.config
        x_float, x = self.embed(patches(c, images))
        steps = c.depth + len(c.task_heads)
        for i in range(c.depth):
            if progress:
                progress(i + 1, steps, f"block {i}")
            x_float, x = self.attention.quantize(i, *self.prompted(i, x_float, x))
            if i == min(c.moe_layers, default=c.depth):  # tasks differ from the first gate on
                x_float, x = (stream.repeat(len(c.tasks), 1, 1) for stream in (x_float, x))
            x_float, x = self.ffn.quantize(i, x_float, x)
        self.classifier.quantize(x_float, x)
        chosen = head_pictures(c, len(images), self.options.head_positions)
        for i, (head, plan) in enumerate(zip(c.task_heads, self.plan.task_heads, strict=True)):
            if progress:
                progress(c.depth + i + 1, steps, f"head {head.task}")
            place = c.tasks.index(head.task) * len(images) if len(x) > len(images) else 0
            self.heads.quantize(head, plan, x_float[place + chosen], x[place + chosen])
        return self.tensors


def patches(config: ModelConfig, images: np.ndarray) -> Tensor:
    """uint8 [B, height, width, C] -> codes [B, patches, C * patch * patch], inputs ordered channel, row, column."""
    c = config
    x = torch.from_numpy(np.ascontiguousarray(images)).float()
    x = x.reshape(len(x), c.image_height // c.patch, c.patch, c.image_width // c.patch, c.patch, c.channels)
    return x.permute(0, *(1 + axis for axis in PATCH_AXES)).reshape(len(x), c.patches, c.patch_dim)


@contextmanager
def one_thread():
    """Context with one PyTorch thread, so that results do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(before)


def quantize(model: FloatModel, images: Sequence[np.ndarray], plan: Plan | str = "fast", *,
             progress: Progress | None = None, report: Callable[[Finding], None] | None = None,
             cycle_budget: int | None = None, weight_bits: int | None = None,
             expert_bits: int | None = None, options: Options | None = None) -> IntModel:
    """The integer model of ``model`` under ``plan`` ("fast", "accurate", "mixed", "w4" or a
    :class:`Plan`).

    ``images``: uint8 [height, width, channels] of the model's size, used for every task
    (:func:`host.quantizer.crops.crops` makes some). ``progress(done, total, what)`` is called for every block,
    ``report`` for every place with a large error or clipping (:class:`host.quantizer.findings.Finding`).
    ``cycle_budget`` belongs to "mixed". ``weight_bits`` and ``expert_bits`` (4 to 8) override the plan's in all blocks.

    A named plan gets the fraction bits of residual stream, logits and task heads that the calibration images require; a
    given :class:`Plan` is not changed. Raises :class:`golden.spec.model.ConfigError` for invalid arguments,
    :class:`host.quantizer.value_ranges.NotQuantizable` for a network that no integer format can represent.
    """
    check_model(model.config)
    require(not model.config.keep, "Calibration looks at all tokens: quantize the network without keep and choose the "
            "tokens to keep when it is compiled (edge-moe compile --keep).")
    c, stacked = model.config, _stacked(model.config, images)
    named: dict[str, Callable[..., Plan]] = {"fast": Plan.fast, "accurate": Plan.accurate,
                                             "w4": partial(Plan.w4, dense=not c.moe_layers)}
    require(cycle_budget is None or plan == "mixed", f"A cycle budget belongs to the mixed plan, not to {plan!r}.")
    require(not isinstance(plan, str) or plan in {*named, "mixed"},
            f"The plan must be {', '.join(sorted([*named, 'mixed']))} or a Plan, not {plan!r}.")
    with one_thread():
        found = value_range(model, stacked)
        options = options or Options()
        results = result_ranges(model, stacked[head_pictures(c, len(stacked), options.head_positions // FEWER)])

    def build(chosen: Plan | str, report: Callable[[Finding], None] | None) -> IntModel:
        if isinstance(chosen, str):
            chosen = replace(named[chosen](c.depth, c.task_heads), residual_frac=residual_frac(model, found))
            chosen = replace(chosen, task_heads=tuple(
                replace(part, frac=result_frac(f"results of task head {head.task!r}", results[head.task], "its conv_4"))
                for head, part in zip(c.task_heads, chosen.task_heads, strict=True)))
            chosen = replace(chosen, logit_frac=logit_frac(found)) if c.classes else chosen
        require(len(chosen.layers) == c.depth,
                f"The plan describes {len(chosen.layers)} layers, the model has {c.depth}.")
        require(len(chosen.task_heads) == len(c.task_heads), f"The plan describes {len(chosen.task_heads)} task heads, "
                f"the model has {len(c.task_heads)}.")
        chosen, findings = chosen.with_bits(weight_bits, expert_bits), Findings(report)
        findings.pictures(len(stacked))
        with one_thread():
            tensors = Quantizer(model, chosen, options, findings).run(stacked, progress)
        return IntModel(c, chosen, tensors, source=f"{c.name}, {len(stacked)} calibration images")

    if plan == "mixed":
        reported: dict[str, list[Finding]] = {"fast": [], "accurate": []}
        fast, accurate = (build(name, found_by.append) for name, found_by in reported.items())
        result = mixed(fast, accurate, stacked, lambda probes: run_float(model, probes), cycle_budget,
                       progress=progress)
        if report is not None:
            for finding in _mixed_findings(result.plan, reported["fast"], reported["accurate"]):
                report(finding)
        return result
    return build(plan, report)


def _stacked(config: ModelConfig, images: Sequence[np.ndarray]) -> np.ndarray:
    """The images as one array. Raises :class:`golden.spec.model.ConfigError` unless all have the model's size."""
    wanted, arrays = (config.image_height, config.image_width, config.channels), [np.asarray(i) for i in images]
    require(len(arrays) > 0, f"Calibration wants at least one uint8 image of shape {wanted}, not none.")
    for place, image in enumerate(arrays):
        require(image.dtype == np.uint8 and image.shape == wanted,
                f"Calibration wants uint8 images of shape {wanted}; image {place} is {image.dtype} of shape "
                f"{image.shape}. Crop and resize it first (host.images.fitted does).")
    return np.stack(arrays)


def _mixed_findings(plan: Plan, fast: list[Finding], accurate: list[Finding]) -> list[Finding]:
    """Findings of the mixed plan: those of wide blocks from the accurate model, all others from the fast one."""
    wide = tuple(f"blocks.{i}." for i, layer in enumerate(plan.layers) if layer != LayerPlan())
    return [*(f for f in fast if not f.place.startswith(wide)), *(f for f in accurate if f.place.startswith(wide))]
