# SPDX-License-Identifier: Apache-2.0
"""Forward pass of the integer network: composes the reference models in the order of the machine."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from golden.ops.attention import Attention, attention
from golden.ops.epilogue import Epilogue, epilogue, to_key_value, to_residual
from golden.ops.gate import Gate, gate_logits, route
from golden.ops.keep import CLASS_PARAMETERS, class_attention, kept
from golden.ops.layernorm import Norm, layernorm
from golden.ops.matmul import matmul
from golden.ops.operand import Operand, joined, to_operand
from golden.ops.pool import mean_rows
from golden.ops.queues import arrivals, fill, scatter_add
from golden.ops.saturation import SaturationCounters
from golden.spec.activations import ACTIVATIONS
from golden.spec.machine import SLICE
from golden.spec.model import PATCH_AXES, GateKind, ModelConfig
from golden.spec.quantized import LayerPlan, Plan

Trace = Callable[[str, np.ndarray], None]


def patches(image: np.ndarray, config: ModelConfig) -> np.ndarray:
    """uint8 image [height, width, channels] -> uint8 [patches, K], K = patch_dim filled with zeros to a multiple of 16.

    Patches row by row; inputs of a patch ordered channel, row, column.
    """
    p, c = config.patch, config.channels
    rows, columns = config.image_height // p, config.image_width // p
    flat = image.reshape(rows, p, columns, p, c).transpose(PATCH_AXES).reshape(config.patches, config.patch_dim)
    return np.pad(flat, ((0, 0), (0, -config.patch_dim % SLICE)))


class Forward:
    """Forward pass of one frame with the ``tensors`` of :func:`golden.spec.quantized.quantized_schema` and the ``rest``
    of a narrowed network (:mod:`golden.model.nested`)."""

    def __init__(self, config: ModelConfig, plan: Plan, tensors: dict[str, np.ndarray], trace: Trace | None = None,
                 saturation: SaturationCounters | None = None, rest: dict[str, np.ndarray] | None = None):
        self.config, self.plan, self.tensors, self.trace, self.rest = config, plan, tensors, trace, rest or {}
        self.saturation = SaturationCounters() if saturation is None else saturation

    def see(self, name: str, value: np.ndarray | Operand) -> None:
        """Hand an intermediate to the trace; an operand as its values and, for blocks, its exponents."""
        if self.trace is None:
            return
        if not isinstance(value, Operand):
            self.trace(name, value)
            return
        self.trace(name, value.values())
        if value.exp is not None:
            self.trace(f"{name}.exp", value.exp)

    def epilogue(self, name: str, expert: int | None = None, **flags) -> Epilogue:
        """The parameters of linear ``name``, of one expert where they are stacked."""
        def channel(field: str):
            array = self.tensors[f"{name}.{field}"]
            return array if expert is None else array[expert]
        affine = {"gain": channel("gain"), "offset": channel("offset")} if flags.get("affine") else {}
        shift2 = int(self.tensors[f"{name}.shift2"]) if flags.get("affine") or flags.get("gate_weight") else 0
        act_shift = int(self.tensors[f"{name}.act_shift"]) if "activation" in flags else 0
        return Epilogue(bias=channel("bias"), multiplier=channel("multiplier"),
                        shift1=int(self.tensors[f"{name}.shift"]),
                        shift2=shift2, act_shift=act_shift, **affine, **flags)

    def linear(self, name: str, operand: Operand, expert: int | None = None, expert_weight=None, **flags) -> np.ndarray:
        """``v`` int64 of linear ``name``, before the conversion for its destination."""
        weight = self.tensors[f"{name}.weight"]
        weight = weight if expert is None else weight[expert]
        weight = np.pad(weight, ((0, 0), (0, operand.shape[1] - weight.shape[1])))
        return epilogue(matmul(operand, weight), self.epilogue(name, expert, **flags), expert_weight)

    def absent(self, name: str, tokens: int, expert: int | None = None, expert_weight=None) -> np.ndarray:
        """``v`` int64 [tokens, D] that replaces what absent neurons of the FFN ``name`` left in the bias of fc2."""
        rest = self.rest[name] if expert is None else self.rest[name][expert]
        record = replace(self.epilogue(f"{name}.fc2", expert, gate_weight=expert_weight is not None), bias=rest)
        return epilogue(np.zeros((tokens, len(rest)), np.int64), record, expert_weight)

    def norm(self, name: str, x: np.ndarray, wide: bool) -> tuple[Operand, np.ndarray]:
        t = self.tensors
        return layernorm(x, Norm(gain=t[f"{name}.gain"], offset=t[f"{name}.offset"], shift=int(t[f"{name}.shift"]),
                                 eps=int(t[f"{name}.eps"]), wide=wide,
                                 normalized_shift=int(t[f"{name}.normalized_shift"])))

    def embed(self, image: np.ndarray) -> np.ndarray:
        """Residual stream int16 [N, D]: rows of ``pos_embed``, the patches added onto theirs."""
        x = self.tensors["pos_embed"].copy()
        with self.saturation.at("embed"):
            v = self.linear("patch_embed", Operand.pixels(patches(image, self.config)))
            x[self.config.extra_tokens:] = to_residual(v, x[self.config.extra_tokens:])
        x = x[self.order]
        self.see("embed", x)
        return x

    @property
    def order(self) -> np.ndarray:
        """Tokens in the order in which the machine holds them."""
        extra = self.config.extra_tokens
        return np.array([*range(extra), *(extra + place for place in self.config.patch_order())])

    def block(self, i: int, x: np.ndarray, task: str) -> np.ndarray:
        name, plan, end = f"blocks.{i}", self.plan.layers[i], self.config.extra_tokens
        if i in self.config.prompt_layers:
            x = np.concatenate([x[:end - self.config.prompts], self.tensors[f"{name}.prompts"], x[end:]])
        x = self.attention(f"{name}.", plan, x, self.config.keys(i))
        with self.saturation.at(f"{name}.norm2"):
            operand, normalized = self.norm(f"{name}.norm2", x, plan.norm2)
        self.see(f"{name}.norm2", operand)
        ffn = self.experts if self.config.is_moe(i) else self.dense
        x = ffn(f"{name}.", plan, x, operand, normalized, task)
        self.see(name, x)
        return x

    def attention(self, b: str, plan: LayerPlan, x: np.ndarray, keys: int) -> np.ndarray:
        t, at = self.tensors, self.saturation.at
        with at(f"{b}norm1"):
            operand, _ = self.norm(f"{b}norm1", x, plan.norm1)
        self.see(f"{b}norm1", operand)
        with at(f"{b}attn.k"):
            k = to_key_value(self.linear(f"{b}attn.k", operand))
        with at(f"{b}attn.v"):
            v = to_key_value(self.linear(f"{b}attn.v", operand))
        patches = dict(self.config.keep).get(int(b.split(".")[1]))
        if patches is not None:
            numbers = self.chosen(b, operand, k, self.config.extra_tokens + patches)
            x, operand = x[numbers], operand.take(numbers)
            self.see(f"{b}norm1.kept", operand)
        with at(f"{b}attn.q"):
            q = Operand.in_blocks(self.linear(f"{b}attn.q", operand))
        for part, value in (("q", q), ("k", k), ("v", v)):
            self.see(f"{b}attn.{part}", value)
        record = Attention(
            score_multiplier=t[f"{b}attn.score_multiplier"], shift1=int(t[f"{b}attn.score_shift"]),
            gain=t[f"{b}attn.out.gain"], offset=t[f"{b}attn.out.offset"], shift2=int(t[f"{b}attn.out.shift2"]),
            wide_p=plan.prob, wide=plan.attn, p_shift=int(t[f"{b}attn.p_shift"]))
        trace = self.trace
        inner = None if trace is None else lambda key, value: trace(f"{b}attn.{key}", value)
        with at(f"{b}attn.out"):
            if keys < self.config.tokens:  # window by window
                out = joined([attention(q.take(np.arange(first, first + keys)), k[first:first + keys],
                                        v[first:first + keys], record, inner) for first in range(0, len(x), keys)])
            else:
                out = attention(q, k, v, record, inner)
        self.see(f"{b}attn.out", out)
        with at(f"{b}attn.proj"):
            x = to_residual(self.linear(f"{b}attn.proj", out), x)
        self.see(f"{b}attn.residual", x)
        return x

    def chosen(self, b: str, operand: Operand, k: np.ndarray, count: int) -> np.ndarray:
        """Numbers of the ``count`` tokens that stay, by what the first pays to each."""
        t = self.tensors
        q = Operand.in_blocks(self.linear(f"{b}attn.q", operand.take([0])))
        score = class_attention(q, k, Attention(
            score_multiplier=t[f"{b}attn.score_multiplier"], shift1=int(t[f"{b}attn.score_shift"]),
            wide_p=True, **CLASS_PARAMETERS))[:len(k)]
        numbers = kept(score, self.config.extra_tokens, count)
        self.see(f"{b}attn.class", q)
        self.see(f"{b}attn.paid", score)
        self.see(f"{b}kept", numbers)
        return numbers

    def fc1(self, b: str, operand: Operand, expert: int | None = None) -> np.ndarray:
        return self.linear(f"{b}mlp.fc1", operand, expert, activation=ACTIVATIONS[self.config.activation].code,
                           affine=True)

    def dense(self, b: str, plan: LayerPlan, x: np.ndarray, operand: Operand, normalized: np.ndarray,
              task: str) -> np.ndarray:
        with self.saturation.at(f"{b}mlp.fc1"):
            hidden = to_operand(self.fc1(b, operand), plan.hidden)
        self.see(f"{b}mlp.hidden", hidden)
        with self.saturation.at(f"{b}mlp.fc2"):
            x = to_residual(self.absent(f"{b}mlp", len(x)), x) if self.rest else x
            return to_residual(self.linear(f"{b}mlp.fc2", hidden), x)

    def experts(self, b: str, plan: LayerPlan, x: np.ndarray, operand: Operand, normalized: np.ndarray,
                task: str) -> np.ndarray:
        """Experts in order of arrival, each adding its rounded contributions to the residual stream before the next;
        those that stand for absent neurons first."""
        t, c, g = self.tensors, self.config, f"{b}gate.{task}."
        self.see(f"{b}norm2.normalized", normalized)
        with self.saturation.at(f"{b}gate"):
            logits = gate_logits(normalized, t[f"{g}weight"], t[f"{g}bias"])
            chosen, weights = route(logits, Gate(
                top_k=c.top_k, renormalise=c.gate is GateKind.TOPK_THEN_SOFTMAX, multiplier=int(t[f"{g}multiplier"]),
                shift1=int(t[f"{g}shift"])))
        for key, value in (("logits", logits), ("experts", chosen), ("weights", weights)):
            self.see(f"{b}gate.{key}", value)
        queues = fill(chosen, weights, c.experts)
        for e in arrivals(chosen):
            queue = queues[e]
            with self.saturation.at(f"{b}mlp.fc1"):
                hidden = to_operand(self.fc1(b, operand.take(queue.tokens), e), plan.hidden)
            with self.saturation.at(f"{b}mlp.fc2"):
                if self.rest:
                    x = scatter_add(x, queue.tokens, self.absent(f"{b}mlp", len(queue.tokens), e, queue.weights))
                v = self.linear(f"{b}mlp.fc2", hidden, e, queue.weights, gate_weight=True)
                x = scatter_add(x, queue.tokens, v)
            self.see(f"{b}mlp.tokens.{e}", queue.tokens)
            self.see(f"{b}mlp.hidden.{e}", hidden)
            self.see(f"{b}mlp.out.{e}", v)
        return x

    def logits(self, x: np.ndarray) -> np.ndarray:
        """int16 [class heads, classes], step 2**-logit_frac, of a residual stream."""
        heads = self.config.class_heads
        if self.config.pooled:
            return self.pooled_logits(x)
        with self.saturation.at("norm"):
            operand, _ = self.norm("norm", x[:len(heads)], self.plan.head)
        self.see("norm", operand)
        with self.saturation.at("head"):
            rows = [to_residual(self.linear(head, operand.take([i])))
                    for i, head in enumerate(heads)]
        self.see("logits", np.concatenate(rows))
        return np.concatenate(rows)

    def host_norm(self, name: str, x: np.ndarray) -> np.ndarray:
        """int16 [N, D], step 2**-frac of the norm ``name``, of residual rows: what the host computes."""
        with self.saturation.at(name):
            result = self.norm(name, x, wide=True)[0].bytes
        self.see(name, result)
        return result

    def pooled_logits(self, x: np.ndarray) -> np.ndarray:
        """int16 [1, classes] of a classifier that reads the mean of the patches, as the host computes it."""
        c = self.config
        y = x if c.fc_norm else self.host_norm("features_norm", x)
        mean = mean_rows(y[c.extra_tokens:])
        read = self.host_norm("fc_norm", mean) if c.fc_norm else mean
        read = np.concatenate([y[:1], read], 1) if c.pool == "class_mean" else read
        with self.saturation.at("head"):
            scores = to_residual(self.linear("head", Operand.in_16_bits(read)))
        self.see("logits", scores)
        return scores
