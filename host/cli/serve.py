# SPDX-License-Identifier: Apache-2.0
"""Verb ``serve``: lend a device to other computers, one owner at a time, or serve models on it over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from golden.spec.machine import MachineConfig
from host.cli.common.verb import BOARDS, verb
from host.cli.devices import Buffer, Clock, Uio, Which, opened
from host.cli.options import Machine
from host.cli.output import UsageError

app = typer.Typer()


def _say(text: str) -> None:
    print(text, flush=True)


@verb(app, BOARDS, "edge-moe serve --device uio", "edge-moe serve --device golden --machine nano --port 0",
      "edge-moe serve --http model.emoe --device golden")
def serve(paths: Annotated[list[Path] | None, typer.Argument(metavar="MODEL", help="With --http: program images "
                                                             "and quantized models.")] = None,
          http: Annotated[bool, typer.Option("--http", help="Serve MODELs: a page, and the Open Inference Protocol.")]
          = False,
          device: Which = "uio", machine: Machine = None, uio: Uio = None, buffer: Buffer = None, clock: Clock = None,
          host: Annotated[str, typer.Option(help="Address to listen at; by default this computer only is let in.")]
          = "127.0.0.1",
          port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one; by default 7411, with --http 8000.")
                          ] = None,
          token_file: Annotated[Path | None, typer.Option(help="File of the token, made where there is none; by "
                                                               "default ~/.config/edge-moe/token. The variable "
                                                               "EDGE_MOE_TOKEN is the token itself.")] = None,
          idle: Annotated[float, typer.Option(help="Seconds after which a silent owner loses the device.")] = 3600.0,
          queue: Annotated[int, typer.Option(help="With --http: requests that may wait for the device.")] = 32,
          timeout: Annotated[float, typer.Option(help="With --http: seconds of a request.")] = 60.0):
    """Lend a device to other computers, or serve models on it.

    Lent, it is --device remote:HOST:PORT elsewhere; --http serves MODELs with a page. Until Ctrl-C or SIGTERM."""
    from golden.files.machine_file import machine_of

    config = None if machine is None else machine_of(machine)
    if http:
        _serve_models(paths or [], config, lambda known: opened(device, known, uio, buffer, clock), host, port,
                      queue, timeout)
        return
    from host.driver.remote.client import PORT
    from host.driver.remote.serve import serve as until_stopped

    if paths:
        raise UsageError("Models are served over HTTP: add --http, or leave the models out to lend the device.")
    until_stopped(lambda: opened(device, config, uio, buffer, clock), host=host, port=PORT if port is None else port,
                  token_file=token_file, idle=idle, report=_say)


def _serve_models(paths: list[Path], machine: MachineConfig | None, opens, host: str, port: int | None, queue: int,
                  timeout: float) -> None:
    """Models over HTTP; ``opens`` makes the device from the machine that their programs are for."""
    if not paths:
        raise UsageError("--http serves models: name program images (.emoe) or quantized models (.safetensors).")
    if not 1 <= queue <= 10_000 or not 0 < timeout <= 86_400:
        raise UsageError(f"--queue is 1 to 10,000 and --timeout more than 0 and at most 86,400 seconds, not {queue} "
                         f"and {timeout:g}.")
    from host.service.models import ModelNameError, load_models
    from host.service.run import PORT, serve_http
    from host.service.service import Limits

    try:
        models = load_models(paths, machine)
    except ModelNameError as error:
        raise UsageError(str(error)) from None
    serve_http(models, lambda: opens(models.machine), host=host, port=PORT if port is None else port,
               limits=Limits(queue, timeout), report=_say)
