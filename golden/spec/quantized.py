# SPDX-License-Identifier: Apache-2.0
"""The quantized model: names, types and shapes of its integer tensors, and the plan of operand widths."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from golden.spec.heads import WINDOWS, HeadConfig
from golden.spec.model import ModelConfig, require
from golden.spec.tables import RESIDUAL_FRAC, RESIDUAL_FRACS, WEIGHT_LEVELS
from golden.spec.tiling import WINDOW

FORMAT = "edge-moe-quantized"
FORMAT_VERSION = 8
"""Metadata of the .safetensors: ``format``, ``version``, ``model`` and ``plan`` (both JSON), ``source``, ``sha256``."""
BEFORE_PACKING = "7"
READABLE = (BEFORE_PACKING, str(FORMAT_VERSION))
"""Versions that can be read."""


PACKED_BITS = 4
"""Width of weights of which two share a byte in DRAM, in the weight stream and in the ring. Their codes stand for
:data:`golden.spec.tables.WEIGHT_LEVELS`."""
WEIGHT_BITS = range(PACKED_BITS, 9)
"""Widths that weights may be quantized to. Codes of ``b`` bits, from five on, lie in +-(2**(b - 1) - 1)."""


@dataclass(frozen=True)
class LayerPlan:
    """Operand widths of one block: which array operands are 16 bit (two passes): norm1's and norm2's result,
    probabilities, attention output, FFN hidden; bits of the weights of experts (``expert_bits``), of a dense FFN
    (``mlp_bits``) and of attention (``weight_bits``).

    Weights of PACKED_BITS bits are streamed two to a byte, those of other widths as bytes. Raises
    :class:`golden.spec.model.ConfigError`.
    """

    norm1: bool = False
    prob: bool = False
    attn: bool = False
    norm2: bool = False
    hidden: bool = False
    weight_bits: int = 8
    mlp_bits: int = 8
    expert_bits: int = 8

    def __post_init__(self):
        for name in ("weight_bits", "mlp_bits", "expert_bits"):
            bits = getattr(self, name)
            require(type(bits) is int and bits in WEIGHT_BITS,
                    f"{name} must be {WEIGHT_BITS[0]} to {WEIGHT_BITS[-1]}, not {bits!r}.")

    def ffn_bits(self, moe: bool) -> int:
        """Bits of the weights of the block's FFN."""
        return self.expert_bits if moe else self.mlp_bits


@dataclass(frozen=True)
class HeadPlan:
    """Operand widths of one task head: ``norm``: 16-bit operand of the first convolution; ``last``: of the last one.
    The maps between the others are unsigned bytes. ``frac``: fraction bits of the result, int16.

    Raises :class:`golden.spec.model.ConfigError`.
    """

    norm: bool = False
    last: bool = False
    frac: int = RESIDUAL_FRAC

    def __post_init__(self):
        require(type(self.frac) is int and self.frac in RESIDUAL_FRACS,
                f"frac of a head must be {RESIDUAL_FRACS[0]} to {RESIDUAL_FRACS[-1]}, not {self.frac!r}.")


def weight_limit(bits: int) -> int:
    """Largest magnitude of a weight of ``bits`` bits."""
    return max(WEIGHT_LEVELS) if bits == PACKED_BITS else (1 << bits - 1) - 1


