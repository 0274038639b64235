# SPDX-License-Identifier: Apache-2.0
"""Command-line option for the machine: a preset's name or a JSON file."""

import argparse

from golden.files.machine_file import machine_of
from golden.spec.machine import MACHINES, MachineConfig
from golden.spec.model import ConfigError


def add_machine(parser: argparse.ArgumentParser, option: str = "--machine", default: str = "zcu102") -> None:
    """Add ``option``, whose value is a :class:`MachineConfig`."""
    parser.add_argument(option, default=default, type=_machine, metavar="MACHINE",
                        help=f"{', '.join(MACHINES)}, or a JSON file that describes a machine; {default} by default")


def _machine(text: str) -> MachineConfig:
    try:
        return machine_of(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
