# SPDX-License-Identifier: Apache-2.0
"""Verbs ``selftest``, ``doctor`` and ``compare``: whether a device works, what a board lacks, where results differ."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from host.cli.devices import Buffer, Clock, Uio, Which, opened
from host.cli.options import Json, Machine

app = typer.Typer()


@app.command()
def selftest(device: Which = "uio", machine: Machine = None, uio: Uio = None, buffer: Buffer = None,
             clock: Clock = None, json_: Json = False):
    """Run golden vectors on a device: identity, registers, jobs bit for bit, a refusal. Status 1 when a check fails."""
    from golden.files.machine_file import machine_of
    from host.diagnosis import selftest as test
    from host.driver.device import clock_text
    from host.progress import steps

    board = opened(device, None if machine is None else machine_of(machine), uio, buffer, clock)
    try:
        with steps(f"selftest {board.name}") as report:
            number = iter(range(1, 100))
            checks = test.selftest(board, lambda name: report(next(number), test.CHECKS, name))
        facts = {"device": board.name, "clock": clock_text(board)}
    finally:
        board.close()
    _finish(json_, facts, "checks", checks, "failed")


@app.command()
def doctor(program: Annotated[Path | None, typer.Argument(help="Program that shall run here: the memory that it needs "
                                                               "is checked as well.")] = None,
           uio: Uio = None, buffer: Buffer = None, clock: Clock = None,
           root: Annotated[Path, typer.Option(help="Where sys, dev and proc are.", hidden=True)] = Path("/"),
           json_: Json = False):
    """What this machine lacks to run a board: each line is ok or says what to do. Status 1 when something lacks."""
    from host.driver.doctor import Place, examine
    from host.program import program_of

    image = None if program is None else program_of(program)
    place = Place(root / "sys", root / "dev", root / "proc", uio, buffer, None if clock is None else clock * 1e6)
    _finish(json_, {}, "lines", examine(place, image), "to do")


@app.command()
def compare(a: Annotated[Path, typer.Argument(help="Folder that edge-moe run --dump wrote.")],
            b: Annotated[Path, typer.Argument(help="Another one, of another device.")], json_: Json = False):
    """Compare two dumps: the first tensor, token and channel that differs. Status 1 when any value does."""
    from dataclasses import asdict

    from host.cli.output import UsageError
    from host.diagnosis.difference import differences
    from host.diagnosis.dump import comparable, read_dump

    one, other = read_dump(a), read_dump(b)
    comparable(one, other)
    try:
        found = differences(one.tensors, other.tensors)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if json_:
        print(json.dumps({"a": asdict(one.about), "b": asdict(other.about), "tensors": len(one.tensors),
                          "same": not found, "differences": [asdict(each) for each in found]}))
    else:
        print(f"a: {one.about.program} on {one.about.device}; b: {other.about.program} on {other.about.device}")
        for each in found:
            print(each)
        if found and found[0].name.endswith("input"):
            print("The pictures are not the same: dump both devices with one picture.")
        if not found:
            print(f"same: all {len(one.tensors)} tensors, bit for bit")
    raise typer.Exit(1 if found else 0)


def _finish(as_json: bool, facts: dict, what: str, lines: Sequence, bad: str) -> None:
    """Print the lines, and end with status 1 when one is not ok."""
    good = all(line.ok for line in lines)
    if as_json:
        print(json.dumps(facts | {"ok": good, what: [vars(line) for line in lines]}))
    else:
        for name, value in facts.items():
            print(f"{name}: {value}")
        for line in lines:
            print(f"{'ok' if line.ok else bad:7} {line.name}: {line.said}")
    raise typer.Exit(0 if good else 1)
