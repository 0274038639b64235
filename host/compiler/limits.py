# SPDX-License-Identifier: Apache-2.0
"""Fit check: whether a machine holds a model, said in the model's own terms, with the preset that would."""

from golden.spec.limits import check_model, machine_needs
from golden.spec.machine import MACHINES, MachineConfig
from golden.spec.model import ModelConfig
from golden.spec.quantized import Plan
from host.compiler.nodes import NotFitting


def check_limits(config: ModelConfig, plan: Plan, machine: MachineConfig) -> None:
    """Refuse what no order of instructions makes fit. Raises ConfigError for a model that no machine runs, and
    :class:`NotFitting`."""
    check_model(config)
    for need in machine_needs(config, plan, machine):
        if need.need > need.have:
            raise NotFitting(f"{config.name!r} has {need.need} {need.what}; the machine {machine.name!r} holds "
                             f"{need.have}.")


def require_fit(config: ModelConfig, plan: Plan, machine: MachineConfig) -> None:
    """Raise :class:`NotFitting` unless ``machine`` holds one task of the model; the sentence names presets that do."""
    refusal = _refusal(config, plan, machine)
    if refusal is not None:
        raise NotFitting(f"{refusal} {suggestion(config, plan)}")


def suggestion(config: ModelConfig, plan: Plan) -> str:
    """Which presets hold one task of the model, a sentence."""
    names = [machine.name for machine in MACHINES.values() if _refusal(config, plan, machine) is None]
    if not names:
        return "No preset machine holds it; take a smaller image or model."
    return f"It fits the machine{'s' * (len(names) > 1)} {' and '.join(names)}."


def _refusal(config: ModelConfig, plan: Plan, machine: MachineConfig) -> NotFitting | None:
    from host.compiler.emit import plan_program
    from host.compiler.skeleton import skeleton
    from host.compiler.stream import Stream

    try:
        plan_program(skeleton(config, plan), machine, Stream(), config.tasks[:1])
    except NotFitting as refusal:
        return refusal
    return None
