# SPDX-License-Identifier: Apache-2.0
"""Fit check: limits of a machine that no order of instructions avoids, reported in the model's terms."""

from golden.spec.limits import check_model, machine_needs
from golden.spec.machine import MachineConfig
from golden.spec.model import ModelConfig
from golden.spec.quantized import Plan
from host.ir.nodes import NotFitting


def check_limits(config: ModelConfig, plan: Plan, machine: MachineConfig) -> None:
    """Refuse what no order of instructions makes fit. Raises ConfigError for a model that no machine runs, and
    :class:`NotFitting`."""
    check_model(config)
    for need in machine_needs(config, plan, machine):
        if need.need > need.have:
            raise NotFitting(f"{config.name!r} has {need.need} {need.what}; the machine {machine.name!r} holds "
                             f"{need.have}.")
