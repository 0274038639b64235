# SPDX-License-Identifier: Apache-2.0
"""Size limits of models: what any machine of this instruction set runs, and what one machine holds.

Derived from the instruction fields and the machine configuration; the README's table is generated from here."""

from dataclasses import dataclass

from golden.spec.instructions.linear import LOGITS
from golden.spec.isa import Opcode, bounds
from golden.spec.machine import LINE, MAX_EXPERTS, MAX_HEADS, MAX_NORM_DIM, MAX_TOP_K, SLICE, TN, MachineConfig
from golden.spec.model import ModelConfig, require
from golden.spec.quantized import Plan
from golden.spec.tiling import ceil_div, operand_rows, residual_rows, slices, tiles, window_slices

_STRIDE = bounds(Opcode.LINEAR, "dst_stride")[1]
_MOST_HIDDEN = min(bounds(Opcode.LINEAR, "tiles")[1] * TN, _STRIDE // 2 * LINE)
"""Channels of a LINEAR to 16-bit operands: both byte planes of a row must lie within one stride."""


@dataclass(frozen=True)
class Limit:
    """Maximum ``most`` of a quantity described by ``about``; ``name`` as in :class:`golden.spec.model.ModelConfig`."""

    name: str
    most: int
    about: str


MODEL_LIMITS = (
    Limit("dim", MAX_NORM_DIM, "channels of the residual stream, a multiple of 32"),
    Limit("heads", MAX_HEADS, "attention heads"),
    Limit("head_dim", bounds(Opcode.ATTENTION, "head_slices")[1] * SLICE, "channels of a head, a multiple of 32"),
    Limit("tokens", bounds(Opcode.ATTENTION, "keys")[1], "patches and extra tokens"),
    Limit("mlp_hidden", _MOST_HIDDEN, "hidden width of a dense FFN"),
    Limit("expert_hidden", _MOST_HIDDEN, "hidden width of an expert"),
    Limit("patch_dim", bounds(Opcode.LINEAR, "slices")[1] * SLICE, "pixels times channels of a patch"),
    Limit("experts", MAX_EXPERTS, "experts of a layer"),
    Limit("top_k", MAX_TOP_K, "experts that a token goes to"),
)
"""Limits of every machine."""
MAP_CHANNELS = bounds(Opcode.LINEAR, "window")[1] * LINE
"""Most channels of the maps of a task head, those of the tokens included."""


def check_model(config: ModelConfig) -> None:
    """Raise :class:`golden.spec.model.ConfigError` for a network that no machine of this instruction set runs."""
    dense = any(not config.is_moe(i) for i in range(config.depth))
    unused = set() if dense else {"mlp_hidden"}
    unused |= set() if config.moe_layers else {"experts", "expert_hidden", "top_k"}
    for head in config.task_heads:
        require(max(config.dim, head.channels) <= MAP_CHANNELS,
                f"The head {head.task!r} of the model {config.name!r} has maps of {max(config.dim, head.channels)} "
                f"channels; this accelerator runs at most {MAP_CHANNELS}.")
        require(min(config.grid) >= 2, f"The model {config.name!r} has {config.grid[0]} x {config.grid[1]} patches; a "
                f"task head needs two at least in either direction.")
    for limit in MODEL_LIMITS:
        value = getattr(config, limit.name)
        require(limit.name in unused or value <= limit.most,
                f"The model {config.name!r} has {limit.name} {value} ({limit.about}); this accelerator runs at most "
                f"{limit.most}.")


@dataclass(frozen=True)
class Need:
    """A resource described by ``what``: ``need`` units are required, ``have`` are available."""

    what: str
    need: int
    have: int


def machine_needs(config: ModelConfig, plan: Plan, machine: MachineConfig) -> list[Need]:
    """Resources that a model needs whatever the order of its instructions. (Operand rows and instruction count depend
    on the program and are known after compiling only.)"""
    c, m = config, machine
    windows = [window_slices(operand_rows(width)) * SLICE for head in c.task_heads for width in (c.dim, head.channels)]
    keys = max(c.keys(i) for i in range(c.depth))
    seen = f"{c.tokens} tokens" if keys == c.tokens else f"windows of {keys} tokens"
    inputs = max(c.patch_dim, c.dim, *(c.ffn_hidden(i) for i in range(c.depth)), *windows)
    needs = [
        Need("tokens" if keys == c.tokens else "tokens of a window", keys, m.max_keys),
        Need(f"residual rows of 32 channels ({c.tokens} tokens x {residual_rows(c.dim)})",
             c.tokens * residual_rows(c.dim) + (residual_rows(c.classes) if c.classes and not c.pooled else 0),
             m.residual_rows),
        Need(f"K tiles of 32 keys x 16 channels ({seen}, dim {c.dim})", tiles(keys) * slices(c.dim),
             m.kv_tiles),
        Need(f"V tiles of 32 channels x 16 keys ({seen}, dim {c.dim})", tiles(c.dim) * slices(keys),
             m.kv_tiles),
        Need("inputs of a linear (the weights of 32 outputs must fit the ring)", inputs,
             m.ring_slices * SLICE),
    ]
    if c.moe_layers:
        columns = ceil_div(c.experts, LOGITS)
        needs += [
            Need(f"blocks of gate weights in the ring ({c.experts} experts, dim {c.dim})", columns * slices(c.dim),
                 m.ring_slices),
            Need(f"lane buffer rows of 64 bytes (16-bit gate inputs, dim {c.dim})", 2 * operand_rows(c.dim),
                 2 * m.lane_rows),
            Need(f"expert queue entries (top {c.top_k})", c.top_k, m.queue_depth),
        ]
    return needs


def machine_limits(machine: MachineConfig) -> dict[str, int]:
    """What a machine holds, for the table of limits."""
    m = machine
    return {"tokens": m.max_keys, "tokens x dim, residual stream": m.residual_rows * TN,
            "tokens x dim, K and V": m.kv_tiles * TN * SLICE, "inputs of a linear": m.ring_slices * SLICE,
            "operand bytes": m.operand_rows * LINE, "expert queue entries": m.queue_depth,
            "instructions": m.program_depth}