@dataclass(frozen=True)
class Plan:
    """Operand widths of a model: one :class:`LayerPlan` per block; ``head``: 16-bit final norm before a classifier.
    ``residual_frac`` and ``logit_frac``: fraction bits of the residual stream and of a classifier's logits, both int16.
    ``task_heads``: one :class:`HeadPlan` per task head of the model.

    Raises :class:`golden.spec.model.ConfigError`.
    """

    layers: tuple[LayerPlan, ...]
    head: bool = True
    residual_frac: int = RESIDUAL_FRAC
    logit_frac: int = RESIDUAL_FRAC
    task_heads: tuple[HeadPlan, ...] = ()

    def __post_init__(self):
        for name in ("residual_frac", "logit_frac"):
            bits = getattr(self, name)
            require(type(bits) is int and bits in RESIDUAL_FRACS,
                    f"{name} must be {RESIDUAL_FRACS[0]} to {RESIDUAL_FRACS[-1]}, not {bits!r}.")

    def bits(self, linear: str, config: ModelConfig) -> int:
        """Bits of the weights of a linear of a model, by its name; those of gates have two columns of their own."""
        block, _, part = linear.removeprefix("blocks.").partition(".")
        if not linear.startswith("blocks.") or part.startswith("gate."):
            return WEIGHT_BITS[-1]
        layer = self.layers[int(block)]
        return layer.ffn_bits(config.is_moe(int(block))) if part.startswith("mlp.") else layer.weight_bits

    def packed(self, linear: str, config: ModelConfig) -> bool:
        """Whether two weights of a linear share a byte."""
        return self.bits(linear, config) == PACKED_BITS

    def packed_parts(self, config: ModelConfig) -> list[str]:
        """Where some block has packed weights: ``experts``, ``mlp`` (a dense FFN), ``attention``."""
        blocks = range(config.depth)
        found = {"experts": any(config.is_moe(i) and self.layers[i].expert_bits == PACKED_BITS for i in blocks),
                 "mlp": any(not config.is_moe(i) and self.layers[i].mlp_bits == PACKED_BITS for i in blocks),
                 "attention": any(layer.weight_bits == PACKED_BITS for layer in self.layers)}
        return [part for part, packed in found.items() if packed]

    def name(self, config: ModelConfig) -> str:
        """The named plan with these layers; of others ``mixed``."""
        named = {"fast": self.fast(config.depth), "accurate": self.accurate(config.depth),
                 "w4": self.w4(config.depth, dense=not config.moe_layers)}
        return next((name for name, plan in named.items() if plan.layers == self.layers), "mixed")

    def with_bits(self, weight_bits: int | None = None, expert_bits: int | None = None) -> "Plan":
        """The same operands with weights of other widths in every block, those of experts and all others; None leaves
        a width as it is."""
        changes = {"weight_bits": weight_bits, "mlp_bits": weight_bits, "expert_bits": expert_bits}
        return self.with_layers(**{name: bits for name, bits in changes.items() if bits is not None})

    def with_layers(self, **changes: Any) -> "Plan":
        """The same with other fields in every block."""
        return replace(self, layers=tuple(replace(layer, **changes) for layer in self.layers))

    @classmethod
    def fast(cls, depth: int, heads: tuple[HeadConfig, ...] = ()) -> "Plan":
        """Every operand 8 bit, except that of the last convolution of a regression."""
        return cls(tuple(LayerPlan() for _ in range(depth)),
                   task_heads=tuple(HeadPlan(last=head.kind == "depth") for head in heads))

    @classmethod
    def w4(cls, depth: int, heads: tuple[HeadConfig, ...] = (), dense: bool = False) -> "Plan":
        """The operands of :meth:`accurate`; experts' weights packed, of a ``dense`` network those of every FFN."""
        return cls.accurate(depth, heads).with_layers(**{"mlp_bits" if dense else "expert_bits": PACKED_BITS})

    @classmethod
    def accurate(cls, depth: int, heads: tuple[HeadConfig, ...] = ()) -> "Plan":
        """Every operand of a linear, the probabilities, and both ends of a task head 16 bit."""
        return cls(tuple(LayerPlan(True, True, True, True, True) for _ in range(depth)),
                   task_heads=tuple(HeadPlan(norm=True, last=True) for _ in heads))

    def to_json(self) -> dict:
        return asdict(self) | {name: [asdict(part) for part in getattr(self, name)] for name in _PARTS}

    @classmethod
    def from_json(cls, data: dict) -> "Plan":
        keys = set(cls.__dataclass_fields__)
        require(isinstance(data, dict) and set(data) == keys and all(isinstance(data[name], list) for name in _PARTS),
                f"A plan must be an object with the keys {', '.join(sorted(keys))}, not {str(data)[:80]}.")
        for name, part in _PARTS.items():
            kinds = {key: field.type for key, field in part.__dataclass_fields__.items()}
            for given in data[name]:
                require(isinstance(given, dict) and set(given) == set(kinds)
                        and all(type(value) is kinds[key] for key, value in given.items()),
                        f"Each of a plan's {name} must give true or false, or a number of bits, to {sorted(kinds)}, "
                        f"not {given}.")
        require(isinstance(data["head"], bool), f"A plan's head must be true or false, not {data['head']!r}.")
        fields: dict[str, Any] = data | {name: tuple(part(**given) for given in data[name])
                                         for name, part in _PARTS.items()}
        return cls(**fields)


