# SPDX-License-Identifier: Apache-2.0
"""Verb ``serve``: lend a device to other computers, one owner at a time."""

from pathlib import Path
from typing import Annotated

import typer

from host.cli.common.verb import BOARDS, verb
from host.cli.devices import Buffer, Clock, Uio, Which, opened
from host.cli.options import Machine

app = typer.Typer()


@verb(app, BOARDS, "edge-moe serve --device uio", "edge-moe serve --device golden --machine nano --port 0")
def serve(device: Which = "uio", machine: Machine = None, uio: Uio = None, buffer: Buffer = None, clock: Clock = None,
          host: Annotated[str, typer.Option(help="Address to listen at; by default this computer only is let in.")]
          = "127.0.0.1",
          port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 7411,
          token_file: Annotated[Path | None, typer.Option(help="File of the token, made where there is none; by "
                                                               "default ~/.config/edge-moe/token. The variable "
                                                               "EDGE_MOE_TOKEN is the token itself.")] = None,
          idle: Annotated[float, typer.Option(help="Seconds after which a silent owner loses the device.")] = 3600.0):
    """Lend a device to other computers.

    Elsewhere it is --device remote:HOST:PORT. Until Ctrl-C or SIGTERM."""
    from golden.files.machine_file import machine_of
    from host.driver.remote.serve import serve as until_stopped

    config = None if machine is None else machine_of(machine)
    until_stopped(lambda: opened(device, config, uio, buffer, clock), host=host, port=port, token_file=token_file,
                  idle=idle, report=lambda text: print(text, flush=True))
