# SPDX-License-Identifier: Apache-2.0
"""Options that find a device and its clock, and opening it for a verb."""

from typing import TYPE_CHECKING, Annotated

import typer

from golden.spec.machine import MachineConfig
from host.cli.output import UsageError

if TYPE_CHECKING:
    from host.driver.device import Device  # which needs numpy: help shall be quick

_DEVICES = "golden, sim or uio (the board's node called edge-moe); uio:NAME for another node, pynq:FILE.bit, " \
           "xrt:FILE.xclbin, remote:HOST:PORT."


def devices(incomplete: str) -> list[str]:
    """What completes --device: the names of the transports that begin as typed."""
    from host.driver.device import device_names

    return [name for name in device_names() if name.startswith(incomplete)]


Which = Annotated[str, typer.Option("--device", help=_DEVICES, autocompletion=devices)]
Several = Annotated[list[str], typer.Option("--device", autocompletion=devices,
                                            help=f"{_DEVICES} Several times: they share the pictures.")]
Uio = Annotated[str | None, typer.Option(help="UIO node of the board, by its name or as uioN.")]
Buffer = Annotated[str | None, typer.Option("--buffer", help="u-dma-buf buffer of the board.")]
Clock = Annotated[float | None, typer.Option(help="Clock of the device in MHz; by default a board's device tree tells "
                                                  "it, and 300 is assumed for simulators.")]


def opened(device: str, machine: MachineConfig | None, uio: str | None = None, buffer: str | None = None,
           clock: float | None = None) -> "Device":
    """The device that the options name; a simulator gets ``machine`` unless its name says another. Raises UsageError
    for options that contradict each other, or what the device raises.
    """
    from host.driver import open_device
    from host.progress import opening

    kind, _, which = device.partition(":")
    if clock is not None and not 0 < clock < 10_000:
        raise UsageError(f"--clock is in MHz, more than 0 and less than 10,000, not {clock:g}.")
    options: dict = {}
    if kind != "uio":
        if uio is not None or buffer is not None:
            raise UsageError(f"--uio and --buffer find a board: give them with --device uio, not {device}.")
        board = open_device(device, machine=machine, progress=opening)
        if clock is not None:
            board.clock_hz, board.clock_from = clock * 1e6, "given"  # type: ignore[attr-defined]  # any device has room
        return board
    if uio is not None:
        if which not in ("", uio):
            raise UsageError(f"--device {device} and --uio {uio} name two nodes; name one.")
        device, options["uio"] = kind, uio
    if buffer is not None:
        options["buffer"] = buffer
    if clock is not None:
        options["clock_hz"] = clock * 1e6
    return open_device(device, **options)
