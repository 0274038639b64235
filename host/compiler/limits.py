# SPDX-License-Identifier: Apache-2.0
"""What a machine must be for a model besides large enough: lane buffers, weight ring, softmax rows."""

from golden.spec.machine import LINE, SLICE, TN, MachineConfig
from golden.spec.model import ModelConfig
from golden.spec.quantized import Plan
from golden.spec.tiling import ceil_div, operand_rows, slices
from host.compiler.nodes import NotFitting


def check_limits(config: ModelConfig, plan: Plan, machine: MachineConfig) -> None:
    """Refuse what no region can show: operands longer than a lane buffer, tiles larger than the ring, long rows.

    Raises :class:`NotFitting`.
    """
    c, m = config, machine
    widest = 0
    for i, layer in enumerate(plan.layers):
        widest = max(widest, operand_rows(c.ffn_hidden(i)) * (1 + layer.hidden),
                     operand_rows(c.dim) * (1 + (c.is_moe(i) | layer.norm1 | layer.norm2 | layer.attn)))
    inputs = max(c.patch_dim, c.dim, c.mlp_hidden, c.expert_hidden)
    gate = ceil_div(c.experts, 16) * slices(c.dim) if c.moe_layers else 0
    ring = max(slices(inputs), gate) * SLICE * TN
    for what, need, have in (
            ("a lane buffer", max(widest, operand_rows(c.patch_dim)) * LINE, m.lane_rows * LINE),
            ("the weight ring", ring, m.ring_lines * LINE),
            ("a softmax row", 2 * c.tokens, 2 * m.max_keys)):
        if need > have:
            raise NotFitting(f"{c.name!r} needs {need} bytes of {what}; the machine {m.name!r} has {have}: "
                             f"{need - have} too few. Take a larger machine or a smaller model.")