def newer_plan(data: Any, version: str) -> Any:
    """The JSON of a plan from a file of ``version`` as today's: weights of four bits were whole numbers up to 7 in
    bytes of their own, which five bits hold, and those of dense FFNs as wide as attention's."""
    if version != BEFORE_PACKING or not isinstance(data, dict) or not isinstance(data.get("layers"), list):
        return data
    layers = [layer | {"mlp_bits": layer.get("weight_bits")} if isinstance(layer, dict) else layer
              for layer in data["layers"]]
    layers = [{name: PACKED_BITS + 1 if name.endswith("_bits") and value == PACKED_BITS else value
               for name, value in layer.items()} if isinstance(layer, dict) else layer for layer in layers]
    return data | {"layers": layers}


_PARTS = {"layers": LayerPlan, "task_heads": HeadPlan}
"""Fields of a plan that are lists, and what they list."""


def _linear(name: str, outputs: int, inputs: int, lead: tuple[int, ...] = (), affine: bool = False) -> dict:
    tensors = {
        f"{name}.weight": ("int8", (*lead, outputs, inputs)),
        f"{name}.bias": ("int32", (*lead, outputs)),
        f"{name}.multiplier": ("uint16", (*lead, outputs)),
        f"{name}.shift": ("int32", ()),
    }
    if affine:
        tensors |= {f"{name}.gain": ("int16", (*lead, outputs)), f"{name}.offset": ("int32", (*lead, outputs)),
                    f"{name}.shift2": ("int32", ()), f"{name}.act_shift": ("int32", ())}
    return tensors


def _norm(name: str, dim: int) -> dict:
    return {f"{name}.gain": ("int16", (dim,)), f"{name}.offset": ("int32", (dim,)), f"{name}.shift": ("int32", ()),
            f"{name}.eps": ("int64", ()), f"{name}.normalized_shift": ("int32", ())}


def _host_norm(name: str, dim: int) -> dict:
    """A norm that the host computes: its result has steps of 2**-frac."""
    return _norm(name, dim) | {f"{name}.frac": ("int32", ())}


