# SPDX-License-Identifier: Apache-2.0
"""Preset machines that hold a model, found by planning its program for each of them."""

from golden.spec.machine import MACHINES, MachineConfig
from golden.spec.model import ModelConfig
from golden.spec.quantized import Plan
from host.compiler.compile import plan_program
from host.compiler.skeleton import empty
from host.compiler.weight_stream import Stream
from host.ir.nodes import NotFitting


def require_fit(config: ModelConfig, plan: Plan, machine: MachineConfig) -> None:
    """Raise :class:`NotFitting` unless ``machine`` holds one task of the model; the sentences name tokens and
    widths, and presets that hold it, or what the largest lacks."""
    refusal = _refusal(config, plan, machine)
    if refusal is not None:
        widths = sorted({config.ffn_hidden(i) for i in range(config.depth)})
        experts = f", {config.experts} experts of which a token uses {config.top_k}" if config.moe_layers else ""
        raise NotFitting(f"{refusal} The model: {config.tokens} tokens of {config.dim} channels, FFNs of "
                         f"{' and '.join(map(str, widths))}{experts}. {suggestion(config, plan)}")


def smallest(config: ModelConfig, plan: Plan) -> MachineConfig:
    """The preset with the fewest multipliers that holds one task of the model. Raises :class:`NotFitting`."""
    for machine in sorted(MACHINES.values(), key=lambda machine: machine.macs_per_cycle):
        if _refusal(config, plan, machine) is None:
            return machine
    raise NotFitting(suggestion(config, plan))


def suggestion(config: ModelConfig, plan: Plan) -> str:
    """Which presets hold one task of the model, a sentence."""
    refusals = {machine.name: _refusal(config, plan, machine) for machine in MACHINES.values()}
    names = [name for name, refusal in refusals.items() if refusal is None]
    if not names:
        largest = max(MACHINES.values(), key=lambda machine: machine.residual_rows)
        return (f"No preset machine holds it; take a smaller image or model. The largest, {largest.name}, does not: "
                f"{refusals[largest.name]}")
    return f"It fits the machine{'s' * (len(names) > 1)} {_listed(names)}."


def _refusal(config: ModelConfig, plan: Plan, machine: MachineConfig) -> NotFitting | None:
    try:
        plan_program(empty(config, plan), machine, Stream(), config.tasks[:1])
    except NotFitting as refusal:
        return refusal
    return None


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