def host_schema(config: ModelConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (dtype, shape) of the tensors that the host needs for what it computes of a program's features: those
    after the final norm, and the scores of a classifier that reads a mean over patches.
    """
    c, tensors = config, {}
    if c.final_norm or c.fc_norm:
        tensors |= _host_norm("fc_norm" if c.fc_norm else "features_norm", c.dim)
    if c.pooled:
        tensors |= _linear("head", c.classes, c.head_inputs)
    return tensors


def _head(head: HeadConfig, dim: int) -> dict:
    name, tensors = f"heads.{head.task}", _norm(f"heads.{head.task}.norm", dim)
    for layer in range(WINDOWS + 1):
        conv, outputs, inputs = f"{name}.conv_{layer}", head.outputs(layer), head.inputs(layer, dim)
        tensors |= _linear(conv, outputs, inputs)
        if layer < WINDOWS:
            tensors[f"{conv}.weight"] = ("int8", (outputs, inputs, WINDOW, WINDOW))
    return tensors


def quantized_schema(config: ModelConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (dtype, shape) of every tensor of a quantized model.

    ``weight`` lies in [-127, 127], or less by the plan's bits; ``multiplier`` is the unsigned first multiplier and
    ``shift`` its right shift; ``gain``, ``offset``, ``shift2`` are the affine after the activation (``fc1``) or after
    the attention's division (``attn.out``). ``fc2.shift2`` of experts is the right shift after the multiplication by
    the expert weight. ``q``, ``k``, ``v`` give results of step one operand unit (int8; q with a block exponent).
    ``gate.<task>.weight`` (int16, at most 16319 in magnitude) acts on normalized values; its bias is in accumulator
    units; ``multiplier``/``shift`` bring a logit to log2 units with 8 fraction bits. ``score_multiplier`` holds one
    multiplier per head. Normalized values have 11 - ``normalized_shift`` fraction bits, inputs of an activation
    9 - ``act_shift``.
    ``pos_embed`` and ``prompts`` are in residual steps (2**-residual_frac of the plan);
    ``head.multiplier``/``head.shift`` bring a
    logit to steps of 2**-logit_frac. ``features_norm`` is the final norm as the host computes it for features (``norm``
    is what a classifier on the machine reads), ``fc_norm`` the norm of pooled features; with one of
    :attr:`ModelConfig.pooled` the host's ``head`` reads these results, 16 bit.
    ``heads.<task>.conv_0`` to ``conv_3`` give unsigned bytes 0..255, where the map's step differs from channel to
    channel and is part of the next weights (``conv_3`` with the plan's ``last``: 0..32767, and 16-bit operands for
    ``conv_4``); ``conv_4``, [classes, channels], gives steps of 2**-frac of the head's plan.
    """
    c = config
    tensors = {"pos_embed": ("int16", (c.tokens, c.dim))} | _linear("patch_embed", c.dim, c.patch_dim)
    for i in range(c.depth):
        b = f"blocks.{i}."
        tensors |= _norm(f"{b}norm1", c.dim) | _norm(f"{b}norm2", c.dim)
        if i in c.prompt_layers:
            tensors[f"{b}prompts"] = ("int16", (c.prompts, c.dim))
        for part in "qkv":
            tensors |= _linear(f"{b}attn.{part}", c.dim, c.dim)
        tensors |= {f"{b}attn.score_multiplier": ("uint16", (c.heads,)), f"{b}attn.score_shift": ("int32", ()),
                    f"{b}attn.p_shift": ("int32", ()),
                    f"{b}attn.out.gain": ("int16", (c.dim,)), f"{b}attn.out.offset": ("int32", (c.dim,)),
                    f"{b}attn.out.shift2": ("int32", ())}
        tensors |= _linear(f"{b}attn.proj", c.dim, c.dim)
        moe = c.is_moe(i)
        lead, hidden = ((c.experts,), c.expert_hidden) if moe else ((), c.mlp_hidden)
        tensors |= _linear(f"{b}mlp.fc1", hidden, c.dim, lead, affine=True)
        tensors |= _linear(f"{b}mlp.fc2", c.dim, hidden, lead)
        if moe:
            tensors |= {f"{b}mlp.fc2.shift2": ("int32", ())}
            for task in c.tasks:
                g = f"{b}gate.{task}."
                tensors |= {f"{g}weight": ("int16", (c.experts, c.dim)), f"{g}bias": ("int64", (c.experts,)),
                            f"{g}multiplier": ("uint16", ()), f"{g}shift": ("int32", ())}
    tensors |= host_schema(c)
    if c.classes and not c.pooled:
        tensors |= _norm("norm", c.dim)
        for head in c.class_heads:
            tensors |= _linear(head, c.classes, c.dim)
    for head in c.task_heads:
        tensors |= _head(head, c.dim)
    return tensors
